"""Files of trainings that are hostile, of another training, or of another format."""

from __future__ import annotations

import json
import runpy
import tracemalloc
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

import xpnet
from benchmarks.fuzz_checkpoints import (
    CASES,
    COMMON,
    Counted,
    Parts,
    X,
    contents_of,
    fuzz,
    original,
    working_in,
)
from xpnet import (
    SGD,
    Adam,
    ArgumentError,
    Averaged,
    CrossEntropy,
    EarlyStopping,
    FileFormatError,
    UseAverage,
)
from xpnet.minimize import LBFGS
from xpnet.training.resuming import FIXED, read_training
from xpnet.training.saving import KEY

HERE = Path(__file__).parent / "data" / "checkpoints"
MEGABYTE = 1 << 20


@pytest.mark.slow
@pytest.mark.parametrize("part", range(10))
def test_mutated_files_are_refused_or_valid(part):
    """A fault is repeated by ``python -m benchmarks.fuzz_checkpoints`` with seed and number."""
    outcomes, faults = Counter(), []
    for number, name, found, wrong in fuzz(range(1000 * part, 1000 * part + 1000), 2026, 0.05, 10):
        outcomes += found
        faults += [f"--seed 2026 --first {number} ({name}): {fault}" for fault in wrong]
    assert not faults
    assert outcomes["read_training: FileFormatError"] > 300
    assert outcomes["read_training: success"] > 100
    assert outcomes["fit: success"] > 0
    assert outcomes["fit: FileFormatError"] > 0


@pytest.mark.filterwarnings("ignore:'best.safetensors' is not the file")
@pytest.mark.parametrize("name", CASES)
def test_unchanged_files_are_continued(name, tmp_path):
    case = CASES[name]
    (tmp_path / "run.st").write_bytes(original(name))
    with working_in(tmp_path):
        settings = case.settings()
        given = {key: settings[key] for key in case.given}
        model = xpnet.resume("run.st", X, case.y, **given, epochs=3, progress=False)
        assert len(model.history) == 3
        model = case.model()
        history = model.fit(X, case.y, **COMMON | settings, epochs=3, resume="run.st")
    assert len(history) == 3
    assert np.isfinite(history["loss"]).all()


def test_truncated_training_files_are_refused(tmp_path):
    path, content = tmp_path / "run.st", original("generator")
    for n in range(len(content)):
        path.write_bytes(content[:n])
        with pytest.raises(FileFormatError, match="safetensors"):
            read_training(path)


def settings(**changes):
    """The arguments of the training that is saved, with some changed; those that are None are not
    given."""
    rows = np.arange(24) % 3
    found = {
        "X": np.random.default_rng(0).normal(size=(24, 3)).astype("float32"),
        "y": np.array(["a", "b", "c"])[rows],
        "loss": CrossEntropy(),
        "optimizer": Averaged(Adam(0.01)),
        "epochs": 3,
        "batch_size": 8,
        "validation": 0.25,
        "sample_weight": np.linspace(1, 2, 24),
        "class_weight": {"a": 1.0, "b": 2.0, "c": 1.0},
        "callbacks": [EarlyStopping(patience=9), UseAverage()],
        "rng": np.random.default_rng(5),
        "progress": False,
    } | changes
    return {key: value for key, value in found.items() if value is not None}


def model(**changes):
    """The model of the training that is saved, with some arguments changed."""
    scaling = xpnet.Standardize([0.0, 1.0, 2.0], [1.0, 2.0, 3.0])
    found = {"n_in": 3, "hidden": [4], "n_out": 3, "preprocessing": scaling} | changes
    return xpnet.MLP(**found)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """The file of a training of three epochs."""
    path = tmp_path_factory.mktemp("saved") / "run.st"
    checkpoint = xpnet.TrainingCheckpoint(path, epochs=1)
    callbacks = [EarlyStopping(patience=9), UseAverage(), checkpoint]
    model().fit(**settings(callbacks=callbacks))
    return path


def refused(path, other, arguments, error=ArgumentError):
    """Return the message with which a model refuses to continue a file; it must not change."""
    before = contents_of(other)
    with pytest.raises(error) as caught:
        other.fit(**arguments, resume=path)
    assert contents_of(other) == before
    return str(caught.value)


def test_the_same_training_is_continued(saved):
    assert len(model().fit(**settings(epochs=4), resume=saved)) == 4


