import keras
import numpy as np
import pytest
from keras import layers, losses

from tfbs_shift import InputError, models
from tfbs_shift.models.outputs import Outputs, example_loss, input_window

from .conftest import (
    WINDOW,
    ZOO,
    Subclassed,
    functional,
    random_labels,
    random_sequences,
    sequential,
)


@pytest.mark.parametrize("regularized", [True, False])
def test_the_papers_cnn(regularized):
    model = models.cnn(90, regularized=regularized)
    kinds = [type(layer).__name__ for layer in model.layers[1:]]
    dropout = ["Dropout"] if regularized else []
    assert kinds == [
        *["Conv1D", "ReLU"] * 2, "GlobalMaxPooling1D", "Dense", *dropout, "Dense",
    ]  # fmt: skip
    shapes = [w.shape for w in model.get_weights()]
    assert shapes == [
        (24, 4, 256), (256,), (12, 256, 64), (64,), (64, 500), (500,), (500, 2), (2,),
    ]  # fmt: skip
    assert model.input_shape == (None, 90, 4)
    predictions = model(np.zeros((3, 90, 4)))
    assert np.allclose(np.sum(predictions, axis=1), 1)
    assert models.cnn(None, classes=5).output_shape == (None, 5)


def test_the_regulariser_by_hand(rng):
    """L1 5e-5 on what the convolutions put out before the ReLU, per example; L2 5e-4 on kernels.

    The same for any batch size, in every version of Keras.
    """
    model = models.cnn(30)
    x = random_sequences(rng, 7, 30).astype("float32")
    model(x, training=True)
    convolutions = [layer for layer in model.layers if isinstance(layer, layers.Conv1D)]
    expected = 0.0
    for layer in convolutions:
        before = keras.Model(model.input, layer.output)(x)
        expected += 5e-5 * np.abs(before).sum() / len(x) + 5e-4 * np.sum(layer.kernel**2)
    assert float(sum(model.losses)) == pytest.approx(expected, rel=1e-5)
    assert models.cnn(30, regularized=False).losses == []


def test_impossible_cnns():
    with pytest.raises(InputError, match="window 0"):
        models.cnn(0)
    with pytest.raises(InputError, match="classes 1"):
        models.cnn(10, classes=1)


def test_load(tmp_path, rng):
    model = functional()
    (tmp_path / "run").mkdir()
    for file, path in (("a.keras", "a.keras"), ("run/model.keras", "run")):
        model.save(tmp_path / file)
        x = random_sequences(rng, 4, WINDOW)
        assert np.array_equal(models.load(tmp_path / path)(x), model(x))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("missing.keras", None, "no such file or folder"),
        ("folder", "", "no model.keras in this folder"),
        ("a.txt", b"x", "want a .keras file"),
        ("a.keras", b"not a zip", "it is no zip archive"),
    ],
)
def test_load_names_what_is_wrong(tmp_path, name, content, message):
    path = tmp_path / name
    if content == "":
        path.mkdir()
    elif content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=message) as error:
        models.load(path)
    assert name in str(error.value)
    assert "\n" not in str(error.value)


class Unregistered(layers.Layer):
    __module__ = "of_somebody_else"  # older versions of Keras look where a class was made

    def call(self, x):
        return 2 * x


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (Unregistered, "Unregistered is not Keras's: register it"),
        (lambda: layers.Lambda(lambda x: 2 * x), "Lambda layer, whose code is not run"),
    ],
)
def test_load_says_what_to_do_about_layers_of_ones_own(tmp_path, layer, message):
    model = keras.Sequential([keras.Input((12, 4)), layer(), layers.Flatten(), layers.Dense(1)])
    model.save(tmp_path / "mine.keras")
    with pytest.raises(InputError, match=message):
        models.load(tmp_path / "mine.keras")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_load_refuses_weights_that_are_no_numbers(tmp_path, value):
    """What a network that diverged leaves: ReLU and pooling may turn it into a number again."""
    model = functional()
    kernel = model.weights[-2]
    kernel.assign(np.where(np.arange(kernel.shape[-1]) == 0, value, kernel))
    model.save(tmp_path / "mine.keras")
    with pytest.raises(InputError, match=rf"mine.keras: {kernel.path} has weights that are no fin"):
        models.load(tmp_path / "mine.keras")


def test_input_window():
    assert input_window(functional()) == WINDOW
    assert input_window(functional(), WINDOW) == WINDOW
    assert input_window(functional(window=None), 7) == 7
    assert input_window(Subclassed(), 7) == 7
    with pytest.raises(InputError, match=r"window 7: but model 'functional.*' reads 12 bp"):
        input_window(functional(), 7)
    for free in (functional(window=None), Subclassed(), sequential(built=False)):
        with pytest.raises(InputError, match="its input length is free: give window"):
            input_window(free)
    two = [keras.Input((5, 4)), keras.Input((5, 4))]
    with pytest.raises(InputError, match="several inputs"):
        input_window(keras.Model(two, layers.Add()(two)))
    flat = keras.Sequential([keras.Input((48,)), layers.Dense(1)])
    with pytest.raises(InputError, match=r"want \(batch, length, channels\)"):
        input_window(flat)


