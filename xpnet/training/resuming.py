"""Read a training that `TrainingCheckpoint` saved, and continue it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from xpnet.atomic import StrPath, require_writable
from xpnet.backend import Backend, copied
from xpnet.errors import (
    ArgumentError,
    FileFormatError,
    Phrase,
    describe,
    require,
    require_type,
)
from xpnet.generators import generator_state, resume_generator
from xpnet.optimizers import Resumed
from xpnet.serialization import FORMAT as MODEL_FORMAT
from xpnet.serialization import (
    TRAINING,
    ModelContents,
    contents_of,
    model_config,
)
from xpnet.state import ModelState
from xpnet.state_dict import StateDict, parse_bounded, require_file, unpack
from xpnet.tensor_file import headers_of, is_readable, open_tensors
from xpnet.training.callbacks import Callbacks, Run
from xpnet.training.data_record import data_record, given_rows, require_same_data
from xpnet.training.environment import environment, training_record, warn_of_differences
from xpnet.training.loggers import EpochLogger
from xpnet.training.mismatch import received, short, types_of
from xpnet.training.settings_record import (
    completed,
    described,
    rebuilt,
    rebuilt_callback,
    rebuilt_metric,
    require_own,
    settings_record,
)
from xpnet.training.training_checkpoint import TrainingCheckpoint
from xpnet.training.training_file import FORMAT, KEY
from xpnet.user_types import UserTypes

FIXED = (
    *("kind", "loss", "batch_size", "shuffle", "drop_last", "precision", "validation"),
    *("class_weight", "target_scaling"),
)
"""The settings that must be those of the training that is resumed; the others may change."""


@dataclass(frozen=True, eq=False)
class SavedTraining:
    """The contents of a file of `TrainingCheckpoint`, with the arrays on the host.

    Attributes:
        name: the name of the file.
        contents: the model.
        record: the settings, the data and the environment.
        state: the state of the training, and of its callbacks.
        types: the user-defined types that it may have, by their name.
    """

    name: str
    contents: ModelContents
    record: dict[str, Any]
    state: StateDict
    types: UserTypes = field(default_factory=dict)

    @property
    def settings(self) -> dict[str, Any]:
        """The settings of the training, as `described` has encoded them."""
        settings: dict[str, Any] = self.record["settings"]
        return settings

    @property
    def streams(self) -> tuple[int, int, int]:
        """The seed and the counts of the random streams."""
        return self.contents.streams

    def require_same(self, model: Any, record: Mapping[str, Any]) -> None:
        """Refuse scalings, classes, settings and data that are not those of the training.

        Raises:
            ArgumentError: naming the argument, the saved value and the one received.
        """
        with self.reading():
            require_same_data(self.record["data"], record["data"])
        given, saved = model.preprocessing, self.contents.preprocessing
        same = type(given) is type(saved) and (given is None or _equal(given, saved))
        require(same, "preprocessing", f"be that of the model in {self.name!r}, {saved}", given)
        classes = self.contents.classes
        rule = f"be those of the model in {self.name!r}, {classes}"
        require(model.classes in (None, classes), "classes", rule, model.classes)
        with self.reading():
            self._require_settings(record["settings"])

    def set_up(self, model: Any) -> None:
        """Give a model the scalings and classes of the file, so that data are prepared alike."""
        contents = self.contents
        model.input_spec = replace(model.input_spec, targets=contents.targets)
        model.classes, model.trained = contents.classes, contents.trained

    def arguments(self, **given: Any) -> dict[str, Any]:
        """Return the arguments of `Sequential.fit`: those given, and those of the file.

        Raises:
            ArgumentError: if one that is not given is user-defined.
            FileFormatError: if one is not valid.
        """
        with self.reading():
            settings = self.settings
            weights, kind = settings.get("class_weight"), settings["kind"]
            if isinstance(weights, dict):
                weights = dict(weights["mapping"])
            share = settings["validation"]
            if share not in (None, "given") and type(share) not in (int, float):
                raise FileFormatError(f"validation must be a share; got {describe(share)}.")
            names, settings = ["loss", "optimizer"], {"accumulate": 1} | settings
            if kind == "mini-batch":
                names += ["schedule", "clip", "l1", "batch_size", "shuffle", "drop_last"]
                names += ["engine", "precision", "accumulate"]
            layout = self.contents.network.layout
            found = {
                name: rebuilt(settings[name], layout, self.types)
                for name in (*names, "epochs", "l2")
            }
            found |= {"class_weight": weights, "target_scaling": settings["target_scaling"]}
            for name, value in given.items():
                if value is not None:
                    found[name] = value
            if given["callbacks"] is None:
                found["callbacks"] = self.callbacks()
            if given["metrics"] is None:
                found["metrics"] = self.metrics()
            if given["validation"] is None:
                rule = "be given, as in the training"
                require(share != "given", "validation", rule, None, "Pass validation=(X, y).")
                found["validation"] = share
        return found

    def _require_settings(self, given: Mapping[str, Any]) -> None:
        """Refuse settings that may not change when a training is resumed.

        Raises:
            ArgumentError: naming the argument, the saved value and the one received.
        """
        for name in FIXED:
            was, now = completed(self.settings.get(name)), given.get(name)
            argument, got = name, Phrase(received(was, now))
            rule = f"be that of the training that is resumed, {short(was)}"
            if name == "kind":
                argument, got = "optimizer", Phrase(f"one for {now} training")
                rule = f"be one for {was} training, as in the training that is resumed"
            require(was == now, argument, rule, got)
        was, now = types_of(self.settings.get("optimizer")), types_of(given.get("optimizer"))
        rule = f"be {was}, as in the training that is resumed; its numbers may change"
        require(was == now, "optimizer", rule, Phrase(now))
        done = self.state.get("completed", 0)
        rule = f"be at least the {done} that {self.name!r} has completed"
        require(given["epochs"] >= done, "epochs", rule, given["epochs"])

    @contextmanager
    def started(self, state: ModelState) -> Iterator[StateDict]:
        """Overwrite the vectors of a model and yield the state of the training.

        After an exception the vectors are as before.
        """
        vectors = state.theta, state.statistics
        before = [copied(vector) for vector in vectors]
        try:
            for vector, saved in zip(
                vectors, (self.contents.theta, self.contents.statistics), strict=True
            ):
                vector[...] = state.backend.asarray(saved)
            yield self.state
        except BaseException:
            for vector, earlier in zip(vectors, before, strict=True):
                vector[...] = earlier
            raise

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Turn an error about an entry of the file into one that names the file."""
        try:
            yield
        except ArgumentError:  # the file is valid, but of another training
            raise
        except FileFormatError as error:
            text = f"{self.name!r} does not fit the training: {error}"
            raise FileFormatError(text) from error.__cause__
        except Exception as error:  # hostile entries raise many types of exceptions
            text = f"{self.name!r} does not hold a training: {error!r:.200}"
            raise FileFormatError(text) from error

    def warn_of_environment(self, backend: Backend, engine: str) -> None:
        """Warn of what differs in this environment, so that the bits may differ."""
        was = self.state.get("engine")
        # Such a reason is only found in the first step.
        unknown = isinstance(was, str) and was.startswith("eager: a step could not")
        now = environment(backend) | {"engine": None if unknown else engine}
        warn_of_differences(self.record["environment"] | {"engine": was}, now)

    def forget(self) -> None:
        """Forget the state of the training, which has been loaded and takes memory."""
        self.state.clear()

    def callbacks(self) -> list[Any]:
        """Return new callbacks like those of the training.

        A single `TrainingCheckpoint` continues with this file.

        Raises:
            ArgumentError: if one is user-defined, or would overwrite a file that is not of xpnet.
        """
        callbacks = [rebuilt_callback(config) for config in self.settings.get("callbacks", ())]
        savers = [callback for callback in callbacks if isinstance(callback, TrainingCheckpoint)]
        if len(savers) == 1:
            savers[0].path = self.name  # the file may have been moved
        for callback in callbacks:
            if hasattr(callback, "path"):
                _require_own_file(callback)
        return callbacks

    def metrics(self) -> list[Any]:
        """Return the metrics of the training.

        Raises:
            ArgumentError: if one is user-defined.
        """
        return list(map(rebuilt_metric, self.settings.get("metrics", ())))


