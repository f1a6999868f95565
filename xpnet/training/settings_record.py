"""The settings of a training as JSON, with which another one can be compared or made."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from inspect import signature
from types import FunctionType
from typing import Any

from xpnet import metrics, minimize, optimizers  # the first two load on first access
from xpnet.errors import ArgumentError, FileFormatError, Phrase, describe, plain_number, require
from xpnet.metrics.protocol import metric_name
from xpnet.ops import formulas  # its names load on first access
from xpnet.optimizers import Resumed, schedules
from xpnet.parameters import Layout
from xpnet.serialization import TYPES
from xpnet.training.averages import StochasticWeightAveraging, UseAverage
from xpnet.training.checkpoint import Checkpoint
from xpnet.training.early_stopping import EarlyStopping
from xpnet.training.loggers import CSVLogger, JSONLinesLogger
from xpnet.training.settings import Settings
from xpnet.training.training_checkpoint import TrainingCheckpoint
from xpnet.user_types import UserTypes, made, name_of, names_in

OWN_CALLBACKS: dict[str, type[Any]] = {
    kind.__name__: kind
    for kind in (
        CSVLogger,
        Checkpoint,
        EarlyStopping,
        JSONLinesLogger,
        StochasticWeightAveraging,
        TrainingCheckpoint,
        UseAverage,
    )
}
"""The callbacks that are made again from their arguments."""


BETAS = "xpnet.minimize.conjugate_gradient"
"""The module of the functions that a setting may be."""

LAYOUT = {"layout": "of the model"}
"""The JSON of the layout of the parameters."""


@cache
def _own_types() -> dict[str, type[Any]]:
    """The closed table: the types of settings that a file may name."""
    modules = optimizers, schedules
    found = [value for module in modules for value in vars(module).values()]
    found += [getattr(minimize, name) for name in dir(minimize)]
    found += metrics.OWN_TYPES
    own = {v.__name__: v for v in found if isinstance(v, type) and is_dataclass(v)}
    return TYPES | own


def described(value: Any) -> Any:
    """Return a setting as JSON: a frozen dataclass as its type and fields.

    The type of a user-defined one is named with its module. `Resumed` is described as the optimizer
    that it wraps.

    Raises:
        ArgumentError: if it is an object of another kind, which may hold a state.

    >>> from xpnet import SGD
    >>> described(SGD(lr=0.5))
    {'type': 'SGD', 'lr': 0.5}
    """
    while isinstance(value, Resumed):
        value = value.optimizer
    value = plain_number(value)
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (list, tuple)):
        return [described(item) for item in value]
    if type(value).__name__ == formulas.TYPE and isinstance(value, formulas.Formula):
        return formulas.formula_json(value)
    if isinstance(value, Layout):  # of `Frozen`, that of the model
        return LAYOUT
    if isinstance(value, FunctionType):
        return {"function": f"{value.__module__}.{value.__qualname__}"}
    kind = type(value)
    if not is_dataclass(value) or not kind.__dataclass_params__.frozen:
        raise ArgumentError(
            "a training that is saved must consist of frozen dataclasses, which hold no state; "
            f"got {describe(value)}. Write @dataclass(frozen=True) before its class."
        )
    own = _own_types().get(kind.__name__) is kind
    name = kind.__name__ if own else name_of(kind)
    given = [f.name for f in fields(value) if f.init]
    return {"type": name} | {key: described(getattr(value, key)) for key in given}


def completed(config: Any) -> Any:
    """Return the JSON of a setting with the defaults of fields that it had not when it was saved.

    >>> completed({"type": "LeakyReLU"})
    {'type': 'LeakyReLU', 'alpha': 0.01}
    """
    if isinstance(config, list):
        return list(map(completed, config))
    if not isinstance(config, dict):
        return config
    kind = _own_types().get(str(config.get("type")))
    later = [] if kind is None else [f for f in fields(kind) if f.init and f.name not in config]
    found = {f.name: described(f.default) for f in later if f.default is not MISSING}
    return {key: completed(value) for key, value in config.items()} | found


def rebuilt(config: Any, layout: Layout, types: UserTypes | None = None) -> Any:
    """Return the setting that `described` returned; its constructor validates the fields.

    Args:
        config: the setting as JSON.
        layout: the layout of the parameters of the model.
        types: user-defined types by their name; default none.

    Raises:
        ArgumentError: if it is user-defined, and not of ``types``.
        FileFormatError: if there is no such type.
    """
    if isinstance(config, list):
        return tuple(rebuilt(item, layout, types) for item in config)
    if config == LAYOUT:
        return layout
    if not isinstance(config, Mapping):
        return config
    if config.keys() == {"function"}:
        called = str(config["function"])
        module, _, function = called.rpartition(".")
        if module == BETAS and function in ("polak_ribiere", "hager_zhang"):
            return getattr(minimize, function)
        raise _user_defined(called)
    name = config.get("type")
    if name == formulas.TYPE:
        return formulas.formula_from_json(config)
    kind = (types or {}).get(name) if isinstance(name, str) else None
    if kind is None and isinstance(name, str) and "." in name:
        raise _user_defined(name)
    kind = kind or (_own_types().get(name) if isinstance(name, str) else None)
    if kind is None:
        raise FileFormatError(f"a training may only name xpnet's own types; got {name!r:.80}.")
    arguments = {key: rebuilt(item, layout, types) for key, item in config.items() if key != "type"}
    return _made(kind, arguments)


def _made(kind: type[Any], arguments: dict[str, Any]) -> Any:
    """Return an object of a file; what its constructor refuses is an error of the file."""
    try:
        return made(kind, arguments)
    except ArgumentError as error:
        raise FileFormatError(f"{kind.__name__} cannot be made: {error}") from None


def require_own(config: Any, types: UserTypes) -> None:
    """Refuse the JSON of a model with a user-defined layer or loss that is not of ``types``.

    Raises:
        ArgumentError: naming it.
    """
    for name in names_in(config):
        if name not in types:
            raise _user_defined(name)


def _user_defined(name: str) -> ArgumentError:
    return ArgumentError(
        f"path must be of a training without user-defined parts; got one with {name:.80}. Pass its "
        f"class, types=[{name.rpartition('.')[2]:.80}], or make the model and call "
        "model.fit(..., resume=path)."
    )


def _has_data(callback: Any) -> bool:
    """Return whether a callback has rows or functions, which a file does not hold."""
    return isinstance(callback, UseAverage) and bool(callback.validation or callback.metrics)


def callback_record(callback: Any) -> dict[str, Any]:
    """Return a callback of xpnet as its type and arguments, and any other as its name."""
    kind = type(callback)
    if OWN_CALLBACKS.get(kind.__name__) is not kind or _has_data(callback):
        return {"user_defined": getattr(callback, "__qualname__", kind.__qualname__)}
    arguments = {name: getattr(callback, name) for name in signature(kind).parameters}
    if "path" in arguments:
        arguments["path"] = os.fsdecode(arguments["path"])
    return {"type": kind.__name__} | {key: described(value) for key, value in arguments.items()}


def rebuilt_callback(config: Any) -> Any:
    """Return the callback that `callback_record` has described."""
    kind = OWN_CALLBACKS.get(config.get("type"))
    got = Phrase(str(config.get("user_defined", config.get("type"))))
    rule = "be given, because one holds what a file does not"
    require(kind is not None, "callbacks", rule, got, "Pass callbacks=[...].")
    assert kind is not None
    arguments = {key: value for key, value in config.items() if key != "type"}
    if arguments.get("validation"):
        raise FileFormatError("UseAverage must have no validation in a file.")
    return _made(kind, arguments)


def metric_record(metric: Any) -> Any:
    """Return a metric of xpnet with settings as its type and settings, any other as its name.

    A user-defined metric with the name of one of xpnet is marked, and not rebuilt as that one.

    >>> from xpnet.metrics import Pinball, accuracy
    >>> metric_record(accuracy), metric_record(Pinball(0.9))
    ('accuracy', {'type': 'Pinball', 'q': 0.9})
    """
    if type(metric) in metrics.OWN_TYPES:
        return described(metric)
    name, own = metric_name(metric), _own_functions()
    return name if own.get(name, metric) is metric else f"{name} (user-defined)"


def _own_functions() -> dict[str, Any]:
    return {metric_name(metric): metric for metric in metrics.OWN_METRICS}


def rebuilt_metric(config: Any) -> Any:
    """Return the metric that `metric_record` has described.

    Raises:
        ArgumentError: if it is user-defined.
        FileFormatError: if its type is unknown, or its settings are refused.
    """
    if isinstance(config, Mapping):
        kinds = {kind.__name__: kind for kind in metrics.OWN_TYPES}
        kind = kinds.get(config["type"])
        if kind is None:
            raise FileFormatError(f"a training may only name own metrics; got {config!r:.80}.")
        return _made(kind, {key: value for key, value in config.items() if key != "type"})
    own = _own_functions()
    rule = "be given, because one is user-defined"
    require(config in own, "metrics", rule, config, "Pass metrics=[...].")
    return own[config]


def settings_record(
    settings: Any, *, validation: Any, class_weight: Any, target_scaling: Any
) -> dict[str, Any]:
    """Return the settings of a training as JSON, by the name of the argument of `fit`.

    Args:
        settings: a `Settings` or a `FullBatchSettings`.
        validation: the argument of `fit`; of given rows only that they are given.
        class_weight: the argument of `fit`.
        target_scaling: the argument of `fit`.

    Raises:
        ArgumentError: if a part is an object that may hold a state.
    """
    validation = plain_number(validation)
    is_share = isinstance(validation, (int, float))
    common = {
        "loss": described(settings.loss),
        "metrics": list(map(metric_record, settings.metrics)),
        "callbacks": list(map(callback_record, settings.callbacks)),
        "validation": validation if validation is None or is_share else "given",
        "class_weight": class_weight_record(class_weight),
        "target_scaling": target_scaling,
    }
    if not isinstance(settings, Settings):
        method = described(settings.method)
        own = {"optimizer": method, "epochs": settings.iterations, "l2": settings.l2}
        return {"kind": "full-batch"} | common | own
    names = "optimizer", "schedule", "clip", "epochs", "batch_size", "shuffle", "drop_last"
    more = "engine", "precision", "accumulate"
    own = {name: described(getattr(settings, name)) for name in (*names, *more)}
    penalty = settings.penalty
    own |= {"l1": 0.0, "l2": 0.0} if penalty is None else {"l1": penalty.l1, "l2": penalty.l2}
    return {"kind": "mini-batch"} | common | own


def class_weight_record(class_weight: Mapping[Any, float] | Sequence[float] | None) -> Any:
    """Return class weights as JSON, with which `fit` can be called again."""
    if isinstance(class_weight, Mapping):
        pairs = class_weight.items()
        return {"mapping": [[plain_number(k), plain_number(v)] for k, v in pairs]}
    if class_weight is None or not hasattr(class_weight, "__iter__"):  # which fit refuses
        return None if class_weight is None else describe(class_weight)
    return [plain_number(w) for w in class_weight]
