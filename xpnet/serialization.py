"""Model and optimizer-state files, in the safetensors format.

Parameters are tensors, named by their path. Everything else is JSON in the metadata: layers, losses
and initializers by the names of a closed table, user-defined ones by the names of classes that the
reader passes, so that no file runs code.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import numpy as np
from safetensors.numpy import save

from xpnet import activations, initializers, layers, losses
from xpnet._version import __version__
from xpnet.atomic import StrPath, write_atomically
from xpnet.backend import Array, Backend, BackendName, get_backend, to_numpy
from xpnet.data.preprocessing import MinMax, Standardize, TargetSpec
from xpnet.data.target_scaling import as_target_scaling
from xpnet.errors import FileFormatError, plain_number, require_type
from xpnet.network import Network
from xpnet.ops import formulas  # its names load on first access
from xpnet.optimizers import OptimizerState
from xpnet.parameters import Layout
from xpnet.renamed import FORMAT_1, current_keywords
from xpnet.state_dict import as_json, parse_bounded, require_file
from xpnet.tensor_file import (
    DTYPES,
    TensorHeader,
    Tensors,
    headers_of,
    is_readable,
    open_tensors,
)
from xpnet.user_types import UserTypes, made, require_types, user_config

FORMAT = 4
"""The format of models.

- Format 1 has the names of `xpnet.renamed.FORMAT_1`.
- Format 2 was extended by entries that older files lack: ``"targets"``, with the name of the
  scaling and the number of dimensions of the targets of a regression, and the tensors
  ``target_scaling.mean`` and ``target_scaling.std``. An older xpnet refuses a file with these
  tensors.
- Format 3 was that of a model in the file of a training, which has tensors of the training too.
- Format 4 is that of both. It added activations and losses made of formulas; see
  `xpnet.ops.formulas.json_form`. It was extended by user-defined types, which are named with their
  module. An older xpnet refuses the name, and says that a newer version may read the file.
