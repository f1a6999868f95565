"""Turn names and KEY=VALUE settings into objects, by closed tables of names.

>>> optimizer("adam", ["beta1=0.8"], lr=0.01)
Adam(lr=0.01, beta1=0.8, beta2=0.999, eps=1e-08)
>>> activation("leaky-relu:alpha=0.2")
LeakyReLU(alpha=0.2)
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from types import ModuleType
from typing import Any, TypeVar

from xpnet import activations, minimize
from xpnet import optimizers as opt
from xpnet.activations import ActivationFunction
from xpnet.data import Dataset, load_fashion_mnist, load_mnist
from xpnet.errors import ArgumentError, Phrase, refuse_renamed, require, unknown_name
from xpnet.metrics import OWN_METRICS, OWN_TYPES
from xpnet.metrics.protocol import metric_name
from xpnet.metrics.sklearn import sklearn_metric
from xpnet.minimize import functions
from xpnet.minimize.method import Method
from xpnet.optimizers import Optimizer, Schedule
from xpnet.training.progress import ProgressMode
from xpnet.training.settings import Metric

T = TypeVar("T")


def _named(module: ModuleType, base: type[T]) -> dict[str, type[T]]:
    """Return the classes of ``module`` that derive from ``base``, by their names in kebab case."""
    found = (kind for kind in vars(module).values() if isinstance(kind, type) and kind is not base)
    kinds = sorted(
        (k for k in found if issubclass(k, base)), key=lambda kind: kind.__name__.lower()
    )
    return {_WORD.sub("-", kind.__name__).lower(): kind for kind in kinds}


_WORD = re.compile(r"(?<=[a-z])(?=[A-Z][a-z])|(?<=[A-Z])(?=[A-Z][a-z]{2})")
"""The beginning of a word inside the name of a class, as in ``LeakyReLU``."""

_LETTER = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
"""The beginning of a word or a letter that is one, as in ``TopKAccuracy``."""

ACTIVATIONS = {
    name: kind
    for name, kind in _named(activations, ActivationFunction).items()
    # A step cannot be trained, and a formula cannot be typed.
    if kind not in (activations.Step, activations.FormulaActivation)
}
OPTIMIZERS = {
    name.replace("-", ""): kind
    for name, kind in _named(opt, Optimizer).items()
    if is_dataclass(kind) and [field.name for field in fields(kind)][:1] == ["lr"]  # no wrapper
}
SCHEDULES: dict[str, type[Schedule]] = {
    "constant": opt.ConstantRate,
    "cosine": opt.Cosine,
    "exponential": opt.ExponentialDecay,
    "linear-warmup": opt.LinearWarmup,
    "one-cycle": opt.OneCycle,
    "reduce-on-plateau": opt.ReduceOnPlateau,
    "step-decay": opt.StepDecay,
}
IMAGES: dict[str, Callable[[str | None], Dataset]] = {
    "fashion-mnist": load_fashion_mnist,
    "mnist": load_mnist,
}
DATASETS = ("digits", *IMAGES)
METHODS: dict[str, type[Method | Optimizer]] = {
    "bfgs": minimize.BFGS,
    "coordinate-descent": minimize.CoordinateDescent,
    "dfp": minimize.DFP,
    "gradient-descent": minimize.GradientDescent,
    "lbfgs": minimize.LBFGS,
    "newton": minimize.Newton,
    "newton-cg": minimize.NewtonCG,
    "nonlinear-cg": minimize.NonlinearCG,
    "trust-region": minimize.TrustRegion,
    **{name: kind for name, kind in OPTIMIZERS.items() if kind is not opt.Muon},  # needs layers
}
FUNCTIONS: dict[str, type[functions.TestFunction]] = {
    "beale": functions.Beale,
    "booth": functions.Booth,
    "bowl": functions.Bowl,
    "himmelblau": functions.Himmelblau,
    "ill-conditioned": functions.IllConditioned,
    "powell": functions.Powell,
    "rastrigin": functions.Rastrigin,
    "rosenbrock": functions.Rosenbrock,
    "styblinski-tang": functions.StyblinskiTang,
}


METRICS: dict[str, Metric | type[Any]] = {
    **{metric_name(metric).replace("_", "-"): metric for metric in OWN_METRICS},
    **{_LETTER.sub("-", kind.__name__).lower(): kind for kind in OWN_TYPES},
}


def activation(text: str) -> ActivationFunction:
    """Return the activation that ``text`` names, such as ``relu`` or ``leaky-relu:alpha=0.2``."""
    return _make("--activation", ACTIVATIONS, text)


def optimizer(text: str, settings: Iterable[str] = (), lr: float | None = None) -> Optimizer:
    """Return the optimizer that ``text`` names, with KEY=VALUE settings and its learning rate."""
    more = [] if lr is None else [f"lr={lr!r}"]
    return _make("--optimizer", OPTIMIZERS, text, [*settings, *more])


def schedule(text: str) -> Schedule:
    """Return the schedule that ``text`` names, such as ``linear-warmup:epochs=2,then=cosine``."""
    return _make("--schedule", SCHEDULES, text)


def method(text: str) -> Method | Optimizer:
    """Return the minimization method that ``text`` names, such as ``lbfgs`` or ``adam:lr=0.1``."""
    return _make("METHOD", METHODS, text)


def function(text: str) -> functions.TestFunction:
    """Return the test function that ``text`` names, such as ``bowl`` or ``rosenbrock:n=10``."""
    return _make("FUNCTION", FUNCTIONS, text)


def metric(text: str) -> Metric:
    """Return the metric that ``text`` names.

    It is one of xpnet, such as ``auc`` or ``f1:average=weighted``, or the name of a scorer of
    scikit-learn, such as ``neg_log_loss``, if that is installed.

    Raises:
        ArgumentError: if there is no such metric, or it has no such setting.
    """
    name, _, inline = text.partition(":")
    kinds = {_plain(known): kind for known, kind in METRICS.items()}
    found = kinds.get(_plain(name))
    if isinstance(found, type):
        table = {known: kind for known, kind in METRICS.items() if isinstance(kind, type)}
        return _make("--metric", table, text)
    found = found or _scorer(name)
    require(not inline, f"--metric {name}", "be written without settings", text)
    return found


def metrics(texts: Iterable[str]) -> tuple[Metric, ...]:
    """Return the metrics of a repeated ``--metric``; see `metric`.

    Raises:
        ArgumentError: if one is wrong, or two have one name, which is a column of the history.
    """
    found = tuple(map(metric, texts))
    names = [metric_name(each) for each in found]
    twice = [name for name in names if names.count(name) > 1]
    got = Phrase(f"two of the name {', '.join(dict.fromkeys(twice))}")
    require(not twice, "--metric", "be given once for each name", got)
    return found


def _scorer(name: str) -> Metric:
    """Return a scorer of scikit-learn as a metric.

    Raises:
        ArgumentError: if there is none of this name, or scikit-learn is not installed.
    """
    try:
        from sklearn.metrics import get_scorer, get_scorer_names  # noqa: PLC0415  optional
    except ImportError:
        do = "With scikit-learn installed it may be the name of one of its scorers."
        raise ArgumentError(f"{unknown_name('--metric', name, METRICS)} {do}") from None
    if name not in get_scorer_names():
        do = "It may also be a scorer of scikit-learn, sklearn.metrics.get_scorer_names()."
        raise ArgumentError(f"{unknown_name('--metric', name, METRICS)} {do}")
    return sklearn_metric(get_scorer(name), name=name)


def _plain(name: str) -> str:
    """Return a name as it is compared: in lower case, without hyphens and underscores."""
    return name.strip().lower().replace("_", "").replace("-", "")


def progress(text: str) -> ProgressMode:
    """Return the argument of `Sequential.fit` that ``--progress`` names.

    >>> [progress(text) for text in ("auto", "bar", "lines", "off", "50")]
    [True, 'bar', 'lines', False, 50]
    """
    words: dict[str, ProgressMode] = {"auto": True, "bar": "bar", "lines": "lines", "off": False}
    if text in words:
        return words[text]
    is_count = text.isascii() and text.isdigit() and int(text) > 0
    rule = "be auto, bar, lines, off, or an integer k for a line every k epochs"
    require(is_count, "--progress", rule, text)
    return int(text)


def widths(texts: Iterable[str]) -> list[int]:
    """Return the hidden widths of ``--hidden 64,64`` or of a repeated option; 0 or none for none.

    >>> widths(["64,32"]), widths(["64", "32"]), widths(["none"])
    ([64, 32], [64, 32], [])
    """
    cells = [cell.strip() for text in texts for cell in text.split(",")]
    if cells in (["0"], ["none"]):
        return []
    for cell in cells:
        ok = cell.isascii() and cell.isdigit() and int(cell) > 0
        require(ok, "--hidden", "be widths such as 64,64, or none", ",".join(texts))
    return [int(cell) for cell in cells]


def _make(argument: str, table: Mapping[str, type[T]], text: str, more: Iterable[str] = ()) -> T:
    """Return the object of ``table`` that ``name:key=value,key=value`` describes."""
    name, _, inline = text.partition(":")
    known_names = {_plain(known): known for known in table}
    key = known_names.get(_plain(name), name)
    if key not in table:
        raise unknown_name(argument, name, table)
    settings = [part for part in inline.split(",") if part] + [*more]
    arguments = _arguments(f"{argument} {key}", table[key], settings)
    return table[key](**arguments)


def _arguments(owner: str, cls: type[Any], settings: Iterable[str]) -> dict[str, Any]:
    """Return the arguments of ``cls`` from KEY=VALUE texts, converted to the type of the field."""
    # Classes without fields inherit the dataclass methods of their base.
    known = {
        field.name: field
        for field in (fields(cls) if is_dataclass(cls) else ())
        if field.type in _READERS
    }
    arguments: dict[str, Any] = {}
    for text in settings:
        key, equals, value = (part.strip() for part in text.partition("="))
        rule = "be written KEY=VALUE, such as rho=0.9"
        require(equals and key, f"a setting of {owner}", rule, text)
        if key not in known:
            if not known:
                raise ArgumentError(f"{owner} has no settings; got {text!r}.")
            refuse_renamed({key: Phrase(value)}, known)
            raise unknown_name(f"a setting of {owner}", key, known)
        require(key not in arguments, key, f"be given once for {owner}", Phrase("two values"))
        arguments[key] = _READERS[str(known[key].type)](f"{key} of {owner}", value)
    for key, field in known.items():
        if field.default is MISSING and field.default_factory is MISSING and key not in arguments:
            name = owner.rpartition(" ")[2]
            raise ArgumentError(f"{owner} must be given {key}: write {name}:{key}=NUMBER.")
    return arguments


def _reader(kind: type[float], noun: str) -> Callable[[str, str], float]:
    """Return a function that converts a text to ``kind``, or raises that it must be ``noun``."""

    def read(argument: str, text: str) -> float:
        try:
            return kind(text)
        except ValueError:
            raise ArgumentError(f"{argument} must be {noun}; got {text!r}.") from None

    return read


def _boolean(argument: str, text: str) -> bool:
    """Convert a text such as ``true`` or ``no``."""
    words = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    require(text.lower() in words, argument, "be true or false", text)
    return words[text.lower()]


_READERS: dict[Any, Callable[[str, str], Any]] = {
    "float": _reader(float, "a number"),
    "int": _reader(int, "an integer"),
    "int | None": _reader(int, "an integer"),
    "bool": _boolean,
    "Average": lambda argument, text: text,
    "RankingAverage": lambda argument, text: text,
    "str | int | None": lambda argument, text: text,
    "Schedule": lambda argument, text: _make(argument, SCHEDULES, text),
}
"""The converter of a field, by its annotation; fields of other types have no setting."""
