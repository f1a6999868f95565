"""Metrics of decisions: values, kinds of classes, averages, and the confusion matrix."""

import numpy as np
import pytest

from xpnet.errors import ArgumentError
from xpnet.metrics import (
    F1,
    Precision,
    Recall,
    accuracy,
    balanced_accuracy,
    classification_table,
    confusion_matrix,
    log_loss,
    matthews,
)

PROBABILITIES = [[0.2, 0.8], [0.9, 0.1], [0.5, 0.5]]
Z, T = [0, 1, 1, 2, 2], [0, 0, 1, 2, 1]


@pytest.mark.parametrize(
    ("metric", "predicted", "target", "expected"),
    [
        (accuracy, [0, 1, 1], [0, 1, 2], 2 / 3),
        (accuracy, [1, 0, 1], PROBABILITIES, 2 / 3),
        (accuracy, [[1], [0], [1]], PROBABILITIES, 2 / 3),
        (accuracy, [1, 0, 1], [[1], [0], [0]], 2 / 3),
        (accuracy, [[1, -1], [1, 1]], [[1, 1], [1, 1]], 0.75),
        (accuracy, [True, False], [1.0, 1.0], 0.5),
        (balanced_accuracy, Z, T, (1 / 2 + 1 / 2 + 1) / 3),
        (balanced_accuracy, [0, 0, 2], [0, 0, 0], 2 / 3),  # classes without a target
        (matthews, Z, T, (15 - 8) / 16),
        (matthews, [0, 1], [1, 0], -1.0),
        (matthews, [0, 0], [1, 0], 0.0),
        (Precision(), Z, T, (1 + 1 / 2 + 1 / 2) / 3),
        (Recall(), Z, T, (1 / 2 + 1 / 2 + 1) / 3),
        (F1(), Z, T, (2 / 3 + 2 / 4 + 2 / 3) / 3),
        (F1("weighted"), Z, T, (2 * 2 / 3 + 2 * 2 / 4 + 2 / 3) / 5),
        (F1("micro"), Z, T, 3 / 5),
        (F1(of=1), Z, T, 1 / 2),
        (F1(of=7), Z, T, 0.0),
        (F1("binary"), [1, 1, 0], [1, 0, 0], 2 / 3),
        (F1("binary"), [1, 1, -1], [1, -1, -1], 2 / 3),
        (F1("binary"), [True, True, False], [0.7, 0.2, 0.5], 2 / 3),
        (F1(of=0), [1, 1, -1], [1, -1, -1], 2 / 3),
        (Precision("binary"), [0, 0], [0, 1], 0.0),
        (Recall("binary"), [0, 1], [0, 0], 0.0),
        (F1("binary"), [0, 0], [0, 0], 0.0),
        (F1("macro"), [[1, 0], [1, 1]], [[1, 1], [0, 1]], (2 / 3 + 2 / 3) / 2),
        (F1("micro"), [[1, -1], [1, 1]], [[1, 1], [-1, 1]], 4 / 6),
        (Precision("weighted"), [[1, 0], [1, 0]], [[0, 0], [0, 0]], 0.0),
        (Recall(of=1), [[1, 0], [1, 1]], [[1, 1], [0, 1]], 1 / 2),
    ],
)
def test_values_follow_their_formulas(metric, predicted, target, expected, place):
    found = metric(place.array(predicted), place.array(target))
    assert found.shape == ()
    assert place.backend.owns(found) or place.backend.name == "numpy"
    assert float(found) == pytest.approx(expected, rel=1e-15)


def test_targets_of_two_classes_may_be_fractions():
    z, t = np.array([1, 0, 1]), np.array([0.9, 0.2, 0.1])
    assert float(accuracy(z, t)) == 0.0
    assert float(accuracy(z, t, n_classes=2)) == pytest.approx(2 / 3)
    assert float(accuracy(2 * z - 1, 2 * (t > 0.5) - 1, n_classes=2)) == pytest.approx(2 / 3)
    assert float(F1("binary")(z, t)) == pytest.approx(2 / 3)
    assert float(F1()(z, t, n_classes=2)) == pytest.approx(2 / 3)


def test_given_number_of_classes_adds_no_class(place):
    z, t = place.array(Z), place.array(T)
    for metric in (F1(), Precision("weighted"), Recall(), balanced_accuracy, matthews):
        assert float(metric(z, t, n_classes=9)) == float(metric(z, t))


def test_class_without_weight_occurs():
    """As in scikit-learn: its rows are counted, with a value of 0."""
    weight = [1, 1, 1, 1, 0]
    assert float(F1()(Z, T, weight)) == pytest.approx((2 / 3 + 2 / 3 + 1) / 3)
    assert float(F1()([0, 1], [0, 1], [1, 0])) == 0.5
    assert float(balanced_accuracy([0, 1], [0, 1], [1, 0])) == 1.0


