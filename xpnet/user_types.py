"""Classes that a user defines, which a file names by their module and which it never imports.

A file holds their settings, the fields of a frozen dataclass. Its reader makes them again with the
classes that the caller passes, ``types=[MyLayer]``.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from functools import cached_property
from typing import Any, TypeAlias

from xpnet.errors import ArgumentError, FileFormatError, Phrase, describe, plain_number, require
from xpnet.layers.base import repeated_field

UserTypes: TypeAlias = Mapping[str, type[Any]]
"""Classes by the name that a file has for them."""

MAX_SHOWN = 5
"""The number of classes that an error names."""

RULE = "be a sequence of classes"

PLAIN = bool, int, float, str, type(None)
"""The types of settings beside tuples and frozen dataclasses; subclasses would be lost."""


def is_user_defined(name: str) -> bool:
    """Return whether a name is that of a class with its module.

    >>> is_user_defined("train.Cube"), is_user_defined("Dense")
    (True, False)
    """
    parts = name.split(".")
    return len(parts) > 1 and all(part.isidentifier() or part == "<locals>" for part in parts)


def name_of(kind: type[Any]) -> str:
    """Return the name of a class in files: that of its module, and its qualified name."""
    return f"{kind.__module__}.{kind.__qualname__}"


def given_types(types: Any, *, by_name: bool = True) -> dict[str, type[Any]]:
    """Return the classes that a caller passes to read a file, by their name in the file.

    Args:
        types: a sequence of frozen dataclasses, or a mapping to them from the names in the file,
            for classes that have been renamed or moved.
        by_name: whether it may be a mapping; default true.

    Raises:
        ArgumentError: if it holds anything else, two classes of one name, or a class of xpnet.

    >>> from fractions import Fraction
    >>> given_types([Fraction])
    Traceback (most recent call last):
    xpnet.errors.ArgumentError: types must hold frozen dataclasses; got fractions.Fraction. \
