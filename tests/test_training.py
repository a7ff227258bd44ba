import keras
import numpy as np
import pytest
from keras import layers, ops

from tfbs_shift import (
    InputError,
    NoShift,
    PaperWorstShift,
    RandomShift,
    ShiftTrainer,
    WorstShift,
    data,
    models,
    scan,
    sequences,
)
from tfbs_shift.models.architectures import ActivityL1
from tfbs_shift.training.callbacks import KeepBest

from .conftest import (
    WINDOW,
    ZOO,
    Subclassed,
    functional,
    random_labels,
    random_sequences,
    sequential,
)
from .test_scanning import one_position_detector

SLACK = 5
BATCH = 8
# PyTorch's compiler takes a minute for each.
_COMPILED_MARKS = [pytest.mark.slow] if keras.backend.backend() == "torch" else []
# Without it, JAX runs one operation after the other: minutes.
JIT = (
    [True]
    if keras.backend.backend() == "jax"
    else [False, pytest.param(True, marks=_COMPILED_MARKS)]
)
_COMPILED = ("several sigmoids", "subclassed", "nested")
"""Those that are compiled as one, too, where that is not the only way."""


@pytest.fixture
def batch(rng):
    x = random_sequences(rng, BATCH, WINDOW + SLACK)
    return x, random_labels(rng, BATCH, 2, "categorical").astype("float32")


def cropped(x, starts):
    return np.stack([row[s : s + WINDOW] for row, s in zip(x, starts, strict=True)]).astype("f4")


def weights_after_a_plain_step(model, x, y, **options):
    model.compile(keras.optimizers.SGD(0.5), "categorical_crossentropy")
    model.fit(x, y, batch_size=BATCH, shuffle=False, verbose=0, **options)
    return model.get_weights()


def weights_after_a_shifted_step(model, strategy, x, y, jit=JIT[0], **options):
    trainer = ShiftTrainer(model, strategy)
    trainer.compile(keras.optimizers.SGD(0.5), "categorical_crossentropy", jit_compile=jit)
    trainer.fit(x, y, batch_size=BATCH, shuffle=False, verbose=0, **options)
    return model.get_weights()


def assert_same(ours, theirs):
    for a, b in zip(ours, theirs, strict=True):
        assert np.allclose(a, b, atol=1e-6)


def copies(make=functional):
    one, other = make(), make()
    other.set_weights(one.get_weights())
    return one, other


@pytest.mark.parametrize("jit", JIT)
def test_a_step_on_the_worst_window_is_keras_own_step_there(batch, jit):
    """The starts come from scan; the step from Keras on windows cropped by numpy."""
    x, y = batch
    ours, theirs = copies()
    starts = scan(theirs, x, y).worst_start
    assert len(set(starts)) > 1
    expected = weights_after_a_plain_step(theirs, cropped(x, starts), y)
    assert_same(weights_after_a_shifted_step(ours, WorstShift(), x, y, jit), expected)


def test_windows_may_be_chosen_in_bfloat16():
    """A C at one position of the window makes its loss 20 times any other's: no rounding hides it.

    The step itself is float32's: the weights after it are the same to the last bits.
    """
    starts = np.arange(SLACK + 1)
    codes = np.zeros((SLACK + 1, WINDOW + SLACK), int)
    codes[starts, 3 + starts] = 1
    x, y = sequences.one_hot(codes), np.ones((SLACK + 1, 1), "float32")
    weights = []
    for precision in ("float32", "bfloat16"):
        model = one_position_detector(3)
        assert scan(model, x, y).worst_start.tolist() == starts.tolist()
        trainer = ShiftTrainer(model, WorstShift(precision=precision))
        trainer.compile(keras.optimizers.SGD(0.5), "binary_crossentropy")
        trainer.fit(x, y, batch_size=len(x), verbose=0)
        weights.append(model.get_weights())
        untrained = one_position_detector(3).get_weights()
        assert not np.allclose(model.get_weights()[1], untrained[1], atol=0.1)
    assert_same(*weights)
    with pytest.raises(InputError, match="precision 'int8': want one of float32, bfloat16"):
        WorstShift(precision="int8")


class Seen(keras.layers.Layer):
    """Notes what it is computed in."""

    def call(self, x):
        self.seen = getattr(self, "seen", set()) | {keras.backend.standardize_dtype(x.dtype)}
        return x


