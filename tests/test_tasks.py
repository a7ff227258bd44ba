"""What predictions mean, and the metrics of each kind, against scikit-learn and by hand."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import layers, losses
from scipy import special
from sklearn import metrics

from tfbs_shift import InputError, evaluate, scan
from tfbs_shift.scanning.predictors import predictor
from tfbs_shift.tasks import Classes, Labels, OnlyLoss, Unlabelled, Values, described_by
from tfbs_shift.tasks.inferring import Meaning, judged
from tfbs_shift.tasks.losses import example_loss

from .conftest import WINDOW, ZOO, functional, random_labels, random_sequences


def found_out(model, rng, y=(0, 1), **said):
    """How a model's predictions are judged, given some labels."""
    clues = predictor(model).clues(random_sequences(rng, 6, WINDOW))
    return judged(clues, Meaning(**said), None if y is None else np.asarray(y))


def inferred(model, rng, y=(0, 1), **said):
    return found_out(model, rng, y, **said).task


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


def _compiled(model, loss):
    model.compile("sgd", loss)
    return model


def cosine_mse_log(y, p):
    """A loss of a peak height, named as people name theirs."""
    return keras.ops.mean((y - p) ** 2) - keras.ops.sum(y * p)


def surprise(y, p):
    return keras.ops.mean(keras.ops.abs(y - p), axis=1)


NUMBERS = (0.3, -2.0)


@pytest.mark.parametrize(
    ("make", "y", "said", "expected"),
    [
        # The last layer tells.
        (lambda: functional(1, "sigmoid"), NUMBERS, {}, Classes(1)),
        (lambda: functional(3, "sigmoid"), NUMBERS, {}, Labels(3)),
        (lambda: _compiled(functional(1, "sigmoid"), "mse"), (0, 1), {}, Classes(1)),
        # The loss tells.
        (lambda: _compiled(functional(1, None), "mse"), (0, 1), {}, Values(1)),
        (lambda: _compiled(functional(2, "softplus"), "poisson"), (0, 1), {}, Values(2)),
        (lambda: _compiled(functional(2, "relu"), cosine_mse_log), (0, 1), {}, Values(2)),
        (lambda: _compiled(functional(1, None), losses.Huber()), (0, 1), {}, Values(1)),
        (lambda: _compiled(functional(2, None), "binary_crossentropy"), (0, 1), {}, Labels(2)),
        # The labels tell.
        (lambda: functional(1, None), NUMBERS, {}, Values(1)),
        (lambda: functional(1, "softplus"), (0, 7), {}, Values(1)),
        (lambda: _compiled(functional(1, None), surprise), NUMBERS, {}, Values(1)),
        # Nothing tells, but a loss there is.
        (lambda: _compiled(functional(1, None), surprise), (0, 1), {}, OnlyLoss(1)),
        # The caller tells.
        (lambda: functional(1, "softplus"), (0, 1), {"task": "values"}, Values(1)),
        (lambda: functional(2, None), (0, 1), {"task": "labels"}, Labels(2)),
        (lambda: functional(1, "sigmoid"), NUMBERS, {"task": "values"}, Values(1)),
        (lambda: functional(1, None), (0, 1), {"loss": "mse"}, Values(1)),
        (lambda: _compiled(functional(1, None), "mse"), (0, 1),
         {"loss": losses.BinaryCrossentropy(from_logits=True)}, Classes(1, True)),
        (lambda: functional(1, None), (0, 1), {"task": "values", "tolerance": 0.5},
         Values(1, tolerance=(0.5,))),
        # Without labels.
        (lambda: functional(2, None), None, {}, Unlabelled(2, of=Values(2))),
        (lambda: functional(2), None, {}, Unlabelled(2, of=Classes(2))),
    ],
)  # fmt: skip
def test_what_tells_what_predictions_are(make, y, said, expected, rng):
    assert inferred(make(), rng, y, **said) == expected