@pytest.mark.parametrize("name", ZOO)
def test_outputs_are_understood(name, rng):
    model, _, width, _ = ZOO[name]()
    outputs = Outputs.of(model, random_sequences(rng, 6, WINDOW))
    assert outputs.kind == ("softmax" if "softmax" in name or width == 2 else "sigmoid")
    assert outputs.width == width
    assert outputs.logits == ("logits" in name)
    assert outputs.exclusive == (name != "several sigmoids")


def test_two_sigmoids_that_sum_to_one_are_no_softmax(rng):
    """Fresh zero weights put both at 0.5; the layer says what they are."""
    model = functional(2, "sigmoid")
    model.layers[-1].set_weights([np.zeros((8, 2)), np.zeros(2)])
    assert Outputs.of(model, random_sequences(rng, 6, WINDOW)).kind == "sigmoid"


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
    ours = np.asarray(example_loss(loss, y, model(x)))
    theirs = [model.evaluate(x[i : i + 1], y[i : i + 1], verbose=0) for i in range(6)]
    assert np.allclose(ours, theirs, rtol=1e-5)


def test_sparse_and_flat_labels(rng):
    p = np.array([[0.9, 0.1], [0.4, 0.6]], "float32")
    assert np.allclose(example_loss("sparse_categorical_crossentropy", np.array([0, 0]), p),
                       -np.log([0.9, 0.4]))  # fmt: skip
    assert np.allclose(example_loss("binary_crossentropy", np.array([1, 0]), p[:, 1:]),
                       -np.log([0.1, 0.4]))  # fmt: skip


def test_labels_in_every_form():
    one_hot = np.array([[0, 1], [1, 0], [0, 1]])
    flat = np.array([1, 0, 1])
    softmax = Outputs("softmax", 2, False, losses.CategoricalCrossentropy())
    sparse = Outputs("softmax", 2, False, losses.SparseCategoricalCrossentropy())
    sigmoid = Outputs("sigmoid", 1, False, losses.BinaryCrossentropy())
    for y in (one_hot, flat, flat[:, None]):
        assert softmax.labels(y, 3).tolist() == one_hot.tolist()
        assert sparse.labels(y, 3).tolist() == flat.tolist()
        assert sigmoid.labels(y, 3).tolist() == flat[:, None].tolist()
    several = Outputs("sigmoid", 2, False, losses.BinaryCrossentropy())
    assert several.labels(one_hot, 3) is not None
    for outputs, y, message in (
        (softmax, flat[:2], "3 sequences, but 2 labels"),
        (softmax, np.array([0, 1, 2]), r"labels 0\.\.2: want classes 0\.\.1"),
        (softmax, np.eye(3), r"labels \(3, 3\): the model predicts \(3, 2\)"),
        (sigmoid, np.eye(3), r"labels \(3, 3\)"),
        (several, flat, r"labels \(3,\)"),
    ):
        with pytest.raises(InputError, match=message):
            outputs.labels(y, 3)


def test_outputs_that_make_no_sense(rng):
    x = random_sequences(rng, 4, WINDOW)
    linear = functional(1, None)
    for bias in (-9.0, 0.5):  # also where the predictions lie in 0..1 by chance
        linear.layers[-1].set_weights([np.zeros((8, 1)), np.array([bias])])
        with pytest.raises(InputError, match="not probabilities; compile it"):
            Outputs.of(linear, x)
    sequence = keras.Input((WINDOW, 4))
    flat = layers.Flatten()(sequence)
    with pytest.raises(InputError, match="several outputs"):
        Outputs.of(keras.Model(sequence, [layers.Dense(1)(flat), layers.Dense(1)(flat)]), x)
    with pytest.raises(InputError, match=r"predicts \(batch, 12, 1\)"):
        Outputs.of(keras.Model(sequence, layers.Dense(1)(sequence)), x)
    with pytest.raises(InputError, match="one number a batch"):
        example_loss(lambda y, p: keras.ops.mean(p), np.ones((2, 1)), np.ones((2, 1)))
    with pytest.raises(InputError, match="2 losses"):
        example_loss(["mse", "mse"], np.ones((2, 1)), np.ones((2, 1)))


@pytest.mark.parametrize("order", ["ACGT", "AGCT"])
@pytest.mark.parametrize("kind", ["functional", "sequential"])
def test_a_models_input_name_says_its_channel_order(kind, order, tmp_path):
    """Sequential makes its input tensor anew, under another name; saving keeps the given one."""
    inputs = keras.Input((12, 4), name=f"dna_{order}")
    head = [keras.layers.Flatten(), keras.layers.Dense(2, "softmax")]
    if kind == "sequential":
        model = keras.Sequential([inputs, *head])
    else:
        model = keras.Model(inputs, head[1](head[0](inputs)))
    assert models.alphabet(model) == order
    model.save(tmp_path / "model.keras")
    assert models.alphabet(models.load(tmp_path / "model.keras")) == order
