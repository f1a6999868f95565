"""The commands of ``xpnet``: their options, and what they print."""

from __future__ import annotations

import csv
import sys
import traceback
from pathlib import Path
from typing import Annotated, Any, cast

import typer
from typer.core import TyperGroup

from xpnet import doctor as checkup
from xpnet import minimize
from xpnet._version import __version__
from xpnet.atomic import atomic_file
from xpnet.backend import NAMES, BackendName, get_backend
from xpnet.cli import execution, names, run_folder
from xpnet.cli.data import labels_of, load_data, read_source
from xpnet.cli.evaluation import evaluation_of
from xpnet.cli.figures import write_figures
from xpnet.cli.options import TrainingOptions
from xpnet.cli.report import print_json, print_measured, print_tables
from xpnet.cli.script import run_script
from xpnet.cli.show import show_table
from xpnet.errors import (
    BackendUnavailableError,
    MissingExtraError,
    NonFiniteError,
    Phrase,
    require,
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
            # FileFormatError and ArgumentError are ValueErrors; any other is a bug, but for those
            # that a scorer of --metric raises.
            if type(error).__module__ == "xpnet.errors":
                message = str(error)
            elif _is_of_scikit_learn(error):
                notes = " ".join(getattr(error, "__notes__", ()))
                message = f"scikit-learn cannot compute a --metric: {error} {notes}".rstrip()
            else:
                raise
        except OSError as error:
            place = f": {error.filename}" if error.filename and error.strerror else ""
            message = f"{str(error.strerror or error).rstrip('.')}{place}."
        print(f"Error: {message}", file=sys.stderr)
        raise typer.Exit(2)


def _is_of_scikit_learn(error: BaseException) -> bool:
    """Return whether an error was raised by a function of scikit-learn."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    return str(frames[-1].f_globals.get("__name__", "")).startswith("sklearn.")


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
Progress = Annotated[
    str,
    typer.Option(
        metavar="HOW", help="bar, lines, off, or K for a line every K epochs; auto fits the output."
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", help="Print the result only.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON only.")]
Metric = Annotated[
    list[str] | None,
    typer.Option(
        help="Measure auc, f1:average=weighted, ..., or a scorer of scikit-learn; repeatable."
    ),
]
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
    ctx: typer.Context,
    data: Annotated[
        str | None,
        typer.Argument(
            metavar="DATA",
            help="digits, fashion-mnist, mnist, or a .csv, .tsv, .npy or .npz file.",
        ),
    ] = None,
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
        bool, typer.Option("--batch-norm/--no-batch-norm", help="Add batch normalization.")
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
    config: Annotated[
        Path | None,
        typer.Option(help="The config.json of a run: repeat it, but for the options given here."),
    ] = None,
    metric: Metric = None,
    accumulate: Annotated[
        int, typer.Option(help="Compute each batch in as many parts, which need less memory.")
    ] = 1,
    progress: Progress = "auto",
    quiet: Quiet = False,
    json_: Json = False,
) -> None:
    """Train a network on DATA and save it in a run folder.

    If it is interrupted or killed, xpnet resume RUN continues it.
    """
    options = TrainingOptions(
        data,
        target,
        task,
        data_dir,
        hidden or [],
        activation,
        batch_norm,
        dropout,
        optimizer,
        lr,
        settings or [],
        schedule,
        epochs,
        batch_size,
        l2,
        backend,
        dtype,
        seed,
        test_fraction,
        validation,
        limit,
        metric or [],
        accumulate,
    )
    if config is not None:
        given = {name for name in vars(options) if _is_given(ctx, name)}
        options = run_folder.repeated(config, options, given)
    code = execution.train(options, out, _shown(quiet, json_), names.progress(progress))
    if code:
        raise typer.Exit(code)


@app.command()
def resume(
    folder: RunFolder,
    epochs: Annotated[
        int | None, typer.Option(help="The number of all epochs; default: as before.")
    ] = None,
    data: Annotated[str | None, typer.Option(help="The file of the data, if it has moved.")] = None,
    progress: Progress = "auto",
    quiet: Quiet = False,
    json_: Json = False,
) -> None:
    """Continue a training that was interrupted or killed.

    It ends with the result that it would have without the interruption. A training that has
    finished is continued by a larger number of --epochs.
    """
    shown = _shown(quiet, json_)
    code = execution.resume(folder, data, epochs, shown, names.progress(progress))
    if code:
        raise typer.Exit(code)


@app.command()
def evaluate(
    folder: RunFolder,
    data: Annotated[
        str, typer.Argument(metavar="DATA", help="A data set or a file, as for train.")
    ],
    target: Target = None,
    data_dir: DataDir = None,
    metric: Metric = None,
    figures: Annotated[
        Path | None, typer.Option(help="A folder for the figures; default: none are drawn.")
    ] = None,
    json_: Json = False,
    backend: Backend = "numpy",
) -> None:
    """Evaluate a trained network on DATA: a file, or the test part of a data set.

    A classifier is shown by class, with its confusions and the reliability of its probabilities.
    """
    if figures is not None:
        require(figures.is_dir(), "--figures", "be an existing folder", str(figures))
        new_figure()  # refuses a missing Matplotlib
    metrics = names.metrics(metric or ())
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
    found = evaluation_of(model, X, y, metrics)
    written = [] if figures is None else write_figures(figures, found)
    if json_:
        print_json(found.as_json())
        return
    print_measured("", found, str(config.get("target", "the target")))
    print_tables(found)
    for path in written:
        print(path)


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


def _shown(quiet: bool, as_json: bool) -> execution.Show:
    """Return what a training prints."""
    if as_json:
        return execution.Show.JSON
    return execution.Show.RESULT if quiet else execution.Show.ALL


def _is_given(ctx: typer.Context, name: str) -> bool:
    """Return whether an option is written on the command line, rather than a default."""
    source = ctx.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def _working(backend: str) -> BackendName:
    """Return the name of a backend, after validating that it works on this machine."""
    get_backend(backend)
    return cast(BackendName, backend)


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