def test_a_guess_is_never_made(rng):
    """A softplus or ReLU head may lie in 0..1 for all windows; so may logits."""
    for activation in ("softplus", "relu", None, "tanh", "exponential"):
        model = functional(1, activation)
        model.layers[-1].set_weights([np.zeros((8, 1)), np.array([0.3])])
        with pytest.raises(InputError, match="does not tell what its predictions are; give task="):
            inferred(model, rng)

    class Custom(layers.Layer):
        activation = staticmethod(keras.activations.sigmoid)  # which its call does not use

        def call(self, x):
            return x * 2

    sequence = keras.Input((WINDOW, 4))
    model = keras.Model(sequence, Custom()(functional(1, "sigmoid")(sequence)))
    with pytest.raises(InputError, match="an unknown last layer does not tell"):
        inferred(model, rng)
    # A softmax at each base, written out: not one over all of them.
    each = layers.Conv1D(2, 3, activation="softmax")(sequence)
    for reshaped in (layers.Flatten()(each), layers.Reshape((20,))(each)):
        with pytest.raises(InputError, match="an unknown last layer does not tell"):
            inferred(keras.Model(sequence, reshaped), rng)
    with pytest.raises(InputError, match=r"threshold 0\.3: is of probabilities"):
        inferred(functional(1, None), rng, task="values", threshold=0.3)
    with pytest.raises(InputError, match=r"tolerance 0\.3: is of values"):
        inferred(functional(1), rng, tolerance=0.3)
    with pytest.raises(InputError, match="task 'regression': want one of classes, labels, values"):
        inferred(functional(1), rng, task="regression")


def test_linear_predictions_with_a_loss_of_probabilities_are_warned_of(rng):
    model = _compiled(functional(1, None), "binary_crossentropy")
    with pytest.warns(UserWarning, match="from_logits is not set.*activation is linear"):
        found = found_out(model, rng)
    assert found.doubts and not found.sure
    x, y = random_sequences(rng, 20, WINDOW + 2), rng.integers(0, 2, 20)
    model.layers[-1].set_weights([np.zeros((8, 1)), np.array([1.5])])
    with pytest.warns(UserWarning), pytest.raises(InputError, match=r"lie in 1\.5\.\.1\.5"):
        scan(model, x, y)
    model.layers[-1].set_weights([np.zeros((8, 1)), np.array([0.5])])
    with pytest.warns(UserWarning):
        checks = evaluate(model, x, y).checks
    assert [check.name for check in checks if not check.passed and "from_logits" in check.message]


def test_a_softmax_of_one_number_is_warned_of(rng):
    with pytest.warns(UserWarning, match="a softmax of one number, which is always 1"):
        assert found_out(functional(1, "softmax"), rng).doubts


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (["a", "b", "a"], "labels of type <U1: want numbers"),
        ([1, 2, 1], r"labels 1\.\.2: want 0 or 1; want 0 and 1 where they are 1 and 2"),
        ([-1, 1, 1], r"labels -1\.\.1: want 0 or 1; want 0 where they are -1"),
        ([0.2, 1, 0], r"labels 0\.\.1, fractions among them: want 0 or 1; .*task='values'"),
        ([0, 5, 2], r"labels 0\.\.5: want 0 or 1; .*task='values'"),
        ([0, np.nan, 1], r"some are no numbers \(NaN\)"),
    ],
)
def test_labels_are_those_of_the_task(y, message):
    y = np.array(y)
    with pytest.raises(InputError, match=message):
        Classes(1).labels(y, 3)
    with pytest.raises(InputError, match=message.replace("0 or 1;", "0 or 1 for each label;")):
        Labels(1).labels(y[:, None], 3)
    soft = np.stack([y, y if y.dtype.kind == "U" else 1 - y], axis=1)
    with pytest.raises(InputError, match="labels"):
        Classes(2).labels(soft, 3)


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
        # One number for the batch; what mixes it; one number an output; labels of the whole batch.
        lambda y, p: keras.ops.mean((y - p) ** 2) * keras.ops.max(p),
        lambda y, p: keras.ops.sum(keras.ops.softmax(p, axis=0) * y, axis=1),
        lambda y, p: keras.ops.sum((y - p) ** 2, axis=0),
        losses.Dice(),
        losses.Tversky(),
        losses.Hinge(),
        losses.CosineSimilarity(axis=0),
        losses.MeanSquaredError(reduction="sum"),
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
        with pytest.raises(InputError, match="does not tell what its predictions are"):
            inferred(linear, rng)
    sequence = keras.Input((WINDOW, 4))
    flat = layers.Flatten()(sequence)
    with pytest.raises(InputError, match=r"several outputs: dense.* \(batch, 1\)"):
        inferred(keras.Model(sequence, [layers.Dense(1)(flat), layers.Dense(1)(flat)]), rng)
    with pytest.raises(InputError, match=r"positions: dense.* \(batch, 12, 1\); give output="):
        inferred(keras.Model(sequence, layers.Dense(1)(sequence)), rng)
    with pytest.raises(InputError, match="cannot be computed for one example at a time"):
        example_loss(lambda y, p: float(p), np.ones((2, 1)), np.ones((2, 1)))
    with pytest.raises(InputError, match="2 losses"):
        example_loss(["mse", "mse"], np.ones((2, 1)), np.ones((2, 1)))
    with pytest.raises(InputError, match="model int: want a Keras model, a torch"):
        predictor(1)


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
