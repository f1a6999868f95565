"""Write a training of the present format in this folder, such as ``format3.safetensors``.

Run it with the last xpnet that writes this format on ``PYTHONPATH``::

    OPENBLAS_NUM_THREADS=1 python tests/training/data/checkpoints/make.py

The training is interrupted within an epoch, so that the file has every entry of the format.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

import xpnet
from xpnet import schedules
from xpnet.metrics import AUC, F1, accuracy
from xpnet.training.training_file import FORMAT

HERE = Path(__file__).parent
FILE = HERE / f"format{FORMAT}.safetensors"

METRICS = [accuracy, F1("weighted"), AUC(of="elm")]

SWISH = xpnet.activations.from_formula(lambda xp, z, b: z * xp.sigmoid(b * z), name="swish", b=1.5)


def focal(xp: Any, z: Any, t: Any, g: Any) -> Any:
    """Return the focal loss of a logit."""
    u = xp.where(t > 0.5, -z, z)
    return xp.sigmoid(u) ** g * xp.softplus(u)


FOCAL = xpnet.losses.from_formula(focal, name="focal", target_kind="binary", g=2.0)

EPOCH, STEP = 3, 2
"""The position at which the training is interrupted."""


def rows() -> tuple[Any, Any]:
    """Return the features ``(24, 3)`` and the class names of the training."""
    X = np.random.default_rng(7).normal(size=(24, 3)).astype("float32")
    return X, np.array(["ash", "elm"])[(X[:, 0] > 0).astype(int)]


def callbacks() -> list[Any]:
    """Return the callbacks with a state."""
    return [xpnet.EarlyStopping(patience=9), xpnet.UseAverage()]


def model() -> Any:
    """Return the model before the training."""
    scaling = xpnet.Standardize.fit(rows()[0])
    given = {"batch_norm": True, "dropout": 0.1, "preprocessing": scaling, "rng": 1}
    return xpnet.MLP(3, [4], 1, activation=SWISH, **given)


class Stop:
    """Interrupts the training at its position."""

    stateless = True

    def step(self, run: Any) -> None:
        """Interrupt after `STEP` of `EPOCH`."""
        if (run.epoch, run.step) == (EPOCH, STEP):
            run.interrupt()


def main() -> None:
    """Train and write the file."""
    FILE.unlink(missing_ok=True)
    checkpoint = xpnet.TrainingCheckpoint(FILE.name, epochs=1)
    model().fit(
        *rows(),
        loss=FOCAL,
        optimizer=xpnet.Averaged(xpnet.AdamW(0.01)),
        schedule=schedules.Cosine(0.1),
        clip=xpnet.ClipByNorm(1.0),
        l2=1e-3,
        class_weight={"ash": 1.0, "elm": 2.0},
        epochs=6,
        batch_size=5,
        validation=0.25,
        metrics=METRICS,
        callbacks=[*callbacks(), checkpoint, Stop()],
        rng=np.random.default_rng(3),
        progress=False,
        on_interrupt="return",
    )
    Path(checkpoint.path).replace(FILE)
    print(FILE.name, FILE.stat().st_size, "bytes")


if __name__ == "__main__":
    main()
