"""The flat vector's layout: a partition without gaps, whatever the parameters."""

from __future__ import annotations

from math import prod

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xpnet.errors import ArgumentError
from xpnet.parameters import ROLES, Layout

shapes = st.lists(st.integers(1, 4), min_size=1, max_size=3).map(tuple)
parameters = st.lists(st.tuples(shapes, st.sampled_from(ROLES)), max_size=8).map(
    lambda rows: [(f"p{i}", shape, role) for i, (shape, role) in enumerate(rows)]
)
properties = settings(derandomize=True, deadline=None, max_examples=50)


@properties
@given(parameters)
def test_entries_partition_the_vector(rows):
    layout = Layout.of(rows)
    assert layout.size == sum(prod(shape) for _, shape, _ in rows)
    places = [range(entry.start, entry.stop) for entry in layout.entries]
    assert [i for place in places for i in place] == list(range(layout.size))
    assert {(e.path, e.shape, e.role) for e in layout.entries} == set(rows)


@properties
@given(parameters)
def test_entries_are_sorted_by_role_stably(rows):
    entries = Layout.of(rows).entries
    ranks = [(ROLES.index(entry.role), int(entry.path[1:])) for entry in entries]
    assert ranks == sorted(ranks)


@properties
@given(parameters)
def test_weights_slice_holds_exactly_the_weights(rows):
    layout = Layout.of(rows)
    marked = np.zeros(layout.size)
    for entry in layout.entries:
        marked[entry.start : entry.stop] = entry.role == "weight"
    assert np.all(marked[layout.weights] == 1)
    assert marked.sum() == marked[layout.weights].size


@properties
@given(parameters)
def test_views_cover_every_number_once(rows):
    layout = Layout.of(rows)
    theta = np.arange(float(layout.size))
    views = layout.views(theta)
    assert {path: view.shape for path, view in views.items()} == {p: s for p, s, _ in rows}
    for i, view in enumerate(views.values()):
        assert np.shares_memory(view, theta)
        view[...] = -(i + 1)
    expected = [-(i + 1) for i, view in enumerate(views.values()) for _ in range(view.size)]
    assert theta.tolist() == expected


@properties
@given(parameters.filter(bool))
def test_where_names_path_and_index(rows):
    layout = Layout.of(rows)
    views = layout.views(np.arange(layout.size))
    for index in range(layout.size):
        path, _, position = layout.where(index).partition("[")
        at = tuple(int(i) for i in position.removesuffix("]").split(", "))
        assert views[path][at] == index


def test_views_write_through_on_every_backend(place):
    layout = Layout.of([("b", (2,), "bias"), ("W", (3, 2), "weight")])
    theta = place.writable(np.zeros(8))
    layout.views(theta)["W"][...] = 2.0
    layout.views(theta)["b"][...] = place.writable([5.0, 6.0])
    assert place.host(theta).tolist() == [2.0] * 6 + [5.0, 6.0]


def test_empty_layout_has_size_zero():
    layout = Layout.of([])
    assert (layout.size, layout.weights, layout.views(np.zeros(0))) == (0, slice(0, 0), {})


LAYOUT = Layout.of([("W", (3, 2), "weight")])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: Layout.of([("a", (1,), "bias"), ("a", (2,), "weight")]),
            "the paths of parameters must be distinct; got ['a', 'a'].",
        ),
        (
            lambda: LAYOUT.views(np.zeros(7)),
            "theta must have the shape (6,); got a float64 array of shape (7,).",
        ),
        (
            lambda: LAYOUT.views(np.zeros((3, 2))),
            "theta must have the shape (6,); got a float64 array of shape (3, 2).",
        ),
        (lambda: LAYOUT.views([0.0]), "theta must have the shape (6,); got [0.0]."),
        (lambda: LAYOUT.where(6), "index must be in 0..5; got 6."),
        (lambda: LAYOUT.where(-1), "index must be in 0..5; got -1."),
    ],
)
def test_bad_arguments_are_refused(call, message):
    with pytest.raises(ArgumentError) as error:
        call()
    assert str(error.value) == message
