"""Every kind of model and of predictions, beside a loop over what it predicts of each window."""

import warnings
from collections import OrderedDict

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import layers, ops
from scipy import stats

from tfbs_shift import (
    InputError,
    NoShift,
    Output,
    RandomShift,
    ShiftAudit,
    ShiftTrainer,
    WorstShift,
    evaluate,
    plan_scan,
    scan,
)
from tfbs_shift.evaluation import statistics
from tfbs_shift.scanning import predictors
from tfbs_shift.tasks import Classes, Labels, Unlabelled, Values
from tfbs_shift.tasks.correlations import correlations, midranks

from .conftest import WINDOW, functional, random_sequences
from .test_evaluation import Failing

COUNT = 7


@pytest.fixture
def x(rng):
    return random_sequences(rng, COUNT, WINDOW + 3)


def windows_of(x):
    """Every window, (S, N, L, C), from the first start to the last."""
    starts = range(x.shape[1] - WINDOW + 1)
    return np.stack([x[:, s : s + WINDOW] for s in starts]).astype("float32")


def predicted(model, x):
    """(N, S, ...) by the model's own call."""
    return np.stack([ops.convert_to_numpy(model(w)) for w in windows_of(x)], axis=1)


def body():
    sequence = keras.Input((WINDOW, 4))
    return sequence, layers.Conv1D(8, 5, padding="same", activation="relu")(sequence)


def head(x, units=1, activation=None, name=None):
    dense = layers.Dense(units, activation, kernel_initializer="random_normal", name=name)
    return dense(layers.GlobalMaxPooling1D()(x))


def two_heads(as_dict=True, compiled=True):
    sequence, x = body()
    profile = layers.Conv1D(2, 3, padding="same", name="profile")(x)
    outputs = {"profile": profile, "counts": head(x, 1, "softplus", name="counts")}
    model = keras.Model(sequence, outputs if as_dict else [*outputs.values()])
    if compiled:
        losses = {"profile": "mse", "counts": keras.losses.Poisson()}
        weights = {"profile": 0.25, "counts": 2.0}
        if not as_dict:
            losses, weights = [*losses.values()], [*weights.values()]
        model.compile("sgd", losses, loss_weights=weights)
    return model


class TwoHeads(keras.Model):
    """Without a structure to look into."""

    def __init__(self):
        super().__init__()
        self.conv = layers.Conv1D(2, 5, padding="same")
        self.flat, self.dense = layers.Flatten(), layers.Dense(1)

    def call(self, x):
        h = self.conv(x)
        return {"profile": h, "counts": self.dense(self.flat(h))}


# ---- functions ----


def pooled(windows):
    """Of numpy alone, (b, 3)."""
    weights = np.random.default_rng(1).normal(size=(WINDOW, 4, 3)).astype("f4")
    return np.einsum("blc,lck->bk", windows, weights)


@pytest.mark.parametrize("slack", [0, 1, 4])
@pytest.mark.parametrize("batch_size", [1, 3, None])
def test_a_function(slack, batch_size, rng):
    x = random_sequences(rng, COUNT, WINDOW + slack)
    y = rng.normal(size=(COUNT, 3))
    found = scan(pooled, x, y, window=WINDOW, task="values", batch_size=batch_size)
    expected = ((predicted(pooled, x) - y[:, None]) ** 2).mean(axis=2)
    assert np.allclose(found.loss, expected, rtol=1e-5)
    assert found.worst_start.tolist() == expected.argmax(axis=1).tolist()


def test_more_windows_than_are_run_at_once(rng):
    """Blocks have one shape: the last one is filled up."""
    x, y = random_sequences(rng, 75, WINDOW + 4), rng.normal(size=(75, 3))
    shapes = []

    def counted(windows):
        shapes.append(windows.shape)
        return pooled(windows)

    found = scan(counted, x, y, window=WINDOW, batch_size=75)
    expected = ((predicted(pooled, x) - y[:, None]) ** 2).mean(axis=2)
    assert np.allclose(found.loss, expected, rtol=1e-5)
    assert [len(shape) for shape in shapes] == [3] * 4
    assert shapes[2] == shapes[3] == (256, WINDOW, 4)  # the first two look at a few, and at one


@pytest.mark.parametrize(
    ("function", "output"),
    [
        (lambda w: pooled(w)[:, 0], None),
        (lambda w: pooled(w)[:, :1], None),
        (lambda w: pooled(w), lambda p: p[:, 0]),
        (lambda w: {"b": pooled(w)[:, :1], "a": pooled(w)[:, 1:]}, "b"),
        (lambda w: {"b": pooled(w)[:, :1], "a": pooled(w)[:, 1:]}, lambda p: p["b"]),
        (lambda w: [pooled(w)[:, 1:], pooled(w)[:, :1]], 1),
        (lambda w: [pooled(w)[:, 1:], pooled(w)[:, :1]], "1"),
        (lambda w: (pooled(w)[:, 1:], pooled(w)[:, :1]), lambda p: ops.squeeze(p[1], 1)),
        (lambda w: ops.convert_to_tensor(pooled(w)[:, :1]), None),
        (lambda w: [pooled(w)[:, :1]], None),
        (lambda w: {"only": pooled(w)[:, :1]}, None),
        (lambda w: OrderedDict(b=pooled(w)[:, :1], a=pooled(w)[:, 1:]), "b"),
        (lambda w: OrderedDict(b=pooled(w)[:, :1], a=pooled(w)[:, 1:]), 0),
        (lambda w: pooled(w)[:, None, :1] * np.ones((1, 5, 1)), Output(positions="mean")),
    ],
)
def test_whatever_a_function_returns(function, output, x, rng):
    y = rng.normal(size=COUNT)
    found = scan(function, x, y, window=WINDOW, output=output)
    assert np.allclose(found.loss, (predicted(pooled, x)[..., 0] - y[:, None]) ** 2, rtol=1e-4)