def test_matthews_of_one_class_is_exactly_zero(rng):
    """The formula of the paper gives a quotient of rounding errors here."""
    weight = rng.uniform(0, 1, 50)
    target = rng.integers(0, 3, 50)
    assert float(matthews(np.ones(50, int), target, weight)) == 0.0
    assert float(matthews(target, np.ones(50, int), weight)) == 0.0


def test_matthews_of_a_rare_class_does_not_cancel(place):
    """The difference of fractions loses four digits of 10⁶ rows."""
    target, predicted = np.zeros((2, 10**6), int)
    target[:3], predicted[1:5] = 1, 1  # 2 true, 2 false positives, 1 false negative
    expected = (2 * 999_995 - 2 * 1) / np.sqrt(4.0 * 3 * 999_997 * 999_996)
    found = matthews(place.array(predicted), place.array(target), n_classes=2)
    assert float(found) == pytest.approx(expected, rel=1e-15)


@pytest.mark.parametrize("dtype", ["int8", "int32", "uint8", "uint64", "float32"])
def test_indices_of_every_dtype_are_counted(dtype, place):
    xp = place.backend.xp
    z, t = (xp.astype(place.array(x), getattr(xp, dtype)) for x in (Z, T))
    for metric in (accuracy, balanced_accuracy, matthews, F1("weighted")):
        assert float(metric(z, t)) == float(metric(Z, T))
    assert place.host(confusion_matrix(z, t)).tolist() == confusion_matrix(Z, T).tolist()
    z, t = (xp.astype(place.array(x), getattr(xp, dtype)) for x in ([0, 1, 1], [0, 0, 1]))
    assert float(F1("binary")(z, t)) == float(accuracy(z, t, n_classes=2)) == 2 / 3
    p = place.array([0.25, 0.75, 0.5])
    assert float(log_loss(p, t)) == float(log_loss(p, place.array([0, 0, 1])))


@pytest.mark.parametrize("metric", [Precision, Recall, F1])
def test_name_says_average_or_class(metric):
    base = metric.__name__.lower()
    assert metric().name == f"{base}_macro"
    assert metric("binary").name == f"{base}_binary"
    assert metric(of="cat").name == f"{base}_cat"
    assert metric(of=2).name == f"{base}_2"
    resolved = metric(of="cat").resolved(("ant", "bee", "cat"))
    assert resolved.of == 2
    assert resolved.name == f"{base}_cat"
    assert resolved.resolved(("ant", "bee", "cat")) == resolved
    assert metric("weighted").resolved(None) == metric("weighted")
    assert metric().needs == "decisions"
    assert metric().higher_is_better


def test_class_of_one_value_is_found_by_name():
    z, t = ["cat", "cat", "dog"], ["cat", "dog", "dog"]
    assert float(Precision(of="cat")(z, t)) == 0.5
    assert float(Precision(of=1)(z, t)) == 1.0
    with pytest.raises(ArgumentError, match=r"of must be one of cat, dog; got 'cot'\. Did you"):
        Precision(of="cot")(z, t)
    with pytest.raises(ArgumentError, match="of must be the index of a class where classes have"):
        Precision(of="cat")([0, 1], [0, 1])
    with pytest.raises(ArgumentError, match="of must be the index of a class of 0 to 1; got 2"):
        Precision(of=2)(z, t)
    with pytest.raises(ArgumentError, match="of must be the index of a class of 0 to 2; got 3"):
        Precision(of=3)(Z, T, n_classes=3)
    with pytest.raises(ArgumentError, match=r"of must be one of 1, 2; got 'x'"):
        Precision(of="x").resolved((1, 2))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"average": "samples"}, "average must be one of binary, macro, micro, weighted"),
        ({"of": -1}, "of must be a class name or the index of a class; got -1"),
        ({"of": True}, "of must be a class name or the index of a class; got True"),
        ({"of": 1.0}, "of must be a class name or the index of a class; got 1.0"),
    ],
)
def test_unknown_settings_are_refused(given, message):
    with pytest.raises(ArgumentError, match=message):
        F1(**given)


def test_binary_average_of_more_classes_is_refused():
    rule = "average must be another one than 'binary' except for two classes; got 3"
    with pytest.raises(ArgumentError, match=rule + " classes"):
        F1("binary")(Z, T, n_classes=3)
    with pytest.raises(ArgumentError, match=rule + " labels"):
        F1("binary")([[0, 1, 1]], [[0, 1, 1]])
    with pytest.raises(ArgumentError, match="predicted must hold numbers of 0 to 1, or -1 and 1"):
        F1("binary")(Z, T)
    with pytest.raises(ArgumentError, match="except for two classes; got 1 classes"):
        F1("binary")(["cat"], ["cat"])


@pytest.mark.parametrize("metric", [balanced_accuracy, matthews])
def test_labels_are_refused_where_undefined(metric):
    with pytest.raises(ArgumentError, match="predicted must have one class for each row"):
        metric(np.ones((3, 2), int), np.ones((3, 2), int))


# --- the confusion matrix -------------------------------------------------------------------------