def record_and_saved(
    model: Any,
    settings: Any,
    resume: StrPath | None,
    *,
    X: Any,
    y: Any,
    sample_weight: Any,
    validation: Any,
    class_weight: Any,
    target_scaling: Any,
) -> tuple[dict[str, Any], SavedTraining | None]:
    """Return the record of a training, and the one that it resumes, after comparing both.

    Args:
        model: the model, which is not changed.
        settings: a `Settings` or a `FullBatchSettings`.
        resume: the argument of `fit`, as all that follow.
        X: the features.
        y: the targets.
        sample_weight: the weights of the rows.
        validation: the validation rows or their share.
        class_weight: the weights of the classes.
        target_scaling: the scaling of the targets.

    Raises:
        ArgumentError: if what may not change is not that of the training in the file.
        FileFormatError: if the file is damaged.
        FileNotFoundError: if there is no file ``resume``.
    """
    given = {"class_weight": class_weight, "target_scaling": target_scaling}
    record = training_record(
        model.backend,
        settings_record(settings, validation=validation, **given),
        data_record(X=X, y=y, sample_weight=sample_weight, **given_rows(validation)),
    )
    if resume is None:
        return record, None
    require_type(resume, (str, bytes, os.PathLike), "resume")
    do = "Leave Resumed out: the state of the optimizer is in the file."
    optimizer = getattr(settings, "optimizer", None)
    require(not isinstance(optimizer, Resumed), "optimizer", "be new", optimizer, do)
    saved = read_training(resume, model, "resume")
    saved.require_same(model, record)
    return record, saved