def test_a_function_is_handed_a_copy(x, rng):
    """One that writes into its windows spoils nothing."""

    def careless(windows):
        result = pooled(windows)
        windows[:] = 0
        return result

    y, before = rng.normal(size=(COUNT, 3)), x.copy()
    found = scan(careless, x, y, window=WINDOW)
    assert np.array_equal(found.loss, scan(pooled, x, y, window=WINDOW).loss)
    assert np.array_equal(x, before)


def test_what_looks_at_its_batch_is_said(x, rng):
    """Of such a model the loss of an example means nothing."""
    generator = np.random.default_rng(3)
    for function in (
        lambda w: pooled(w) - pooled(w).mean(axis=0),
        lambda w: pooled(w) * generator.normal(size=(len(w), 3)),
    ):
        with pytest.warns(UserWarning, match="differ by .* when it is run alone, not among others"):
            scan(function, x, window=WINDOW)
        with pytest.warns(UserWarning, match="run alone"):
            checks = evaluate(function, x, window=WINDOW).checks
        assert "run alone" in next(c.message for c in checks if c.name == "meaning")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scan(pooled, x, window=WINDOW)


def test_a_function_computes_in_what_it_does(x):
    with pytest.raises(InputError, match=r"precision bfloat16: it is a function, .* want float32"):
        scan(pooled, x, window=WINDOW, precision="bfloat16")


def test_what_is_no_model(x):
    y = np.zeros(COUNT)
    for model, message in (
        ("mine.keras", "model str: want a Keras model, a torch"),
        (dict, "model dict: want a Keras model"),
        (lambda w: w[:2].sum(axis=(1, 2)), r"predicts \(2,\) for 7 windows; want \(7, ...\)"),
        (lambda w: "no array", "predictions of type str: want an array"),
    ):
        with pytest.raises(InputError, match=message):
            scan(model, x, y, window=WINDOW, task="values")
    with pytest.raises(InputError, match="how many bp it reads is not known: give window"):
        scan(pooled, x, y, task="values")
    with pytest.raises(InputError, match="an unknown last layer does not tell"):
        scan(lambda w: pooled(w)[:, :1], x, y, window=WINDOW)
    with pytest.raises(InputError, match=r"lie in .* no probabilities, but are taken for classes"):
        scan(lambda w: pooled(w)[:, :1], x, y, window=WINDOW, task="classes")
    with pytest.raises(InputError, match="model pooled: want a Keras model; others can be scanned"):
        ShiftTrainer(pooled, NoShift())
    plan = plan_scan(pooled, 20, window=WINDOW)
    assert plan.plain_flops is None and "nothing is shared: it is a function" in str(plan)


def test_other_layouts_and_more_inputs(x, rng):
    y, more = rng.normal(size=COUNT), rng.normal(size=(COUNT, 2)).astype("f4")
    expected = (predicted(pooled, x)[..., 0] - y[:, None]) ** 2
    for layout, back in (
        ("NCL", lambda w: w.transpose(0, 2, 1)),
        ("NL1C", lambda w: w[:, :, 0]),
        ("N1CL", lambda w: w[:, 0].transpose(0, 2, 1)),
        ("NL", lambda w: np.eye(5, dtype="f4")[w][..., :4]),
    ):
        found = scan(lambda w, b=back: pooled(b(w))[:, 0], x, y, window=WINDOW, layout=layout)
        assert np.allclose(found.loss, expected, rtol=1e-4)
    with pytest.raises(InputError, match="layout 'LNC': want N, then L and C"):
        scan(pooled, x, y, window=WINDOW, layout="LNC")
    # Something else of each example, which goes with its windows whatever the blocks.
    shifted = (predicted(pooled, x)[..., 0] + more.sum(axis=1)[:, None] - y[:, None]) ** 2
    for batch_size in (1, 3, None):
        found = scan(
            lambda w, a: pooled(w)[:, 0] + a.sum(axis=1), x, y, window=WINDOW, args=[more],
            batch_size=batch_size,
        )  # fmt: skip
        assert np.allclose(found.loss, shifted, rtol=1e-4)
    with pytest.raises(InputError, match=r"args\[0\]: 2 rows for 7 sequences"):
        scan(lambda w, a: pooled(w), x, y, window=WINDOW, args=[more[:2]])
    sequence, cell = keras.Input((WINDOW, 4), name="dna"), keras.Input((2,), name="cell")
    flat = layers.Concatenate()([layers.Flatten()(sequence), cell])
    model = keras.Model([sequence, cell], layers.Dense(1, "sigmoid")(flat))
    truth = rng.integers(0, 2, COUNT)
    p = np.stack([ops.convert_to_numpy(model([w, more]))[:, 0] for w in windows_of(x)], axis=1)
    expected = -np.log(np.where(truth[:, None] == 1, p, 1 - p))
    assert np.allclose(scan(model, x, truth, args=[more]).loss, expected, rtol=1e-4)
    found = evaluate(model, x, truth, args=[more])
    assert found.strategies["worst"]["loss"] == pytest.approx(expected.max(axis=1).mean(), rel=1e-5)
    one = scan(model, x, truth, constant={"cell": more[0]}).loss
    assert np.allclose(one, scan(model, x, truth, args=[np.tile(more[0], (COUNT, 1))]).loss)


# ---- several outputs, positions ----


def total_by_keras(model, x, y, moving=False):
    """The loss that Keras itself reports for a batch of one, (N, S)."""

    def at(n, s):
        stay = {name: labels[n : n + 1] for name, labels in y.items()}
        if moving:
            stay["profile"] = y["profile"][n : n + 1, s : s + WINDOW]
        one = x[n : n + 1, s : s + WINDOW].astype("f4")
        if isinstance(model.loss, list):
            stay = list(stay.values())
        return model.evaluate(one, stay, verbose=0, return_dict=True)["loss"]

    starts = range(x.shape[1] - WINDOW + 1)
    return np.array([[at(n, s) for s in starts] for n in range(len(x))])


