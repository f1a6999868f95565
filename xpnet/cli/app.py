"""The commands of ``xpnet``."""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from typing import Annotated, Any, cast

import typer
from typer.core import TyperGroup

from xpnet import doctor as checkup
from xpnet import minimize
from xpnet._version import __version__
from xpnet.backend import BackendName, get_backend
from xpnet.cli import names, run
from xpnet.cli.folder import default_folder, whole_file, whole_folder
from xpnet.cli.problem import Problem, Source, load_problem, read_source
from xpnet.cli.script import run_script
from xpnet.cli.show import show_table
from xpnet.data import MinMax
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
    """All commands; what a user can put right is told in one line, without a traceback."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:  # the reader of a pipe has seen enough
            raise
        except (ValueError, BackendUnavailableError, MissingExtraError, NonFiniteError) as error:
            # FileFormatError and ArgumentError are ValueErrors; any other is a bug and is shown.
            if type(error).__module__ != "xpnet.errors":
                raise
            message = str(error)
        except OSError as error:
            place = f": {error.filename}" if error.filename and error.strerror else ""
            message = f"{error.strerror or error}{place}."
        print(f"Error: {message}", file=sys.stderr)
        raise typer.Exit(2)


app = typer.Typer(
    cls=_Commands,
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich" if sys.stdout.isatty() else None,
)

Backend = Annotated[str, typer.Option(help="numpy, cupy, torch, array_api_strict or auto.")]
Target = Annotated[str | None, typer.Option(help="The column of a file to predict.")]
DataDir = Annotated[str | None, typer.Option(help="The folder with the files of (fashion-)mnist.")]
RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="A folder that train has made.")]


def _version(asked: bool) -> None:
    if asked:
        print(f"xpnet {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say the version.")
    ] = False,
) -> None:
    """Train neural networks on NumPy or CuPy, and use them."""


@app.command()
def train(  # long: the signature is the list of the options and their help
    data: Annotated[
        str,
        typer.Argument(
            metavar="DATA", help="digits, fashion-mnist, mnist, or a .csv, .npy or .npz file."
        ),
    ],
    target: Target = None,
    task: Annotated[
        str | None, typer.Option(help="classification or regression; else told from the target.")
    ] = None,
    data_dir: DataDir = None,
    hidden: Annotated[list[str] | None, typer.Option(help="Widths, such as 64,64; none.")] = None,
    activation: Annotated[str, typer.Option(help="Such as tanh or leaky-relu:alpha=0.1.")] = "relu",
    batch_norm: Annotated[bool, typer.Option("--batch-norm", help="Normalize batches.")] = False,
    dropout: Annotated[
        float | None, typer.Option(help="Of hidden units; default 0.3 for images, 0 for files.")
    ] = None,
    optimizer: Annotated[str, typer.Option(help="Such as sgd, rmsprop or adam.")] = "adam",
    lr: Annotated[
        float | None, typer.Option(help="Learning rate; default the optimizer's.")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="A setting of the optimizer; repeatable."),
    ] = None,
    schedule: Annotated[
        str, typer.Option(help="Such as constant, cosine or step-decay:every=5,rate=0.5.")
    ] = "cosine",
    epochs: Annotated[
        int | None, typer.Option(help="Default: some 2000 steps, but 20 to 200 epochs.")
    ] = None,
    batch_size: Annotated[int, typer.Option(help="Rows a step.")] = 32,
    l2: Annotated[float, typer.Option(help="The rate λ of ½λΣW².")] = 0.0,
    backend: Backend = "numpy",
    dtype: Annotated[str, typer.Option(help="float32 or float64.")] = "float32",
    seed: Annotated[int, typer.Option(help="Of weights, split, order and dropout.")] = 0,
    test_fraction: Annotated[float, typer.Option(help="Share held out for the test.")] = 0.2,
    validation: Annotated[
        float, typer.Option(help="Share of the training rows to validate on; 0 for none.")
    ] = 0.1,
    limit: Annotated[int | None, typer.Option(help="At most so many training rows.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder; default runs/<data>-<time>.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print only the result.")] = False,
) -> None:
    """Train a network on DATA and keep it in a run folder."""
    require_count(seed, "--seed", low=0)
    require_count(batch_size, "--batch-size")
    if epochs is not None:
        require_count(epochs, "--epochs")
    require_number(validation, "--validation", low=0, below=1)
    if limit is not None:
        require_count(limit, "--limit", low=2)
    source = Source(data, target, data_dir, test_fraction, seed)
    where = get_backend(backend, dtype=dtype)
    if dropout is None:
        dropout = 0.3 if source.is_named else 0.0
    plan = run.Plan(
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
    problem = load_problem(source, task, limit)
    model = run.build(plan, problem)
    folder = out if out is not None else default_folder(source.name)
    with whole_folder(folder) as temporary:
        if not quiet:
            _introduce(source, plan, problem, model)
        _, seconds = run.timed(lambda: run.fit(model, plan, problem, progress=not quiet))
        measured = run.score(model, problem.X_test, problem.y_test)
        facts = {
            "task": "regression" if problem.classes is None else "classification",
            "target": problem.target,
            "feature_names": list(problem.feature_names),
            "rows": {"training": len(problem.X_train), "test": len(problem.X_test)},
            "test": measured,
            "seconds": seconds,
        }
        files = run.write_run(temporary, model, plan, source, facts)
    if not quiet:
        print()
    _tell_score("test", measured, len(problem.X_test))
    print(f"time           {seconds:.1f} s")
    print(f"run folder     {folder} ({', '.join(files)})")


@app.command()
def evaluate(
    folder: RunFolder,
    data: Annotated[str, typer.Argument(metavar="DATA", help="As of train.")],
    target: Target = None,
    data_dir: DataDir = None,
    backend: Backend = "numpy",
) -> None:
    """Measure a trained network on DATA: a file, or the test part of a data set."""
    model, config = run.open_run(folder, _known(backend))
    source = run.source_of(config, data, target=target, data_dir=data_dir)
    if source.is_named:
        problem = load_problem(source, None, None)
        X, y = problem.X_test, problem.y_test
    else:
        table = read_source(source)
        assert table.y is not None
        X, y = run.in_order(table.X, table.feature_names, config, data), table.y
        whole = model.classes is not None and y.dtype.kind == "f" and (y == y.round()).all()
        y = y.astype("int64") if whole else y
    measured = run.score(model, X, y)
    _tell_score("", measured, len(X))


@app.command()
def predict(
    folder: RunFolder,
    file: Annotated[str, typer.Argument(metavar="FILE", help="Features; or a data set's name.")],
    out: Annotated[Path | None, typer.Option(help="A CSV file; default standard output.")] = None,
    proba: Annotated[bool, typer.Option("--proba", help="Add a column for each class.")] = False,
    data_dir: DataDir = None,
    backend: Backend = "numpy",
) -> None:
    """Predict for the rows of FILE; a CSV table of class names or values comes out."""
    model, config = run.open_run(folder, _known(backend))
    source = run.source_of(config, file, data_dir=data_dir)
    if source.is_named:
        X = load_problem(source, None, None).X_test
    else:
        X = run.features_of(source, config)
    got = Phrase("a model of values")
    require(not proba or model.classes is not None, "--proba", "be asked of classes", got)
    target = config.get("target")
    head, rows = run.predictions(
        model, X, target if isinstance(target, str) else "prediction", proba
    )
    if out is None:
        csv.writer(sys.stdout, lineterminator="\n").writerows([head, *rows])
        return
    with whole_file(out, "--out") as path, path.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream, lineterminator="\n").writerows([head, *rows])
    print(f"{len(rows)} rows in {out}", file=sys.stderr)


@app.command()
def doctor(
    timing: Annotated[
        bool, typer.Option("--timing", help="Measure what import xpnet costs.")
    ] = False,
) -> None:
    """Say what is installed, which backends work and why not, and how BLAS computes."""
    for title, rows in checkup.report(timing=timing):
        show_table(("", ""), rows, title)
        print()


@app.command("run", context_settings={"ignore_unknown_options": True})
def run_(
    script: Annotated[Path, typer.Argument(metavar="SCRIPT", help="A Python file.")],
    arguments: Annotated[
        list[str] | None, typer.Argument(metavar="[ARGS]...", help="What the script is given.")
    ] = None,
) -> None:
    """Run a Python SCRIPT as python would, with NumPy's BLAS set to what the CPU offers."""
    raise typer.Exit(run_script(script, arguments or []))


