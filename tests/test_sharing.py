"""The scan against brute force: the model at every window, each by itself."""

import sys
from functools import partial

import keras
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from keras import layers, ops
from keras.backend import backend

from tfbs_shift import InputError, models, plan_scan, scan
from tfbs_shift.backend.computing import compiled, mapped
from tfbs_shift.scanning import engine, sliding
from tfbs_shift.scanning.engine import ModelAtStarts
from tfbs_shift.windows import WindowRange

from .conftest import random_labels, random_sequences


def brute_force(model, x, window, starts):
    """Predictions (N, S, K), one start after the other."""
    x = x.astype("float32")
    return np.stack(
        [ops.convert_to_numpy(model(x[:, s : s + window], training=False)) for s in starts], axis=1
    )


def randomized(model: keras.Model, seed: int = 0) -> keras.Model:
    """With weights that show mistakes: biases and statistics are not the zeros and ones of old."""
    rng = np.random.default_rng(seed)
    for variable in model.weights:
        value = np.asarray(variable)
        if value.ndim <= 1 and value.size and np.issubdtype(value.dtype, np.floating):
            moved = value + 0.2 * rng.standard_normal(value.shape)
            variable.assign(np.abs(moved) if "variance" in variable.path else moved)
    return model


def built(window, *stack, labels=3):
    x = sequence = keras.Input((window, 4))
    for layer in stack:
        x = layer(x)
    if len(x.shape) == 3:
        x = layers.Flatten()(x)
    return randomized(keras.Model(sequence, layers.Dense(labels, "sigmoid")(x)))


def conv(filters, width, **kwargs):
    return layers.Conv1D(filters, width, **{"activation": "relu"} | kwargs)


def deepsea_like(window):
    stack = []
    for filters in (10, 12, 14):
        stack += [conv(filters, 8), layers.MaxPooling1D(4)]
    return built(window, *stack[:-1], layers.Flatten(), layers.Dense(20, "relu"))


def residual_dilated(window, pool=2, rates=(1, 2)):
    """A small basenji: convolution block and pool, then a tower of dilated residual blocks."""
    x = sequence = keras.Input((window, 4))
    x = layers.Conv1D(40, 5, padding="same")(x)
    x = layers.MaxPooling1D(pool)(layers.BatchNormalization()(layers.Activation("gelu")(x)))
    for rate in rates:
        y = layers.Activation("gelu")(x)
        y = layers.Conv1D(20, 3, padding="same", dilation_rate=rate, use_bias=False)(y)
        y = layers.Activation("gelu")(layers.BatchNormalization()(y))
        y = layers.Dropout(0.3)(layers.BatchNormalization()(layers.Conv1D(40, 1)(y)))
        x = layers.Add()([x, y])
    x = layers.GlobalAveragePooling1D()(layers.Activation("gelu")(x))
    return randomized(keras.Model(sequence, layers.Dense(3, "sigmoid")(x)))


def two_branches(window):
    sequence = keras.Input((window, 4))
    one = conv(5, 7, padding="same")(sequence)
    two = conv(3, 4, padding="causal", dilation_rate=2)(sequence)
    x = layers.Concatenate()([one, two, sequence])
    x = conv(6, 3, padding="valid")(x)
    x = layers.Concatenate()([layers.GlobalMaxPooling1D()(x), layers.GlobalAveragePooling1D()(x)])
    return randomized(keras.Model(sequence, layers.Dense(3, "sigmoid")(x)))


def attention(window, recurrent):
    """Position weights of shape (T, 1) times features, as most people write attention."""
    x = sequence = keras.Input((window, 4))
    x = layers.AveragePooling1D(3)(conv(6, 5)(x))
    weights = layers.Softmax(axis=1)(layers.Dense(1)(x))
    x = layers.Multiply()([x, weights])
    x = recurrent(x)
    x = layers.Flatten()(x) if len(x.shape) == 3 else x
    return randomized(keras.Model(sequence, layers.Dense(3, "sigmoid")(x)))


def nested_twice(window):
    """One block, called on two branches."""
    block = keras.Sequential([keras.Input((None, 4)), conv(5, 4, padding="same"), conv(4, 3)])
    sequence = keras.Input((window, 4))
    one, two = block(sequence), block(layers.Dense(4, "tanh")(sequence))
    x = layers.GlobalMaxPooling1D()(layers.Subtract()([one, two]))
    return randomized(keras.Model(sequence, layers.Dense(3, "sigmoid")(x)))


def with_operations(window):
    """`keras.ops` in a functional model, and arithmetic of tensors."""
    sequence = keras.Input((window, 4))
    x = ops.relu(layers.Conv1D(6, 5, padding="same")(sequence))
    x = 2 * x + ops.tanh(x) / 3 - layers.Conv1D(6, 1)(sequence)
    x = ops.max(x, axis=1)
    return randomized(keras.Model(sequence, layers.Dense(3, "sigmoid")(x)))