@pytest.mark.parametrize("moving", [False, True])
@pytest.mark.parametrize("kind", ["dict", "list", "subclassed"])
def test_several_outputs_add_up_as_keras_adds_them(kind, moving, rng):
    x = random_sequences(rng, 3, WINDOW + 2)
    positions = WINDOW + 2 * moving
    y = {"profile": rng.random((3, positions, 2)).astype("f4"),
         "counts": rng.random((3, 1)).astype("f4")}  # fmt: skip
    model = TwoHeads() if kind == "subclassed" else two_heads(kind == "dict")
    if kind == "subclassed":
        losses = {"profile": "mse", "counts": "mae"}
        model.compile("sgd", losses, loss_weights={"counts": 3.0, "profile": 1.0})
    labels = list(y.values()) if kind == "list" else y
    found = scan(model, x, labels, window=WINDOW, batch_size=2)
    assert np.allclose(found.loss, total_by_keras(model, x, y, moving), rtol=1e-4)
    bounded = scan(model, x, labels, window=WINDOW, max_shift=0)
    assert np.allclose(bounded.loss[:, 0], found.loss[:, 1], rtol=1e-5)
    with pytest.raises(InputError, match=r"only its loss is known.*several outputs: give output="):
        evaluate(model, x, labels, window=WINDOW)
    wrong = {**y, "profile": y["profile"][:, :5]}
    with pytest.raises(InputError, match="labels of profile: 5 positions, of which"):
        scan(model, x, wrong if kind != "list" else list(wrong.values()), window=WINDOW)
    with pytest.raises(InputError, match=r"labels: none of output 'counts'|1 arrays; want"):
        scan(model, x, {"profile": y["profile"]} if kind != "list" else [y["profile"]],
             window=WINDOW)  # fmt: skip


@pytest.mark.parametrize("flat", [False, True])
def test_crossentropy_is_what_keras_makes_of_it_for_each_output(flat, rng):
    """Of a sigmoid that of two classes, of a softmax that of one-hot labels or class numbers."""
    sequence, h = body()
    heads = {"bound": head(h, 1, "sigmoid", name="bound"), "kind": head(h, 3, "softmax", name="k")}
    model = keras.Model(sequence, heads)
    model.compile("sgd", {"bound": "crossentropy", "kind": "crossentropy"})
    x, kinds = random_sequences(rng, 3, WINDOW + 2), rng.integers(0, 3, (3, 1))
    y = {"bound": rng.integers(0, 2, (3, 1)).astype("f4"),
         "kind": kinds if flat else np.eye(3, dtype="f4")[kinds[:, 0]]}  # fmt: skip
    assert np.allclose(scan(model, x, y).loss, total_by_keras(model, x, y), rtol=1e-5)


def test_class_numbers_of_each_base(x, rng):
    sequence, h = body()
    model = keras.Model(sequence, layers.Conv1D(3, 1, activation="softmax")(h))
    labels = rng.integers(0, 3, (COUNT, WINDOW + 3))
    p = predicted(model, x)
    moving = np.stack([np.eye(3)[labels[:, s : s + WINDOW]] for s in range(4)], axis=1)
    expected = -np.log((p * moving).sum(axis=3)).mean(axis=2)
    for loss in ("sparse_categorical_crossentropy", "crossentropy"):
        model.compile("sgd", loss)
        assert np.allclose(scan(model, x, labels).loss, expected, rtol=1e-4)
        trainer = ShiftTrainer(model, WorstShift())  # as it is compiled
        data = keras.tree.map_structure(ops.convert_to_tensor, (x, labels))
        cropped, moved, _ = trainer._shifted(data, trainer.strategy)
        for n, start in enumerate(expected.argmax(axis=1)):
            window = slice(start, start + WINDOW)
            assert np.array_equal(ops.convert_to_numpy(cropped)[n], x[n, window])
            assert np.array_equal(ops.convert_to_numpy(moved)[n], labels[n, window])
    assert np.isfinite(trainer.fit(x, labels, verbose=0).history["loss"]).all()


def test_an_output_without_a_loss(x, rng):
    """It takes no part, whether or not there are labels of it, and in whatever form."""
    model = two_heads(compiled=False)
    model.compile("sgd", {"counts": "mse"})
    counts = rng.random((COUNT, 1)).astype("f4")
    expected = ((predicted(lambda w: model(w)["counts"], x) - counts[:, None]) ** 2).mean(axis=2)
    both = {"counts": counts, "profile": rng.random((COUNT, WINDOW, 2))}
    for y in (counts, both, {"counts": counts}, {"counts": counts.tolist()}):
        assert np.allclose(scan(model, x, y).loss, expected, rtol=1e-4)
    for y in (counts, both, counts[:, 0]):
        assert np.allclose(scan(model, x, y, output="counts").loss, expected, rtol=1e-4)
    with pytest.raises(InputError, match="labels: none of output 'counts', but of profile"):
        scan(model, x, {"profile": both["profile"]}, output="counts")
    with pytest.raises(InputError, match=r"labels: a dict; want an array \(N, ...\), of what"):
        scan(model, x, both, output=lambda p: p["counts"], loss="mse")


@pytest.mark.parametrize("wrong", [(7, 3), (7, 2), (7, 1, 2)])
def test_labels_are_not_stretched_to_an_output(wrong, rng):
    """Keras would, of one number. With a slack of 1, (7, 2) are no positions that move, either."""
    x = random_sequences(rng, 7, WINDOW + 1)
    y = {"profile": rng.random((7, WINDOW, 2)), "counts": np.ones(wrong)}
    with pytest.raises(InputError, match=r"labels of counts: .* its loss Poisson wants \(1,\)"):
        scan(two_heads(), x, y)
    y = {"profile": rng.random((7, WINDOW)), "counts": np.ones(7)}
    with pytest.raises(InputError, match=r"labels of profile: \(12,\) .* wants \(12, 2\)"):
        scan(two_heads(), x, y)