@app.command()
def compare(
    function: Annotated[str, typer.Argument(metavar="FUNCTION", help="Such as rosenbrock:n=10.")],
    methods: Annotated[
        list[str], typer.Argument(metavar="METHOD...", help="Such as bfgs newton adam:lr=0.1.")
    ],
    max_iter: Annotated[int, typer.Option(help="The most iterations of each.")] = 10_000,
    plot: Annotated[Path | None, typer.Option(help="A picture: .png, .svg or .pdf.")] = None,
) -> None:
    """Minimize a test FUNCTION by several METHODs from the same start."""
    if plot is not None:
        ok = plot.suffix.lower() in PICTURES
        require(ok, "--plot", f"end in {', '.join(PICTURES)}", str(plot))
        require(plot.parent.is_dir(), "--plot", "be in a folder that exists", str(plot))
    chosen = names.function(function)
    results = minimize.compare(chosen, [names.method(m) for m in methods], max_iter=max_iter)
    print(f"{chosen!r} from {_point(chosen.starts[0])}\n\n{result_table(results)}")
    if plot is not None:
        with whole_file(plot, "--plot") as path:
            _draw(chosen, results).savefig(path, dpi=150)
        print(f"\npicture in {plot}")


def _known(backend: str) -> BackendName:
    """A backend's name, after it is known to work."""
    get_backend(backend)
    return cast(BackendName, backend)