@pytest.mark.parametrize(("policy", "near"), [("mixed_bfloat16", 0.1), ("mixed_float16", 0.0125)])
@pytest.mark.parametrize("strategy", [NoShift, lambda: RandomShift(1)])
def test_mixed_precision(policy, near, strategy, batch):
    """Steps compute in 16 bits and come close to float32's (float16 has 3 bits more, 8 times
    nearer); all that stays is float32."""
    x, y = batch
    weights = []
    for dtype in ("float32", policy):
        keras.utils.set_random_seed(1)
        inputs = keras.Input((WINDOW, 4))
        seen = Seen()
        # Smooth: a ReLU that flips on another processor's rounding moves all.
        z = seen(keras.layers.Conv1D(8, 5, activation="tanh")(inputs))
        z = keras.layers.Dense(2, "softmax")(keras.layers.Flatten()(z))
        model = keras.Model(inputs, z)
        before = model.get_weights()
        seen.seen = set()
        trainer = ShiftTrainer(model, strategy(), dtype=dtype)
        trainer.compile(keras.optimizers.SGD(0.5), "categorical_crossentropy", jit_compile=JIT[0])
        for _ in range(3):
            trainer.fit(x, y, batch_size=BATCH, verbose=0)
        assert dtype.removeprefix("mixed_") in seen.seen
        weights.append([a - b for a, b in zip(model.get_weights(), before, strict=True)])
        seen.seen = set()
        assert np.isfinite(trainer.evaluate(x, y, verbose=0))
        assert seen.seen == {"float32"}
        assert {w.dtype for w in model.weights} == {"float32"}
        assert model.dtype_policy.name == "float32"
    for ours, theirs in zip(*weights, strict=True):
        assert np.linalg.norm(ours - theirs) < near * np.linalg.norm(ours)
    assert not all(np.array_equal(a, b) for a, b in zip(*weights, strict=True))


@pytest.mark.parametrize(("dtype", "ends"), [("float32", True), ("mixed_float16", False)])
def test_a_loss_that_is_no_number_ends_training(dtype, ends, tmp_path, capsys):
    """Whatever validation says; only a scaled loss may overflow in a step that is left out."""
    trainer = ShiftTrainer(functional(), NoShift(), dtype=dtype)
    trainer.compile("sgd", "categorical_crossentropy")
    best = KeepBest(tmp_path / "best.keras")
    best.set_model(trainer)
    best.on_epoch_end(0, {"loss": np.nan, "val_loss": 0.7})
    assert trainer.stop_training is ends
    assert (tmp_path / "best.keras").exists() is not ends
    assert ("epoch 1: the loss is no number any more" in capsys.readouterr().out) is ends


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_regularisation_in_mixed_precision(policy, batch):
    """Of outputs in 16 bits, whose sum float16 cannot hold, and of weights in 32."""
    x, y = batch
    terms = []
    for dtype in ("float32", policy):
        keras.utils.set_random_seed(1)
        inputs = keras.Input((WINDOW, 4))
        z = keras.layers.Conv1D(
            64, 5, kernel_initializer=keras.initializers.RandomNormal(stddev=60),
            activity_regularizer=ActivityL1(1e-5), kernel_regularizer="l2",
        )(inputs)  # fmt: skip
        z = keras.layers.Dense(4, activity_regularizer="l2")(keras.layers.GlobalMaxPooling1D()(z))
        model = keras.Model(inputs, keras.layers.Dense(2, "softmax")(z))
        trainer = ShiftTrainer(model, WorstShift(), dtype=dtype)
        trainer.compile(keras.optimizers.SGD(1e-9), "categorical_crossentropy", jit_compile=JIT[0])
        terms.append(trainer.fit(x, y, batch_size=BATCH, verbose=0).history["loss"])
    outputs = keras.Model(inputs, model.layers[1].output).predict(x[:, :WINDOW], verbose=0)
    assert np.abs(outputs).sum() > np.finfo(np.float16).max
    assert terms[1] == pytest.approx(terms[0], rel=0.01)


def test_float16_scales_the_loss(batch):
    """Gradients that would vanish in float16 arrive; a step that overflows is left out."""
    x, y = batch
    one, other = copies()
    changes = []
    for model, dtype in ((one, "float32"), (other, "mixed_float16")):
        trainer = ShiftTrainer(model, WorstShift(), dtype=dtype)
        trainer.compile(keras.optimizers.SGD(1e6), "categorical_crossentropy", jit_compile=JIT[0])
        before = model.get_weights()
        tiny = np.full(BATCH, 1e-7, "float32")  # below float16's smallest normal number
        trainer.fit(x, y, sample_weight=tiny, batch_size=BATCH, verbose=0)
        changes.append([a - b for a, b in zip(model.get_weights(), before, strict=True)])
    assert isinstance(trainer.optimizer, keras.optimizers.LossScaleOptimizer)
    for ours, theirs in zip(*changes, strict=True):
        assert np.abs(ours).max() > 1e-3
        assert np.allclose(ours, theirs, atol=0.05 * np.abs(ours).max())
    before, scale = other.get_weights(), float(trainer.optimizer.dynamic_scale)
    huge = np.full(BATCH, 1e6, "float32")
    trainer.fit(x, y, sample_weight=huge, batch_size=BATCH, verbose=0)
    assert all(np.array_equal(a, b) for a, b in zip(other.get_weights(), before, strict=True))
    assert float(trainer.optimizer.dynamic_scale) == scale / 2