def test_in_bfloat16_the_worst_of_several_outputs_is_that_of_float32(x, rng):
    model = two_heads()
    y = {"profile": rng.random((COUNT, WINDOW + 3, 2)), "counts": rng.random((COUNT, 1))}
    exact, screened = (scan(model, x, y, precision=p) for p in ("float32", "bfloat16"))
    assert screened.worst_start.tolist() == exact.worst_start.tolist()
    assert np.allclose(screened.worst_loss, exact.worst_loss, rtol=1e-6)
    assert screened.screening.largest_error > 0
    y = rng.random(COUNT)
    exact, screened = (
        scan(model, x, y, output=lambda p: p["counts"], loss="mse", precision=p)
        for p in ("float32", "bfloat16")
    )
    assert screened.worst_start.tolist() == exact.worst_start.tolist()
    y = {"profile": np.full((COUNT, WINDOW, 2), np.nan), "counts": np.ones((COUNT, 1))}
    with pytest.raises(InputError, match=r"7 examples \(0, 1, 2, 3, 4, ...\)"):
        scan(model, x, y, precision="bfloat16")


@pytest.mark.parametrize("as_dict", [True, False])
def test_one_of_several_outputs(as_dict, x, rng):
    model, y = two_heads(as_dict), rng.random(COUNT).astype("f4")
    p = np.stack([ops.convert_to_numpy(keras.tree.flatten(model(w))[0 if as_dict else 1])[:, 0]
                  for w in windows_of(x)], axis=1)  # fmt: skip
    poisson = p - y[:, None] * np.log(p + 1e-7)  # its own loss, without its weight
    for output in ("counts", 0 if as_dict else 1):
        found = scan(model, x, y, output=output)
        assert np.allclose(found.loss, poisson, rtol=1e-3, equal_nan=True)
    squared = (p - y[:, None]) ** 2
    mine = (lambda o: o["counts"]) if as_dict else (lambda o: o[1][:, 0])
    for output in ("counts", mine):
        found = scan(model, x, y, output=output, loss="mse")
        assert np.allclose(found.loss, squared, rtol=1e-3, atol=1e-7)
        result = evaluate(model, x, y, output=output, loss="mse")
        worst = squared.argmax(axis=1)
        chosen = p[np.arange(COUNT), worst]
        expected = stats.pearsonr(y, chosen)[0]
        assert result.strategies["worst"]["pearson"] == pytest.approx(expected, abs=1e-4)
    for output in ("profit", 2, -1, "2"):
        with pytest.raises(InputError, match=r"the model has (counts|profile) \(batch, "):
            scan(model, x, y, output=output)


