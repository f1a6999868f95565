"""The commands of ``xpnet``: their options, and what they print."""

from __future__ import annotations

import csv
import sys
import time
from pathlib import Path
from typing import Annotated, Any, cast

import typer
from typer.core import TyperGroup

from xpnet import doctor as checkup
from xpnet import minimize
from xpnet._version import __version__
from xpnet.atomic import atomic_file, atomic_folder
from xpnet.backend import NAMES, BackendName, get_backend
from xpnet.cli import names, run_folder, training
from xpnet.cli.data import DataSource, SplitData, is_text, labels_of, load_data, read_source
from xpnet.cli.script import run_script
from xpnet.cli.show import show_table
from xpnet.data import MinMax
from xpnet.data.delimited import delimiters_in
from xpnet.errors import (
    BackendUnavailableError,
    MissingExtraError,
    NonFiniteError,
    Phrase,
    require,
    require_count,
    require_number,
)
from xpnet.figure import new_figure
from xpnet.minimize.plots import plot_convergence, plot_trajectories
from xpnet.minimize.result import table as result_table

PICTURES = (".png", ".svg", ".pdf")


class _Commands(TyperGroup):
    """All commands; an error that the user can correct is one line, without a traceback."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:  # the reader closed the pipe
            raise
        except (ValueError, BackendUnavailableError, MissingExtraError, NonFiniteError) as error:
            # FileFormatError and ArgumentError are ValueErrors; any other is a bug.
            if type(error).__module__ != "xpnet.errors":
                raise
            message = str(error)
        except OSError as error:
            place = f": {error.filename}" if error.filename and error.strerror else ""
            message = f"{str(error.strerror or error).rstrip('.')}{place}."
        print(f"Error: {message}", file=sys.stderr)
        raise typer.Exit(2)


app = typer.Typer(
    cls=_Commands,
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich" if sys.stdout.isatty() else None,
)

Backend = Annotated[str, typer.Option(help=f"{', '.join(NAMES)} or auto.")]
Target = Annotated[str | None, typer.Option(help="The column of a file to predict.")]
DataDir = Annotated[str | None, typer.Option(help="The folder with the files of (fashion-)mnist.")]
RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="A folder that xpnet train made.")]


def _version(requested: bool) -> None:
    """Print the version and exit, if ``--version`` is given."""
    if requested:
        print(f"xpnet {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """Train neural networks and apply them."""


@app.command()
def train(  # long: the signature is the list of the options and their help
    data: Annotated[
        str,
        typer.Argument(
            metavar="DATA", help="digits, fashion-mnist, mnist, or a .csv, .tsv, .npy or .npz file."
        ),
    ],
    target: Target = None,
    task: Annotated[
        str | None,
        typer.Option(help="classification or regression; default: inferred from the target."),
    ] = None,
    data_dir: DataDir = None,
    hidden: Annotated[
        list[str] | None, typer.Option(help="Hidden widths, such as 64,64; none. Default 256,128.")
    ] = None,
    activation: Annotated[str, typer.Option(help="Such as tanh or leaky-relu:alpha=0.1.")] = "relu",
    batch_norm: Annotated[
        bool, typer.Option("--batch-norm", help="Add batch normalization.")
    ] = False,
    dropout: Annotated[
        float | None,
        typer.Option(help="Probability for hidden units; default 0.3 for images, 0 for files."),
    ] = None,
    optimizer: Annotated[str, typer.Option(help="Such as sgd, rmsprop or adam.")] = "adam",
    lr: Annotated[
        float | None, typer.Option(help="Learning rate; default the optimizer's.")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="A hyperparameter of the optimizer, such as beta1=0.8; repeatable.",
        ),
    ] = None,
    schedule: Annotated[
        str, typer.Option(help="Such as constant, cosine or step-decay:every=5,rate=0.5.")
    ] = "cosine",
    epochs: Annotated[
        int | None, typer.Option(help="Default: about 2000 steps, within 20 to 1000 epochs.")
    ] = None,
    batch_size: Annotated[int, typer.Option(help="Rows per step.")] = 32,
    l2: Annotated[float, typer.Option(help="The coefficient λ of the penalty ½λΣW².")] = 0.0,
    backend: Backend = "numpy",
    dtype: Annotated[str, typer.Option(help="float32 or float64.")] = "float32",
    seed: Annotated[int, typer.Option(help="Seed of weights, split, batches and dropout.")] = 0,
    test_fraction: Annotated[float, typer.Option(help="Fraction of the rows to test on.")] = 0.2,
    validation: Annotated[
        float, typer.Option(help="Fraction of the training rows to validate on; 0 for none.")
    ] = 0.1,
    limit: Annotated[int | None, typer.Option(help="The largest number of training rows.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="The run folder; default runs/<data>-<time>.")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print the result only.")] = False,
) -> None:
    """Train a network on DATA and save it in a run folder."""
    require_count(seed, "--seed", low=0)
    require_count(batch_size, "--batch-size")
    if epochs is not None:
        require_count(epochs, "--epochs")
    require_number(validation, "--validation", low=0, below=1)
    if limit is not None:
        require_count(limit, "--limit", low=2)
    source = DataSource(data, target, data_dir, test_fraction, seed)
    where = get_backend(backend, dtype=dtype)
    if dropout is None:
        dropout = 0.3 if source.is_named else 0.0
    plan = training.TrainingPlan(
        names.widths(hidden or ["256,128"]),
        names.activation(activation),
        batch_norm,
        dropout,
        names.optimizer(optimizer, settings or (), lr),
        names.schedule(schedule),
        epochs,
        batch_size,
        l2,
        seed,
        validation,
        where,
    )
    split = load_data(source, task, limit)
    model = training.build(plan, split)
    folder = out if out is not None else run_folder.default_folder(source.name)
    with atomic_folder(folder, "--out") as temporary:
        if not quiet:
            _print_task(source, plan, split, model)
        start = time.perf_counter()
        training.fit(model, plan, split, progress=not quiet)
        seconds = time.perf_counter() - start
        measured = training.score(model, split.X_test, split.y_test)
        facts = {
            "task": "regression" if split.classes is None else "classification",
            "target": split.target,
            "feature_names": list(split.feature_names),
            "rows": {"training": len(split.X_train), "test": len(split.X_test)},
            "test": measured,
            "seconds": seconds,
        }
        files = run_folder.write_run(temporary, model, plan, source, facts)
    if not quiet:
        print()
    _print_score("test", measured, len(split.X_test))
    print(f"time           {seconds:.1f} s")
    print(f"run folder     {folder} ({', '.join(files)})")


@app.command()
def evaluate(
    folder: RunFolder,
    data: Annotated[
        str, typer.Argument(metavar="DATA", help="A data set or a file, as for train.")
    ],
    target: Target = None,
    data_dir: DataDir = None,
    backend: Backend = "numpy",
) -> None:
    """Evaluate a trained network on DATA: a file, or the test part of a data set."""
    model, config = run_folder.open_run(folder, _working(backend))
    source = run_folder.source_of(config, data, target=target, data_dir=data_dir)
    if source.is_named:
        split = load_data(source, None, None)
        X, y = split.X_test, split.y_test
    else:
        task = "regression" if model.classes is None else "classification"
        table = read_source(source, task, run_folder.columns_of(config, data, "DATA"))
        assert table.y is not None
        X, y = table.X, table.y
        y = y if model.classes is None else labels_of(y, model.classes)
    measured = training.score(model, X, y)
    _print_score("", measured, len(X))


@app.command()
def predict(
    folder: RunFolder,
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="A file with features, or the name of a data set.")
    ],
    out: Annotated[Path | None, typer.Option(help="A CSV file; default: standard output.")] = None,
    proba: Annotated[
        bool, typer.Option("--proba", help="Add the probability of each class.")
    ] = False,
    data_dir: DataDir = None,
    backend: Backend = "numpy",
) -> None:
    """Predict class names or values for the rows of FILE, as a CSV table."""
    model, config = run_folder.open_run(folder, _working(backend))
    source = run_folder.source_of(config, file, data_dir=data_dir)
    if source.is_named:
        X = load_data(source, None, None).X_test
    else:
        X = run_folder.features_of(source, config)
    got = Phrase("a regression model")
    require(not proba or model.classes is not None, "--proba", "be used with a classifier", got)
    target = config.get("target")
    head, rows = run_folder.predictions(
        model, X, target if isinstance(target, str) else "prediction", proba
    )
    if out is None:
        csv.writer(sys.stdout, lineterminator="\n").writerows([head, *rows])
        return
    with atomic_file(out, "--out") as path, path.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream, lineterminator="\n").writerows([head, *rows])
    print(f"{len(rows)} rows in {out}", file=sys.stderr)


@app.command()
def doctor(
    timing: Annotated[
        bool, typer.Option("--timing", help="Measure the time of import xpnet.")
    ] = False,
) -> None:
    """Report what is installed, which backends work, and the BLAS of NumPy."""
    for title, rows in checkup.report(timing=timing):
        show_table(("", ""), rows, title)
        print()


@app.command("run", context_settings={"ignore_unknown_options": True})
def run_(
    script: Annotated[Path, typer.Argument(metavar="SCRIPT", help="A Python file.")],
    arguments: Annotated[
        list[str] | None, typer.Argument(metavar="[ARGS]...", help="The arguments of the script.")
    ] = None,
) -> None:
    """Run a Python SCRIPT like python, with the fastest BLAS kernels that the CPU has."""
    raise typer.Exit(run_script(script, arguments or []))


@app.command()
def compare(
    function: Annotated[str, typer.Argument(metavar="FUNCTION", help="Such as rosenbrock:n=10.")],
    methods: Annotated[
        list[str], typer.Argument(metavar="METHOD...", help="Such as bfgs newton adam:lr=0.1.")
    ],
    max_iter: Annotated[
        int, typer.Option(help="The largest number of iterations of each.")
    ] = 10_000,
    plot: Annotated[Path | None, typer.Option(help="A picture: .png, .svg or .pdf.")] = None,
) -> None:
    """Minimize a test FUNCTION by several METHODs from the same starting point."""
    if plot is not None:
        ok = plot.suffix.lower() in PICTURES
        require(ok, "--plot", f"end in {', '.join(PICTURES)}", str(plot))
        require(plot.parent.is_dir(), "--plot", "be in an existing folder", str(plot))
    chosen = names.function(function)
    results = minimize.compare(chosen, [names.method(m) for m in methods], max_iter=max_iter)
    print(f"{chosen!r} from {_point(chosen.starts[0])}\n\n{result_table(results)}")
    if plot is not None:
        with atomic_file(plot, "--plot") as path:
            _draw(chosen, results).savefig(path, dpi=150, format=plot.suffix[1:].lower())
        print(f"\npicture in {plot}")


def _working(backend: str) -> BackendName:
    """Return the name of a backend, after validating that it works on this machine."""
    get_backend(backend)
    return cast(BackendName, backend)


def _print_task(
    source: DataSource, plan: training.TrainingPlan, split: SplitData, model: Any
) -> None:
    """Print the data, the network and the settings of a training."""
    n_held = round(plan.validation * len(split.X_train))
    n_classes = 0 if split.classes is None else len(split.classes)
    task = f"classification of {n_classes} classes" if n_classes else "regression"
    held = f" ({n_held:,} of them to validate on)" if n_held else ""
    print(
        f"{source.name}: {task} by {model.n_in} features; "
        f"{len(split.X_train):,} training rows{held}, {len(split.X_test):,} test rows"
    )
    if not source.is_named and is_text(source.data):
        delimiters = delimiters_in(Path(source.data))
        if delimiters != "commas":
            print(f"{source.data}: cells are separated by {delimiters}", file=sys.stderr)
    scaling = "MinMax" if isinstance(split.scaling, MinMax) else "Standardize"
    print(f"\n{model.summary()}\n")
    print(f"backend        {plan.backend}")
    print(f"optimizer      {plan.optimizer}, {plan.schedule}")
    print(f"scaling        {scaling}{'' if n_classes else '; losses relative to the variance'}\n")


def _print_score(part: str, measured: dict[str, float], n_rows: int) -> None:
    """Print the metrics that were measured on ``n_rows`` rows."""
    words = {"accuracy": "accuracy", "rmse": "RMSE", "r2": "R²", "loss": "loss"}
    for key in ("accuracy", "rmse", "r2", "loss"):
        if key in measured:
            label = f"{part} {words[key]}".strip()
            rows = f"  ({n_rows:,} rows)" if key in ("accuracy", "rmse") else ""
            print(f"{label:<14} {measured[key]:.4g}{rows}")


def _draw(function: Any, results: list[minimize.Result]) -> Any:
    """Return a figure of the convergence, and of the paths for two variables."""
    plane = int(results[0].x.shape[0]) == 2
    figure = new_figure(figsize=(11 if plane else 6, 4.5))
    axes = figure.subplots(1, 2 if plane else 1, squeeze=False)[0]
    if plane:
        plot_trajectories(function, results, ax=axes[0])
    plot_convergence(results, least=function.least, ax=axes[-1])
    return figure


def _point(x: Any) -> str:
    """Return the first coordinates of ``x`` as text."""
    shown = ", ".join(f"{value:g}" for value in x[:6])
    return Phrase(f"({shown}{', …' if len(x) > 6 else ''})")
