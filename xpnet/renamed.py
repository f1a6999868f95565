"""Names of earlier versions of xpnet and of other libraries, with their names here.

Error messages name the present one, and files of format 1 are read with it.
"""

from __future__ import annotations

from collections.abc import Container, Mapping

KEYWORDS: Mapping[str, tuple[str, ...]] = {
    "rho1": ("beta1",),
    "rho2": ("beta2",),
    "alpha": ("momentum", "rho"),
    # PyTorch, Keras and optax
    "b1": ("beta1",),
    "b2": ("beta2",),
    "beta_1": ("beta1",),
    "beta_2": ("beta2",),
    "betas": ("beta1", "beta2"),
    "epsilon": ("eps",),
    "learning_rate": ("lr",),
}
"""Keyword arguments, with the present ones; a class takes some of these."""

VALUES: Mapping[str, Mapping[str, str]] = {"engine": {"graph": "replay"}}
"""Values of an argument that is one of a few words, with the present ones."""

FORMAT_1: Mapping[str, Mapping[str, str]] = {
    "types": {"LecunUniform": "FanInUniform"},
    "optimizer": {"rho1": "beta1", "rho2": "beta2", "alpha": "momentum"},
    "schedule": {"Constant": "ConstantRate", "Exponential": "ExponentialDecay"},
}
"""What files of format 1 name otherwise: types in a model file, keywords of the optimizer and
types of the schedule in a ``config.json``."""


def current_keywords(keyword: str, known: Container[str]) -> list[str]:
    """Return those of the present names of ``keyword`` that are among ``known``.

    >>> current_keywords("alpha", {"lr", "momentum"}), current_keywords("lr", {"lr"})
    (['momentum'], [])
    """
    if keyword in known:
        return []
    return [name for name in KEYWORDS.get(keyword, ()) if name in known]