@pytest.mark.parametrize("positions", ["mean", "sum", "centre", "max"])
@pytest.mark.parametrize("make", [two_heads, TwoHeads])
def test_positions_are_condensed(positions, make, x, rng):
    model, y = make(), rng.random((COUNT, 2)).astype("f4")
    p = np.stack([ops.convert_to_numpy(model(w)["profile"]) for w in windows_of(x)], axis=1)
    by_hand = {"mean": p.mean(2), "sum": p.sum(2), "max": p.max(2), "centre": p[:, :, WINDOW // 2]}
    expected = ((by_hand[positions] - y[:, None]) ** 2).mean(axis=2)
    found = scan(model, x, y, window=WINDOW, output=Output("profile", positions), task="values")
    assert np.allclose(found.loss, expected, rtol=1e-4, atol=1e-6)
    with pytest.raises(InputError, match="output counts has none"):
        scan(model, x, y, window=WINDOW, output=Output("counts", positions), task="values")


def test_each_base_has_classes(x, rng):
    """A splice site caller: a softmax at each base, and its own compiled loss."""
    sequence, h = body()
    model = keras.Model(inputs=[sequence], outputs=[layers.Conv1D(3, 1, activation="softmax")(h)])
    model.compile("sgd", "categorical_crossentropy")
    labels = np.eye(3)[rng.integers(0, 3, (COUNT, WINDOW + 3))]
    p = np.stack([ops.convert_to_numpy(model(w)) for w in windows_of(x)], axis=1)
    moving = np.stack([labels[:, s : s + WINDOW] for s in range(4)], axis=1)
    expected = -np.log((p * moving).sum(axis=3)).mean(axis=2)
    assert np.allclose(scan(model, x, labels).loss, expected, rtol=1e-4)
    # Judged at the base in the middle, it is a classifier.
    found = evaluate(model, x, labels[:, 7], output=Output(positions="centre"))
    assert found.task == Classes(3)
    called = p[:, 1, WINDOW // 2].argmax(axis=1)  # of the centre window
    right = called == labels[:, 7].argmax(axis=1)
    assert found.strategies["none"]["accuracy"] == pytest.approx(right.mean())
    with pytest.raises(InputError, match=r"has an output with positions: .* \(batch, 12, 3\)"):
        scan(model, x)


@pytest.mark.parametrize("structure", ["list", "dict"])
def test_one_output_in_a_list_or_dict_is_one(structure, x, rng):
    sequence, h = body()
    out = head(h, 1, "sigmoid", name="out")
    model = keras.Model([sequence], [out] if structure == "list" else {"out": out})
    y = rng.integers(0, 2, COUNT)
    p = predicted(lambda w: ops.convert_to_numpy(keras.tree.flatten(model(w))[0])[:, 0], x)
    expected = -np.log(np.where(y[:, None] == 1, p, 1 - p))
    assert np.allclose(scan(model, x, y).loss, expected, rtol=1e-4)
    assert np.allclose(scan(model, x, {model.output_names[0]: y}).loss, expected, rtol=1e-4)
    assert evaluate(model, x, y).task == Classes(1)


def test_one_label_is_flat_or_a_column(x, rng):
    model, y = functional(1, "sigmoid"), rng.integers(0, 2, COUNT)
    p = predicted(model, x)[..., 0]
    expected = -np.log(np.where(y[:, None] == 1, p, 1 - p))
    for labels in (y, y[:, None]):
        assert np.allclose(scan(model, x, labels, task="labels").loss, expected, rtol=1e-4)
    assert evaluate(model, x, y, task="labels").task == Labels(1)


# ---- values ----


@pytest.mark.parametrize("units", [1, 3])
@pytest.mark.parametrize("tolerance", [None, 0.01])
def test_values_are_judged(units, tolerance, x, rng):
    model = functional(units, None)
    model.compile("sgd", "mse")
    y = rng.normal(size=(COUNT, units)).astype("f4")
    p = predicted(model, x)  # (N, S, K)
    squared = ((p - y[:, None]) ** 2).mean(axis=2)
    found = evaluate(model, x, y, tolerance=tolerance, seed=3)
    everyone, centre = np.arange(COUNT), 1
    for name, start in (("none", np.full(COUNT, centre)), ("worst", squared.argmax(axis=1))):
        chosen = p[everyone, start]
        metrics = found.strategies[name]
        assert list(metrics) == ["pearson", "spearman", "mse", "loss"]
        pearson = [stats.pearsonr(y[:, k], chosen[:, k])[0] for k in range(units)]
        assert metrics["pearson"] == pytest.approx(np.mean(pearson), abs=1e-5)
        spearman = [stats.spearmanr(y[:, k], chosen[:, k])[0] for k in range(units)]
        assert metrics["spearman"] == pytest.approx(np.mean(spearman), abs=1e-5)
        assert metrics["mse"] == pytest.approx(squared[everyone, start].mean(), rel=1e-4)
        assert np.allclose(found.per_label[name]["pearson"], pearson, atol=1e-5)
    at_centre = p[:, centre]
    allowed = at_centre.std(axis=0) / 10 if tolerance is None else np.full(units, tolerance)
    assert np.allclose(found.task.tolerance, allowed, rtol=1e-4)
    within = (np.abs(p - at_centre[:, None]) <= allowed).all(axis=2)
    # Starts 0..3, the centre is 1: within 1 bp are 0..2, within 2 all.
    radius = np.where(within.all(axis=1), 2, np.where(within[:, :3].all(axis=1), 1, 0))
    assert found.certificates.tolist() == radius.tolist()
    assert np.allclose(found.examples["wobble"], np.ptp(p, axis=1).mean(axis=1), rtol=1e-4)
    assert found.curve[-1]["mse"] == pytest.approx(squared.max(axis=1).mean(), rel=1e-4)
    last = [stats.pearsonr(y[:, k], p[everyone, squared.argmax(axis=1), k])[0]
            for k in range(units)]  # fmt: skip
    assert found.curve[-1]["pearson"] == pytest.approx(np.mean(last), abs=1e-5)
    low, high = found.intervals["examples"]["strategies"]["worst"]["pearson"]
    assert low <= found.strategies["worst"]["pearson"] <= high


def test_labels_that_are_no_values(x):
    model = functional(1, None)
    for y, message in (
        (np.full(COUNT, np.nan), "those of 7 examples, the first of them 0, are no finite"),
        (np.zeros((COUNT, 2)), r"labels \(7, 2\): the model predicts \(7, 1\) values"),
        (np.array(list("abcdefg")), "labels of type <U1: want numbers"),
    ):
        with pytest.raises(InputError, match=message):
            scan(model, x, y, task="values")


def test_losses_that_are_no_numbers_name_their_examples(x):
    y = np.zeros(COUNT, "f4")
    y[[2, 5]] = -1

    def log_error(y, p):
        return ops.mean((ops.log(y + 1) - p) ** 2, axis=1)

    model = functional(1, None)
    for function in (scan, evaluate):
        with pytest.raises(InputError, match=r"loss log_error is no finite .* 2 examples \(2, 5\)"):
            function(model, x, y, loss=log_error, task="values")


def test_a_loss_that_mixes_a_batch_is_that_of_each_example(x, rng):
    """Keras's own number for a batch of one, whatever the blocks."""

    def cosine_mse(y, p):
        error = ops.mean((y - p) ** 2)  # of the whole batch
        return error - ops.sum(y * p, axis=1) * ops.minimum(error, 1.0)

    model, y = functional(3, "softplus"), rng.random((COUNT, 3)).astype("f4")
    model.compile("sgd", cosine_mse)
    expected = [[model.evaluate(w[n : n + 1], y[n : n + 1], verbose=0) for w in windows_of(x)]
                for n in range(COUNT)]  # fmt: skip
    for batch_size in (1, 2, None):
        assert np.allclose(scan(model, x, y, batch_size=batch_size).loss, expected, rtol=1e-4)
    # The step that chooses the worst window sees the same losses.
    trainer = ShiftTrainer(model, WorstShift())
    trainer.compile("sgd", cosine_mse)
    cropped, _, _ = trainer._shifted((ops.convert_to_tensor(x), ops.convert_to_tensor(y)),
                                     WorstShift())  # fmt: skip
    worst = np.argmax(expected, axis=1)
    for n in range(COUNT):
        assert np.array_equal(ops.convert_to_numpy(cropped)[n], x[n, worst[n] : worst[n] + WINDOW])


# ---- no labels ----


@pytest.mark.parametrize(
    ("make", "meaning"),
    [
        (lambda: functional(1, None), Values(1)),
        (lambda: functional(3, "softplus"), Values(3)),
        (lambda: functional(1, "sigmoid"), Classes(1)),
        (lambda: functional(2), Classes(2)),
        (lambda: functional(4), Classes(4)),
        (lambda: functional(3, "sigmoid"), Labels(3)),
    ],
)
def test_without_labels(make, meaning, x):
    model = make()
    p = predicted(model, x)
    centre, everyone = p[:, 1], np.arange(COUNT)
    squared = ((p - centre[:, None]) ** 2).sum(axis=2)
    loss = scan(model, x).loss
    assert np.allclose(loss, squared, rtol=1e-3, atol=1e-10)
    assert np.abs(loss[:, 1]).max() < 1e-10
    found = evaluate(model, x)
    assert isinstance(found.task, Unlabelled)
    assert found.task.meaning.asked() == meaning
    assert list(found.strategies["worst"]) == ["moved", "loss"]
    moved = (np.abs(p - centre[:, None]) / centre.std(axis=0)).mean(axis=2)
    worst = squared.argmax(axis=1)
    assert found.strategies["worst"]["moved"] == pytest.approx(
        moved[everyone, worst].mean(), rel=1e-3
    )
    assert found.strategies["none"]["moved"] == pytest.approx(0, abs=1e-4)
    assert found.mean["moved"] == pytest.approx(moved.mean(), rel=1e-3)
    if meaning.probabilities:
        calls = p.argmax(axis=2)[..., None] if p.shape[2] in (2, 4) else p > 0.5
        same = (calls == calls[:, 1:2]).all(axis=2)
        flipped = ~(calls == calls[:, 1:2]).all(axis=1)
        assert np.allclose(found.examples["flipped"], flipped.mean(axis=1))
    else:
        same = (np.abs(p - centre[:, None]) <= centre.std(axis=0) / 10).all(axis=2)
        assert "flipped" not in found.examples
    assert np.array_equal(found.certificates == 2, same.all(axis=1))


def test_without_labels_the_centre_is_that_of_no_shift(x):
    """Where a protected span forbids the centre window, the allowed one nearest to it."""
    model, spans = functional(1, None), np.tile([0, 2], (COUNT, 1))
    p = predicted(model, x)[..., 0]
    found = scan(model, x, protect=spans)
    assert found.allowed.tolist() == [[True, False, False, False]] * COUNT
    assert np.allclose(found.loss, (p - p[:, :1]) ** 2, rtol=1e-3, atol=1e-10)


def test_one_example_has_no_unit_to_move_in(x):
    """No standard deviation over examples: what moves is no number, not zero."""
    found = evaluate(pooled, x[:1], window=WINDOW)
    assert found.strategies["none"] == {"moved": 0, "loss": pytest.approx(0, abs=1e-9)}
    p = predicted(pooled, x[:1])[0]
    assert found.strategies["worst"]["loss"] == pytest.approx(((p - p[1]) ** 2).sum(axis=1).max())
    assert np.isnan(found.strategies["worst"]["moved"]) and np.isnan(found.mean["moved"])
    # The same for all of them, and at every window: nothing moves, in any unit.
    still = evaluate(lambda w: np.ones((len(w), 2)), x, window=WINDOW)
    assert still.strategies["worst"] == {"moved": 0, "loss": 0}
    assert still.certificates.tolist() == [2] * COUNT


def test_predictions_that_are_no_numbers_name_their_examples(x):
    def broken(windows):
        return np.where(windows[:, :1, 0] > 0, np.nan, pooled(windows))

    wrong = np.flatnonzero(x[:, 1, 0])  # an A where the centre window begins
    listed = ", ".join(map(str, wrong))
    with pytest.raises(InputError, match=rf"its prediction at the centre is .* \({listed}\)"):
        evaluate(broken, x, window=WINDOW)


@pytest.mark.parametrize("labelled", [True, False])
def test_an_interrupted_evaluation_goes_on(labelled, rng, tmp_path, monkeypatch):
    monkeypatch.setattr("tfbs_shift.files._SECONDS", 0.0)
    x, shift = random_sequences(rng, 96, WINDOW + 3), np.zeros(3)
    y = rng.normal(size=(96, 3)) if labelled else None

    def model(windows):
        return pooled(windows) + shift

    def run(x):
        return evaluate(model, x, y, window=WINDOW, folder=tmp_path / "work", batch_size=16)

    with pytest.raises(KeyboardInterrupt):
        run(Failing(x, 48))
    again = Failing(x, 1000)
    found = run(again)
    assert again.read == 48  # the other half
    expected = evaluate(model, x, y, window=WINDOW)
    assert found.strategies["worst"] == pytest.approx(expected.strategies["worst"], rel=1e-4)
    assert np.array_equal(found.certificates, expected.certificates)
    shift += 0.01  # another function of the same name
    other = Failing(x, 1000)
    run(other)
    assert other.read == 96


def huber(delta):
    return keras.losses.Huber(delta=delta)


def absolute(factor):
    return lambda y, p: factor * ops.mean(ops.abs(y - p), axis=1)


def scaled(factor):
    return lambda w: 1e6 * pooled(w)[:, :1] * factor


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"model": scaled(1)}, {"model": scaled(1.01)}),
        ({"output": lambda p: p[:, 0]}, {"output": lambda p: 1.01 * p[:, 0]}),
        ({"loss": huber(1.0)}, {"loss": huber(2.0)}),
        ({"loss": absolute(1)}, {"loss": absolute(2)}),
        ({"args": [np.zeros((20, 1))]}, {"args": [np.eye(20)[:, 15:16]]}),
    ],
)
def test_a_folder_is_of_one_model_output_loss_and_arguments(first, second, rng, tmp_path):
    """Though they bear the same name. Of a Keras model the weights are the same."""
    x, y = random_sequences(rng, 20, WINDOW + 3), 3 * rng.normal(size=20)
    network = functional(1, None)

    def read_more(windows, more):
        return pooled(windows)[:, :1] + more

    def run(say, **more):
        model = read_more if "args" in say else say.get("model", network)
        rest = {name: value for name, value in say.items() if name != "model"} | more
        return evaluate(model, x, y, window=WINDOW, task="values", self_checks=False, **rest)

    before = run(first, folder=tmp_path).every["loss"].copy()
    found, expected = run(second, folder=tmp_path), run(second)
    assert not np.array_equal(before, expected.every["loss"])
    for name in ("loss", "prediction"):
        assert np.array_equal(found.every[name], expected.every[name])