@pytest.mark.parametrize(
    ("kind", "tries"), [(WorstShift, 2), (WorstShift, 4), (PaperWorstShift, 4)]
)
def test_a_step_on_the_worst_of_n(kind, tries, batch):
    x, y = batch
    ours, theirs = copies()
    found = scan(theirs, x, y)
    drawn = np.asarray(kind(tries, seed=9).candidates(BATCH, found.windows))
    worst = np.take_along_axis(found.loss, drawn, axis=1).argmax(axis=1)
    starts = drawn[range(BATCH), worst]
    if kind is PaperWorstShift:
        starts = np.where(worst == 0, 0, starts)
        assert 0 < (worst == 0).sum() < BATCH
    expected = weights_after_a_plain_step(theirs, cropped(x, starts), y)
    assert_same(weights_after_a_shifted_step(ours, kind(tries, seed=9), x, y), expected)


def test_the_worst_is_chosen_by_the_loss_that_is_trained(batch):
    """With the labels turned round by the loss, the other end of the ranking is the worst."""
    x, y = batch

    def turned(y, p):
        return keras.losses.categorical_crossentropy(1 - y, p)

    model = functional()
    trainer = ShiftTrainer(model, WorstShift())
    trainer.compile("sgd", turned)
    assert trainer.evaluate(x, y, verbose=0) == pytest.approx(
        scan(model, x, 1 - y).worst_loss.mean(), abs=1e-5
    )


