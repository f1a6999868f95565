"""The states of random generators of NumPy, which a training saves."""

from __future__ import annotations

from typing import Any

import numpy as np

from xpnet.errors import FileFormatError, Phrase, describe, require
from xpnet.state_entries import require_array

BIT_GENERATORS = "PCG64", "PCG64DXSM", "MT19937", "Philox", "SFC64"
"""NumPy's own bit generators, of which the state can be saved."""

LARGEST = {
    **{"pos": 624, "buffer_pos": 4, "has_uint32": 1, "uinteger": 2**32 - 1},
    **{"state": 2**128 - 1, "inc": 2**128 - 1},
}
"""The largest values of the integers in their states, which NumPy does not check."""


def generator_state(rng: Any) -> Any:
    """Return the state of a generator of NumPy; ``None`` for a seed or ``None``.

    Raises:
        ArgumentError: if its bit generator is not NumPy's own.
    """
    if not isinstance(rng, np.random.Generator):
        return None
    _require_own(rng)
    return rng.bit_generator.state


def set_generator_state(rng: np.random.Generator, state: Any) -> None:
    """Set a generator to a state that `generator_state` returned.

    Raises:
        FileFormatError: if it is not the state of such a generator; ``rng`` is unchanged.

    >>> first, second = np.random.default_rng(0), np.random.default_rng(1)
    >>> set_generator_state(second, generator_state(first))
    >>> bool(first.random() == second.random())
    True
    """
    _require_state(state, rng.bit_generator.state, "the state of rng")
    own = type(rng.bit_generator).__name__
    if state["bit_generator"] != own:
        raise FileFormatError(f"the state of rng must be of {own}; got {state['bit_generator']}.")
    rng.bit_generator.state = state


def resume_generator(rng: Any, state: Any) -> None:
    """Set the argument ``rng`` of a training to its saved state; a seed is left unchanged.

    Raises:
        ArgumentError: if it has another bit generator than in the training.
        FileFormatError: if ``state`` is no state; ``rng`` is unchanged.
    """
    if not isinstance(rng, np.random.Generator) or state is None:
        return
    _require_own(rng)
    name, own = state.get("bit_generator"), type(rng.bit_generator).__name__
    require(name == own, "rng", f"have the bit generator {name} of the training", Phrase(own))
    set_generator_state(rng, state)


def _require_state(value: Any, like: Any, name: str) -> None:
    """Refuse the state of a bit generator with which NumPy would read outside of its memory.

    Args:
        value: the state, or a part of it.
        like: that of a generator of the same kind.
        name: the name of ``value`` in error messages.

    Raises:
        FileFormatError: with ``name`` in its message.
    """
    if isinstance(like, np.ndarray):
        require_array(value, like, name)
    elif isinstance(like, dict):
        if not isinstance(value, dict) or value.keys() != like.keys():
            raise FileFormatError(f"{name} must have the entries {', '.join(like)}.")
        for key in like:
            _require_state(value[key], like[key], key)
    elif (
        type(value) is not type(like)
        or (name in LARGEST and not 0 <= value <= LARGEST[name])
        or (name == "inc" and value % 2 == 0)
    ):
        raise FileFormatError(f"{name} must be an entry of a generator; got {describe(value)}.")


def _require_own(rng: np.random.Generator) -> None:
    kind = type(rng.bit_generator)
    ok = kind.__module__.startswith("numpy.") and kind.__name__ in BIT_GENERATORS
    rule = f"have a bit generator of NumPy ({', '.join(BIT_GENERATORS)}), whose state can be saved"
    require(ok, "rng", rule, kind.__name__)