def other_strand(window):
    """Reads both strands with the same layers; the flip mixes positions."""
    read = keras.Sequential([keras.Input((window, 4)), conv(6, 5), layers.GlobalMaxPooling1D()])
    sequence = keras.Input((window, 4))
    x = layers.Maximum()([read(sequence), read(ops.flip(ops.flip(sequence, 1), 2))])
    return randomized(keras.Model(sequence, layers.Dense(3, "sigmoid")(x)))


def odds_and_ends(window):
    return built(
        window,
        layers.ZeroPadding1D((3, 2)),
        layers.SeparableConv1D(7, 4, padding="same", depth_multiplier=2, activation="elu"),
        layers.LayerNormalization(),
        layers.DepthwiseConv1D(3, depth_multiplier=2),
        layers.PReLU(shared_axes=[1]),
        layers.Cropping1D((1, 4)),
        layers.SpatialDropout1D(0.2),
        layers.AveragePooling1D(3, 2, padding="same"),
        layers.Softmax(),
        layers.UnitNormalization(),
    )


def stack(*layers_of):
    return lambda window: built(window, *(make() for make in layers_of))


def lstm(units=4, **kwargs):
    return layers.LSTM(units, **{"return_sequences": True} | kwargs)


# name: (model of a window, window, whether something can be shared)
ZOO = {
    "cnn": (models.cnn, 40, True),
    "cnn, not regularized": (lambda w: models.cnn(w, regularized=False), 41, True),
    "tbinet": (lambda w: models.tbinet(w, labels=5), 100, True),
    "deepsea": (deepsea_like, 185, True),
    "residual dilated": (residual_dilated, 60, True),
    "residual dilated, pool of 3": (lambda w: residual_dilated(w, 3), 62, True),
    "branches": (two_branches, 30, True),
    "danq": (
        stack(
            lambda: conv(8, 6),
            lambda: layers.MaxPooling1D(5),
            lambda: layers.Bidirectional(lstm()),
        ),
        50,
        True,
    ),
    "lstm on padded features": (
        stack(lambda: conv(8, 6, padding="same"), lambda: lstm(return_sequences=False)),
        30,
        True,
    ),
    "backwards lstm": (stack(lambda: conv(8, 6), lambda: lstm(go_backwards=True)), 20, True),
    "two lstms added": (
        stack(lambda: conv(8, 6), lambda: layers.Bidirectional(lstm(), merge_mode="sum")),
        20,
        True,
    ),
    "two lstms' last states": (
        stack(
            lambda: conv(8, 6),
            lambda: layers.Bidirectional(lstm(return_sequences=False), merge_mode="ave"),
        ),
        20,
        True,
    ),
    "gru": (stack(lambda: conv(8, 6), lambda: layers.GRU(4)), 20, True),
    "attention, lstm": (lambda w: attention(w, lstm()), 40, True),
    "attention, two lstms": (
        lambda w: attention(w, layers.Bidirectional(lstm(), merge_mode="mul")),
        40,
        True,
    ),
    "attention, sum": (lambda w: attention(w, layers.GlobalAveragePooling1D()), 40, True),
    "nested": (nested_twice, 24, True),
    "operations": (with_operations, 24, True),
    "both strands": (other_strand, 24, True),
    "odds and ends": (odds_and_ends, 32, True),
    "stride": (stack(lambda: conv(6, 5, strides=3), lambda: conv(5, 4, strides=2)), 50, True),
    "stride, same": (
        stack(
            lambda: conv(6, 5, strides=3, padding="same"),
            lambda: conv(5, 4, strides=2, padding="same"),
        ),
        50,
        True,
    ),
    "even kernels": (
        stack(lambda: conv(34, 6, padding="same"), lambda: conv(5, 4, padding="same")),
        26,
        True,
    ),
    "causal, then same": (
        stack(
            lambda: conv(34, 6, padding="causal"),
            lambda: conv(36, 4, padding="same"),
            lambda: conv(5, 3, padding="causal"),
        ),
        30,
        True,
    ),
    "same after a pool": (
        stack(
            lambda: conv(33, 4, padding="same"),
            lambda: layers.MaxPooling1D(3),
            lambda: conv(5, 5, padding="same"),
        ),
        41,
        True,
    ),
    "pools that do not divide": (
        stack(
            lambda: conv(6, 5),
            lambda: layers.MaxPooling1D(4, padding="same"),
            lambda: layers.AveragePooling1D(3, 2),
        ),
        47,
        True,
    ),
    "overlapping pools": (
        stack(lambda: layers.MaxPooling1D(5, 2, padding="same"), lambda: conv(6, 3)),
        31,
        True,
    ),
    "groups": (
        stack(lambda: conv(8, 3, padding="same"), lambda: conv(6, 3, groups=2, padding="same")),
        20,
        True,
    ),
    "kernel as wide as the window": (stack(lambda: conv(5, 12)), 12, False),
    "kernel wider than the window": (stack(lambda: conv(5, 30, padding="same")), 12, False),
    "dense alone": (lambda w: built(w, layers.Flatten()), 12, False),
    "pools alone": (stack(lambda: layers.GlobalMaxPooling1D()), 12, False),
}


