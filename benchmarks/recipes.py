"""Run the programs of ``docs/logging.md`` and read back the files that they write.

``python -m benchmarks.recipes`` runs each program in a process of its own, in an empty folder, and
compares what it has written with what a training writes: an event file of TensorBoard, the tracking
store of MLflow, an offline run of Weights & Biases, a study of Optuna. A program of which the
package is not installed is left out, and named. The packages are not among the extras of xpnet::

    pip install tensorboard mlflow-skinny sqlalchemy alembic wandb optuna
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
import os
import re
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "logging.md"
EPOCHS = list(range(1, 6))
LOSSES = "loss", "val_loss"
BLOCK = 32768


def programs(page: str) -> dict[str, str]:
    """The programs of a page, by the heading above them."""
    found = re.findall(r"^## ([^\n]*)\n(?:(?!^## ).)*?^```python\n(.*?)^```", page, re.M | re.S)
    return dict(found)


def tensorboard(folder: Path) -> str:
    """Read the event file."""
    from tensorboard.backend.event_processing.event_accumulator import (  # noqa: PLC0415
        EventAccumulator,
    )

    events = EventAccumulator(str(folder / "runs" / "digits"))
    events.Reload()
    tags = events.Tags()
    names = sorted({*tags["scalars"], *tags["tensors"]})
    for name in (*LOSSES, "val_accuracy"):
        is_scalar = name in tags["scalars"]
        found = events.Scalars(name) if is_scalar else events.Tensors(name)
        assert [event.step for event in found] == EPOCHS, (name, found)
        values = [e.value if is_scalar else e.tensor_proto.float_val[0] for e in found]
        check_column(name, values)
    return f"an event file with {', '.join(names)}"


def mlflow(folder: Path) -> str:
    """Query the tracking store."""
    from mlflow import MlflowClient  # noqa: PLC0415

    client = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    (run,) = client.search_runs([client.get_experiment_by_name("digits").experiment_id])
    assert run.info.status == "FINISHED", run.info
    assert run.data.params["optimizer"].startswith("Adam("), run.data.params
    for name in LOSSES:
        found = client.get_metric_history(run.info.run_id, name)
        assert [metric.step for metric in found] == EPOCHS, found
        check_column(name, [metric.value for metric in found])
    return f"a run with {', '.join(sorted(run.data.metrics))}"


def wandb(folder: Path) -> str:
    """Parse the file of the offline run."""
    from wandb.proto import wandb_internal_pb2 as messages  # noqa: PLC0415

    (path,) = folder.glob("wandb/offline-run-*/run-*.wandb")
    rows, config = [], {}
    for content in leveldb_records(path.read_bytes()):
        record = messages.Record()
        record.ParseFromString(content)
        if record.WhichOneof("record_type") == "history":
            items = record.history.item
            rows.append({i.key or i.nested_key[0]: json.loads(i.value_json) for i in items})
        for item in record.run.config.update:
            config[item.key] = json.loads(item.value_json)
    assert (config["hidden"], config["lr"]) == (32, 1e-3), config
    assert [row["epoch"] for row in rows] == EPOCHS, rows
    for name in LOSSES:
        check_column(name, [row[name] for row in rows])
    return f"{path.name} with {len(rows)} rows"


def leveldb_records(content: bytes) -> Iterator[bytes]:
    """Yield the records of a file of Weights & Biases: a log of LevelDB after seven bytes.

    Blocks have 32 KiB. A part of a record has a checksum of four bytes, its length in two, and a
    type: 1 whole, 2 first, 3 middle, 4 last. The end of a block that is shorter than this is empty.
    """
    assert content[:4] == b":W&B", content[:7]
    at, record = 7, b""
    while at + 7 <= len(content):
        if BLOCK - at % BLOCK < 7:
            at += BLOCK - at % BLOCK
            continue
        length, kind = struct.unpack_from("<HB", content, at + 4)
        record += content[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):
            yield record
            record = b""


def optuna(folder: Path) -> str:
    """Load the study."""
    import optuna as package  # noqa: PLC0415

    study = package.load_study(study_name="digits", storage=f"sqlite:///{folder / 'optuna.db'}")
    states = [trial.state.name for trial in study.trials]
    pruned = [trial for trial in study.trials if trial.state.name == "PRUNED"]
    assert len(states) == 15, states
    assert set(states) == {"COMPLETE", "PRUNED"}, states
    assert all(0 < len(trial.intermediate_values) < 10 for trial in pruned), pruned
    assert math.isfinite(study.best_value), study.best_value
    return f"a study of {len(states)} trials, {len(pruned)} of them pruned"


def check_column(name: str, values: list[float]) -> None:
    """Refuse numbers that are not those of a training that succeeds."""
    assert all(map(math.isfinite, values)), (name, values)
    assert (values[-1] < values[0]) == ("loss" in name), (name, values)


CHECKS: dict[str, tuple[str, Callable[[Path], str]]] = {
    "TensorBoard": ("tensorboard", tensorboard),
    "MLflow": ("mlflow", mlflow),
    "Weights & Biases": ("wandb", wandb),
    "Optuna, with pruning": ("optuna", optuna),
}


def run(name: str, program: str) -> str:
    """Run a program in an empty folder; return what its files hold, or why it was left out."""
    package, check = CHECKS[name]
    if importlib.util.find_spec(package) is None:
        return f"left out: {package} is not installed"
    variables: dict[str, Any] = {"PYTHONPATH": str(ROOT), "WANDB_SILENT": "true"}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "recipe.py"
        path.write_text(program, encoding="utf-8")
        environment = os.environ | variables
        done = subprocess.run(
            [sys.executable, path.name],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            sys.exit(f"{name} failed:\n{done.stdout}\n{done.stderr}")
        return check(Path(folder))


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    found = programs(PAGE.read_text(encoding="utf-8"))
    assert found.keys() == CHECKS.keys(), f"the page has {list(found)}"
    for name, program in found.items():
        print(f"{name:<22}{run(name, program)}", flush=True)


if __name__ == "__main__":
    main()