"""

STATE_FORMAT = 2
"""The format of optimizer states; format 1 has the same entries."""

TRAINING = "training."
"""The beginning of the names of the tensors of a training, beside those of its model."""

_MODULES = (activations, initializers, losses)
_LAYERS = [
    kind
    for kind in vars(layers).values()
    if is_dataclass(kind) and isinstance(kind, type) and hasattr(kind, "backward")
]
_BASES = (activations.ActivationFunction, initializers.Initializer, losses.Loss)
TYPES: dict[str, type[Any]] = {cls.__name__: cls for cls in _LAYERS} | {
    cls.__name__: cls
    for module in _MODULES
    for cls in vars(module).values()
    if isinstance(cls, type) and issubclass(cls, _BASES) and cls not in _BASES
}
"""The closed table: the types that a file may name, beside those that its reader passes."""

SCALINGS: dict[str, type[Standardize] | type[MinMax]] = {
    "Standardize": Standardize,
    "MinMax": MinMax,
}

SCALING_ARRAYS = {"Standardize": ("mean", "std"), "MinMax": ("low", "high", "to")}
"""The arrays that a file holds of each scaling."""

LATER_FIELDS = {("BatchNorm", "scale_init")}
"""Fields that earlier versions do not have. A file holds them only where they are not the default,
so that those versions read the others."""

LATER_STATISTIC = ".mean_rest"
"""The end of the paths of statistics that files of earlier versions do not have; they are 0."""


@dataclass(frozen=True)
class ModelContents:
    """The contents of a model file, with the arrays on the host.

    Attributes:
        network: the layers.
        dtype: ``"float32"`` or ``"float64"``.
        loss: the loss, or ``None``.
        preprocessing: the scaling of the inputs, or ``None``.
        classes: the class names, or ``None``.
        targets: the units and the shape of the targets of a regression.
        theta: the flat parameters.
        statistics: the flat running statistics of batch norm.
        streams: the seed of the random streams, and the numbers of orders and masks drawn.
        trained: whether `fit` has trained the model.
    """

    network: Network
    dtype: str
    loss: Any
    preprocessing: Any
    classes: tuple[Any, ...] | None
    targets: TargetSpec
    theta: np.ndarray[Any, Any]
    statistics: np.ndarray[Any, Any]
    streams: tuple[int, int, int]
    trained: bool


def model_config(model: Any, encode: Callable[[Any], Any] | None = None) -> dict[str, Any]:
    """Return layers, dtype, loss and class names of ``model`` as JSON, as its file holds them.

    Args:
        model: the model.
        encode: returns a layer or a loss as JSON. Default `to_config`.

    Raises:
        ArgumentError: if a user-defined layer, activation, initializer or loss cannot be saved.
    """
    scaling, targets = model.preprocessing, model.input_spec.targets
    encode = encode or to_config
    return {
        "n_in": model.network.n_in,
        "layers": [encode(layer) for layer in model.network.layers],
        "dtype": model.backend.dtype_name,
        "loss": None if model.loss is None else encode(model.loss),
        "preprocessing": _name_of(scaling),
        "classes": None if model.classes is None else list(map(plain_number, model.classes)),
        "targets": {"scaling": _name_of(targets.scaling), "ndim": targets.ndim},
    }


def write_model(model: Any, path: StrPath, metadata: Mapping[str, str] | None = None) -> None:
    """Write ``model`` to the file ``path``, which appears completely or not at all.

    Parameters are tensors named by their path, such as ``layers.0.weight``, which any program that
    reads safetensors finds.

    Args:
        model: the model.
        path: the file; an existing one is replaced.
        metadata: further texts of the metadata, by key; default none.

    Raises:
        ArgumentError: if a user-defined layer, activation, initializer or loss cannot be saved.
        OSError: if the file cannot be written; no partial file remains.
    """
    tensors = model_tensors(model)
    entry = entry_text(model_entry(model), tensors)
    write_atomically(path, save(tensors, metadata={**(metadata or {}), "xpnet": entry}))


def entry_text(entry: Mapping[str, Any], tensors: Tensors) -> str:
    """Return the metadata of a model as text.

    Raises:
        ArgumentError: if it is too long to be read again.
    """
    n_bytes = sum(tensor.nbytes for tensor in tensors.values())
    return as_json(entry, "a saved model", n_bytes, "Shorten the class names.")


def model_entry(model: Any, encode: Callable[[Any], Any] | None = None) -> dict[str, Any]:
    """Return the metadata of the file of ``model``, as JSON.

    Args:
        model: the model.
        encode: see `model_config`.

    Raises:
        ArgumentError: if a user-defined layer, activation, initializer or loss cannot be saved.
    """
    streams = model.state.streams
    config = {"version": FORMAT, "xpnet": __version__} | model_config(model, encode)
    config["trained"] = model.trained
    config["random"] = {"seed": streams.seed, "orders": streams.orders, "masks": streams.masks.step}
    return config


def model_tensors(model: Any) -> Tensors:
    """Return the tensors of the file of ``model``: parameters, statistics and scalings."""
    tensors = _by_path(model.network.layout, model.theta)
    tensors |= _by_path(model.network.statistics_layout, model.statistics)
    scalings = {"preprocessing": model.preprocessing, "target_scaling": model.target_scaling}
    for prefix, fitted in scalings.items():
        arrays = {} if fitted is None else fitted.arrays()
        tensors |= {f"{prefix}.{k}": np.array(v, order="C") for k, v in arrays.items()}
    return tensors


def read_model(path: StrPath, types: UserTypes | None = None) -> ModelContents:
    """Read and validate a file that `write_model` wrote, of this format or an earlier one.

    The shape and dtype of every tensor are compared with the configuration before one is read.

    Args:
        path: the file.
        types: user-defined types by their name; default none.

    Raises:
        FileFormatError: if the file is truncated, hostile, of a newer format or not a model of
            xpnet, or it has a user-defined type that is not one of ``types``.
        FileNotFoundError: if there is no such file.
    """
    name = os.fsdecode(path)
    require_file(name, "a model file")
    with open_tensors(name) as file:
        config = parse_bounded(file.metadata() or {}, "xpnet", name)
        if config is None or not is_readable(config, name, FORMAT):
            raise FileFormatError(
                f"{name!r} must be a model saved by xpnet (format 1 to {FORMAT}); "
                "its metadata say otherwise."
            )
        headers = headers_of(file)
        if config["version"] >= 3:  # it may be of a training
            headers = {k: v for k, v in headers.items() if not k.startswith(TRAINING)}
        model_types = [config.get(key) for key in ("layers", "loss")]
        require_types(model_types, types or {}, name, f"xpnet.load({name!r}, {{}})")
        try:
            return contents_of(_in_this_format(config), file, headers, types=types)
        except OSError:
            raise
        except Exception as error:  # hostile files raise many types of exceptions
            raise FileFormatError(f"{name!r} does not hold a model: {error}") from None


def to_config(value: Any) -> Any:
    """Return ``value`` as JSON: a dataclass as its name and fields, or a formula.

    A type that is not one of `TYPES` is named with its module.

    Raises:
        ArgumentError: if ``value`` has a user-defined type that is no frozen dataclass, or settings
            that cannot be saved.

    >>> to_config(activations.LeakyReLU(alpha=0.2))
    {'type': 'LeakyReLU', 'alpha': 0.2}
    """
    value = plain_number(value)
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, tuple):
        return [to_config(item) for item in value]
    name = type(value).__name__
    if name == formulas.TYPE and isinstance(value, formulas.Formula):
        return formulas.formula_json(value)
    if TYPES.get(name) is not type(value):
        return user_config(value, to_config)
    given = {f.name: getattr(value, f.name) for f in fields(TYPES[name])}
    for field in fields(TYPES[name]):
        if (name, field.name) in LATER_FIELDS and given[field.name] == field.default:
            del given[field.name]
    return {"type": name} | {key: to_config(item) for key, item in given.items()}


def from_config(config: Any, types: UserTypes | None = None) -> Any:
    """Return the value that `to_config` described; its constructor validates the fields.

    Args:
        config: the value as JSON.
        types: user-defined types by their name; default none.

    Raises:
        FileFormatError: if a type is not one of `TYPES` or ``types``, or has no such field.

    >>> from_config({'type': 'LeakyReLU', 'alpha': 0.2})
    LeakyReLU(alpha=0.2)
    """
    if isinstance(config, list):
        return tuple(from_config(item, types) for item in config)
    if not isinstance(config, Mapping):
        return config
    name = config.get("type")
    if name == formulas.TYPE:
        return formulas.formula_from_json(config)
    cls = (TYPES.get(name) or (types or {}).get(name)) if isinstance(name, str) else None
    if cls is None:
        raise FileFormatError(
            f"a model file may only name xpnet's own types; got {name!r}, which xpnet "
            f"{__version__} does not have. A newer version may read the file."
        )
    arguments = {key: from_config(item, types) for key, item in config.items() if key != "type"}
    known = {f.name for f in fields(cls) if f.init}
    for key in sorted(set(arguments) - known):
        current = current_keywords(key, known)
        hint = f" It is named {current[0]} here." if current else ""
        raise FileFormatError(f"{name} has no field {key!r}.{hint}")
    return made(cls, arguments)


def save_state(state: OptimizerState, path: StrPath) -> None:
    """Write an optimizer's state to a file, with which training can be resumed.

    The file holds slots, step and scalars, hence also the average of `Averaged`. Together with the
    model's file it is the complete state of a training run. It is in the safetensors format and
    appears completely or not at all; `load_state` reads it.

    Args:
        state: the state that `Optimizer.init` made, on any backend.
        path: the file; an existing one is replaced.

    Raises:
        ArgumentError: if ``state`` is not an `OptimizerState`.
        OSError: if the file cannot be written; no partial file remains.

    >>> import tempfile
    >>> from xpnet.optimizers import Momentum
    >>> state = Momentum().init(np.ones(2))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_state(state, f"{folder}/state.safetensors")
    ...     load_state(f"{folder}/state.safetensors")
    OptimizerState(slots=(array([0., 0.]),), step=0, scalars=())
    """
    require_type(state, OptimizerState, "state")
    config = {
        "version": STATE_FORMAT,
        "xpnet": __version__,
        "step": state.step,
        "scalars": list(state.scalars),
    }
    slots = {f"slots.{i}": to_numpy(slot).copy() for i, slot in enumerate(state.slots)}
    write_atomically(path, save(slots, metadata={"xpnet-state": json.dumps(config)}))


def load_state(path: StrPath, *, backend: BackendName | Backend = "numpy") -> OptimizerState:
    """Read a state that `save_state` wrote, of this format or of format 1.

    Pass it to `Optimizer.step` of the optimizer that made it, or to `Resumed`.

    Args:
        path: the file.
        backend: the backend of the arrays, such as ``model.backend``. Default NumPy.

    Returns:
        The state, with new arrays.

    Raises:
        FileFormatError: if the file is truncated, hostile, of a newer format or not a state of
            xpnet.
        FileNotFoundError: if there is no such file.
        BackendUnavailableError: if the backend does not work on this machine.
    """
    target = get_backend(backend)
    name = os.fsdecode(path)
    require_file(name, "a state file")
    with open_tensors(name) as file:
        config = parse_bounded(file.metadata() or {}, "xpnet-state", name)
        headers = headers_of(file)
        names = [f"slots.{i}" for i in range(len(headers))]
        if (
            config is None
            or not is_readable(config, name, STATE_FORMAT)
            or not _is_state(config)
            or any(key not in headers or not _is_slot(headers[key]) for key in names)
        ):
            raise FileFormatError(
                f"{name!r} must be an optimizer's state saved by xpnet; it is not."
            )
        slots = tuple(target.asarray(file.get_tensor(key)) for key in names)
    return OptimizerState(slots, config["step"], tuple(config["scalars"]))


def _is_state(config: Mapping[str, Any]) -> bool:
    """Return whether the entries of a state have the types that they must have."""
    step, scalars = config.get("step"), config.get("scalars")
    if type(step) is not int or step < 0 or not isinstance(scalars, list):
        return False
    return all(type(scalar) is float for scalar in scalars)


def _is_slot(header: TensorHeader) -> bool:
    """Return whether a tensor may be a slot of an optimizer."""
    return header.dtype in ("float16", "float32", "float64") and len(header.shape) == 1


def _in_this_format(config: dict[str, Any]) -> dict[str, Any]:
    """Return the configuration of a model with the names of this format."""
    return _renamed_types(config) if config["version"] == 1 else config


def _renamed_types(value: Any) -> Any:
    """Return JSON in which every type of format 1 has its present name."""
    if isinstance(value, list):
        return [_renamed_types(item) for item in value]
    if not isinstance(value, dict):
        return value
    renamed = {key: _renamed_types(item) for key, item in value.items()}
    name = renamed.get("type")
    if isinstance(name, str):
        renamed["type"] = FORMAT_1["types"].get(name, name)
    return renamed


def contents_of(
    config: dict[str, Any],
    file: Any,
    headers: dict[str, TensorHeader],
    model: Any = None,
    types: UserTypes | None = None,
) -> ModelContents:
    """Return the contents of a file, after comparing the tensors with the configuration.

    Args:
        config: the metadata of the model.
        file: the open file.
        headers: the headers of the tensors of the model; they are removed.
        model: a model with the layers and the loss of the file, which may be user-defined.
            Default ``None``: they are made from ``config``.
        types: user-defined types by their name; default none.

    Raises:
        FileFormatError: if a tensor is missing, left over, or does not fit.
    """
    network, loss = _parts_of(config, types) if model is None else (model.network, model.loss)
    dtype, scaling = config["dtype"], config["preprocessing"]
    if dtype not in ("float32", "float64"):
        raise FileFormatError(f"dtype must be float32 or float64; got {dtype!r}.")
    arrays = [] if scaling is None else SCALING_ARRAYS[scaling]
    _require_scaling("preprocessing", arrays, headers, (network.n_in,))
    missing = _missing_statistics(network.statistics_layout, headers)
    headers |= {path: TensorHeader(dtype, shape) for path, shape in missing.items()}
    _require_tensors((network.layout, network.statistics_layout), headers, dtype)
    target_scaling, ndim = _targets_of(config, loss)
    target_arrays = () if target_scaling is None else SCALING_ARRAYS[target_scaling]
    columns = range(1, network.n_out + 1)
    _require_scaling("target_scaling", target_arrays, headers, columns)
    if headers:
        raise FileFormatError(f"the tensor {sorted(headers)[0]!r} belongs to no layer.")
    found = {key: file.get_tensor(f"preprocessing.{key}") for key in arrays}
    read = {key: file.get_tensor(f"target_scaling.{key}") for key in target_arrays}
    fitted = as_target_scaling(Standardize.from_arrays(read), network.n_out) if read else None
    return ModelContents(
        network,
        dtype,
        loss,
        None if scaling is None else SCALINGS[scaling].from_arrays(found),
        _classes_of(config, network.n_out),
        TargetSpec(fitted, ndim),
        _flat(network.layout, file, dtype),
        _flat(network.statistics_layout, file, dtype, missing),
        _streams_of(config),
        config.get("trained", loss is not None) is True,
    )


def _parts_of(config: dict[str, Any], types: UserTypes | None) -> tuple[Network, Any]:
    """Return the network and the loss of a configuration."""
    network = Network([from_config(layer, types) for layer in config["layers"]], config["n_in"])
    loss = from_config(config["loss"], types)
    if loss is not None:
        require_type(loss, losses.Loss, "loss")
    return network, loss


def _streams_of(config: dict[str, Any]) -> tuple[int, int, int]:
    """Return the seed and the counts of the random streams; earlier files do not have them."""
    found = config.get("random", {"seed": 0, "orders": 0, "masks": 0})
    numbers = [found[key] for key in ("seed", "orders", "masks")]
    valid = all(type(number) is int and number >= 0 for number in numbers)
    if not valid or max(numbers[1:]) >= 2**62:
        raise FileFormatError(f"random must hold integers of at least 0; got {found!r:.80}.")
    return numbers[0], numbers[1], numbers[2]


def _targets_of(config: dict[str, Any], loss: losses.Loss | None) -> tuple[str | None, int | None]:
    """Return the name of the scaling of the targets, and their number of dimensions.

    Files without this entry are of models that predicted values of shape ``(m, n_out)``.
    """
    is_regression = loss is not None and loss.target_kind == "values"
    found = config.get("targets", {"scaling": None, "ndim": 2 if is_regression else None})
    scaling, ndim = found["scaling"], found["ndim"]
    if scaling not in (None, "Standardize") or not (ndim is None or type(ndim) is int):
        raise FileFormatError(f"targets must name a scaling and a shape; got {found!r:.80}.")
    if ndim not in (None, 1, 2):
        raise FileFormatError(f"targets must have 1 or 2 dimensions; got {ndim!r:.80}.")
    return scaling, ndim


def _name_of(scaling: Standardize | MinMax | None) -> str | None:
    """Return the name of a scaling, a key of `SCALINGS`."""
    return None if scaling is None else type(scaling).__name__


def _classes_of(config: dict[str, Any], n_out: int) -> tuple[Any, ...] | None:
    """Return the class names of a configuration, after validating them."""
    names, n_classes = config["classes"], max(n_out, 2)
    if isinstance(names, list) and len(names) == n_out + 1:  # as of Ordinal
        n_classes = n_out + 1
    if names is None:
        return None
    valid = isinstance(names, list) and all(isinstance(name, (int, float, str)) for name in names)
    if not valid or not len({*names}) == len(names) == n_classes:
        raise FileFormatError(f"classes must be {n_classes} distinct names; got {names!r:.80}.")
    return tuple(names)


def _by_path(layout: Layout, vector: Array) -> Tensors:
    """Return a copy of each part of ``vector`` on the host, by its path."""
    return {path: to_numpy(view).copy() for path, view in layout.views(vector).items()}


def _require_scaling(
    prefix: str,
    names: Sequence[str],
    headers: dict[str, TensorHeader],
    columns: Sequence[int],
) -> None:
    """Take the arrays of a scaling out of ``headers``, after validating their shapes.

    They are numbers, or vectors of a length in ``columns``.
    """
    for name in names:
        path, header = f"{prefix}.{name}", headers.pop(f"{prefix}.{name}", None)
        shape = None if header is None else header.shape
        if name == "to":
            dtypes, allowed, fits = [*DTYPES.values()], "(2,)", shape == (2,)
        else:
            dtypes, allowed = ["float64"], f"() or ({columns[-1]},)"
            fits = shape == () or (shape is not None and len(shape) == 1 and shape[0] in columns)
        if header is None or header.dtype not in dtypes or not fits:
            raise _wrong_tensor(path, f"{' or '.join(dtypes)} of shape {allowed}", header)


def _missing_statistics(
    layout: Layout, headers: Mapping[str, TensorHeader]
) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the statistics that a file of an earlier version does not have.

    It has none of them. A file that has some of them is not of an earlier version.
    """
    later = {e.path: e.shape for e in layout.entries if e.path.endswith(LATER_STATISTIC)}
    return later if headers.keys().isdisjoint(later) else {}


def _require_tensors(
    layouts: Sequence[Layout], headers: dict[str, TensorHeader], dtype: str
) -> None:
    """Take the tensors of ``layouts`` out of ``headers``, after validating them."""
    for entry in (entry for layout in layouts for entry in layout.entries):
        header = headers.pop(entry.path, None)
        if header != (dtype, entry.shape):
            raise _wrong_tensor(entry.path, f"{dtype} of shape {entry.shape}", header)


def _wrong_tensor(path: str, rule: str, header: TensorHeader | None) -> FileFormatError:
    got = "none" if header is None else f"{header.dtype} {header.shape}"
    return FileFormatError(f"the tensor {path!r} must be {rule}; got {got}.")


def _flat(
    layout: Layout, file: Any, dtype: str, missing: Container[str] = ()
) -> np.ndarray[Any, Any]:
    """Return the tensors of ``layout`` in one vector; their numbers must be finite.

    Those of the paths in ``missing`` are zeros.
    """
    vector = np.empty(layout.size, dtype)
    for path, view in layout.views(vector).items():
        view[...] = 0.0 if path in missing else file.get_tensor(path)
        if not np.isfinite(view).all():
            raise FileFormatError(f"the tensor {path!r} must be finite; it holds NaN or infinity.")
    return vector
