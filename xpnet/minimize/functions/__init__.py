"""Test functions with known minima, gradients and Hessians."""

from xpnet.minimize.functions.any_size import (
    IllConditioned,
    Powell,
    Rastrigin,
    Rosenbrock,
    StyblinskiTang,
)
from xpnet.minimize.functions.base import TestFunction
from xpnet.minimize.functions.plane import Beale, Booth, Bowl, Himmelblau

__all__ = [
    "Beale",
    "Booth",
    "Bowl",
    "Himmelblau",
    "IllConditioned",
    "Powell",
    "Rastrigin",
    "Rosenbrock",
    "StyblinskiTang",
    "TestFunction",
]
