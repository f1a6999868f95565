"""The layout of the flat vector θ: the slice of each parameter.

Only this module creates views of θ. Entries are ordered by role, weights first, so the weights are
one slice, and a penalty on the weights or weight decay is one operation.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import prod
from typing import Literal, TypeAlias

from xpnet.backend import Array, namespace_of
from xpnet.errors import ArgumentError, require

Role: TypeAlias = Literal["weight", "bias", "scale", "shift", "statistic"]
ROLES: tuple[Role, ...] = ("weight", "bias", "scale", "shift", "statistic")


@dataclass(frozen=True)
class Entry:
    """The position of one parameter in the flat vector.

    Attributes:
        path: the name of the parameter, such as ``"layers.0.weight"``.
        shape: its shape.
        role: one of ``"weight"``, ``"bias"``, ``"scale"``, ``"shift"``, ``"statistic"``.
        start: the index of its first element in the vector.
    """

    path: str
    shape: tuple[int, ...]
    role: Role
    start: int

    @property
    def stop(self) -> int:
        """The index after its last element."""
        return self.start + prod(self.shape)


def is_inside(path: str, part: str) -> bool:
    """Whether a path is ``part``, or of a parameter inside it.

    >>> is_inside("layers.1.weight", "layers.1"), is_inside("layers.10.weight", "layers.1")
    (True, False)
    """
    return path == part or path.startswith(f"{part}.")


@dataclass(frozen=True)
class Layout:
    """The positions of named parameters in one flat vector, without gaps and without overlap.

    `Layout.of` creates it. It is immutable and holds no array, so it applies to any vector of its
    size.

    Attributes:
        entries: the positions, in the order of the vector.

    >>> layout = Layout.of([("b", (2,), "bias"), ("W", (3, 2), "weight")])
    >>> [(e.path, e.start) for e in layout.entries], layout.size, layout.weights
    ([('W', 0), ('b', 6)], 8, slice(0, 6, None))
    >>> import numpy as np
    >>> theta = np.zeros(8)
    >>> layout.views(theta)["b"][...] = 1
    >>> theta
    array([0., 0., 0., 0., 0., 0., 1., 1.])
    """

    entries: tuple[Entry, ...]

    @classmethod
    def of(cls, parameters: Iterable[tuple[str, tuple[int, ...], Role]]) -> Layout:
        """The layout of ``(path, shape, role)`` triples, sorted by role in the order of `ROLES`.

        Triples of the same role keep their order.

        Raises:
            ArgumentError: if two parameters have the same path, or a role is unknown.
        """
        entries: list[Entry] = []
        start = 0
        parameters = list(parameters)
        for path, _, role in parameters:
            require(role in ROLES, f"the role of {path}", f"be one of {', '.join(ROLES)}", role)
        for path, shape, role in sorted(parameters, key=lambda item: ROLES.index(item[2])):
            entries.append(Entry(path, shape, role, start))
            start = entries[-1].stop
        paths = [entry.path for entry in entries]
        require(len(set(paths)) == len(paths), "the paths of parameters", "be distinct", paths)
        return cls(tuple(entries))

    @property
    def size(self) -> int:
        """The number of elements of the vector."""
        return self.entries[-1].stop if self.entries else 0

    @property
    def weights(self) -> slice:
        """The slice of all weights, without biases, scales and shifts."""
        return slice(0, max((e.stop for e in self.entries if e.role == "weight"), default=0))

    def views(self, vector: Array) -> dict[str, Array]:
        """The parameters by path, as reshaped views: writing to one writes to ``vector``.

        Args:
            vector: a 1-D array of `size` elements, of a library with writable views.

        Raises:
            ArgumentError: if ``vector`` has another shape.
        """
        ok = tuple(getattr(vector, "shape", ())) == (self.size,)
        require(ok, "theta", f"have the shape ({self.size},)", vector)
        xp = namespace_of(vector)
        return {e.path: xp.reshape(vector[e.start : e.stop], e.shape) for e in self.entries}

    def where(self, index: int) -> str:
        """The path and position of the element at ``index`` of the vector, for messages.

        Raises:
            ArgumentError: if ``index`` is negative or at least `size`.

        >>> Layout.of([("W", (3, 2), "weight")]).where(3)
        'W[1, 1]'
        """
        for entry in self.entries:
            if entry.start <= index < entry.stop:
                offset, position = index - entry.start, []
                for n in reversed(entry.shape):
                    offset, last = divmod(offset, n)
                    position.append(str(last))
                return f"{entry.path}[{', '.join(reversed(position))}]"
        raise ArgumentError(f"index must be in 0..{self.size - 1}; got {index}.")