def test_logits_without_labels_move_as_probabilities(x):
    model = functional(1, None)
    model.compile("sgd", keras.losses.BinaryCrossentropy(from_logits=True))
    logits = predicted(model, x)[..., 0]
    p = 1 / (1 + np.exp(-logits))
    found = evaluate(model, x)
    moved = np.abs(p - p[:, 1:2]) / p[:, 1].std()
    expected = moved[np.arange(COUNT), ((logits - logits[:, 1:2]) ** 2).argmax(axis=1)]
    assert found.strategies["worst"]["moved"] == pytest.approx(expected.mean(), rel=1e-3)
    average = np.abs(p.mean(axis=1) - p[:, 1]) / p[:, 1].std()
    assert found.averaged["moved"] == pytest.approx(average.mean(), rel=1e-3)


# ---- statistics ----


def intraclass(values):
    """ICC(1) from the mean squares of a one-way analysis of variance, values a list of lists."""
    number = len(values)
    total = sum(map(len, values))
    grand = sum(map(sum, values)) / total
    between = sum(len(v) * (np.mean(v) - grand) ** 2 for v in values) / (number - 1)
    within = sum(((np.array(v) - np.mean(v)) ** 2).sum() for v in values) / (total - number)
    usual = (total - sum(len(v) ** 2 for v in values) / total) / (number - 1)
    return (between - within) / (between + (usual - 1) * within)