@pytest.mark.parametrize("slack", [0, 1, 6, 31])
@pytest.mark.parametrize("name", ZOO)
def test_every_window_gets_its_own_prediction(name, slack, rng):
    make, window, shares = ZOO[name]
    model = make(window)
    x = random_sequences(rng, 3, window + slack)
    windows = WindowRange(window + slack, window)
    at_starts = ModelAtStarts(model, windows, 4)
    expected = brute_force(model, x, window, windows.starts)
    assert expected.std() > 1e-4  # else nothing is seen
    assert np.allclose(at_starts(ops.convert_to_tensor(x)), expected, atol=2e-6)
    plan = at_starts.plan
    assert not plan.fallback
    assert plan.shared_flops <= plan.plain_flops
    if slack == 31 and shares:
        assert plan.shared_flops < 0.9 * plan.plain_flops


@pytest.mark.parametrize("name", ["cnn", "tbinet", "residual dilated", "stride, same", "branches"])
def test_any_starts_in_any_order(name, rng):
    make, window, _ = ZOO[name]
    model = make(window)
    x = random_sequences(rng, 4, window + 9)
    every = brute_force(model, x, window, range(10))
    for count in (1, 3, 25):
        starts = rng.integers(0, 10, (4, count))
        at_starts = ModelAtStarts(model, WindowRange(window + 9, window), 4, count)
        found = at_starts(ops.convert_to_tensor(x), ops.convert_to_tensor(starts.astype("int32")))
        assert np.allclose(found, np.take_along_axis(every, starts[..., None], 1), atol=2e-6)


@pytest.mark.parametrize("name", ["cnn", "tbinet", "deepsea"])
@pytest.mark.parametrize("rows", [1, 3, 16, 100])
def test_blocks_of_any_size(name, rows, rng, monkeypatch):
    """Fewer windows at once than starts, or than examples: loops; an uneven rest in each."""
    monkeypatch.setattr(engine, "_windows_at_once", lambda activations: rows)
    make, window, _ = ZOO[name]
    model = make(window)
    x = random_sequences(rng, 7, window + 10)
    windows = WindowRange(window + 10, window, max_shift=4)
    at_starts = ModelAtStarts(model, windows, 4)
    assert at_starts.plan.rows == rows
    expected = brute_force(model, x, window, windows.starts)
    assert np.allclose(compiled(at_starts)(ops.convert_to_tensor(x)), expected, atol=2e-6)
    starts = np.stack([rng.permutation(windows.starts)[:5] for _ in x]).astype("int32")
    some = compiled(ModelAtStarts(model, windows, 4, 5))(
        ops.convert_to_tensor(x), ops.convert_to_tensor(starts)
    )
    columns = (starts - windows.first)[..., None]
    assert np.allclose(some, np.take_along_axis(expected, columns, 1), atol=2e-6)


@pytest.mark.parametrize("name", ["cnn", "tbinet", "two lstms added"])
def test_a_batch_of_any_size_in_one_graph(name, rng, monkeypatch):
    monkeypatch.setattr(engine, "_windows_at_once", lambda activations: 30)
    make, window, _ = ZOO[name]
    model = make(window)
    x = random_sequences(rng, 9, window + 9)
    expected = brute_force(model, x, window, range(10))
    run = compiled(ModelAtStarts(model, WindowRange(window + 9, window), 4))
    for count in (2, 3, 4, 9, 7, 1):  # from the third on, the size is not in the graph
        assert np.allclose(run(ops.convert_to_tensor(x[:count])), expected[:count], atol=2e-6)


def drawn_layers(draw):
    """A random stem: layers with random settings."""
    pads = st.sampled_from(["valid", "same"])
    for _ in range(draw(st.integers(1, 4))):
        kind = draw(st.sampled_from(["conv", "conv", "dilated", "separable", "pool", "norm"]))
        width = draw(st.integers(1, 6))
        if kind == "conv":
            filters = draw(st.sampled_from([3, 33]))
            yield conv(filters, width, strides=draw(st.integers(1, 3)), padding=draw(pads))
        elif kind == "dilated":
            rate, padding = draw(st.integers(2, 3)), draw(st.sampled_from(["same", "causal"]))
            yield conv(4, min(width, 3), dilation_rate=rate, padding=padding, activation="tanh")
        elif kind == "separable":
            yield layers.SeparableConv1D(5, width, padding=draw(pads))
        elif kind == "pool":
            pool = draw(st.sampled_from([layers.MaxPooling1D, layers.AveragePooling1D]))
            yield pool(width, draw(st.integers(1, 4)), padding=draw(pads))
        else:
            yield layers.BatchNormalization()