@pytest.mark.parametrize("weighting", ["sample", "class"])
@pytest.mark.parametrize("shift", ["none", "worst"])
def test_weights_stay_keras_business(batch, weighting, shift):
    x, y = batch
    ours, theirs = copies()
    options = (
        {"sample_weight": np.linspace(0, 3, BATCH)}
        if weighting == "sample"
        else {"class_weight": {0: 0.25, 1: 4.0}}
    )
    strategy = NoShift() if shift == "none" else WorstShift()
    starts = scan(theirs, x, y).worst_start if shift == "worst" else [SLACK // 2] * BATCH
    expected = weights_after_a_plain_step(theirs, cropped(x, starts), y, **options)
    assert_same(weights_after_a_shifted_step(ours, strategy, x, y, **options), expected)
    unweighted = weights_after_a_plain_step(copies()[1], cropped(x, starts), y)
    assert not all(np.allclose(a, b) for a, b in zip(expected, unweighted, strict=True))


@pytest.mark.parametrize(
    ("name", "jit"),
    [(name, JIT[0]) for name in ZOO]
    + [pytest.param(name, True, marks=_COMPILED_MARKS) for name in _COMPILED if len(JIT) > 1],
)
def test_anybodys_model_trains(name, jit, rng):
    model, loss, width, window = ZOO[name]()
    x = random_sequences(rng, 20, WINDOW + SLACK)
    y = random_labels(rng, 20, width, loss)
    trainer = ShiftTrainer(model, WorstShift(), RandomShift(1), window=window)
    trainer.compile(keras.optimizers.Adam(0.01), loss, metrics=["accuracy"], jit_compile=jit)
    history = trainer.fit(x, y, batch_size=10, epochs=12, verbose=0, validation_data=(x, y)).history
    assert history["loss"][-1] < history["loss"][0]
    assert min(history["val_loss"][1:]) < history["val_loss"][0]
    assert set(history) == {"accuracy", "loss", "val_accuracy", "val_loss"}
    found = scan(trainer, x, y)
    assert trainer.predict(x, verbose=0).shape == (20, width)
    audit = ShiftTrainer(model, WorstShift(), window=window)
    audit.compile("sgd", loss, jit_compile=jit)
    assert audit.evaluate(x, y, batch_size=10, verbose=0) == pytest.approx(
        found.worst_loss.mean(), abs=1e-5
    )


def test_validation_is_shifted_by_its_own_strategy(batch):
    x, y = batch
    model = functional()
    losses = scan(model, x, y)
    for validation, expected in (
        (None, losses.worst_loss),  # like training, as in the paper
        (WorstShift(), losses.worst_loss),
        (NoShift(), losses.loss[:, SLACK // 2]),
    ):
        trainer = ShiftTrainer(model, WorstShift(), validation)
        trainer.compile("sgd", "categorical_crossentropy")
        assert trainer.evaluate(x, y, batch_size=3, verbose=0) == pytest.approx(
            expected.mean(), abs=1e-5
        )


def test_bounds(batch):
    x, y = batch
    model = functional()
    trainer = ShiftTrainer(model, WorstShift(), max_shift=1)
    trainer.compile("sgd", "categorical_crossentropy")
    expected = scan(model, x, y, max_shift=1).worst_loss.mean()
    assert trainer.evaluate(x, y, verbose=0) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("strategy", [NoShift(), RandomShift(1), WorstShift(), WorstShift(3, 1)])
def test_no_slack(strategy, rng):
    """Sequences as long as the window: every strategy is plain training."""
    x = random_sequences(rng, BATCH, WINDOW)
    y = random_labels(rng, BATCH, 2, "categorical").astype("float32")
    ours, theirs = copies()
    expected = weights_after_a_plain_step(theirs, x.astype("float32"), y)
    assert_same(weights_after_a_shifted_step(ours, strategy, x, y), expected)


def test_random_shifts_differ_from_step_to_step(batch):
    """A learning rate of 0 keeps the model: only the windows make the loss change."""
    x, y = batch
    trainer = ShiftTrainer(functional(), RandomShift(seed=1))
    trainer.compile(keras.optimizers.SGD(0.0), "categorical_crossentropy")
    losses = trainer.fit(x, y, epochs=5, shuffle=False, verbose=0).history["loss"]
    assert len(set(losses)) == 5


def train_a_run(strategy, seed):
    keras.utils.set_random_seed(seed)
    model = models.cnn(30)
    examples = data.synthetic(24, length=36, seed=1)
    trainer = ShiftTrainer(model, strategy(seed), RandomShift(seed + 1))
    trainer.compile(
        keras.optimizers.Adam(1e-3), "categorical_crossentropy", metrics=["accuracy"],
        jit_compile=JIT[0],
    )  # fmt: skip
    batches = examples.as_dataset(16, shuffle=True, seed=seed)
    history = trainer.fit(batches, validation_data=batches, epochs=2, shuffle=False, verbose=0)
    return history.history, model.get_weights()


@pytest.mark.parametrize("strategy", [RandomShift, lambda s: WorstShift(3, s)])
def test_same_seed_same_run_to_the_bit(strategy):
    (history, weights), (again, same) = train_a_run(strategy, 3), train_a_run(strategy, 3)
    assert history == again
    assert all(np.array_equal(a, b) for a, b in zip(weights, same, strict=True))
    other, _ = train_a_run(strategy, 4)
    assert other["loss"] != history["loss"]


def test_tf_data_arrays_and_eager_agree(batch):
    import tensorflow as tf

    x, y = batch
    one, other = copies()
    third = keras.models.clone_model(one)
    third.set_weights(one.get_weights())
    expected = weights_after_a_shifted_step(one, WorstShift(), x, y)
    for model, eager in ((other, False), (third, True)):
        trainer = ShiftTrainer(model, WorstShift())
        trainer.compile(
            keras.optimizers.SGD(0.5), "categorical_crossentropy", run_eagerly=eager,
            jit_compile=False,
        )  # fmt: skip
        trainer.fit(tf.data.Dataset.from_tensor_slices((x, y)).batch(BATCH), verbose=0)
        assert_same(model.get_weights(), expected)


def test_callbacks(batch, tmp_path):
    """The checkpoint is a plain Keras model, and early stopping puts the best weights back."""
    x, y = batch
    model = functional()
    trainer = ShiftTrainer(model, WorstShift())
    trainer.compile(keras.optimizers.SGD(50.0), "categorical_crossentropy")  # gets worse
    before = trainer.evaluate(x, y, verbose=0)
    trainer.fit(
        x, y, epochs=4, verbose=0, validation_data=(x, y),
        callbacks=[
            keras.callbacks.ModelCheckpoint(tmp_path / "best.keras", save_best_only=True),
            keras.callbacks.EarlyStopping(patience=1, restore_best_weights=True),
            keras.callbacks.CSVLogger(tmp_path / "history.csv"),
        ],
    )  # fmt: skip
    saved = keras.models.load_model(tmp_path / "best.keras")
    assert saved.input_shape == (None, WINDOW, 4)
    assert_same(saved.get_weights(), model.get_weights())
    assert before != pytest.approx(trainer.evaluate(x, y, verbose=0))
    assert (tmp_path / "history.csv").read_text().startswith("epoch,loss,val_loss")


def test_a_compiled_model_is_taken_as_compiled(batch):
    x, y = batch
    model = functional()
    model.compile(keras.optimizers.SGD(0.25), "categorical_crossentropy", metrics=["accuracy"])
    trainer = ShiftTrainer(model, NoShift())
    assert float(trainer.optimizer.learning_rate) == 0.25
    assert trainer.optimizer is not model.optimizer
    assert set(trainer.fit(x, y, verbose=0).history) == {"accuracy", "loss"}
    plain = model.evaluate(x[:, 2 : 2 + WINDOW].astype("f4"), y, verbose=0)
    assert trainer.evaluate(x, y, verbose=0) == pytest.approx(plain, abs=1e-6)


def test_predict_reads_the_centre_window_or_a_window(batch):
    x, _ = batch
    model = sequential()
    trainer = ShiftTrainer(model, WorstShift())
    centre = x[:, 2 : 2 + WINDOW].astype("float32")
    expected = model.predict(centre, verbose=0)
    assert np.allclose(trainer.predict(x, verbose=0), expected, atol=1e-6)
    assert np.allclose(trainer.predict(centre, verbose=0), expected, atol=1e-6)


def test_dropout_does_not_choose(rng):
    """The attack sees the model as at inference: with dropout 0.5 it still finds scan's worst."""
    x = random_sequences(rng, 30, WINDOW + SLACK)
    y = random_labels(rng, 30, 2, "categorical")
    model = Subclassed()
    trainer = ShiftTrainer(model, WorstShift(), window=WINDOW)
    trainer.compile("sgd", "categorical_crossentropy")
    expected = scan(model, x, y, window=WINDOW).worst_loss
    shifted, _, _ = trainer._shifted((x, y), trainer.strategy)
    p = model.predict(np.asarray(shifted), verbose=0)
    assert -np.log((p * y).sum(axis=1)) == pytest.approx(expected, abs=1e-5)


def test_what_does_not_fit(batch):
    x, y = batch
    trainer = ShiftTrainer(functional(), WorstShift())
    with pytest.raises(ValueError, match="compile"):
        trainer.fit(x, y)
    trainer.compile("sgd", "categorical_crossentropy")
    with pytest.raises(InputError, match="window 12: longer than the sequences, which have 11"):
        trainer.fit(x[:, :11], y, verbose=0)
    with pytest.raises(InputError, match="its input length is free"):
        ShiftTrainer(functional(window=None), NoShift())
    bare = ShiftTrainer(functional(), WorstShift())
    bare.compile("sgd")
    with pytest.raises(InputError, match="no loss: give one to compile"):
        bare.fit(x, y, verbose=0)


def log_error(y, p):
    return ops.sum((ops.log(p + 1) - y) ** 2, axis=1)


def test_a_loss_of_logarithms_is_computed_as_written(rng):
    """TensorFlow 2.21 takes log(concat(relu(a), relu(b)) + 1) for log1p(concat(a, b))."""
    sequence = keras.Input((WINDOW, 4))
    h = layers.Flatten()(sequence)
    heads = [layers.Dense(1, "relu", kernel_initializer="random_normal")(h) for _ in range(5)]
    model = keras.Model(sequence, layers.Concatenate()(heads))
    x, y = random_sequences(rng, 8, WINDOW), rng.random((8, 5)).astype("f4")
    trainer = ShiftTrainer(model, NoShift())
    trainer.compile("sgd", log_error)
    p = keras.ops.convert_to_numpy(model(x.astype("f4")))
    assert (p == 0).any()
    expected = ((np.log(p + 1) - y) ** 2).sum(axis=1).mean()
    assert trainer.evaluate(x, y, verbose=0) == pytest.approx(expected, rel=1e-5)


def test_losses_of_probabilities_are_keras_own_to_the_bit(rng):
    """Keras takes the logits behind a softmax, where it finds them: saturated ones still learn."""
    sequence = keras.Input((WINDOW, 4))
    logits = layers.Dense(2, kernel_initializer="random_normal")(layers.Flatten()(sequence))
    model = keras.Model(sequence, layers.Softmax()(layers.Rescaling(1000.0)(logits)))
    x, y = random_sequences(rng, 8, WINDOW).astype("f4"), np.eye(2, dtype="f4")[np.arange(8) % 2]
    model.compile("sgd", "categorical_crossentropy")
    trainer = ShiftTrainer(model, NoShift())
    trainer.compile("sgd", "categorical_crossentropy")
    assert trainer.evaluate(x, y, verbose=0) == model.evaluate(x, y, verbose=0)
