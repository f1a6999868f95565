"""The exceptions and warnings of xpnet, and the argument checks that raise them.

A message names the argument, the rule and the value received, and advises what to do.
"""

from __future__ import annotations

import difflib
import math
import sys
import warnings
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import MISSING, fields, is_dataclass
from numbers import Integral, Real
from typing import Any

from xpnet.renamed import VALUES, current_keywords


class ArgumentError(ValueError):
    """An argument breaks its rule: a wrong shape, dtype, range, name or value."""


class FileFormatError(ValueError):
    """A file is truncated, hostile, or not of the format that its reader expects."""


class BackendUnavailableError(RuntimeError):
    """The requested backend does not work on this machine."""


class MissingExtraError(ImportError):
    """An optional dependency is not installed; the message names the extra to install."""


class NonFiniteError(ArithmeticError):
    """The loss, a parameter or the optimizer's state became NaN or infinite in training.

    Attributes:
        epoch: the epoch, counted from 1; 0 outside of ``fit``.
        step: the step of the epoch, counted from 1; that of the optimizer outside of ``fit``.
        layer: the first layer with an output that is not finite, the parameter, the running
            statistic or the optimizer's slot; ``"loss"`` if the outputs of all layers are finite.
        history: the `xpnet.History` of the previous epochs; ``None`` outside of ``fit``.
    """

    def __init__(self, message: str, *, epoch: int, step: int, layer: str, history: Any) -> None:
        super().__init__(message)
        self.epoch = epoch
        self.step = step
        self.layer = layer
        self.history = history


class FallbackWarning(UserWarning):
    """A slower implementation is used, because a faster one is unavailable."""


def warn_fallback(message: str) -> None:
    """Issue a `FallbackWarning` at the line outside xpnet that caused it."""
    warn_caller(message, FallbackWarning)


def warn_caller(message: str, category: type[UserWarning] = UserWarning) -> None:
    """Issue a warning at the line outside xpnet that caused it."""
    frame, level = sys._getframe(), 1
    while frame.f_back and frame.f_globals.get("__name__", "").partition(".")[0] == "xpnet":
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)


def dtype_name(dtype: object) -> str:
    """The name of a dtype of any library, without the name of the library.

    >>> import numpy as np
    >>> dtype_name(np.dtype("float32"))
    'float32'
    """
    return str(dtype).rpartition(".")[2]


def describe(value: object) -> str:
    """A short description of a value: of an array its dtype and shape, else its ``repr``.

    >>> import numpy as np
    >>> describe(np.zeros((3, 4), dtype="float32"))
    'a float32 array of shape (3, 4)'
    >>> describe(-0.1)
    '-0.1'
    >>> describe(np.int64(-1))
    '-1'
    """
    if type(value).__name__ != "ndarray":  # `import xpnet` does not import NumPy
        value = plain_number(value)
    shape, dtype = getattr(value, "shape", None), getattr(value, "dtype", None)
    if shape is not None and dtype is not None:
        name = dtype_name(dtype)
        article = "an" if name[:1] in "aeiou" and not name.startswith("uint") else "a"
        return f"{article} {name} array of shape {tuple(shape)}"
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def require(ok: Any, argument: str, rule: str, got: object, do: str = "") -> None:
    """Raise `ArgumentError` unless ``ok``: "`argument` must `rule`; got `got`. `do`".

    >>> require(False, "lr", "be positive", -0.1)
    Traceback (most recent call last):
    xpnet.errors.ArgumentError: lr must be positive; got -0.1.
    """
    if not ok:
        text = got if isinstance(got, Phrase) else describe(got)
        raise ArgumentError(f"{argument} must {rule}; got {text}." + (f" {do}" if do else ""))


class Phrase(str):
    """A text that `require` prints without quotation marks."""

    __slots__ = ()


def require_number(
    value: object,
    argument: str,
    *,
    low: float = -math.inf,
    high: float = math.inf,
    above: float = -math.inf,
    below: float = math.inf,
) -> None:
    """Raise an error unless ``value`` is a finite number in ``[low, high]`` and ``(above, below)``.

    >>> require_number(1.5, "rho", low=0, below=1)
    Traceback (most recent call last):
    xpnet.errors.ArgumentError: rho must be a finite number, at least 0 and below 1; got 1.5.
    """
    ok = (
        isinstance(value, Real)
        and not isinstance(value, bool)
        and _is_finite(value)
        and low <= float(value) <= high
        and above < float(value) < below
    )
    if ok:
        return
    limits = [
        f"{word} {limit:g}"
        for word, limit in (
            ("at least", low),
            ("above", above),
            ("at most", high),
            ("below", below),
        )
        if math.isfinite(limit)
    ]
    rule = "be a finite number" + (", " + " and ".join(limits) if limits else "")
    require(False, argument, rule, value)


def _is_finite(value: Any) -> bool:
    """Return whether a number is finite as a float."""
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer above 1.8e308
        return False


def require_count(value: object, argument: str, *, low: int = 1) -> None:
    """Raise an error unless ``value`` is an integer (not a bool) of at least ``low``.

    >>> require_count(0, "epochs")
    Traceback (most recent call last):
    xpnet.errors.ArgumentError: epochs must be an integer of at least 1; got 0.
    """
    ok = isinstance(value, Integral) and not isinstance(value, bool) and int(value) >= low
    require(ok, argument, f"be an integer of at least {low}", value)