def test_confusion_matrix_takes_probabilities(place):
    found = confusion_matrix(place.array([1, 0, 1]), place.array(PROBABILITIES))
    assert place.host(found).tolist() == [[1, 1], [0, 1]]
    assert str(found.dtype).endswith("int64")


@pytest.mark.parametrize("n_classes", [None, 3])
def test_confusion_matrix_sums_weights(n_classes, place):
    given = [place.array(x) for x in (Z, T, [0.5, 0.25, 1.0, 2.0, 0.0])]
    found = confusion_matrix(*given[:2], n_classes, sample_weight=given[2])
    assert place.host(found).tolist() == [[0.5, 0.25, 0], [0, 1, 0], [0, 0, 2]]
    assert place.backend.owns(found)


@pytest.mark.parametrize("shape", [(2, 2), (3,), ()])
def test_confusion_matrix_refuses_other_shapes(shape):
    with pytest.raises(ArgumentError, match="target must have the shape of the predictions"):
        confusion_matrix(np.ones(shape, int), np.ones(2, int))


@pytest.mark.parametrize(
    "target", [[0, 1, 1], [[0], [1], [1]], [False, True, True], [0.0, 1.0, 1.0]]
)
def test_confusion_matrix_takes_every_kind_of_class(target, place):
    found = confusion_matrix(place.array([0, 0, 1]), place.array(target))
    assert place.host(found).tolist() == [[1, 0], [1, 1]]
    assert confusion_matrix([0, 0, 1], target).tolist() == [[1, 0], [1, 1]]


def test_confusion_matrix_sorts_class_names():
    names = np.array(["no", "yes"])
    found = confusion_matrix(names[[0, 0, 1]], ["no", "yes", "maybe"])
    assert found.tolist() == [[0, 0, 1], [0, 1, 0], [0, 1, 0]]
    with pytest.raises(ArgumentError, match="target must hold names, as the predictions do"):
        confusion_matrix(names, [0, 1])


@pytest.mark.parametrize("index", [-1, 0.5, np.nan, np.inf])
def test_confusion_matrix_refuses_other_numbers(index, place):
    values, indices = place.array([0.0, index]), place.array([0, 1])
    for name, pair in (("predicted", (values, indices)), ("target", (indices, values))):
        with pytest.raises(ArgumentError, match=f"{name} must hold class indices, whole numbers"):
            confusion_matrix(*pair)


def test_confusion_matrix_refuses_an_index_too_large():
    with pytest.raises(ArgumentError, match="n_classes must be above the largest index, 2; got 2"):
        confusion_matrix(Z, T, 2)


# --- the table ------------------------------------------------------------------------------------


def test_table_has_names_counts_and_averages(place):
    table = classification_table(place.array(Z), place.array(T), classes=["a", "b", "c"])
    assert table.names == ("a", "b", "c")
    assert table.support.tolist() == [2, 2, 1]
    assert table.precision.tolist() == [1, 0.5, 0.5]
    assert table.recall.tolist() == [0.5, 0.5, 1]
    assert table.macro == pytest.approx([2 / 3, 2 / 3, (2 / 3 + 1 / 2 + 2 / 3) / 3])
    assert table.weighted == pytest.approx([0.7, 0.6, 0.6])
    assert type(table.macro[0]) is float
    assert type(table.f1) is np.ndarray
    assert classification_table(Z, T, n_classes=4).names == (0, 1, 2, 3)
    with pytest.raises(ArgumentError, match="classes must name each class; got 2 names of 3"):
        classification_table(Z, T, n_classes=3, classes=["a", "b"])


def test_table_of_numbered_classes_has_no_indices(place):
    z, t = place.array([1, 2, 2]), place.array([1, 1, 2])  # no row of class 3
    table = classification_table(z, t, classes=(1, 2, 3))
    assert table.support.tolist() == [2, 1, 0]
    assert table.recall.tolist() == [0.5, 1, 0]
    with pytest.raises(ArgumentError, match="predicted must hold the class names 1, 3; got 2"):
        classification_table(z, t, classes=(1, 3))


def test_table_of_labels_counts_columns():
    labels = np.array([[1, 0], [1, 1], [0, 0]])
    table = classification_table(labels, labels, [1, 2, 3], classes=["wet", "cold"])
    assert table.support.tolist() == [3, 2]
    assert table.macro == (1.0, 1.0, 1.0)


def test_table_is_printed_by_class_with_weights():
    names = ["a long class name", "b", "c"]
    table = classification_table([0, 1, 1, 2], [0, 1, 2, 2], [0.5, 1, 1, 2], classes=names)
    lines = str(table).splitlines()
    assert lines[1].split() == ["a", "long", "class", "name", "1.000", "1.000", "1.000", "0.5"]
    assert lines[2].split() == ["b", "0.500", "1.000", "0.667", "1"]
    assert [line.split()[0] for line in lines[4:]] == ["macro", "weighted"]
    assert float(lines[5].split()[2]) == pytest.approx(table.weighted[1], abs=5e-4)
    starts = {line.index(".") for line in lines[1:]}
    assert len(starts) == 1  # columns are aligned