@settings(deadline=None, max_examples=40, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_random_architectures(data):
    window, slack = data.draw(st.integers(8, 40)), data.draw(st.integers(0, 12))
    x = sequence = keras.Input((window, 4))
    for layer in drawn_layers(data.draw):
        if x.shape[1] < 8 and getattr(layer, "padding", "same") == "valid":
            break  # Keras itself has no position left
        if data.draw(st.booleans()) and x.shape[2] == getattr(layer, "filters", None):
            y = layer(x)
            x = layers.Add()([x, y]) if y.shape == x.shape else y
        else:
            x = layer(x)
    ends = [layers.Flatten, layers.GlobalMaxPooling1D, layers.GlobalAveragePooling1D]
    x = data.draw(st.sampled_from(ends))()(x)
    model = randomized(keras.Model(sequence, layers.Dense(2, "sigmoid")(x)))
    rng = np.random.default_rng(0)
    sequences = random_sequences(rng, 2, window + slack)
    bound = data.draw(st.one_of(st.none(), st.integers(0, slack)))
    windows = WindowRange(window + slack, window, bound)
    found = ModelAtStarts(model, windows, 4)(ops.convert_to_tensor(sequences))
    expected = brute_force(model, sequences, window, windows.starts)
    assert np.allclose(found, expected, atol=5e-6)


@settings(deadline=None, max_examples=100)
@given(st.integers(1, 20), st.integers(1, 20), st.integers(1, 4), st.booleans())
def test_sliding_against_slices(length, width, dilation, adds):
    total = length + dilation * (width - 1)
    x = np.random.default_rng(total).standard_normal((2, total, 3)).astype("float32")
    how = sliding.SUM if adds else sliding.MAXIMUM
    found = sliding.sliding(ops.convert_to_tensor(x), width, dilation, how)
    reduce = np.sum if adds else np.max
    spans = [x[:, i : i + dilation * (width - 1) + 1 : dilation] for i in range(length)]
    assert np.allclose(found, np.stack([reduce(s, axis=1) for s in spans], 1), atol=1e-5)


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.stem, self.head = conv(5, 4), layers.Dense(2, "softmax")

    def call(self, x):
        return self.head(ops.max(self.stem(x), axis=1))


class OwnCall(keras.Model):
    """Built like a functional model, but it does something else when called."""

    def call(self, x, training=None):
        return 1 - super().call(x, training=training)


def test_a_model_of_unknown_layers_is_run_window_by_window(rng):
    sequence = keras.Input((12, 4))
    x = layers.GlobalMaxPooling1D()(conv(5, 4)(sequence))
    own = OwnCall(sequence, layers.Dense(1, "sigmoid")(x))
    x = random_sequences(rng, 5, 20)
    for model in (Subclassed(), own):
        at_starts = ModelAtStarts(model, WindowRange(20, 12), 4)
        assert "layers are not known" in at_starts.plan.fallback
        assert at_starts.plan.plain_flops is None
        assert "nothing is shared" in str(at_starts.plan)
        expected = brute_force(model, x, 12, range(9))
        assert np.allclose(at_starts(ops.convert_to_tensor(x)), expected, atol=1e-6)


class Twice(layers.Conv1D):
    """A subclass may do anything."""

    def call(self, x):
        return 2 * super().call(x) * ops.arange(1.0, 1 + x.shape[1] - 3)[:, None]


def positional(x):
    return x * ops.cast(ops.arange(x.shape[1]), "float32")[:, None]


# name: (what follows a convolution of 18 units and 6 channels, what is said of it)
ENDS = {
    "a subclass": (lambda: Twice(5, 4), "not known"),
    "an activation of one's own": (lambda: layers.Activation(positional), "none of Keras's"),
    "a convolution's": (lambda: layers.Conv1D(3, 4, activation=positional), "none of Keras's"),
    "a depthwise one's": (
        lambda: layers.DepthwiseConv1D(3, activation=positional),
        "none of Keras's",
    ),
    "a dense layer's": (lambda: layers.Dense(5, activation=positional), "none of Keras's"),
    "a layer as a convolution's": (
        lambda: layers.Conv1D(3, 4, activation=layers.Softmax(axis=1)),
        "a layer that may mix",
    ),
    "a layer as an activation": (
        lambda: layers.Activation(layers.PReLU(alpha_initializer="random_normal")),
        "a layer that may mix",
    ),
    "PReLU": (lambda: layers.PReLU(), "not known"),
    "PReLU shared by channels": (lambda: layers.PReLU(shared_axes=[2]), "not known"),
    "BatchNormalization": (lambda: layers.BatchNormalization(axis=1), "not known"),
    "BatchNormalization, from the end": (lambda: layers.BatchNormalization(axis=-2), "not known"),
    "LayerNormalization": (lambda: layers.LayerNormalization(axis=1), "not known"),
    "LayerNormalization, both axes": (
        lambda: layers.LayerNormalization(axis=(1, 2)),
        "not known",
    ),
    "UnitNormalization": (lambda: layers.UnitNormalization(axis=1), "not known"),
    "UnitNormalization, both axes": (lambda: layers.UnitNormalization(axis=(-2, -1)), "not known"),
    "RMSNormalization, both axes": (lambda: layers.RMSNormalization(axis=(1, 2)), "not known"),
    "GroupNormalization": (lambda: layers.GroupNormalization(2), "not known"),
    "Softmax": (lambda: layers.Softmax(axis=1), "not known"),
    "Softmax, both axes": (lambda: layers.Softmax(axis=(1, 2)), "not known"),
    "UpSampling1D": (lambda: layers.UpSampling1D(2), "not known"),
    "Permute": (lambda: layers.Permute((2, 1)), "not known"),
    **{
        f"{make.__name__} of channels": (
            partial(make, *arguments, data_format="channels_first"),
            "not known" if make.__name__.startswith("Global") else "channels_first",
        )
        for make, arguments in (
            (layers.Conv1D, (3, 4)),
            (layers.SeparableConv1D, (3, 4)),
            (layers.DepthwiseConv1D, (4,)),
            (layers.MaxPooling1D, (2,)),
            (layers.AveragePooling1D, (2,)),
            (layers.ZeroPadding1D, ((2, 1),)),
            (layers.GlobalMaxPooling1D, ()),
            (layers.GlobalAveragePooling1D, ()),
        )
    },
}


def check_end(model, kind, said, rng):
    """Predictions at every window, and what a plan says of the one layer where the stem ends."""
    at_starts = ModelAtStarts(model, WindowRange(26, 20), 4)
    check_every_window(at_starts, rng)
    (end,) = at_starts.plan.stem_ends
    assert f"({kind})" in end and said in end


def check_every_window(at_starts, rng):
    windows = at_starts.windows
    x = random_sequences(rng, 4, windows.length)
    expected = brute_force(at_starts.model, x, windows.window, windows.starts)
    assert expected.std() > 1e-4
    assert np.allclose(at_starts(ops.convert_to_tensor(x)), expected, atol=2e-6)


@pytest.mark.parametrize("name", ENDS)
def test_what_is_not_known_ends_the_stem(name, rng):
    if name == "LayerNormalization" and backend() == "torch":
        pytest.skip("Keras itself normalizes no axis but the last ones with PyTorch")
    make, said = ENDS[name]
    end = make()
    check_end(built(20, conv(6, 3), end), type(end).__name__, said, rng)


@pytest.mark.parametrize("axis", [1, -2])
def test_branches_one_behind_the_other_end_the_stem(axis, rng):
    sequence = keras.Input((20, 4))
    branches = [conv(6, 3)(sequence), conv(6, 5)(sequence)]
    x = layers.Flatten()(layers.Concatenate(axis=axis)(branches))
    model = randomized(keras.Model(sequence, layers.Dense(3, "sigmoid")(x)))
    check_end(model, "Concatenate", "not known", rng)


@pytest.mark.parametrize(
    ("end", "said"),
    [
        (lambda x: layers.Cropping1D((0, 18))(x), "crops away all"),
        (lambda x: layers.Cropping1D((18, 0))(x), "crops away all"),
        (lambda x: conv(6, 17, padding="causal")(x), "padding reaches every position"),
        (
            lambda x: layers.Add()(
                [
                    layers.Cropping1D((0, 10))(layers.ZeroPadding1D((10, 0))(x)),
                    layers.Cropping1D((10, 0))(layers.ZeroPadding1D((0, 10))(x)),
                ]
            ),
            "padding reaches every position",
        ),
        (
            lambda x: layers.Subtract()([layers.MaxPooling1D(2)(x), layers.Cropping1D((4, 6))(x)]),
            "different strides",
        ),
    ],
)
def test_where_nothing_is_left_to_share(end, said, rng):
    """Behind a convolution of 20 units, two of them borders at either edge."""
    sequence = keras.Input((20, 4))
    x = layers.Flatten()(end(conv(6, 5, padding="same")(sequence)))
    model = randomized(keras.Model(sequence, layers.Dense(3, "sigmoid")(x)))
    at_starts = ModelAtStarts(model, WindowRange(26, 20), 4)
    check_every_window(at_starts, rng)
    assert said in at_starts.plan.stem_ends[-1]


COLUMN = np.linspace(-1, 1, 18, dtype="float32")[:, None]  # another number at each position


@pytest.mark.parametrize(
    ("operation", "kind"),
    [
        (lambda x: ops.add(x, COLUMN), "Add"),
        (lambda x: ops.multiply(COLUMN, x), "Multiply"),
        (lambda x: ops.maximum(x, x2=ops.convert_to_tensor(COLUMN)), "Maximum"),
        (lambda x: x - keras.Variable(COLUMN), "Subtract"),
        (lambda x: ops.clip(x, COLUMN, COLUMN + 1), "Clip"),
        pytest.param(
            lambda x: ops.clip(x, COLUMN.tolist(), 2),
            "Clip",
            marks=pytest.mark.skipif(backend() != "tensorflow", reason="others take no lists"),
        ),
    ],
)
def test_constants_that_differ_by_position_end_the_stem(operation, kind, rng):
    sequence = keras.Input((20, 4))
    x = operation(layers.Conv1D(6, 3)(sequence))
    model = randomized(keras.Model(sequence, layers.Dense(3, "sigmoid")(layers.Flatten()(x))))
    check_end(model, kind, "not known", rng)


def test_constants_that_are_the_same_everywhere_do_not(rng):
    sequence = keras.Input((20, 4))
    x = ops.clip(2 * layers.Conv1D(6, 3)(sequence) + np.float32(0.1), -1, np.array(1.5))
    model = randomized(keras.Model(sequence, layers.Dense(3, "sigmoid")(layers.Flatten()(x))))
    check_end(model, "Flatten", "", rng)


class OneScale(keras.quantizers.AbsMaxQuantizer):
    """One scale a window, where Keras's own has one for each position."""

    def __call__(self, x, axis=None, **kwargs):
        return super().__call__(x, axis=(1, 2), **kwargs)


def test_a_quantized_layer_ends_the_stem(rng):
    dense = layers.Dense(5)
    model = built(20, conv(6, 3), dense)
    if hasattr(keras.quantizers, "Int8QuantizationConfig"):  # older versions of Keras have none
        config = keras.quantizers.Int8QuantizationConfig(activation_quantizer=OneScale())
        dense.quantize("int8", config=config)
    else:
        dense.quantize("int8")
    check_end(model, "Dense", "it is quantized", rng)


@pytest.mark.parametrize(
    "end",
    [
        layers.GlobalAveragePooling1D,
        partial(layers.LSTM, 4),
        lambda: layers.Bidirectional(layers.LSTM(4)),
    ],
)
def test_a_mask_is_minded(end, rng):
    sequence = keras.Input((20, 4))
    x = conv(6, 3)(sequence)
    x = end()(x, mask=x[..., 0] > 0.1)
    model = randomized(keras.Model(sequence, layers.Dense(3, "sigmoid")(x)))
    check_every_window(ModelAtStarts(model, WindowRange(26, 20), 4), rng)


@pytest.mark.parametrize("pool", [layers.MaxPooling1D, layers.AveragePooling1D])
@pytest.mark.parametrize(("width", "stride"), [(3, 1), (4, 2), (5, 4), (2, 3)])
@pytest.mark.parametrize("end", [layers.Flatten, layers.GlobalMaxPooling1D])
def test_padding_of_pools_holds_nothing(pool, width, stride, end, rng):
    """Features below 0 everywhere: a padding of zeros would be their maximum."""
    stem = conv(6, 3, activation=None)
    model = built(20, stem, pool(width, stride, padding="same"), end())
    stem.bias.assign(stem.bias - 3)
    at_starts = ModelAtStarts(model, WindowRange(29, 20), 4)
    step = at_starts.plan.steps[1]
    counts = backend() == "torch" and pool is layers.AveragePooling1D and width == 5  # pads 1 and 2
    assert step.kind == pool.__name__ and step.how.startswith("once") is not counts
    features = keras.Model(model.inputs, stem.output)
    assert ops.max(features(random_sequences(rng, 4, 20))) < 0
    check_every_window(at_starts, rng)


@pytest.mark.parametrize("name", ZOO)
def test_a_plan_is_made_without_running_anything(name, monkeypatch):
    make, window, _ = ZOO[name]
    model = make(window)

    def called(self, *args, **kwargs):
        raise AssertionError(f"{self.name} was called")

    for kind in (keras.Operation, keras.Layer):
        monkeypatch.setattr(kind, "__call__", called)
    for module in list(sys.modules.values()):
        if module.__name__.startswith("tfbs_shift.scanning.") and hasattr(module, "ops"):
            monkeypatch.delattr(module, "ops")  # there is nothing to compute with
    for tries in (None, 1):
        plan = plan_scan(model, window + 31, tries=tries)
        assert plan.steps and plan.rows >= 16


def test_figures_of_a_plan_by_hand():
    """Valid convolution 128 x 24, global max pool, dense 10: 1000 of 1200 bp."""
    model = built(1000, conv(128, 24), layers.GlobalMaxPooling1D(), labels=10)
    plan = plan_scan(model, 1200)
    assert plan.starts == 201
    assert plan.plain_flops == 2 * 201 * (977 * 24 * 4 * 128 + 128 * 10)
    assert plan.shared_flops == 2 * (1177 * 24 * 4 * 128 + 201 * 128 * 10)
    assert [(s.kind, s.how) for s in plan.steps] == [
        ("Conv1D", "once"),
        ("GlobalMaxPooling1D", "once, as a sliding window"),
        ("Dense", "for each window"),
    ]
    bounded = plan_scan(model, 1200, max_shift=3)
    assert bounded.shared_flops == 2 * ((977 + 6) * 24 * 4 * 128 + 7 * 128 * 10)
    assert "GlobalMaxPooling1D" in str(plan) and "total" in str(plan)


def test_a_deep_dilated_tower_is_shared_whole(rng):
    model = residual_dilated(240, rates=(1, 2, 4, 8, 16))
    at_starts = ModelAtStarts(model, WindowRange(280, 240), 4)
    assert [step.how for step in at_starts.plan.steps if step.kind == "Conv1D"] == [
        "once, borders for each window"
    ] * 11
    assert at_starts.plan.shared_flops < 0.7 * at_starts.plan.plain_flops
    x = random_sequences(rng, 2, 280)
    expected = brute_force(model, x, 240, range(41))
    assert np.allclose(at_starts(ops.convert_to_tensor(x)), expected, atol=5e-6)


def test_figures_of_tbinets_plan_by_hand():
    plan = plan_scan(models.tbinet(1000), 1200)
    lstm_plain = 2 * 75 * (320 + 320) * 1280
    head = 75 * 640 * 695 + 695 * 690
    plain = 975 * 26 * 4 * 320 + 75 * 320 + lstm_plain + head
    assert plan.plain_flops == 2 * 201 * plain
    positions = 201 + 13 * 74  # pooled, of all phases
    once = (201 + 974) * 26 * 4 * 320 + positions * (320 + 2 * 320 * 1280)
    assert plan.shared_flops == 2 * (once + 201 * (2 * 75 * 320 * 1280 + head))
    (end,) = plan.stem_ends
    assert "Permute" in end


def test_a_few_starts_are_not_worth_sharing():
    model = models.tbinet(1000)
    few = plan_scan(model, 1200, tries=2)
    assert few.shared_flops <= few.plain_flops
    one = plan_scan(model, 1200, tries=1)
    assert one.shared_flops == one.plain_flops
    assert "would cost more than 1 windows do" in str(one)


def test_several_inputs_are_refused():
    one, two = keras.Input((12, 4)), keras.Input((12, 4))
    x = layers.Flatten()(layers.Concatenate()([one, two]))
    model = keras.Model([one, two], layers.Dense(1, "sigmoid")(x))
    with pytest.raises(InputError, match=r"has several inputs .*; one sequence is wanted"):
        plan_scan(model, 20)


def test_no_trace_is_left_in_the_model(rng):
    model = models.cnn(20)
    nodes = [len(layer._inbound_nodes) for layer in model.layers]
    policies = [layer.dtype_policy.name for layer in model.layers]
    x, y = random_sequences(rng, 4, 26), random_labels(rng, 4, 2, "categorical")
    scan(model, x, y, precision="bfloat16")
    assert [len(layer._inbound_nodes) for layer in model.layers] == nodes
    assert [layer.dtype_policy.name for layer in model.layers] == policies


@pytest.mark.parametrize("name", ["cnn", "tbinet", "residual dilated"])
def test_screening_in_bfloat16_finds_float32s_worst(name, rng):
    make, window, _ = ZOO[name]
    model = make(window)
    for variable in model.weights[-2:]:  # losses that differ from start to start
        variable.assign(5 * variable)  # float32 itself would round 1 - p of larger logits
    x = random_sequences(rng, 40, window + 20)
    labels = int(model.output_shape[1])
    y = random_labels(rng, 40, labels, "categorical" if name == "cnn" else "binary")
    exact = scan(model, x, y)
    screened = scan(model, x, y, precision="bfloat16")
    same = partial(np.allclose, atol=1e-5)
    assert same(screened.worst_loss, exact.worst_loss)
    at_worst = np.take_along_axis(exact.loss, screened.worst_start[:, None], 1)[:, 0]
    assert same(at_worst, exact.worst_loss)
    found = screened.screening
    assert exact.screening is None
    assert found.again.shape == exact.loss.shape
    assert found.again.any(axis=1).all() and 16 <= found.again.all(axis=1).sum() < 40
    assert same(screened.loss[found.again], exact.loss[found.again])
    assert not found.unsure.any()
    # the rest is bfloat16
    rest = (screened.loss - exact.loss)[~found.again]
    assert np.abs(rest).max() > 1e-4
    assert "computed again in float32" in str(found)


@pytest.mark.parametrize("apart", [False, True])
def test_bfloat16_leaves_probabilities_float32(apart, rng):
    """8 bits would make 1 - p of a large logit 0, and its loss endless."""
    activation = keras.Sequential([layers.Activation("sigmoid")]) if apart else "sigmoid"
    model = keras.Sequential([keras.Input((20, 4)), layers.Conv1D(4, 5), layers.Flatten()])
    last = layers.Dense(1, activation=None if apart else activation)
    model.add(last)
    if apart:
        model.add(activation)
    last.bias.assign([8.0])
    x = ops.convert_to_tensor(random_sequences(rng, 6, 30).astype("float32"))
    windows = WindowRange(30, 20)
    exact = np.asarray(ModelAtStarts(model, windows, 4)(x))
    found = np.asarray(ModelAtStarts(model, windows, 4, precision="bfloat16")(x))
    assert exact.max() > 0.998 and not np.array_equal(found, exact)
    assert np.allclose(np.log1p(-found), np.log1p(-exact), atol=0.05)


@pytest.mark.parametrize("name", ["cnn", "tbinet", "danq"])
def test_new_weights_are_seen(name, rng):
    make, window, _ = ZOO[name]
    model = make(window)
    labels = int(model.output_shape[1])
    x = random_sequences(rng, 5, window + 6)
    y = random_labels(rng, 5, labels, "categorical" if name == "cnn" else "binary")
    before = scan(model, x, y).loss
    for variable in model.trainable_weights:
        variable.assign(variable + 0.1 * rng.standard_normal(variable.shape))
    after = scan(model, x, y).loss
    assert not np.allclose(after, before, atol=1e-3)
    fresh = keras.models.clone_model(model)
    fresh.set_weights(model.get_weights())
    assert np.allclose(after, scan(fresh, x, y).loss, atol=1e-6)


def test_unknown_precision(rng):
    x, y = random_sequences(rng, 4, 26), np.ones(4)
    with pytest.raises(InputError, match="precision 'int8': want one of float32, bfloat16"):
        scan(models.cnn(20), x, y, precision="int8")


@pytest.mark.parametrize("then", [lambda x: ops.log(1 + x), lambda x: ops.exp(x) - 1])
def test_what_tensorflow_optimises_wrongly(then, rng):
    """It takes then(concat(relu(a), relu(b))) for then(concat(a, b))."""
    sequence = keras.Input((20, 4))
    x = layers.Concatenate()([conv(4, 3)(sequence), conv(4, 3)(sequence)])
    x = layers.MaxPooling1D(2)(then(x))
    model = randomized(
        keras.Model(sequence, layers.Dense(3, "sigmoid")(layers.Flatten()(x))), seed=1
    )
    x, y = random_sequences(rng, 5, 26), random_labels(rng, 5, 3, "binary")
    p = brute_force(model, x, 20, range(7))
    loss = -np.where(y[:, None] > 0, np.log(p), np.log1p(-p)).mean(axis=2)
    assert np.allclose(scan(model, x, y).loss, loss, atol=1e-5)


def test_what_tensorflow_optimises_wrongly_in_a_loss(rng):
    sequence = keras.Input((20, 4))
    x = layers.GlobalMaxPooling1D()(conv(8, 5)(sequence))
    heads = [layers.Dense(1, "softplus")(x) for _ in range(3)]
    model = randomized(keras.Model(sequence, layers.Concatenate()(heads)))
    model.compile(loss=lambda y, p: ops.mean(ops.square(ops.log(p + 1.0) - y), axis=-1))
    x, y = random_sequences(rng, 5, 26), rng.gamma(1, 1, (5, 3)).astype("float32")
    p = brute_force(model, x, 20, range(7))
    loss = np.square(np.log1p(p) - y[:, None]).mean(axis=2)
    assert np.allclose(scan(model, x, y).loss, loss, atol=1e-5)


def test_what_tensorflow_optimises_wrongly_in_a_loop():
    def step(rows):
        return ops.log(ops.concatenate([ops.relu(rows), ops.relu(-rows)]) + 1.0)

    x = np.linspace(-2, 2, 12, dtype="float32").reshape(3, 4)
    found = compiled(lambda x: mapped(step, x, "float32"))(x)
    expected = np.log1p(np.concatenate([np.maximum(x, 0), np.maximum(-x, 0)], axis=1))
    assert np.allclose(found, expected, atol=1e-6)