@given(st.integers(0, 10**6))
@settings(deadline=None, max_examples=40)
def test_reliability_is_the_intraclass_correlation(seed):
    rng = np.random.default_rng(seed)
    values = [list(rng.normal(rng.normal(), 0.7, rng.integers(2, 6))) for _ in range(6)]
    repeats = statistics.Repeats(
        np.array([len(v) for v in values]),
        np.array([[np.mean(v)] for v in values]),
        np.array([[np.var(v)] for v in values]),
    )
    assert statistics.reliability(repeats)[0] == pytest.approx(intraclass(values))
    drawn = rng.integers(0, 6, 6)
    counts = np.bincount(drawn, minlength=6)[None].astype(float)
    again = intraclass([values[i] for i in drawn])  # of one alone, too: copies of it
    assert statistics.reliability(repeats, counts)[0] == pytest.approx(again, nan_ok=True)


def test_reliability_agrees_with_the_f_test_of_scipy(rng):
    """ICC(1) = (F - 1) / (F - 1 + n) for n repeats of each."""
    values = rng.normal(size=(9, 1)) + rng.normal(size=(9, 5))
    f = stats.f_oneway(*values).statistic
    repeats = statistics.Repeats(np.full(9, 5), values.mean(axis=1)[:, None],
                                 values.var(axis=1)[:, None])  # fmt: skip
    assert statistics.reliability(repeats)[0] == pytest.approx((f - 1) / (f - 1 + 5))


def test_reliability_of_an_audit(x, rng):
    model = functional(3, "sigmoid")
    p = predicted(model, x)
    expected = np.mean([intraclass(p[..., k].tolist()) for k in range(3)])
    y = rng.integers(0, 2, (COUNT, 3))
    assert evaluate(model, x, y).reliability == pytest.approx(expected, rel=1e-3)
    spans = np.column_stack([np.arange(COUNT) % 3, np.arange(COUNT) % 3 + 11])
    found = evaluate(model, x, y, protect=spans)
    left = [[list(p[i, found.allowed[i], k]) for i in range(COUNT)] for k in range(3)]
    assert found.reliability == pytest.approx(np.mean([intraclass(v) for v in left]), rel=1e-3)


@given(st.integers(0, 10**6))
@settings(deadline=None, max_examples=40)
def test_correlations_of_resamples_equal_scipys(seed):
    rng = np.random.default_rng(seed)
    count = int(rng.integers(3, 30))
    y, p = (np.round(rng.normal(size=(count, 2)), int(rng.integers(0, 3))) for _ in range(2))
    counts = rng.multinomial(count, np.ones(count) / count, size=5).astype(float)
    found = correlations(y, p, counts)
    ranks = midranks(y[:, 0], counts)
    for b in range(5):
        rows = np.repeat(np.arange(count), counts[b].astype(int))
        expected = stats.rankdata(y[rows, 0])
        assert np.allclose(ranks[b, rows], expected)
        for k in range(2):
            one, two = y[rows, k], p[rows, k]
            if np.ptp(one) == 0 or np.ptp(two) == 0:
                assert np.isnan(found[:, k, b]).all()
                continue
            assert found[0, k, b] == pytest.approx(stats.pearsonr(one, two)[0], abs=1e-9)
            assert found[1, k, b] == pytest.approx(stats.spearmanr(one, two)[0], abs=1e-9)


# ---- training ----


@pytest.mark.parametrize("kind", ["dict", "list", "subclassed"])
def test_training_takes_the_window_of_the_highest_weighted_sum(kind, rng):
    x = random_sequences(rng, 5, WINDOW + 3)
    y = {"profile": rng.random((5, WINDOW + 3, 2)).astype("f4"),
         "counts": rng.random((5, 1)).astype("f4")}  # fmt: skip
    model = TwoHeads() if kind == "subclassed" else two_heads(kind == "dict", compiled=False)
    losses, weights = {"profile": "mse", "counts": "mae"}, {"profile": 5.0, "counts": 0.5}
    if kind == "list":
        losses, weights = [*losses.values()], [*weights.values()]
    model.compile("sgd", losses, loss_weights=weights)
    trainer = ShiftTrainer(model, WorstShift(), RandomShift(0), window=WINDOW)
    trainer.compile("sgd", losses, loss_weights=weights)
    labels = list(y.values()) if kind == "list" else y
    expected = total_by_keras(model, x, y, moving=True).argmax(axis=1)
    tensors = keras.tree.map_structure(ops.convert_to_tensor, (x, labels))
    cropped, moved, _ = trainer._shifted(tensors, trainer.strategy)
    profile, counts = moved if kind == "list" else (moved["profile"], moved["counts"])
    for n, start in enumerate(expected):
        assert np.array_equal(ops.convert_to_numpy(cropped)[n], x[n, start : start + WINDOW])
        assert np.array_equal(
            ops.convert_to_numpy(profile)[n], y["profile"][n, start : start + WINDOW]
        )
    assert np.array_equal(ops.convert_to_numpy(counts), y["counts"])
    history = trainer.fit(x, labels, epochs=2, validation_data=(x, labels), verbose=0).history
    assert np.isfinite(history["loss"]).all() and np.isfinite(history["val_loss"]).all()


