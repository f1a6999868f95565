"""Many small cases in one test; warnings that point to the test."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import wraps
from itertools import product
from typing import Any

import pytest

from xpnet.errors import FallbackWarning


@contextmanager
def warns_here(match: str) -> Iterator[None]:
    """Expect a `FallbackWarning` that points to the file of the test."""
    here = sys._getframe(2).f_code.co_filename
    with pytest.warns(FallbackWarning, match=match) as caught:
        yield
    found = {each.filename for each in caught if each.category is FallbackWarning}
    assert found == {here}


def looped(**tables: Iterable[Any]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Run a test for every combination of the values of some arguments, as one test.

    It replaces ``pytest.mark.parametrize`` where cases take less time than pytest needs for a test
    of its own. Every case runs, also after one that fails; the error names all that failed.
    Fixtures are made once for all cases.

    >>> calls = []
    >>> @looped(x=[1, 2], y="ab")
    ... def test(x, y):
    ...     calls.append((x, y))
    >>> test()
    >>> calls
    [(1, 'a'), (1, 'b'), (2, 'a'), (2, 'b')]
    """
    values = {name: list(table) for name, table in tables.items()}

    def decorate(test: Callable[..., None]) -> Callable[..., None]:
        signature = inspect.signature(test)
        assert set(values) <= set(signature.parameters), "an argument that the test does not have"

        @wraps(test)
        def run(**fixtures: Any) -> None:
            failures: list[tuple[str, Exception]] = []
            skipped = []
            for case in product(*values.values()):
                given = dict(zip(values, case, strict=True))
                try:
                    test(**fixtures, **given)
                except pytest.skip.Exception as skip:
                    skipped.append(skip)
                except Exception as error:  # any error fails its case
                    failures.append((_described(given), error))
            if failures:
                error = failures[0][1]
                error.add_note(f"cases that failed: {'; '.join(name for name, _ in failures)}")
                raise error
            if skipped and len(skipped) == len(list(product(*values.values()))):
                raise skipped[0]

        own = [p for name, p in signature.parameters.items() if name not in values]
        run.__signature__ = signature.replace(parameters=own)  # type: ignore[attr-defined]
        return run

    return decorate


def _described(given: dict[str, Any]) -> str:
    named = (
        f"{name}={getattr(value, '__name__', None) or value!r}" for name, value in given.items()
    )
    return ", ".join(named)
