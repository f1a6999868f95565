"""Models and states in safetensors files: values by name in a closed table, numbers as tensors."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from xpnet import activations, initializers, layers, losses
from xpnet.backend import Array, Backend, BackendName, get_backend, to_numpy
from xpnet.data.preprocessing import MinMax, Standardize
from xpnet.errors import ArgumentError, FileFormatError, require_type
from xpnet.network import Network
from xpnet.optimizers import OptimizerState
from xpnet.parameters import Layout

VERSION = 1
_MODULES = (activations, initializers, losses)
_LAYERS = (layers.Activation, layers.BatchNorm, layers.Dense, layers.Dropout)
_BASES = (activations.ActivationFunction, initializers.Initializer, losses.Loss)
TYPES: dict[str, type[Any]] = {cls.__name__: cls for cls in _LAYERS} | {
    cls.__name__: cls
    for module in _MODULES
    for cls in vars(module).values()
    if isinstance(cls, type) and issubclass(cls, _BASES) and cls not in _BASES
}
"""The closed table: every value that a file may name, and nothing else."""

SCALINGS: dict[str, type[Standardize] | type[MinMax]] = {
    "Standardize": Standardize,
    "MinMax": MinMax,
}


@dataclass(frozen=True)
class Contents:
    """What a file holds: values, and NumPy arrays by name.

    Attributes:
        network: the layers.
        dtype: ``"float32"`` or ``"float64"``.
        loss: the loss, or ``None``.
        preprocessing: the scaling, or ``None``.
        classes: the class names, or ``None``.
        theta: the flat parameters.
        statistics: the flat running statistics.
    """

    network: Network
    dtype: str
    loss: Any
    preprocessing: Any
    classes: tuple[Any, ...] | None
    theta: np.ndarray[Any, Any]
    statistics: np.ndarray[Any, Any]


def write_model(model: Any, path: str | os.PathLike[str]) -> None:
    """Write ``model`` to ``path`` as a whole: a temporary file beside it, synced, renamed.

    Parameters are tensors by their path (``layers.0.weight``), so other programs can read them.

    Raises:
        ArgumentError: if the model holds a layer or value that is not xpnet's own.
        OSError: if the file cannot be written; nothing is left behind.
    """
    scaling = model.preprocessing
    config = {
        "version": VERSION,
        "n_in": model.network.n_in,
        "layers": [to_config(layer) for layer in model.network.layers],
        "dtype": model.backend.dtype_name,
        "loss": None if model.loss is None else to_config(model.loss),
        "preprocessing": None if scaling is None else type(scaling).__name__,
        "classes": None if model.classes is None else list(model.classes),
    }
    tensors = _by_name(model.network.layout, model.theta)
    tensors |= _by_name(model.network.statistics_layout, model.statistics)
    if scaling is not None:
        arrays = scaling.arrays()
        tensors |= {f"preprocessing.{k}": np.array(v, order="C") for k, v in arrays.items()}
    _replace(os.fspath(path), save(tensors, metadata={"xpnet": json.dumps(config)}))


def read_model(path: str | os.PathLike[str]) -> Contents:
    """Read and check what `write_model` wrote; sizes are compared before anything is allocated.

    Raises:
        FileFormatError: if the file is truncated, hostile or not a model of xpnet's.
        FileNotFoundError: if there is no such file.
    """
    if not os.path.isfile(path):
        raise FileNotFoundError(f"path must be a model file; there is no file {os.fspath(path)!r}.")
    try:
        with safe_open(path, framework="numpy") as file:
            config = _parse(file.metadata(), path)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise FileFormatError(f"{os.fspath(path)!r} is not a safetensors file ({error}).") from None
    try:
        return _contents(config, tensors)
    except (ArgumentError, KeyError, TypeError, ValueError) as error:
        raise FileFormatError(f"{os.fspath(path)!r} does not hold a model: {error}") from None


def to_config(value: Any) -> Any:
    """A value as JSON: dataclasses of the closed table by name and fields.

    >>> to_config(activations.LeakyReLU(alpha=0.2))
    {'type': 'LeakyReLU', 'alpha': 0.2}
    """
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    name = type(value).__name__
    if TYPES.get(name) is not type(value):
        raise ArgumentError(f"a saved model must consist of xpnet's own layers; got {value!r}.")
    return {"type": name} | {f.name: to_config(getattr(value, f.name)) for f in fields(TYPES[name])}


def from_config(config: Any) -> Any:
    """The value that `to_config` described; every constructor checks its own arguments.

    Raises:
        FileFormatError: if a name is not in the closed table, or the fields do not fit.

    >>> from_config({'type': 'LeakyReLU', 'alpha': 0.2})
    LeakyReLU(alpha=0.2)
    """
    if not isinstance(config, Mapping):
        return config
    name = config.get("type")
    if not isinstance(name, str) or name not in TYPES:
        raise FileFormatError(f"a model file may only name xpnet's own types; got {name!r}.")
    cls = TYPES[name]
    arguments = {key: from_config(item) for key, item in config.items() if key != "type"}
    known = {f.name for f in fields(cls)}
    if set(arguments) - known:
        raise FileFormatError(f"{name} has no field {sorted(set(arguments) - known)[0]!r}.")
    return cls(**arguments)


def _parse(metadata: Mapping[str, str] | None, path: str | os.PathLike[str]) -> dict[str, Any]:
    try:
        config = json.loads((metadata or {})["xpnet"])
    except (KeyError, ValueError, RecursionError):
        config = None
    if not isinstance(config, dict) or config.get("version") != VERSION:
        raise FileFormatError(
            f"{os.fspath(path)!r} must be a model saved by xpnet (format {VERSION}); "
            "its metadata say otherwise."
        )
    return config


def _contents(config: dict[str, Any], tensors: dict[str, np.ndarray[Any, Any]]) -> Contents:
    network = Network([from_config(layer) for layer in config["layers"]], config["n_in"])
    prefix = "preprocessing."
    scaling = config["preprocessing"]
    arrays = {k.removeprefix(prefix): tensors.pop(k) for k in [*tensors] if k.startswith(prefix)}
    theta = _flat(network.layout, tensors, config["dtype"])
    statistics = _flat(network.statistics_layout, tensors, config["dtype"])
    if tensors:
        raise FileFormatError(f"the tensor {sorted(tensors)[0]!r} belongs to no layer.")
    classes, loss = config["classes"], from_config(config["loss"])
    if loss is not None:
        require_type(loss, losses.Loss, "loss")
    return Contents(
        network,
        config["dtype"],
        loss,
        None if scaling is None else SCALINGS[scaling].from_arrays(arrays),
        None if classes is None else tuple(classes),
        theta,
        statistics,
    )


def _by_name(layout: Layout, vector: Array) -> dict[str, np.ndarray[Any, Any]]:
    return {path: to_numpy(view).copy() for path, view in layout.views(vector).items()}


def _flat(
    layout: Layout, tensors: dict[str, np.ndarray[Any, Any]], dtype: str
) -> np.ndarray[Any, Any]:
    """Take the layout's tensors out of ``tensors`` into one vector, after comparing them."""
    parts = [np.zeros(0, dtype)]
    for entry in layout.entries:
        tensor = tensors.pop(entry.path, None)
        if tensor is None or tensor.shape != entry.shape or tensor.dtype != dtype:
            got = "none" if tensor is None else f"{tensor.dtype} {tensor.shape}"
            raise FileFormatError(
                f"the tensor {entry.path!r} must be {dtype} of shape {entry.shape}; got {got}."
            )
        parts.append(tensor.reshape(-1))
    return np.concatenate(parts)