Write @dataclass(frozen=True) before the class.
    """
    is_one = isinstance(types, (str, type))
    do = f"Write types=[{types.__name__}]." if isinstance(types, type) else ""
    require(not is_one and isinstance(types, Collection), "types", RULE, types, do)
    do = "Give the classes that the training was saved with."
    require(by_name or not isinstance(types, Mapping), "types", RULE, types, do)
    kinds = list(types.values() if isinstance(types, Mapping) else types)
    for kind in kinds:
        _require_kind(kind)
    names = list(types) if isinstance(types, Mapping) else list(map(name_of, kinds))
    rule = "have names with a module, as in the file, such as 'train.MyLayer'"
    for i, name in enumerate(names):
        require(isinstance(name, str) and is_user_defined(name), "types", rule, name)
        got = Phrase(f"two {name}")
        require(name not in names[:i], "types", "hold one class of each name", got)
    return dict(zip(names, kinds, strict=True))


def _require_kind(kind: Any) -> None:
    """Refuse what is no class of which a file may hold the settings."""
    do = "Write its class." if not isinstance(kind, type) else ""
    require(isinstance(kind, type), "types", "hold classes", kind, do)
    is_own = name_of(kind).partition(".")[0] != "xpnet"
    do = "Leave it out: files may name xpnet's own types."
    require(is_own, "types", "hold classes of your own", Phrase(kind.__name__), do)
    do = "Write @dataclass(frozen=True) before the class."
    require(_is_value(kind), "types", "hold frozen dataclasses", Phrase(name_of(kind)), do)


def require_types(config: Any, types: UserTypes, name: str, call: str) -> None:
    """Refuse the JSON of a model with a class that is not in ``types``; nothing is imported.

    Args:
        config: the JSON, of which nothing is known.
        types: the classes that the caller passes.
        name: the name of the file.
        call: the call that reads the file with the classes, such as ``"xpnet.load(path, {})"``.

    Raises:
        FileFormatError: naming the classes, and what to write.
    """
    missing = [found for found in dict.fromkeys(names_in(config)) if found not in types]
    if not missing:
        return
    own = [found for found in missing if found.partition(".")[0] == "xpnet"]
    if own:
        raise FileFormatError(
            f"{name!r} must name xpnet's own types without a module; got {own[0]!r:.80}."
        )
    moved = {k: kind for k in missing for kind in types.values() if _last(k) == kind.__name__}
    do = f"Write {call.format(f'types=[{_listed(list(map(_last, missing)))}]')}."
    if moved:
        found, kind = next(iter(moved.items()))
        do = f"If {name_of(kind)} is this class, write "
        do += f"{call.format(f'types={{{found!r:.90}: {kind.__name__}}}')}."
    what = "the class" if len(missing) == 1 else "the classes"
    raise FileFormatError(f"{name!r} needs {what} {_listed(missing)}, which no file imports. {do}")


def _listed(names: Sequence[str]) -> str:
    more = len(names) - MAX_SHOWN
    return ", ".join(name[:120] for name in names[:MAX_SHOWN]) + (f" and {more} more" * (more > 0))


def _last(name: str) -> str:
    return name.rpartition(".")[2]


def names_in(config: Any) -> Iterator[str]:
    """Yield the names of user-defined classes in JSON."""
    if isinstance(config, Mapping):
        name = config.get("type")
        if isinstance(name, str) and is_user_defined(name):
            yield name
    items = config.values() if isinstance(config, Mapping) else config
    for item in items if isinstance(items, Iterable) and not isinstance(items, str) else ():
        yield from names_in(item)


def user_config(value: Any, encode: Callable[[Any], Any]) -> dict[str, Any]:
    """Return a value of a user-defined class as JSON: its name and settings.

    Args:
        value: an instance of a frozen dataclass.
        encode: returns a setting as JSON.

    Raises:
        ArgumentError: if its class is no frozen dataclass, or the value cannot be made again from
            its settings.
    """
    kind = type(value)
    name = name_of(kind)
    rule = "be a frozen dataclass to be saved"
    do = "Write @dataclass(frozen=True) before it, with its settings as fields."
    require(_is_value(kind), kind.__name__, rule, Phrase(f"the class {name}"), do)
    rule = "be of a module of yours to be saved"
    is_own = is_user_defined(name) and name.partition(".")[0] != "xpnet"
    require(is_own, kind.__name__, rule, Phrase(f"the class {name}"))
    settings = {f.name: getattr(value, f.name) for f in fields(value) if f.init}
    for key, setting in settings.items():
        _require_setting(setting, f"{kind.__name__}.{key}")
    _require_same(value, settings)
    return {"type": name} | {key: encode(setting) for key, setting in settings.items()}


def made(kind: type[Any], settings: Mapping[str, Any]) -> Any:
    """Return an object with the settings of a file; its constructor validates them."""
    arguments = dict(settings)
    positional = arguments.pop(repeated_field(kind) or "", ())
    return kind(*positional, **arguments)


def _is_value(kind: type[Any]) -> bool:
    """Return whether a class is a frozen dataclass, or inherits from one."""
    return is_dataclass(kind) and kind.__dataclass_params__.frozen  # type: ignore[attr-defined]


def _require_setting(setting: Any, argument: str) -> None:
    """Refuse a setting that JSON does not have."""
    setting = plain_number(setting)
    if isinstance(setting, tuple):
        for item in setting:
            _require_setting(item, argument)
        return
    is_instance = is_dataclass(setting) and not isinstance(setting, type)
    rule = "be a number, a text, None, a tuple or a frozen dataclass to be saved"
    do = "Write a tuple." if isinstance(setting, list) else ""
    require(type(setting) in PLAIN or is_instance, argument, rule, setting, do)


def _require_same(value: Any, settings: Mapping[str, Any]) -> None:
    """Refuse a value that its settings do not determine.

    Raises:
        ArgumentError: naming what is lost.
    """
    kind = type(value)
    known = {f.name for f in fields(value)}
    hidden = [
        name
        for name in getattr(value, "__dict__", {})
        if name not in known and not isinstance(getattr(kind, name, None), cached_property)
    ]
    rule, do = "hold its settings in fields to be saved", "Declare it as a field of the dataclass."
    require(
        not hidden, kind.__name__, rule, Phrase(f"the attribute {hidden[0]}" if hidden else ""), do
    )
    again, got = None, ""
    try:
        again = made(kind, settings)
    except Exception as error:  # a constructor of a user may raise any
        got = f"{type(error).__name__}: {describe(str(error))}"
    else:
        for key, setting in settings.items():
            found = getattr(again, key)
            if not (found is setting or found == setting):  # NaN is not equal to itself
                got = f"another {key}, {describe(found)}"
    if got:
        raise ArgumentError(
            f"{kind.__name__} must be made again from its fields to be saved; got {got}."
        )