def test_several_outputs_are_trained_as_they_were_compiled(rng):
    """A list of them, with losses by name, as Keras takes them of a functional model."""
    x = random_sequences(rng, 5, WINDOW + 3)
    y = [rng.random((5, WINDOW + 3, 2)).astype("f4"), rng.random((5, 1)).astype("f4")]
    model = two_heads(as_dict=False, compiled=False)
    weights = {"counts": 3.0, "profile": 0.5}
    model.compile("sgd", {"profile": "mse", "counts": "mae"}, loss_weights=weights,
                  metrics={"counts": ["mse"]})  # fmt: skip
    trainer = ShiftTrainer(model, WorstShift())
    found = trainer.evaluate(x, y, verbose=0, return_dict=True)
    assert found["loss"] == pytest.approx(scan(model, x, y).worst_loss.mean(), rel=1e-5)
    assert {"counts_loss", "profile_loss"} < trainer.fit(x, y, verbose=0).history.keys()


def test_an_audit_of_values_in_training(x, rng):
    model, y = functional(1, None), rng.normal(size=COUNT)
    model.compile("sgd", "mse")
    trainer = ShiftTrainer(model, WorstShift())
    history = trainer.fit(x, y, verbose=0, callbacks=[ShiftAudit(x, y)]).history
    p = predicted(model, x)[..., 0]
    worst = ((p - y[:, None]) ** 2).argmax(axis=1)
    chosen = p[np.arange(COUNT), worst]
    assert history["shift_worst_pearson"] == pytest.approx([stats.pearsonr(y, chosen)[0]], abs=1e-4)
    assert history["shift_worst_mse"] == pytest.approx([np.mean((chosen - y) ** 2)], rel=1e-4)


def test_strands_of_values_are_averaged(rng):
    x, y = random_sequences(rng, 6, WINDOW + 3), rng.normal(size=(6, 2))
    model = functional(2, None)
    model.compile("sgd", "mse")
    both, labels = np.concatenate([x, x[:, ::-1, ::-1]]), np.concatenate([y, y])
    found = evaluate(model, both, labels, average_strands=True, strategies=["none"])
    p = predicted(model, both)[:, 1]
    mean = (p[:6] + p[6:]) / 2
    for name, function in (("pearson", stats.pearsonr), ("spearman", stats.spearmanr)):
        expected = np.mean([function(y[:, k], mean[:, k])[0] for k in range(2)])
        assert found.strategies["none"][name] == pytest.approx(expected, abs=1e-5)
    assert found.strategies["none"]["mse"] == pytest.approx(((p - labels) ** 2).mean(), rel=1e-4)


def test_a_head_is_audited_while_both_train(rng):
    x, counts = random_sequences(rng, 9, WINDOW + 3), rng.random((9, 1)).astype("f4")
    y = {"profile": rng.random((9, WINDOW, 2)).astype("f4"), "counts": counts}
    model = two_heads()
    audit = ShiftAudit(x, counts, output="counts", loss="mse", tolerance=0.1)
    logs = model.fit(x[:, 1 : 1 + WINDOW], y, epochs=2, verbose=0, callbacks=[audit]).history
    found = evaluate(model, x, counts, output="counts", loss="mse", self_checks=False)
    for strategy in ("none", "worst"):
        for metric, value in found.strategies[strategy].items():
            assert logs[f"shift_{strategy}_{metric}"][-1] == pytest.approx(value)
    assert logs["shift_reliability"][-1] == pytest.approx(found.reliability)
    assert "shift_flipped" not in logs


def test_long_windows_are_run_few_at_a_time(rng):
    """Nobody's activations of 256 windows of 200,000 bp fit a machine."""
    length = 2**18 // 5
    x, shapes = random_sequences(rng, 3, length + 2), []

    def seen(windows):
        shapes.append(len(windows))
        return windows[:, 7, 0]

    found = scan(seen, x, window=length)
    assert max(shapes[1:]) == 5
    assert np.array_equal(found.loss, (x[:, 7:10, 0].astype("f4") - x[:, 8:9, 0]) ** 2)
    assert plan_scan(seen, length + 2, window=length).rows == 5
    assert plan_scan(seen, 2**19, window=2**18 + 9).rows == 1
    assert plan_scan(TwoHeads(), length + 2, window=length).rows == 5


def test_outputs_for_a_function_are_held_a_few_examples_at_a_time(x, rng, monkeypatch):
    model, y = two_heads(), rng.random(COUNT)
    condense = {"output": lambda p: p["profile"].sum(axis=(1, 2)), "task": "values"}
    whole = scan(model, x, y, **condense).loss
    few = evaluate(model, x, y, strategies=["none", RandomShift(3)], **condense)
    for size in (1, 2 * 4 * 4 * 25):  # one example at a time; two, so that the last is alone
        monkeypatch.setattr(predictors, "_BYTES", size)
        assert np.allclose(scan(model, x, y, **condense).loss, whole, rtol=1e-5)
        again = evaluate(model, x, y, strategies=["none", RandomShift(3)], **condense)
        assert again.strategies["random"]["mse"] == pytest.approx(few.strategies["random"]["mse"])


def test_a_sum_of_probabilities_is_none(x, rng):
    """And so says nothing of what it means; a mean or the largest of them is one."""
    sequence, h = body()
    model = keras.Model(sequence, layers.Conv1D(1, 1, activation="sigmoid")(h))
    y = rng.integers(0, 2, COUNT)
    assert evaluate(model, x, y, output=Output(positions="mean")).task == Classes(1)
    with pytest.raises(InputError, match="does not tell what its predictions are"):
        evaluate(model, x, y, output=Output(positions="sum"))