OTHER_MODELS = {
    "layers": ({"hidden": [5]}, "layers must be those of the model in "),
    "n_in": ({"n_in": 4, "preprocessing": None}, "n_in must be that of the model in "),
    "dtype": ({"dtype": "float64"}, "dtype must be that of the model in "),
    "no scaling": ({"preprocessing": None}, "preprocessing must be that of the model in "),
    "another scaling": ({"preprocessing": xpnet.MinMax(0, 9)}, "preprocessing must be that of"),
    "another mean": (
        {"preprocessing": xpnet.Standardize([0.0, 1.0, 2.5], [1.0, 2.0, 3.0])},
        "preprocessing must be that of the model in ",
    ),
    "classes": ({"classes": ["c", "b", "a"]}, "classes must be those of the model in "),
}


@pytest.mark.parametrize("case", OTHER_MODELS)
def test_another_model_is_refused(saved, case):
    changes, message = OTHER_MODELS[case]
    found = refused(saved, model(**changes), settings())
    assert found.startswith(message)
    assert "; got " in found


BASE = settings()
SAME = "must be the data of the training that is resumed"
OTHER = (
    "got other values of the same shape and dtype. To train on other data, use "
    "xpnet.load(path).fit(...)."
)
OTHER_DATA = {
    "fewer rows": ({"X": BASE["X"][:20]}, f"X {SAME}, of shape [24, 3]; got shape [20, 3]."),
    "X of float64": (
        {"X": BASE["X"].astype(float)},
        f"X {SAME}, of dtype float32; got dtype float64.",
    ),
    "other X": ({"X": BASE["X"] + 1}, f"X {SAME}; {OTHER}"),
    "other y": ({"y": BASE["y"][::-1]}, f"y {SAME}; {OTHER}"),
    "no weights": (
        {"sample_weight": None},
        "sample_weight must be given, as in the training that is resumed; got none.",
    ),
    "other weights": (
        {"sample_weight": np.ones(24)},
        f"sample_weight {SAME}; {OTHER}",
    ),
    "given validation": (
        {"validation": (BASE["X"], BASE["y"])},
        "the validation's X must be left out, as in the training that is resumed; got an array of "
        "shape [24, 3].",
    ),
}


@pytest.mark.parametrize("case", OTHER_DATA)
def test_other_data_are_refused(saved, case):
    changes, message = OTHER_DATA[case]
    assert refused(saved, model(), settings(**changes)) == message


THAT = "must be that of the training that is resumed"
OTHER_SETTINGS = {
    "kind": (
        {"optimizer": LBFGS(), "batch_size": None},
        "optimizer must be one for mini-batch training, as in the training that is resumed; got "
        "one for full-batch training.",
    ),
    "loss": ({"loss": CrossEntropy(0.1)}, f"loss {THAT}, CrossEntropy(label_smoothing=0.0); got "),
    "batch_size": ({"batch_size": 6}, f"batch_size {THAT}, 8; got 6."),
    "shuffle": ({"shuffle": False}, f"shuffle {THAT}, True; got False."),
    "drop_last": ({"drop_last": True}, f"drop_last {THAT}, False; got True."),
    "precision": ({"precision": "tf32"}, f"precision {THAT}, 'float32'; got 'tf32'."),
    "validation": ({"validation": 0.5}, f"validation {THAT}, 0.25; got 0.5."),
    "class_weight": ({"class_weight": None}, f"class_weight {THAT}, "),
    "target_scaling": (
        {"target_scaling": "standardize"},
        f"target_scaling {THAT}, None; got 'standardize'.",
    ),
    "another optimizer": (
        {"optimizer": Averaged(SGD(0.01))},
        "optimizer must be Averaged(Adam, PolyakAverage), as in the training that is resumed; its "
        "numbers may change; got Averaged(SGD, PolyakAverage).",
    ),
    "another average": (
        {"optimizer": Averaged(Adam(0.01), xpnet.ExponentialAverage(0.9))},
        "optimizer must be Averaged(Adam, PolyakAverage), as in",
    ),
    "fewer epochs": ({"epochs": 2}, "epochs must be at least the 3 that "),
    "a callback more": (
        {"callbacks": [EarlyStopping(), UseAverage(), Counted()]},
        "callbacks must be those of the training that is resumed, [EarlyStopping], in this order; "
        "got [Counted, EarlyStopping].",
    ),
    "a callback less": (
        {"callbacks": [UseAverage()]},
        "callbacks must be those of the training that is resumed, [EarlyStopping], in this order; "
        "got [].",
    ),
    "another generator": (
        {"rng": np.random.Generator(np.random.MT19937(5))},
        "rng must have the bit generator PCG64 of the training; got MT19937.",
    ),
}


