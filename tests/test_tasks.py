"""What predictions mean, and the metrics of each kind, against scikit-learn and by hand."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import layers, losses
from scipy import special
from sklearn import metrics

from tfbs_shift import InputError, evaluate
from tfbs_shift.scanning.predictors import predictor
from tfbs_shift.tasks import Classes, Labels, OnlyLoss, described_by
from tfbs_shift.tasks.losses import example_loss

from .conftest import WINDOW, ZOO, functional, random_labels, random_sequences


def inferred(model, rng, threshold=0.5):
    return predictor(model).task(random_sequences(rng, 6, WINDOW), threshold)[0]


@pytest.mark.parametrize("name", ZOO)
def test_predictions_are_understood(name, rng):
    model, _, width, _ = ZOO[name]()
    task = inferred(model, rng)
    assert type(task) is (Labels if name == "several sigmoids" else Classes)
    assert task.width == width
    assert task.logits == ("logits" in name)


def test_two_sigmoids_that_sum_to_one_are_no_softmax(rng):
    """Fresh zero weights put both at 0.5; the layer says what they are."""
    model = functional(2, "sigmoid")
    model.layers[-1].set_weights([np.zeros((8, 2)), np.zeros(2)])
    assert isinstance(inferred(model, rng), Labels)


def test_of_a_regression_only_the_loss_is_known(rng):
    model = functional(1, None)
    model.compile("sgd", "mse")
    task = inferred(model, rng)
    assert task == OnlyLoss(1)
    assert task.metrics == ("loss",)


@pytest.mark.parametrize(
    "loss",
    [
        losses.CategoricalCrossentropy(label_smoothing=0.1),
        losses.CategoricalCrossentropy(reduction="sum"),
        losses.CategoricalFocalCrossentropy(),
        losses.BinaryCrossentropy(),
        losses.MeanSquaredError(),
        "categorical_crossentropy",
        "crossentropy",
        ["mse"],
        {"out": "kld"},
        lambda y, p: keras.ops.sum((y - p) ** 2, axis=1),
    ],
)
def test_loss_of_each_example_against_keras_one_by_one(loss, rng):
    """Keras's own number for a batch of one is that example's loss."""
    model = functional()
    model.compile("sgd", loss if not isinstance(loss, dict) else loss["out"])
    x = random_sequences(rng, 6, WINDOW).astype("float32")
    y = random_labels(rng, 6, 2, "categorical").astype("float32")
    ours = keras.ops.convert_to_numpy(example_loss(loss, y, model(x)))
    theirs = [model.evaluate(x[i : i + 1], y[i : i + 1], verbose=0) for i in range(6)]
    assert np.allclose(ours, theirs, rtol=1e-5)


def test_sparse_and_flat_labels():
    p = np.array([[0.9, 0.1], [0.4, 0.6]], "float32")
    assert np.allclose(example_loss("sparse_categorical_crossentropy", np.array([0, 0]), p),
                       -np.log([0.9, 0.4]))  # fmt: skip
    assert np.allclose(example_loss("binary_crossentropy", np.array([1, 0]), p[:, 1:]),
                       -np.log([0.1, 0.4]))  # fmt: skip


def test_labels_in_every_form():
    one_hot = np.array([[0, 1], [1, 0], [0, 1]])
    flat = np.array([1, 0, 1])
    softmax, sigmoid, several = Classes(2), Classes(1), Labels(2)
    sparse, dense = losses.SparseCategoricalCrossentropy(), losses.CategoricalCrossentropy()
    for y in (one_hot, flat, flat[:, None]):
        assert softmax.labels(y, 3).tolist() == one_hot.tolist()
        assert softmax.for_loss(dense, softmax.labels(y, 3)).tolist() == one_hot.tolist()
        assert softmax.for_loss(sparse, softmax.labels(y, 3)).tolist() == flat.tolist()
        assert sigmoid.labels(y, 3).tolist() == flat[:, None].tolist()
        for task in (softmax, sigmoid):
            assert task.truth(task.labels(y, 3)).tolist() == flat.tolist()
    assert several.labels(one_hot, 3) is one_hot  # those of many examples stay in their file
    for task, y, message in (
        (softmax, flat[:2], "3 sequences, but 2 labels"),
        (several, one_hot[:2], "3 sequences, but 2 labels"),
        (OnlyLoss(1), flat[:2], "3 sequences, but 2 labels"),
        (softmax, np.array([0, 1, 2]), r"labels 0\.\.2: want classes 0\.\.1"),
        (softmax, np.eye(3), r"labels \(3, 3\): the model predicts \(3, 2\)"),
        (softmax, np.ones((3, 2)), "have several of them or none"),
        (sigmoid, np.eye(3), r"labels \(3, 3\)"),
        (several, flat, r"labels \(3,\)"),
    ):
        with pytest.raises(InputError, match=message):
            task.labels(y, 3)


def test_outputs_that_make_no_sense(rng):
    linear = functional(1, None)
    for bias in (-9.0, 0.5):  # also where the predictions lie in 0..1 by chance
        linear.layers[-1].set_weights([np.zeros((8, 1)), np.array([bias])])
        with pytest.raises(InputError, match="not probabilities; compile it"):
            inferred(linear, rng)
    sequence = keras.Input((WINDOW, 4))
    flat = layers.Flatten()(sequence)
    with pytest.raises(InputError, match="several outputs"):
        inferred(keras.Model(sequence, [layers.Dense(1)(flat), layers.Dense(1)(flat)]), rng)
    with pytest.raises(InputError, match=r"predicts \(batch, 12, 1\)"):
        inferred(keras.Model(sequence, layers.Dense(1)(sequence)), rng)
    with pytest.raises(InputError, match="one number a batch"):
        example_loss(lambda y, p: keras.ops.mean(p), np.ones((2, 1)), np.ones((2, 1)))
    with pytest.raises(InputError, match="2 losses"):
        example_loss(["mse", "mse"], np.ones((2, 1)), np.ones((2, 1)))
    with pytest.raises(InputError, match="model function: want a Keras model"):
        predictor(lambda windows: windows)


# ---- two classes ----


@st.composite
def binary(draw):
    """Labels of both classes, and probabilities of class 1 with ties."""
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    count = draw(st.integers(2, 40))
    y = rng.integers(0, 2, count)
    y[:2] = 0, 1
    return y, (rng.integers(0, 9, count) / 8).astype(np.float32), draw(st.sampled_from([0.3, 0.5]))


@given(binary())
@settings(deadline=None, max_examples=100)
def test_areas_and_correlation_of_two_classes_equal_sklearns(case):
    y, p, threshold = case
    precision, recall, _ = metrics.precision_recall_curve(y, p)
    expected = {
        "auroc": metrics.roc_auc_score(y, p),
        "aupr": metrics.auc(recall, precision),
        "mcc": metrics.matthews_corrcoef(y, p > threshold),
    }
    sigmoid, softmax = Classes(1, threshold=threshold), Classes(2, threshold=threshold)
    both = np.stack([1 - p, p], axis=1)
    for task, predictions, labels in ((sigmoid, p[:, None], y[:, None]), (softmax, both, y)):
        labels = task.labels(labels, len(y))
        scores = task.scores(predictions[:, None])[:, 0]
        found = task.per_label(labels, scores)
        assert {name: found[name][0] for name in expected} == pytest.approx(expected)
        assert found["positives"] == [y.sum()]
        columns = task.at_starts(predictions[:, None], labels)
        right = (p > threshold) == y
        assert np.array_equal(columns["right"][:, 0], right)
        assert np.array_equal(columns["probability"][:, 0], p)


@pytest.mark.parametrize("width", [1, 2])
def test_statistics_of_repeated_examples_equal_sklearns(width, rng):
    """Resampled: examples counted so many times each, in every resample at once."""
    y, p = rng.integers(0, 2, 30), rng.random(30).astype(np.float32)
    task = Classes(width, threshold=0.4)
    labels = task.labels(y, 30)
    counts = rng.multinomial(30, np.full(30, 1 / 30), size=9).astype(float)
    found = task.resampled(labels, p[:, None], counts)
    assert found.shape == (len(task.statistics), 9)
    for b, drawn in enumerate(counts.astype(int)):
        rows = np.repeat(np.arange(30), drawn)
        precision, recall, _ = metrics.precision_recall_curve(y[rows], p[rows])
        expected = [
            metrics.roc_auc_score(y[rows], p[rows]),
            metrics.auc(recall, precision),
            metrics.matthews_corrcoef(y[rows], p[rows] > 0.4),
        ]
        assert found[:, b] == pytest.approx(expected)
    only_one_class = (y == 1).astype(float)[None]
    assert np.isnan(task.resampled(labels, p[:, None], only_one_class)).all()


@pytest.mark.parametrize("threshold", [0.1, 0.5, 0.8])
@pytest.mark.parametrize("width", [1, 2])
def test_logits_are_called_as_their_probabilities_are(width, threshold, rng):
    logits = rng.normal(size=(400, 1, width)).astype(np.float32)
    task = Classes(width, logits=True, threshold=threshold)
    p = special.expit(logits[..., 0] if width == 1 else logits[..., 1] - logits[..., 0])
    assert np.array_equal(task.calls(logits), p > threshold)
    assert 0 < task.calls(logits).mean() < 1
    assert np.allclose(task.outputs(logits)[..., -1], p)
    assert task.without_logits() == Classes(width, threshold=threshold)


def test_a_tie_of_two_classes_calls_the_first():
    assert Classes(2).calls(np.array([[0.5, 0.5], [0.4999, 0.5001]])).tolist() == [0, 1]
    assert Classes(2, logits=True).calls(np.array([[3.0, 3.0], [2.9, 3.0]])).tolist() == [0, 1]


@pytest.mark.parametrize("threshold", [0, 1, -0.5, 50])
def test_a_threshold_is_a_probability(threshold):
    with pytest.raises(InputError, match=f"threshold {threshold}: want a probability between"):
        Classes(2, threshold=threshold)


def test_more_classes_have_no_threshold_and_no_areas():
    assert Classes(3).metrics == ("accuracy", "loss")
    assert Classes(3).scored == 0
    with pytest.raises(InputError, match=r"threshold 0\.4: 3 classes have none"):
        Classes(3, threshold=0.4)


def test_the_threshold_moves_calls_and_nothing_else(rng):
    """Accuracy, correlation, flips and certificates follow it; losses and areas do not."""
    model = functional(1, "sigmoid")
    x = random_sequences(rng, 60, WINDOW + 5)
    y = rng.integers(0, 2, 60)
    half = evaluate(model, x, y, self_checks=False)
    p = half.every["probability"]
    threshold = float(np.median(p)) + 0.003
    found = evaluate(model, x, y, self_checks=False, threshold=threshold)
    calls = p > threshold
    assert np.array_equal(found.right, calls == y[:, None])
    assert np.array_equal(found.examples["flipped"], (calls != calls[:, [2]]).any(axis=1))
    centre = found.strategies["none"]
    assert centre["accuracy"] == pytest.approx((calls[:, 2] == y).mean())
    assert centre["mcc"] == pytest.approx(metrics.matthews_corrcoef(y, calls[:, 2]))
    for metric in ("auroc", "aupr", "loss"):
        assert centre[metric] == half.strategies["none"][metric]
    named = half.examples["mean"][:, 0] > threshold
    assert found.averaged["accuracy"] == pytest.approx((named == y).mean())
    assert found.to_dict()["threshold"] == threshold


# ---- several labels ----


def test_the_threshold_of_labels(rng):
    model = functional(3, "sigmoid")
    x = random_sequences(rng, 40, WINDOW + 4)
    y = random_labels(rng, 40, 3, "binary")
    outputs = np.stack(
        [model.predict(x[:, s : s + WINDOW].astype("f4"), verbose=0) for s in range(5)], axis=1
    )
    threshold = float(np.quantile(outputs, 0.7))
    found = evaluate(model, x, y, threshold=threshold, self_checks=False)
    changed = (outputs > threshold) != (outputs > threshold)[:, [2]]
    assert changed.any()
    assert np.array_equal(found.every["constant"], ~changed.any(axis=2))
    assert found.examples["flipped"] == pytest.approx(changed.any(axis=1).mean(axis=1))


@pytest.mark.parametrize("task", [Classes(2), Classes(5), Labels(7, threshold=0.25)])
def test_a_task_is_read_back_from_what_it_says(task):
    assert described_by(task.described()) == task