def _replace(path: str, content: bytes) -> None:
    """Put ``content`` at ``path`` whole: written beside it, synced, renamed."""
    folder = os.path.dirname(path) or "."
    if not os.path.isdir(folder):
        raise FileNotFoundError(f"path must lie in a folder; there is no folder {folder!r}.")
    temporary = f"{path}.{os.getpid()}.tmp"
    try:
        with open(temporary, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        if os.path.exists(temporary):
            os.unlink(temporary)
        raise


def save_state(state: OptimizerState, path: str | os.PathLike[str]) -> None:
    """Write an optimizer's state, so that training can go on: slots, step and scalars.

    Beside the model's own file it is all of a training run, an average θ̂ included. The file is in
    the safetensors format and appears whole or not at all; `load_state` reads it.

    Args:
        state: what `Optimizer.init` made, on any backend.
        path: the file, replaced if there is one.

    Raises:
        ArgumentError: if ``state`` is not an `OptimizerState`.
        OSError: if the file cannot be written; nothing is left behind.

    >>> import tempfile
    >>> from xpnet.optimizers import Momentum
    >>> state = Momentum().init(np.ones(2))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_state(state, f"{folder}/state.safetensors")
    ...     load_state(f"{folder}/state.safetensors")
    OptimizerState(slots=(array([0., 0.]),), step=0, scalars=())
    """
    require_type(state, OptimizerState, "state")
    config = {"version": VERSION, "step": state.step, "scalars": list(state.scalars)}
    slots = {f"slots.{i}": to_numpy(slot).copy() for i, slot in enumerate(state.slots)}
    _replace(os.fspath(path), save(slots, metadata={"xpnet-state": json.dumps(config)}))


def load_state(
    path: str | os.PathLike[str], *, backend: BackendName | Backend = "numpy"
) -> OptimizerState:
    """The state that `save_state` wrote, for `Optimizer.step` with the optimizer that made it.

    Args:
        path: the file.
        backend: where its arrays shall live, such as ``model.backend``; default NumPy.

    Raises:
        FileFormatError: if the file is truncated, hostile or not a state of xpnet's.
        FileNotFoundError: if there is no such file.
        BackendUnavailableError: if the backend does not work here.
    """
    place = get_backend(backend)
    name = os.fspath(path)
    if not os.path.isfile(path):
        raise FileNotFoundError(f"path must be a state file; there is no file {name!r}.")
    try:
        with safe_open(path, framework="numpy") as file:
            metadata, tensors = file.metadata(), {k: file.get_tensor(k) for k in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise FileFormatError(f"{name!r} is not a safetensors file ({error}).") from None
    try:
        config = json.loads((metadata or {})["xpnet-state"])
        version, step, scalars = config["version"], config["step"], config["scalars"]
        slots = tuple(tensors.pop(f"slots.{i}") for i in range(len(tensors)))
        right = version == VERSION and type(step) is int and step >= 0
        right = right and all(type(scalar) is float for scalar in scalars)
        right = right and all(slot.ndim == 1 and slot.dtype.kind == "f" for slot in slots)
    except (KeyError, TypeError, ValueError, RecursionError):
        right = False
    if not right:
        raise FileFormatError(f"{name!r} must be an optimizer's state saved by xpnet; it is not.")
    return OptimizerState(tuple(place.asarray(slot) for slot in slots), step, tuple(scalars))