@pytest.mark.parametrize("case", OTHER_SETTINGS)
def test_other_settings_are_refused(saved, case):
    changes, message = OTHER_SETTINGS[case]
    assert refused(saved, model(), settings(**changes)).startswith(message)


def test_every_fixed_setting_has_a_case():
    assert {*FIXED} <= {*OTHER_SETTINGS}


def changed(path, folder, change):
    """Write a file with a change of its `Parts`; return its path."""
    parts = Parts.of(path.read_bytes())
    change(parts)
    (folder / "bad.st").write_bytes(parts.encoded())
    return folder / "bad.st"


def state(parts):
    return parts.metadata[KEY]["state"]


def callback(parts):
    return state(parts)["callbacks"][0]["state"]


def numbers(name, value, shape=(31,)):
    """A change of the tensor whose name ends with ``name``."""

    def change(parts):
        (full,) = [key for key in parts.headers if key.endswith(name)]
        array = np.full(shape, value, "float32")
        parts.replace(full, "F32", list(shape), array.tobytes())

    return change


def reference(name):
    return {"$tensor": name}


HOSTILE = {
    "a negative epoch": (lambda p: state(p).update(completed=-1), "one row for each of -1 epochs"),
    "another epoch": (lambda p: state(p).update(completed=2), "one row for each of 2 epochs"),
    "too many steps": (lambda p: state(p).update(taken=9), "steps taken must be at most"),
    "steps without losses": (lambda p: state(p).update(taken=1), "the losses of the steps must be"),
    "no optimizer": (lambda p: state(p).pop("optimizer"), "must be in the state"),
    "a negative step": (
        lambda p: state(p)["optimizer"].update(step=-1),
        "'step' of OptimizerState",
    ),
    "a slot less": (lambda p: state(p)["optimizer"].update(slots=[]), "must be in the state"),
    "scalars of text": (lambda p: state(p)["optimizer"].update(scalars=["a"]), "'scalars' of Opt"),
    "a slot of NaN": (numbers("training.optimizer.slots.0", np.nan), "slots of the optimizer must"),
    "a short slot": (numbers("training.optimizer.slots.0", 0, (3,)), "the slot 0"),
    "a best of text": (lambda p: callback(p).update(best="a"), "'best' of EarlyStopping must be"),
    "a best of NaN": (lambda p: callback(p).update(best=float("nan")), "'best' of EarlyStopping"),
    "negative patience": (lambda p: callback(p).update(waited=-1), "'waited' of EarlyStopping"),
    "a best θ of another size": (numbers("vectors.0", 0, (3,)), "a vector of EarlyStopping must"),
    "a best θ of NaN": (numbers("vectors.0", np.nan), "a vector of EarlyStopping must be"),
    "a snapshot of another size": (numbers("snapshots.0.slots.0", 0, (3,)), "the slot 0"),
    "a snapshot of NaN": (numbers("snapshots.0.slots.0", np.nan), "in a snapshot must be"),
    "a generator without its state": (lambda p: state(p)["rng"].pop("state"), "rng must have"),
    "a generator of text": (lambda p: state(p)["rng"].update(state="a"), "state must have"),
    "no callbacks": (lambda p: state(p).update(callbacks=3), "must be in the state"),
    "a text that is none": (lambda p: state(p)["history"].update(stopped=3), "texts as names"),
    "a column without a name": (
        lambda p: state(p)["history"]["names"].pop(),
        "one column for each",
    ),
    "a missing index": (
        lambda p: state(p)["history"].update(missing=[[0]] * len(state(p)["history"]["names"])),
        "missing values of a column",
    ),
    "streams of text": (lambda p: state(p).update(streams="abc"), "three integers"),
    "settings that are a list": (
        lambda p: p.metadata[KEY]["record"].update(settings=[]),
        "the record must hold settings",
    ),
    "data that are a list": (
        lambda p: p.metadata[KEY]["record"].update(data={"X": [1]}),
        "the record of X must be a dictionary",
    ),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_states_are_refused_by_name(saved, tmp_path, case):
    change, message = HOSTILE[case]
    found = refused(changed(saved, tmp_path, change), model(), settings(), FileFormatError)
    assert message in found
    assert "bad.st" in found


GENERATORS = {
    "MT19937": ({"pos": 10**6}, {"pos": -1}, {"key": [0]}),
    "Philox": ({"buffer_pos": -5}, {"has_uint32": 2}),
    "PCG64": ({"uinteger": 2**32}, {"has_uint32": -1}),
    "SFC64": ({"has_uint32": "a"}, {"uinteger": -1}),
}


@pytest.mark.parametrize("kind", GENERATORS)
def test_hostile_states_of_generators_are_refused(tmp_path, kind):
    """NumPy does not check these numbers, which are indices into its memory."""

    def generator():
        return np.random.Generator(getattr(np.random, kind)(5))

    path = tmp_path / "run.st"
    callbacks = [xpnet.TrainingCheckpoint(path, epochs=1)]
    given = settings(callbacks=callbacks, optimizer=Adam(), rng=generator(), validation=None)
    model().fit(**given)
    for entries in GENERATORS[kind]:

        def change(parts, entries=entries):
            rng = state(parts)["rng"]
            for part in (rng, rng["state"]):
                part.update({key: value for key, value in entries.items() if key in part})

        bad = changed(path, tmp_path, change)
        rng = generator()
        drawn = rng.bit_generator.state
        arguments = settings(callbacks=[], optimizer=Adam(), rng=rng, validation=None)
        refused(bad, model(), arguments, FileFormatError)
        np.testing.assert_equal(rng.bit_generator.state, drawn)


@pytest.mark.parametrize("error", [RuntimeError, ValueError, MemoryError, ArgumentError, OSError])
def test_errors_of_callbacks_name_the_file(tmp_path, error):
    class Failing(Counted):
        def load_state_dict(self, state):
            raise error("too old")

    path, X, y = tmp_path / "run.st", np.eye(4), np.arange(4)
    given = {"loss": CrossEntropy(), "optimizer": SGD(0.1), "progress": False}
    callbacks = [Failing(), xpnet.TrainingCheckpoint(path, epochs=1)]
    xpnet.MLP(4, [], 4).fit(X, y, callbacks=callbacks, epochs=1, **given)
    other = xpnet.MLP(4, [], 4)
    before = contents_of(other)
    with pytest.raises(FileFormatError, match=r"run\.st.*Failing.*too old") as caught:
        other.fit(X, y, callbacks=[Failing()], epochs=2, resume=path, **given)
    assert isinstance(caught.value.__cause__, error)
    assert contents_of(other) == before


def test_weights_that_are_no_sequence_are_refused(tmp_path):
    callbacks = [xpnet.TrainingCheckpoint(tmp_path / "run.st", epochs=1)]
    with pytest.raises(ArgumentError, match="class_weight must"):
        model().fit(**settings(callbacks=callbacks, class_weight=1.0))


class Late(Counted):
    """A callback with a snapshot, which it cannot make before its first epoch."""

    monitor = "loss"

    def begin(self, run):
        self.kept = None

    def epoch(self, run):
        self.kept = np.ones(1)

    def snapshot(self, run):
        return {"kept": self.kept.copy()}

    def restore(self, run, snapshot):
        self.kept = snapshot["kept"]


def test_snapshots_of_others_are_not_made_at_a_resume(tmp_path):
    path, X, y = tmp_path / "run.st", np.eye(4), np.arange(4)
    given = {"loss": CrossEntropy(), "optimizer": SGD(0.1), "progress": False}
    callbacks = [Late(), EarlyStopping("loss"), xpnet.TrainingCheckpoint(path, epochs=1)]
    xpnet.MLP(4, [], 4).fit(X, y, callbacks=callbacks, epochs=1, **given)
    late = Late()
    callbacks = [late, EarlyStopping("loss")]
    xpnet.MLP(4, [], 4).fit(X, y, callbacks=callbacks, epochs=2, resume=path, **given)
    assert late.kept == 1


SETTINGS = {
    "a rate of text": ({"optimizer": {"type": "SGD", "lr": "a"}}, "SGD cannot be made: lr must"),
    "a huge rate": ({"optimizer": {"type": "SGD", "lr": 10**400}}, "SGD cannot be made: lr must"),
    "an unknown type": ({"loss": {"type": "os_system"}}, "may only name xpnet's own types"),
    "a validation set": ({"validation": [[1], [2]]}, "validation must be a share"),
    "weights that are no pairs": ({"class_weight": {"mapping": [[1, 2, 3]]}}, "does not hold a"),
    "patience of text": (
        {"callbacks": [{"type": "EarlyStopping", "patience": "a"}]},
        "EarlyStopping cannot be made: patience must",
    ),
    "validation of an average": (
        {"callbacks": [{"type": "UseAverage", "validation": [[1], [2]]}]},
        "UseAverage must have no validation in a file",
    ),
}


@pytest.mark.parametrize("case", SETTINGS)
def test_hostile_settings_are_refused_by_name(saved, tmp_path, case):
    changes, message = SETTINGS[case]
    bad = changed(saved, tmp_path, lambda p: p.metadata[KEY]["record"]["settings"].update(changes))
    with pytest.raises(FileFormatError, match=r"bad\.st") as caught:
        xpnet.resume(bad, BASE["X"], BASE["y"], sample_weight=BASE["sample_weight"], progress=False)
    assert message in str(caught.value)


@pytest.mark.parametrize("kind", ["Checkpoint", "TrainingCheckpoint"])
@pytest.mark.parametrize("path", ["notes.txt", "none/run.st", "a\0b"])
def test_files_of_others_are_not_overwritten(saved, tmp_path, kind, path):
    entry = {"type": kind, "path": path}
    other = {"type": kind, "path": "other"}  # a single one would go on with the file itself
    if kind == "TrainingCheckpoint":
        entry, other = entry | {"epochs": 1}, other | {"epochs": 1}
    change = {"callbacks": [entry, other]}
    bad = changed(saved, tmp_path, lambda p: p.metadata[KEY]["record"]["settings"].update(change))
    with working_in(tmp_path):
        Path("notes.txt").write_text("mine")
        with pytest.raises(ArgumentError, match=r"callbacks must be given.*callbacks=\[\.\.\.\]"):
            xpnet.resume(bad, BASE["X"], BASE["y"], progress=False)
        assert Path("notes.txt").read_text() == "mine"


def as_model(parts, **changes):
    """Change the model of a file, and leave it the tensors of the training."""
    parts.metadata["xpnet"].update(changes)
    for key in [k for k in parts.headers if not k.startswith("training.")]:
        parts.remove(key)


def as_state(parts, value):
    state(parts)["more"] = value


def with_tensor(parts, name, n_bytes):
    parts.replace(name, "F64", [n_bytes // 8], bytes(n_bytes))


DROPOUT = {"layers": [{"type": "Dropout", "p": 0.5}], "n_in": 10**12, "preprocessing": None}
SCALED = {"targets": {"scaling": "Standardize", "ndim": 2}, "loss": {"type": "HalfMSE"}}
DENSE = {"type": "Dense", "n_out": 10**9, "activation": {"type": "Identity"}}
BOMBS = {
    "a huge width without tensors": lambda p: as_model(p, **DROPOUT, **SCALED),
    "huge layers without tensors": lambda p: as_model(p, layers=[DENSE] * 9, preprocessing=None),
    "a tensor read twice": lambda p: as_state(p, [reference("training.losses")] * 40_000),
    "deep JSON": lambda p: p.metadata.update({KEY: "[" * 900_000}),
    "JSON of 60 levels": lambda p: as_state(p, json.loads("[" * 60 + "]" * 60)),
    "JSON of 500 levels": lambda p: as_state(p, json.loads("[" * 500 + "]" * 500)),
    "short values": lambda p: as_state(p, [[]] * 250_000),
    "long JSON": lambda p: as_state(p, [[]] * 2_000_000),
    "a long header": lambda p: as_state(p, "x" * (20 << 20)),
    "a model of long JSON": lambda p: p.metadata["xpnet"].update(classes=[[]] * 1_000_000),
    "a tensor that nothing reads": lambda p: with_tensor(p, "training.x", 32 << 20),
    "a huge slot": lambda p: with_tensor(p, "training.optimizer.slots.0", 32 << 20),
}


@pytest.mark.parametrize("case", BOMBS)
def test_memory_is_bounded_by_the_size_of_the_file(saved, tmp_path, case):
    path = changed(saved, tmp_path, BOMBS[case])
    allowed = 2 * path.stat().st_size + 40 * MEGABYTE
    for read in (read_training, xpnet.load, lambda p: model().fit(**settings(), resume=p)):
        tracemalloc.start()
        try:
            read(path)
        except (FileFormatError, ArgumentError):
            pass
        finally:
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        assert peak < allowed, f"{read}: {peak >> 20} MB"


def test_a_long_header_is_refused_unread(tmp_path):
    path = tmp_path / "run.st"
    with open(path, "wb") as file:
        file.write((10**8).to_bytes(8, "little") + b'{"')
        file.truncate(10**8 + 8)
    for read in (read_training, xpnet.load, xpnet.load_state_dict, xpnet.load_state):
        with pytest.raises(FileFormatError, match="its header must have at most 12,500,001 bytes"):
            read(path)


def test_short_columns_of_a_history_are_bounded(saved, tmp_path):
    """Columns are padded to the length of the first when a row is added."""

    def change(parts):
        n, history = 100_000, state(parts)["history"]
        state(parts)["completed"] = n
        epochs = np.arange(1.0, n + 1)
        (name,) = [c["$tensor"] for c in history["columns"][:1]]
        parts.replace(name, "F64", [n], epochs.tobytes())
        for i in range(200):
            parts.headers[f"training.h.{i}"] = {
                "dtype": "F64",
                "shape": [0],
                "data_offsets": [0, 0],
            }
            history["names"].append(f"column {i}")
            history["columns"].append(reference(f"training.h.{i}"))
            history["missing"].append(None)

    bad = changed(saved, tmp_path, change)
    found = refused(bad, model(), settings(epochs=10**6), FileFormatError)
    assert "the history must have columns of one length" in found


def test_many_class_names_are_saved_and_resumed(tmp_path):
    """Metadata may be long beside many parameters, and are refused before a file is written."""
    names = [f"a rather long name of a class {i}" for i in range(30_000)]
    X, y = np.eye(4, dtype="float32"), np.array(names[:4])
    given = {"loss": CrossEntropy(), "optimizer": SGD(0.1), "progress": False}
    path = tmp_path / "run.st"
    wide = xpnet.MLP(4, [40], 30_000, classes=names)
    wide.fit(X, y, callbacks=[xpnet.TrainingCheckpoint(path, epochs=1)], epochs=1, **given)
    assert xpnet.load(path).classes == tuple(names)
    assert len(xpnet.resume(path, X, y, epochs=2, progress=False).history) == 2
    with pytest.raises(ArgumentError, match="Shorten the class names"):
        xpnet.MLP(1, [1], 30_000, classes=names).save(tmp_path / "narrow.st")
    assert not (tmp_path / "narrow.st").exists()


MAKE = runpy.run_path(str(HERE / "make.py"))


WITH_SETTINGS = "accuracy", "f1_weighted", "auc_elm"
METRICS = {1: ("accuracy",), 2: WITH_SETTINGS, 3: WITH_SETTINGS}


@pytest.fixture(params=METRICS)
def kept(request, tmp_path, monkeypatch):
    """A copy of a file of each format, whose callback writes to the current folder."""
    monkeypatch.chdir(tmp_path)
    name = f"format{request.param}.safetensors"
    (tmp_path / name).write_bytes((HERE / name).read_bytes())
    return tmp_path / name, METRICS[request.param]


@pytest.mark.filterwarnings("ignore:the training goes on, but not with the same bits")
def test_a_training_of_every_format_is_resumed(kept):
    path, metrics = kept
    assert path.stat().st_size < 10_000
    assert read_training(path).state["taken"] == MAKE["STEP"]
    assert xpnet.load(path).classes == ("ash", "elm")
    X, y = MAKE["rows"]()
    model = xpnet.resume(path, X, y, callbacks=MAKE["callbacks"](), progress=False)
    found = [name.removeprefix("val_") for name in model.history.columns if "val_" in name]
    assert found == ["loss", *metrics]
    assert model.history["epoch"] == [1, 2, 3, 4, 5, 6]
    assert np.isfinite(model.history["loss"]).all()
    assert np.isfinite(model.theta).all()


NEWER = {
    "training": (KEY, 4, "must be of format 1 to 3, which xpnet .* reads; got format 4"),
    "model": ("xpnet", 5, "must be of format 1 to 4, which xpnet .* reads; got format 5"),
}


@pytest.mark.parametrize("case", NEWER)
def test_newer_format_names_the_xpnet_to_install(kept, tmp_path, case):
    key, version, message = NEWER[case]
    newer = {"version": version, "xpnet": "9.9"}
    bad = changed(kept[0], tmp_path, lambda p: p.metadata[key].update(newer))
    with pytest.raises(FileFormatError, match=rf"bad\.st.*{message}\. Install xpnet 9\.9 or newer"):
        read_training(bad)