def _introduce(source: Source, plan: run.Plan, problem: Problem, model: Any) -> None:
    """Say what is about to be trained on what, and where."""
    n_held = round(plan.validation * len(problem.X_train))
    n_classes = 0 if problem.classes is None else len(problem.classes)
    task = f"classification of {n_classes} classes" if n_classes else "regression"
    held = f" ({n_held:,} of them to validate on)" if n_held else ""
    print(
        f"{source.name}: {task} by {model.n_in} features; "
        f"{len(problem.X_train):,} training rows{held}, {len(problem.X_test):,} test rows"
    )
    scaling = "MinMax" if isinstance(problem.scaling, MinMax) else "Standardize"
    print(f"\n{model.summary()}\n")
    print(f"backend        {plan.backend}")
    print(f"optimizer      {plan.optimizer}, {plan.schedule}")
    print(f"scaling        {scaling}{'' if n_classes else '; losses in units of the variance'}\n")


def _tell_score(part: str, measured: dict[str, float], n_rows: int) -> None:
    words = {"accuracy": "accuracy", "rmse": "RMSE", "r2": "R²", "loss": "loss"}
    for key in ("accuracy", "rmse", "r2", "loss"):
        if key in measured:
            label = f"{part} {words[key]}".strip()
            rows = f"  ({n_rows:,} rows)" if key in ("accuracy", "rmse") else ""
            print(f"{label:<14} {measured[key]:.4g}{rows}")


def _draw(function: Any, results: list[minimize.Result]) -> Any:
    """Paths beside convergence; for more than two variables convergence alone."""
    plane = int(results[0].x.shape[0]) == 2
    figure = new_figure(figsize=(11 if plane else 6, 4.5))
    axes = figure.subplots(1, 2 if plane else 1, squeeze=False)[0]
    if plane:
        plot_trajectories(function, results, ax=axes[0])
    plot_convergence(results, least=function.least, ax=axes[-1])
    return figure


def _point(x: Any) -> str:
    shown = ", ".join(f"{value:g}" for value in x[:6])
    return Phrase(f"({shown}{', …' if len(x) > 6 else ''})")
