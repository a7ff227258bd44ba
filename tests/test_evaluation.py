import json

import keras
import numpy as np
import pytest
from keras import layers
from scipy import integrate
from sklearn import metrics

from tfbs_shift import InputError, NoShift, WorstShift, evaluate, scan, sequences

from .conftest import WINDOW, ZOO, functional, random_labels, random_sequences

SLACK = 7
COUNT = 60


def predictions(model, x):
    """Probabilities at every start, (N, S, K), window by window through ``predict``."""
    starts = range(x.shape[1] - WINDOW + 1)
    windows = [x[:, s : s + WINDOW].astype("float32") for s in starts]
    return np.stack([model.predict(w, verbose=0) for w in windows], axis=1)


def test_accuracy_and_loss_against_predict_and_sklearn(rng):
    model = functional()
    x = random_sequences(rng, COUNT, WINDOW + SLACK)
    y = random_labels(rng, COUNT, 2, "categorical")
    p = predictions(model, x)
    loss = -np.log(p[np.arange(COUNT), :, y[:, 1]])
    right = p.argmax(axis=2) == y[:, 1:]
    found = evaluate(model, x, y, strategies=("none", "random", "worst", "worst_of_3"))
    everyone = np.arange(COUNT)
    assert set(found.starts["none"]) == {SLACK // 2}
    assert np.array_equal(found.starts["worst"], loss.argmax(axis=1))
    assert len(set(found.starts["random"])) == SLACK + 1
    for name, starts in found.starts.items():
        ours = found.strategies[name]
        named = p[everyone, starts].argmax(axis=1)
        assert ours["accuracy"] == pytest.approx(metrics.accuracy_score(y[:, 1], named))
        assert ours["loss"] == pytest.approx(
            metrics.log_loss(y[:, 1], p[everyone, starts]), abs=1e-5
        )
    assert found.right_at_every_shift == pytest.approx(right.all(axis=1).mean())
    averaged = metrics.accuracy_score(y[:, 1], p.mean(axis=1).argmax(axis=1))
    assert found.averaged == {"accuracy": pytest.approx(averaged)}
    shifts = np.arange(SLACK + 1) - SLACK // 2
    for r, point in enumerate(found.curve):
        inside = np.abs(shifts) <= r
        worst = np.where(inside, loss, -1).argmax(axis=1)
        assert point == {
            "max_shift": r,
            "accuracy": pytest.approx(right[everyone, worst].mean()),
            "loss": pytest.approx(loss[everyone, worst].mean(), abs=1e-5),
        }
    assert len(found.curve) == 5  # 0..4: the range is -3..4


@pytest.mark.parametrize("name", ZOO)
def test_worst_is_below_random_is_below_best(name, rng):
    model, loss, width, window = ZOO[name]()
    x = random_sequences(rng, COUNT, WINDOW + SLACK)
    y = random_labels(rng, COUNT, width, loss)
    found = evaluate(
        model, x, y, window=window,
        strategies=("none", "random", "worst_of_2", "worst_of_4", "worst_of_8", "worst"),
    )  # fmt: skip
    losses = [values["loss"] for values in found.strategies.values()]
    best = found.scan.loss.min(axis=1).mean()
    assert best < min(losses[:2])
    # more tries of nested draws never lower the loss, and none passes the exact worst
    random, *tries, worst = losses[1:]
    assert random < tries[0] < tries[1] < tries[2]
    assert tries[2] == pytest.approx(worst)  # 8 of 8 windows
    assert losses[0] < worst
    curve = [point["loss"] for point in found.curve]
    assert curve == sorted(curve)
    assert curve[0] == pytest.approx(losses[0])
    assert curve[-1] == pytest.approx(worst)
    if name != "several sigmoids" and width < 3:
        accuracies = {n: values["accuracy"] for n, values in found.strategies.items()}
        best_accuracy = found.right.any(axis=1).mean()
        assert accuracies["worst"] <= accuracies["random"] <= best_accuracy
        assert accuracies["worst"] == pytest.approx(found.right_at_every_shift)


def test_worst_of_n_grows_with_n_for_every_example(rng):
    model = functional()
    x, y = random_sequences(rng, COUNT, 30), random_labels(rng, COUNT, 2, "categorical")
    tries = [WorstShift(n, seed=4) for n in range(1, 20)]
    found = evaluate(model, x, y, strategies=[*tries, WorstShift()])
    everyone = np.arange(COUNT)
    losses = np.array([found.scan.loss[everyone, found.starts[s.name]] for s in tries])
    assert (np.diff(losses, axis=0) >= 0).all()
    assert (losses <= found.scan.worst_loss).all()
    assert np.array_equal(losses[-1], found.scan.worst_loss)


def test_several_labels_against_sklearn(rng):
    model = functional(4, "sigmoid")
    x = random_sequences(rng, COUNT, WINDOW + SLACK)
    y = random_labels(rng, COUNT, 4, "binary")
    y[:, 2] = 0  # has one class only: left out of the means
    both = [0, 1, 3]
    p = predictions(model, x)
    found = evaluate(model, x, y)
    assert found.right is None
    assert found.right_at_every_shift is None
    for name, starts in found.starts.items():
        chosen = p[np.arange(COUNT), starts][:, both]
        ours = found.strategies[name]
        expected = metrics.roc_auc_score(y[:, both], chosen, average="macro")
        assert ours["auroc"] == pytest.approx(expected)
        curves = [metrics.precision_recall_curve(y[:, k], chosen[:, i]) for i, k in enumerate(both)]
        areas = [-integrate.trapezoid(precision, recall) for precision, recall, _ in curves]
        assert ours["aupr"] == pytest.approx(np.mean(areas))
    mean = p.mean(axis=1)[:, both]
    assert found.averaged["auroc"] == pytest.approx(metrics.roc_auc_score(y[:, both], mean))
    assert set(found.curve[0]) == {"max_shift", "loss"}


@pytest.mark.parametrize("name", ["softmax logits", "sigmoid logits"])
def test_logits_are_averaged_as_probabilities(name, rng):
    model, loss, width, _ = ZOO[name]()
    x = random_sequences(rng, COUNT, WINDOW + SLACK)
    y = random_labels(rng, COUNT, width, loss)
    p = predictions(model, x)
    p = 1 / (1 + np.exp(-(p[..., 0] if width == 1 else p[..., 1] - p[..., 0])))
    found = evaluate(model, x, y)
    expected = ((p.mean(axis=1) > 0.5) == (y[:, -1] == 1)).mean()
    assert found.averaged["accuracy"] == pytest.approx(expected)


def test_no_slack(rng):
    model = functional()
    x, y = random_sequences(rng, 9, WINDOW), random_labels(rng, 9, 2, "categorical")
    found = evaluate(model, x, y, strategies=("none", "random", "worst", "worst_of_20"))
    assert len({json.dumps(values) for values in found.strategies.values()}) == 1
    assert len(found.curve) == 1
    assert found.to_dict()["shifts"] == [0]


def test_seeds(rng):
    model = functional()
    x, y = random_sequences(rng, COUNT, 40), random_labels(rng, COUNT, 2, "categorical")
    first, same, other = (
        evaluate(model, x, y, strategies=["random"], seed=s).starts["random"] for s in (1, 1, 2)
    )
    assert np.array_equal(first, same)
    assert not np.array_equal(first, other)


def detector():
    """One sigmoid that says "bound" unless the window's first base is C."""
    model = keras.Sequential([keras.Input((4, 4)), layers.Flatten(), layers.Dense(1, "sigmoid")])
    kernel = np.zeros((16, 1), "float32")
    kernel[1] = -20
    model.layers[-1].set_weights([kernel, np.array([10.0], "float32")])
    return model


def test_by_hand():
    """Window 4 of 6, starts 0..2, shifts -1..1; a window that begins with C is called unbound."""
    x = sequences.one_hot(sequences.encode(["AAAAAA", "CAAAAA", "ACAAAA", "AACAAA"]))
    found = evaluate(detector(), x, np.ones(4))
    assert found.right.tolist() == [[1, 1, 1], [0, 1, 1], [1, 0, 1], [1, 1, 0]]
    assert [point["accuracy"] for point in found.curve] == [0.75, 0.25]
    assert found.strategies["none"]["accuracy"] == 0.75
    assert found.strategies["worst"]["accuracy"] == 0.25
    assert found.right_at_every_shift == 0.25
    assert found.starts["worst"].tolist()[1:] == [0, 1, 2]
    assert found.averaged["accuracy"] == 1.0  # two of three windows outvote the third


def test_protected_spans_by_hand():
    """The same, with spans that forbid the one start that breaks an example, or all but it."""
    x = sequences.one_hot(sequences.encode(["AAAAAA", "CAAAAA", "ACAAAA", "AACAAA"]))
    protect = np.array([[0, 6 - 2], [4, 5], [0, 1], [2, 6]])  # starts {0}, {1,2}, {0}, {2}
    found = evaluate(detector(), x, np.ones(4), protect=protect)
    assert found.starts["none"].tolist() == [0, 1, 0, 2]
    assert found.strategies["worst"]["accuracy"] == 0.75
    assert found.right_at_every_shift == 0.75
    assert [point["accuracy"] for point in found.curve] == [0.75, 0.75]
    assert found.averaged["accuracy"] == 0.75


def test_paper_protocol_in_evaluation(rng):
    """One draw for the whole test set; start 0 for whom the first start drawn is the worst."""
    model = functional()
    x, y = random_sequences(rng, COUNT, 30), random_labels(rng, COUNT, 2, "categorical")
    losses = scan(model, x, y)
    drawn = np.asarray(WorstShift(3, seed=2, protocol="paper").candidates(1, losses.windows))[0]
    picked = losses.loss[:, drawn].argmax(axis=1)
    expected = np.where(picked == 0, 0, drawn[picked])
    found = evaluate(model, x, y, strategies=[WorstShift(3, seed=2, protocol="paper")])
    assert np.array_equal(found.starts["worst_of_3"], expected)
    assert (picked == 0).any()
    assert (picked > 0).any()


def test_what_does_not_fit(rng):
    x, y = random_sequences(rng, 4, 20), np.ones(4)
    with pytest.raises(InputError, match="the paper's protocol knows no spans"):
        evaluate(
            detector(), x, y, strategies=[WorstShift(protocol="paper")],
            protect=np.zeros((4, 2), int),
        )  # fmt: skip
    with pytest.raises(InputError, match="strategy 'none': given twice"):
        evaluate(detector(), x, y, strategies=("none", NoShift()))
    with pytest.raises(InputError, match="strategy 'best'"):
        evaluate(detector(), x, y, strategies=("best",))
    regression = functional(1, None)
    regression.compile("sgd", "mse")
    with pytest.raises(InputError, match="no probabilities"):
        evaluate(regression, 5 * x, y)