def plain_number(value: Any) -> Any:
    """Return a number of NumPy as a number of Python, and every other value unchanged.

    >>> import numpy as np
    >>> plain_number(np.int64(3)), plain_number(np.float32(0.5)), plain_number(np.True_)
    (3, 0.5, True)
    """
    if type(value).__module__ == "numpy" and getattr(value, "shape", None) == ():
        scalar = value.item()
        return scalar if isinstance(scalar, (bool, int, float, str)) else value
    return value


def require_type(
    value: object, types: type | tuple[type, ...], argument: str, do: str = ""
) -> None:
    """Raise an error unless ``value`` is an instance of one of ``types``.

    If ``value`` is such a class, or the name of one, the message says how to create an instance.

    >>> require_type("adam", int, "seed")
    Traceback (most recent call last):
    xpnet.errors.ArgumentError: seed must be an int; got 'adam'.
    >>> from xpnet import Dense
    >>> Dense(2, activation="relu")
    Traceback (most recent call last):
    xpnet.errors.ArgumentError: activation must be an ActivationFunction; got 'relu'. Write ReLU().
    """
    types = types if isinstance(types, tuple) else (types,)
    if isinstance(value, type) and issubclass(value, types):
        do = f"Write {value.__name__}() to make one."
    elif isinstance(value, str) and not isinstance(value, types):
        do = _instead_of_name(value, types) or do
    names = " or ".join(cls.__name__ for cls in types)
    article = "an" if names[0].lower() in "aeio" else "a"
    require(isinstance(value, types), argument, f"be {article} {names}", value, do)


def unknown_name(argument: str, name: object, known: Iterable[str]) -> ArgumentError:
    """The error for a name that is not one of ``known``, with the most similar known name.

    >>> raise unknown_name("mode", "numpi", ["numpy", "cupy"])
    Traceback (most recent call last):
    xpnet.errors.ArgumentError: mode must be one of cupy, numpy; got 'numpi'. Did you mean 'numpy'?
    """
    names = sorted(known)
    current = VALUES.get(argument, {}).get(str(name))
    if current in names:
        return ArgumentError(
            f"{argument} {name!r} is named {current!r} here; got {name!r}. "
            f"Write {argument}={current!r}."
        )
    near = difflib.get_close_matches(str(name).lower(), [n.lower() for n in names], n=1, cutoff=0.5)
    right = next((n for n in names if near and n.lower() == near[0]), None)
    hint = f" Did you mean {right!r}?" if right else ""
    return ArgumentError(f"{argument} must be one of {', '.join(names)}; got {name!r}.{hint}")


def refuse_renamed(
    keywords: Mapping[str, object], known: Collection[str], call: str = "{}"
) -> None:
    """Raise an error that names the current name if a keyword argument has been renamed.

    Args:
        keywords: the keyword arguments of a call.
        known: the parameters of the function that is called.
        call: the text of the call, with ``{}`` for its arguments.

    >>> refuse_renamed({"rho1": 0.8}, ["lr", "beta1"], "Adam({})")
    Traceback (most recent call last):
    xpnet.errors.ArgumentError: rho1 is named beta1 here; got rho1=0.8. Write Adam(beta1=0.8).
    """
    for old, value in keywords.items():
        new = current_keywords(old, known)
        if new:
            got = value if isinstance(value, Phrase) else describe(value)
            arguments = ", ".join(f"{name}={got if len(new) == 1 else '...'}" for name in new)
            raise ArgumentError(
                f"{old} is named {' and '.join(new)} here; got {old}={got}. "
                f"Write {call.format(arguments)}."
            )


def _instead_of_name(name: str, types: tuple[type, ...]) -> str:
    """Return advice for the name of a subclass of ``types``; empty if they are not of xpnet."""
    bases = [base for base in types if base.__module__.partition(".")[0] == "xpnet"]
    found: dict[str, type] = {
        _letters(cls.__name__): cls for base in bases for cls in _subclasses(base)
    }
    letters = _letters(name)
    near = difflib.get_close_matches(letters, found, n=1, cutoff=0.8)
    near = near or [other for other in found if letters and other.startswith(letters)]
    if near:
        return f"Write {_call(found[near[0]])}."
    return "Write an object, not a name." if found else ""


def _subclasses(base: type) -> Iterator[type]:
    """Yield the direct and indirect subclasses of ``base`` that have been imported."""
    direct: list[type] = base.__subclasses__()
    for cls in direct:
        yield cls
        yield from _subclasses(cls)


def _letters(name: str) -> str:
    """Return ``name`` in lower case, without hyphens, underscores and spaces."""
    return name.lower().replace("-", "").replace("_", "").replace(" ", "")


def _call(cls: type) -> str:
    """Return the expression that creates an instance of ``cls``, with its required arguments.

    >>> from xpnet.initializers import Constant, Zeros
    >>> _call(Constant), _call(Zeros)
    ('Constant(value=...)', 'Zeros()')
    """
    required = [
        f"{field.name}=..."
        for field in (fields(cls) if is_dataclass(cls) else ())
        if field.init and field.default is MISSING and field.default_factory is MISSING
    ]
    return f"{cls.__name__}({', '.join(required)})"