def read_training(
    path: StrPath, model: Any = None, argument: str = "path", types: UserTypes | None = None
) -> SavedTraining:
    """Read and validate a file that `TrainingCheckpoint` wrote.

    Args:
        path: the file.
        model: a model with the layers of the file, which may be user-defined; it is not changed.
            Default ``None``: they must be xpnet's own, or of ``types``.
        argument: the name of ``path`` in error messages.
        types: user-defined types by their name; default none.

    Raises:
        ArgumentError: if ``model`` has other layers, or is ``None`` and the file has user-defined
            ones that are not of ``types``.
        FileFormatError: if the file is truncated, hostile, of a newer format or not a training of
            xpnet.
        FileNotFoundError: if there is no such file.
    """
    name = os.fsdecode(path)
    require_file(name, "a file of TrainingCheckpoint", argument)
    with open_tensors(name) as file:
        metadata = file.metadata() or {}
        entry, config = (parse_bounded(metadata, key, name) for key in (KEY, "xpnet"))
        known = entry is not None and is_readable(entry, name, FORMAT)
        if not known or config is None or not is_readable(config, name, MODEL_FORMAT):
            do = " It is a model, which xpnet.load reads." if entry is None and config else ""
            raise FileFormatError(f"{name!r} must be a file of TrainingCheckpoint; it is not.{do}")
        assert entry is not None
        if model is None:
            require_own(config, types or {})
        else:
            _require_model(name, config, model)
        try:
            return _contents(name, entry, config, file, model, types or {})
        except OSError:
            raise
        except Exception as error:  # hostile files raise many types of exceptions
            raise FileFormatError(f"{name!r} does not hold a training: {error}") from None


def _contents(
    name: str,
    entry: dict[str, Any],
    config: dict[str, Any],
    file: Any,
    model: Any,
    types: UserTypes,
) -> SavedTraining:
    record, headers = entry["record"], headers_of(file)
    if not isinstance(record, dict) or not all(
        isinstance(record.get(key), dict) for key in ("settings", "data", "environment")
    ):
        raise FileFormatError("the record must hold settings, data and environment.")
    own = {key: headers.pop(key) for key in list(headers) if key.startswith(TRAINING)}
    state = unpack(entry["state"], own, file.get_tensor, name)
    if not isinstance(state, dict):
        raise FileFormatError(f"the state must be a dictionary; got {describe(state)}.")
    if own:
        raise FileFormatError(f"the tensor {min(own)!r:.80} must be in the state; it is not.")
    contents = contents_of(config, file, headers, model, types)
    return SavedTraining(name, contents, record, state, types)


