"""Small matrices from scalars that live on a device."""

from __future__ import annotations

from xpnet.backend import Array, backend_of


def symmetric(a: Array, b: Array, c: Array) -> Array:
    """The matrix ``[[a, b], [b, c]]`` of three 0-d arrays."""
    xp = backend_of(a).xp
    return xp.reshape(xp.stack([a, b, b, c]), (2, 2))


def diagonal(entries: Array) -> Array:
    """The matrix with ``entries``, shape ``(n,)``, on its diagonal."""
    backend = backend_of(entries)
    n = int(entries.shape[0])
    return entries[:, None] * backend.xp.eye(n, dtype=entries.dtype, device=backend.device)