def begin_training(
    run: Run,
    callbacks: Callbacks,
    rng: Any,
    saved: SavedTraining | None,
    load: Callable[[StateDict | None], str],
) -> None:
    """Call the callbacks before the first step, and continue at the position of a saved training.

    Args:
        run: the argument of the callbacks.
        callbacks: the callbacks.
        rng: the argument of `fit`.
        saved: the training that is resumed, or ``None``.
        load: sets what `begin_training` does not know, and returns the engine; its argument is the
            state of ``saved``, or ``None``.

    Raises:
        ArgumentError: if a callback refuses the training, or is not one of ``saved``; the vectors
            of the model are unchanged.
        FileFormatError: if the state of ``saved`` does not fit; likewise.
    """
    callbacks.begin(run)
    if run.saver is not None:
        callbacks.require_states()
        generator_state(rng)  # refuses one that cannot be saved
    if saved is None:
        load(None)
        callbacks.save_initial(run)
        return
    with saved.started(run.model.state) as state:
        with saved.reading():
            _require_rows(state)
            run.history.load_state_dict(state["history"])
            callbacks.load_state_dict(state["callbacks"])
            engine = load(state)
            resume_generator(rng, state["rng"])
            if run.epochs > saved.settings["epochs"]:  # also after a callback has stopped it
                run.history.stopped = ""
        saved.warn_of_environment(run.model.backend, engine)
        callbacks.save_initial(run)
    saved.forget()


def _require_model(name: str, config: Mapping[str, Any], model: Any) -> None:
    """Refuse a model of another architecture than that of a file.

    Raises:
        ArgumentError: naming what differs.
    """
    own = model_config(model, described)
    for key, those in (("n_in", "that"), ("dtype", "that"), ("layers", "those")):
        was, now = completed(config.get(key)), own[key]
        rule = f"be {those} of the model in {name!r}, {short(was)}"
        require(was == now, key, rule, Phrase(received(was, now)))


def _require_own_file(callback: Any) -> None:
    """Refuse a path in the file of a training that cannot be written, or is of another file.

    Args:
        callback: a callback of the file, with its path.

    Raises:
        ArgumentError: naming the path.
    """
    path, do = callback.path, "Pass callbacks=[...]."
    try:
        require_writable(path)
    except (OSError, ValueError) as error:
        got = Phrase(f"the path {path!r} ({error})")
        require(False, "callbacks", "be given, because the file of one cannot be written", got, do)
    if not os.path.exists(path):
        return
    try:
        if isinstance(callback, EpochLogger):
            is_own = callback.is_own_file()
        else:
            require_file(path, "a file")
            with open_tensors(path) as file:
                is_own = "xpnet" in (file.metadata() or {})
    except FileFormatError:
        is_own = False
    rule = "be given, because one would overwrite a file that xpnet has not written"
    require(is_own, "callbacks", rule, path, do)


def _require_rows(state: StateDict) -> None:
    """Refuse a history that is not of the completed epochs, which bounds its length.

    Raises:
        FileFormatError: naming both numbers.
    """
    columns = dict(zip(state["history"]["names"], state["history"]["columns"], strict=False))
    n_rows, completed = len(columns.get("epoch", ())), state["completed"]
    if n_rows != completed:
        raise FileFormatError(
            f"the history must have one row for each of {completed} epochs; it has {n_rows}."
        )


def _equal(one: Any, other: Any) -> bool:
    """Return whether two scalings hold the same numbers."""
    pairs = one.arrays().items(), other.arrays().items()
    return all(
        name == key and np.array_equal(a, b)
        for (name, a), (key, b) in zip(*map(sorted, pairs), strict=True)
    )
