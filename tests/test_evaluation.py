import json

import keras
import numpy as np
import pytest
from keras import layers
from scipy import integrate, special, stats
from sklearn import metrics

from tfbs_shift import (
    InputError,
    NoShift,
    PaperWorstShift,
    WorstShift,
    controls,
    data,
    evaluate,
    sequences,
)
from tfbs_shift.evaluation import Execution, checks, running, statistics
from tfbs_shift.evaluation.figures import RESAMPLES_OF_STATISTICS
from tfbs_shift.scanning.jobs import ScanJob
from tfbs_shift.tasks.areas import label_scores, resampled_scores
from tfbs_shift.training.validating import Validation
from tfbs_shift.windows import WindowRange

from .conftest import WINDOW, ZOO, functional, random_labels, random_sequences, sequential

SLACK = 7
COUNT = 60


def predictions(model, x):
    """Probabilities at every start, (N, S, K), window by window through ``predict``."""
    starts = range(x.shape[1] - WINDOW + 1)
    windows = [x[:, s : s + WINDOW].astype("float32") for s in starts]
    return np.stack([model.predict(w, verbose=0) for w in windows], axis=1)


def apart(labels=1):
    """A network whose scores and losses differ by far more than rounding does, so that their ranks
    and the worst of them do not depend on how they were computed."""
    flat = [keras.Input((WINDOW, 4)), layers.Flatten(), layers.Dense(labels, "sigmoid")]
    model = keras.Sequential(flat)
    kernel = np.random.default_rng(1).normal(size=(4 * WINDOW, labels))
    model.layers[-1].set_weights([kernel, np.zeros(labels)])
    return model


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
    # of starts whose losses differ by rounding alone, any may be it
    assert loss[everyone, found.starts["worst"]] == pytest.approx(loss.max(axis=1), abs=1e-5)
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
    assert found.averaged["accuracy"] == pytest.approx(averaged)
    shifts = np.arange(SLACK + 1) - SLACK // 2
    for r, point in enumerate(found.curve):
        inside = np.abs(shifts) <= r
        worst = np.where(inside, loss, -1).argmax(axis=1)
        assert point["max_shift"] == r
        assert point["accuracy"] == pytest.approx(right[everyone, worst].mean())
        assert point["loss"] == pytest.approx(loss[everyone, worst].mean(), abs=1e-5)
        assert point["random_accuracy"] == pytest.approx(right[:, inside].mean())
        assert point["random_loss"] == pytest.approx(loss[:, inside].mean(), abs=1e-5)
    assert len(found.curve) == 5  # 0..4: the range is -3..4


@pytest.mark.parametrize("units", [1, 2])
def test_areas_and_correlation_of_two_classes_against_sklearn(units, rng):
    """At each strategy's start, of the averaged prediction, and at the worst start within every r;
    at the ends of the curve its intervals are those of none and worst."""
    model = functional(units, "sigmoid" if units == 1 else "softmax")
    x = random_sequences(rng, COUNT, WINDOW + SLACK)
    y = rng.integers(0, 2, COUNT)
    p = predictions(model, x)[..., -1]
    loss = -np.log(np.where(y[:, None] == 1, p, 1 - p))
    threshold = float(np.median(p)) + 1e-4  # that an untrained network calls some of each

    def expected(scores):
        precision, recall, _ = metrics.precision_recall_curve(y, scores)
        return {
            "auroc": metrics.roc_auc_score(y, scores),
            "aupr": metrics.auc(recall, precision),
            "mcc": metrics.matthews_corrcoef(y, scores > threshold),
        }

    found = evaluate(model, x, y, draws=3, groups=np.arange(COUNT) // 6, threshold=threshold)
    everyone, shifts = np.arange(COUNT), np.arange(SLACK + 1) - SLACK // 2
    for name, starts in found.starts.items():
        ours = {m: found.strategies[name][m] for m in ("auroc", "aupr", "mcc")}
        assert ours == pytest.approx(expected(p[everyone, starts]), abs=1e-6)
    averaged = expected(p.mean(axis=1))
    assert {name: found.averaged[name] for name in averaged} == pytest.approx(averaged)
    for r, point in enumerate(found.curve):
        worst = np.where(np.abs(shifts) <= r, loss, -1).argmax(axis=1)
        at_worst = expected(p[everyone, worst])
        assert {name: point[name] for name in at_worst} == pytest.approx(at_worst, abs=1e-6)
        for name in at_worst:
            assert point[f"{name}_low"] < point[name] < point[f"{name}_high"]
            draws = [point[f"random_{name}{end}"] for end in ("_low", "", "_high")]
            assert draws == pytest.approx(sorted(draws))
    for name, point in (("none", found.curve[0]), ("worst", found.curve[-1])):
        for metric, pair in found.intervals["examples"]["strategies"][name].items():
            if metric != "loss":
                assert [point[f"{metric}_low"], point[f"{metric}_high"]] == pytest.approx(pair)
    mean = p.mean(axis=1)[:, None]
    for unit, members in (("examples", everyone), ("groups", everyone // 6)):

        def areas(counts, members=members):
            return resampled_scores(y[:, None], mean, counts[:, members])

        number = members[-1] + 1
        expected = statistics.bootstrap(areas, number, resamples=RESAMPLES_OF_STATISTICS, seed=0)
        pairs = [found.intervals[unit]["averaged_over_shifts"][m] for m in ("auroc", "aupr")]
        assert np.transpose(pairs) == pytest.approx(np.array(expected), abs=1e-6)


@pytest.mark.parametrize(
    ("units", "activation"), [(1, "sigmoid"), (2, "softmax"), (3, "softmax"), (3, "sigmoid")]
)
def test_validation_says_what_evaluate_says(units, activation, rng):
    """On the same windows: while a model trains the history has the audit's figures."""
    model = functional(units, activation)
    x = random_sequences(rng, COUNT, WINDOW + SLACK)
    kind = "categorical" if activation == "softmax" else "binary"
    y = random_labels(rng, COUNT, units, kind)
    strategies = {"none": NoShift(), "worst_of_3": WorstShift(3, seed=1), "worst": WorstShift()}
    expected = evaluate(
        model, x, y, strategies=[NoShift(), WorstShift(3, seed=1), "worst"], self_checks=False
    ).strategies
    validate = Validation(ScanJob.of(model, x, y), strategies)
    for _ in range(2):  # again on the same windows
        found = validate()
        assert list(found) == list(expected)
        for name, values in expected.items():
            assert list(found[name]) == list(values)
            assert found[name] == pytest.approx(values)


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
    model = apart(4)
    x = random_sequences(rng, COUNT, WINDOW + SLACK)
    y = random_labels(rng, COUNT, 4, "binary")
    y[:, 2] = 0  # has one class only: left out of the means
    both = [0, 1, 3]
    p = predictions(model, x)
    found = evaluate(model, x, y)
    assert found.right is None
    assert found.left_out == ["2"]
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


@pytest.mark.parametrize("more", [[], ["worst"]])
@pytest.mark.parametrize("labels", [1, 3])
@pytest.mark.parametrize("tries", [3, 99])
def test_the_papers_choice_among_other_strategies(tries, labels, more, rng):
    """One draw for the whole test set; for whom the first start drawn is the worst the first start
    of the range, which is run though not drawn. The same where every start is run anyway."""
    model, windows = apart(labels), WindowRange(30, WINDOW, 4)  # starts 5..13
    x, y = random_sequences(rng, COUNT, 30), random_labels(rng, COUNT, labels, "binary")
    views = [x[:, s : s + WINDOW].reshape(COUNT, -1) for s in range(19)]
    p = special.expit(np.stack(views, axis=1) @ model.get_weights()[0])
    everyone, loss = np.arange(COUNT), -np.log(np.where(y[:, None] == 1, p, 1 - p)).mean(axis=2)
    draws = {seed: PaperWorstShift(tries, seed).draw(1, windows)[0] for seed in range(20)}
    seed, drawn = next((s, d) for s, d in draws.items() if tries == 99 or 5 not in d)
    assert (set(drawn) == set(range(5, 14))) == (tries == 99)
    picked = np.minimum(loss[:, drawn], -np.log(1e-4)).argmax(axis=1)
    expected = np.where(picked == 0, 5, drawn[picked])
    assert 0 < (picked == 0).sum() < COUNT
    strategies = ["random", PaperWorstShift(tries, seed), "worst_of_2", "none", *more]
    found = evaluate(model, x, y, strategies=strategies, max_shift=4, self_checks=False)
    assert np.array_equal(found.starts[f"worst_of_{tries}"], expected)
    for name, starts in found.starts.items():
        mean = loss[everyone, starts].mean()
        assert found.strategies[name]["loss"] == pytest.approx(mean, abs=1e-5)
        if labels == 1:
            right = (p[everyone, starts] > 0.5) == (y == 1)
            assert np.array_equal(found.chosen[name]["right"], right[:, 0])
        else:
            assert np.allclose(found.chosen[name]["scores"], p[everyone, starts], atol=1e-6)


def test_what_does_not_fit(rng):
    x, y = random_sequences(rng, 4, 20), np.ones(4)
    with pytest.raises(InputError, match="the paper's protocol knows no spans"):
        evaluate(detector(), x, y, strategies=[PaperWorstShift()], protect=np.zeros((4, 2), int))
    with pytest.raises(InputError, match="strategy 'none': given twice"):
        evaluate(detector(), x, y, strategies=("none", NoShift()))
    with pytest.raises(InputError, match="strategy 'best'"):
        evaluate(detector(), x, y, strategies=("best",))
    unknown = functional(1, None)
    unknown.compile("sgd", lambda y, p: keras.ops.abs(y - p))
    with pytest.raises(
        InputError, match=r"only its loss is known, which scan gives; .* give task="
    ):
        evaluate(unknown, x, y)


# ---- many labels ----


def ties(rng, count):
    return rng.integers(0, 4, count).astype(np.float32) / 4


SCORES = {
    "distinct": lambda rng, count: rng.random(count, np.float32),
    "ties": ties,
    "constant": lambda rng, count: np.full(count, 0.5, np.float32),
    "saturated": lambda rng, count: (rng.random(count) < 0.1).astype(np.float32),
}


@pytest.mark.parametrize("kind", SCORES)
@pytest.mark.parametrize("count", [2, 3, 10, 501])
def test_label_scores_equal_sklearn(kind, count, rng):
    y = (rng.random((count, 70)) < rng.random(70)).astype(np.uint8)
    y[:, 3], y[:, 4] = 0, 1
    scores = np.stack([SCORES[kind](rng, count) for _ in range(70)], axis=1)
    found = label_scores(y, scores)
    for k in range(70):
        assert found.positives[k] == y[:, k].sum()
        if 0 < y[:, k].sum() < count:
            assert found.auroc[k] == pytest.approx(metrics.roc_auc_score(y[:, k], scores[:, k]))
            precision, recall, _ = metrics.precision_recall_curve(y[:, k], scores[:, k])
            assert found.aupr[k] == pytest.approx(metrics.auc(recall, precision))
        else:
            assert np.isnan(found.auroc[k])
            assert np.isnan(found.aupr[k])
    assert not found.scored[3]
    assert found.means()["aupr"] == pytest.approx(np.nanmean(found.aupr))


def test_label_scores_refuse_what_is_no_number():
    with pytest.raises(InputError, match="no numbers"):
        label_scores(np.eye(2), np.array([[0, np.nan], [1, 0]]))
    with pytest.raises(InputError, match="odd number"):
        label_scores(np.eye(3), np.eye(3), average_strands=True)


class Counting(layers.Layer):
    """Counts the windows that go through it."""

    def build(self, shape):
        self.seen = self.add_weight(dtype="int32", trainable=False, initializer="zeros")

    def call(self, x):
        self.seen.assign_add(keras.ops.shape(x)[0])
        return x


def test_without_worst_only_the_starts_drawn_are_run(rng):
    """The same starts and figures as when every start is run, with the model run there alone."""
    counting = Counting()
    model = keras.Sequential([keras.Input((WINDOW, 4)), counting, apart(4)])
    x = random_sequences(rng, COUNT, 40)
    y = random_labels(rng, COUNT, 4, "binary")
    names = ("worst_of_3", "none", "random", "worst_of_2")
    few = evaluate(model, x, y, strategies=names, seed=3, self_checks=False)
    # beside them a look at what the model predicts
    assert 0 <= int(counting.seen) - COUNT * (3 + 1 + 1 + 2) < COUNT
    everything = evaluate(model, x, y, strategies=(*names, "worst"), seed=3)
    for name in names:
        assert np.array_equal(few.starts[name], everything.starts[name])
        assert np.allclose(few.chosen[name]["scores"], everything.chosen[name]["scores"], atol=1e-6)
        for metric, value in few.strategies[name].items():
            assert value == pytest.approx(everything.strategies[name][metric], abs=1e-6)
    assert few.scan is few.right is few.averaged is None
    assert few.to_dict()["curve"] == []
    assert "averaged_over_shifts" not in few.to_dict()


def flat(nested, *path):
    """Nested intervals by where they stand."""
    if not isinstance(nested, dict):
        return {path: nested}
    return {k: v for name, one in nested.items() for k, v in flat(one, *path, name).items()}


@pytest.mark.parametrize("labels", [1, 3])
def test_groups_are_drawn_as_wholes(labels, rng):
    """Five copies of each example, in any order, are a group: the intervals over groups are those
    over the examples that were copied; over the copies they would be narrower."""
    model, x = apart(labels), random_sequences(rng, 40, 20)
    y = random_labels(rng, 40, labels, "binary")

    def intervals(rows, seed=4, **given):
        found = evaluate(model, x[rows], y[rows], strategies=("none", "worst"), seed=seed,
                         self_checks=False, **given)  # fmt: skip
        for end, side in ((0, "low"), (1, "high")):
            if labels == 1:  # the curve's are over examples
                pair = found.intervals["examples"]["strategies"]["worst"]["accuracy"]
                assert found.curve[-1][f"accuracy_{side}"] == pair[end]
        return {unit: flat(values) for unit, values in found.intervals.items()}

    groups = rng.permutation(np.repeat(np.arange(40), 5))
    expected = intervals(np.arange(40))["examples"]
    found = intervals(groups, groups=groups)
    assert list(found) == ["examples", "groups"]
    assert found["groups"].keys() == found["examples"].keys() == expected.keys()
    assert (found["groups"].pop(("number",)), found["examples"].pop(("number",))) == (40, 200)
    for path, pair in found["groups"].items():
        # Copies whose scores differ by rounding bend the precision between them.
        near = 0.01 if path[-1] in ("aupr", "reliability") else 1e-5
        assert pair == pytest.approx(expected[path], abs=near), path
    worst = ("strategies", "worst", "loss")
    assert np.ptp(found["examples"][worst]) < 0.7 * np.ptp(found["groups"][worst])
    assert intervals(np.arange(40), seed=5)["examples"][worst] != expected[worst]


def test_strands_of_an_example_are_drawn_together(rng):
    """Intervals are those of the mean loss and the mean prediction of a pair."""
    half, chromosomes = random_sequences(rng, 40, 20), rng.integers(0, 8, 40)
    x = np.concatenate([half, sequences.reverse_complement(half)])
    y = random_labels(rng, 40, 3, "binary")
    found = evaluate(apart(3), x, np.tile(y, (2, 1)), average_strands=True, seed=4,
                     groups=np.tile(chromosomes, 2), self_checks=False)  # fmt: skip
    loss = found.scan.worst_loss.reshape(2, 40).mean(axis=0)
    scores = found.chosen["worst"]["scores"].reshape(2, 40, 3).mean(axis=0)
    for unit, groups in (("examples", np.arange(40)), ("groups", chromosomes)):
        ours = found.intervals[unit]["strategies"]["worst"]
        names, index = np.unique(groups, return_inverse=True)
        assert found.intervals[unit]["number"] == len(names)
        expected = statistics.of_means(loss[:, None], groups, seed=4)
        assert ours["loss"] == pytest.approx(np.concatenate(expected))

        def areas(counts, index=index):
            return resampled_scores(y, scores, counts[:, index])

        expected = statistics.bootstrap(
            areas, len(names), resamples=RESAMPLES_OF_STATISTICS, seed=4
        )
        pairs = [ours["auroc"], ours["aupr"]]
        assert np.transpose(pairs) == pytest.approx(np.array(expected))


def test_strands_are_averaged(rng):
    model = apart(3)
    half = random_sequences(rng, COUNT, WINDOW + SLACK)
    x = np.concatenate([half, sequences.reverse_complement(half)])
    y = np.tile(random_labels(rng, COUNT, 3, "binary"), (2, 1))
    found = evaluate(model, x, y, average_strands=True, strategies=("none", "worst"))
    p = predictions(model, x)
    for name, starts in found.starts.items():
        chosen = p[np.arange(2 * COUNT), starts]
        mean = (chosen[:COUNT] + chosen[COUNT:]) / 2
        expected = metrics.roc_auc_score(y[:COUNT], mean, average="macro")
        assert found.strategies[name]["auroc"] == pytest.approx(expected)
    assert found.to_dict()["average_strands"] is True
    x[COUNT + 5] = x[5]
    with pytest.raises(InputError, match=rf"example {COUNT + 5} is not the reverse complement"):
        evaluate(model, x, y, average_strands=True)
    with pytest.raises(InputError, match="no pairs of strands"):
        evaluate(model, x[:-1], y[:-1], average_strands=True)


class Failing:
    """Sequences whose reading fails at some row, and which count what is read."""

    def __init__(self, x, fails_at):
        self.x, self.fails_at, self.shape, self.read = x, fails_at, x.shape, 0

    def __len__(self):
        return len(self.x)

    def __getitem__(self, rows):
        begin, end, _ = rows.indices(len(self.x))
        if end - begin == 16:  # a block, not a look at the first rows
            if begin >= self.fails_at:
                raise KeyboardInterrupt
            self.read += end - begin
        return self.x[rows]


@pytest.mark.parametrize("units", [2, 3])
@pytest.mark.parametrize("strategies", [("none", "worst_of_3"), ("random", "worst")])
def test_an_interrupted_evaluation_goes_on(units, strategies, rng, tmp_path, monkeypatch):
    monkeypatch.setattr("tfbs_shift.files._SECONDS", 0.0)
    model = functional(units, "softmax" if units == 2 else "sigmoid")
    x = random_sequences(rng, 96, 30)
    y = random_labels(rng, 96, units, "categorical" if units == 2 else "binary")

    def run(x, folder=tmp_path / "work", seed=1):
        return evaluate(model, x, y, strategies=strategies, seed=seed, folder=folder, batch_size=16)

    expected = evaluate(model, x, y, strategies=strategies, seed=1).to_dict()
    first = Failing(x, 48)
    with pytest.raises(KeyboardInterrupt):
        run(first)
    assert first.read == 48
    second = Failing(x, 1000)
    found = run(second)
    assert second.read == 48  # the other half
    for name in strategies:
        assert found.to_dict()["strategies"][name] == pytest.approx(expected["strategies"][name])
    third = Failing(x, 1000)
    assert run(third).to_dict() == found.to_dict()
    assert third.read == 0  # all there
    # other draws, other sequences, other weights are other work
    progress = tmp_path / "work" / "progress.json"
    for change in ("seed", "x", "weights"):
        progress.unlink()
        with pytest.raises(KeyboardInterrupt):
            run(Failing(x, 48))
        if change == "weights":
            model.set_weights([w + 0.01 for w in model.get_weights()])
        other = Failing(x[::-1].copy() if change == "x" else x, 1000)
        found = run(other, seed=2 if change == "seed" else 1)
        assert other.read == 96
    progress.write_text('{"fingerprint": ')  # cut short
    again = Failing(x, 1000)
    run(again)
    assert again.read == 96


# ---- what all starts tell ----


def test_the_curve_of_several_labels_against_every_prediction(rng, tmp_path):
    """AUROC at the loss-worst start within every r, from the few predictions that were kept; and
    the random curve, whose nested draws are seen in its starts."""
    model = apart(3)
    x = random_sequences(rng, COUNT, WINDOW + SLACK)
    y = random_labels(rng, COUNT, 3, "binary")
    p = predictions(model, x)
    shifts = np.arange(SLACK + 1) - SLACK // 2
    for folder in (None, tmp_path):
        found = evaluate(model, x, y, folder=folder, draws=3, batch_size=17)
        loss = found.scan.loss
        for r, point in enumerate(found.curve):
            worst = np.where(np.abs(shifts) <= r, loss, -1).argmax(axis=1)
            at_worst = p[np.arange(COUNT), worst]
            assert point["auroc"] == pytest.approx(metrics.roc_auc_score(y, at_worst))
            assert point["random_auroc_low"] <= point["random_auroc"] <= point["random_auroc_high"]
        assert found.curve[-1]["auroc"] == found.strategies["worst"]["auroc"]
        assert found.curve[0]["auroc"] == found.strategies["none"]["auroc"]
        assert found.curve[0]["random_auroc_low"] == pytest.approx(found.curve[0]["auroc"])
        assert found.curve[-1]["random_auroc_low"] < found.curve[-1]["random_auroc_high"]
    again = evaluate(model, x, y, draws=3, batch_size=5)
    for point, same in zip(again.curve, found.curve, strict=True):
        assert point == pytest.approx(same, abs=1e-6)  # draws do not depend on blocks
    assert "random_auroc" not in evaluate(model, x, y, draws=0).curve[0]


def test_random_starts_of_the_curve_are_uniform(rng):
    """Each start within r is drawn equally often, by each example for itself: the start is told
    from the prediction that was kept for it."""
    model = sequential(3, "sigmoid")
    x = random_sequences(rng, 1500, WINDOW + SLACK)
    y = random_labels(rng, 1500, 3, "binary")
    job = ScanJob.of(model, x, y)
    found = running.run(job, {"worst": WorstShift()}, seed=1, draws=2,
                        execution=Execution())  # fmt: skip
    p = predictions(model, x)
    shifts = job.windows.shifts
    columns = np.empty((2, 5, 1500), int)
    for draw in (0, 1):
        for r in range(5):
            kept = found.records.scores(1 + draw, r)
            columns[draw, r] = np.abs(p - kept[:, None]).sum(axis=2).argmin(axis=1)
            counts = np.bincount(columns[draw, r], minlength=len(shifts))
            inside = np.abs(shifts) <= r
            assert counts[~inside].sum() == 0
            assert r == 0 or stats.chisquare(counts[inside]).pvalue > 1e-4
    same = (columns[0, 4] == columns[1, 4]).mean()
    assert same == pytest.approx(1 / len(shifts), abs=0.04)  # draws are independent


@pytest.mark.parametrize("units", [1, 2, 5])
def test_consistency_wobble_and_flips_by_brute_force(units, rng):
    model = functional(units, "sigmoid" if units == 1 else "softmax")
    x = random_sequences(rng, COUNT, WINDOW + SLACK)
    y = rng.integers(0, max(2, units), COUNT)
    p = predictions(model, x)
    classes = p[..., 0] > 0.5 if units == 1 else p.argmax(axis=2)
    found = evaluate(model, x, y)
    agree = (classes[:, :, None] == classes[:, None, :]).mean(axis=(1, 2))
    assert found.examples["consistency"] == pytest.approx(agree)
    chosen = p[..., -1] if units < 3 else p[np.arange(COUNT), :, y]
    assert found.every["probability"] == pytest.approx(chosen, abs=1e-5)
    assert found.examples["wobble"] == pytest.approx(np.ptp(chosen, axis=1), abs=1e-5)
    flipped = (classes != classes[:, [SLACK // 2]]).any(axis=1)
    assert np.array_equal(found.examples["flipped"], flipped)
    figures = found.to_dict()
    assert figures["flipped"] == pytest.approx(flipped.mean())
    right = classes == y[:, None]
    assert figures["mean_over_shifts"]["accuracy"] == pytest.approx(right.mean())
    certified = figures["certificates"]
    assert sum(certified["examples"]) == COUNT
    share = dict(zip(certified["radius"], certified["examples"], strict=True))
    assert share.get(4, 0) / COUNT == pytest.approx(right.all(axis=1).mean())
    low, high = figures["intervals"]["examples"]["strategies"]["worst"]["accuracy"]
    assert low <= figures["strategies"]["worst"]["accuracy"] <= high


def test_several_labels_keep_or_change_their_calls(rng):
    model = functional(4, "sigmoid")
    x = random_sequences(rng, COUNT, WINDOW + SLACK)
    y = random_labels(rng, COUNT, 4, "binary")
    p = predictions(model, x)
    calls = p > 0.5
    found = evaluate(model, x, y, groups=np.arange(COUNT) // 6, examples=[7], self_checks=False)
    assert found.checks == []
    agree = (calls[:, :, None] == calls[:, None, :]).mean(axis=(1, 2, 3))
    assert found.examples["consistency"] == pytest.approx(agree)
    assert found.examples["wobble"] == pytest.approx(np.ptp(p, axis=1).mean(axis=1), abs=1e-5)
    assert set(found.predictions_of) == {found.fragile, found.robust, 7}
    for i, profile in found.predictions_of.items():
        assert np.allclose(profile, p[i], atol=1e-5)
    changed = (calls != calls[:, [SLACK // 2]]).any(axis=1)
    assert found.examples["flipped"] == pytest.approx(changed.mean(axis=1))
    assert np.array_equal(found.certificates == 4, ~changed.any(axis=1))
    for unit in ("examples", "groups"):
        one = found.intervals[unit]["strategies"]["worst"]
        assert one["auroc"][0] < found.strategies["worst"]["auroc"] < one["auroc"][1]
        assert one["loss"][0] < found.strategies["worst"]["loss"] < one["loss"][1]
    assert (found.intervals["examples"]["number"], found.intervals["groups"]["number"]) == (60, 10)


def test_means_over_the_starts_that_may_be_used(rng):
    x = random_sequences(rng, COUNT, WINDOW + SLACK)
    y = random_labels(rng, COUNT, 2, "categorical")
    start = rng.integers(0, 8, COUNT)
    protect = np.stack([start, start + WINDOW], axis=1)
    found = evaluate(functional(), x, y, protect=protect)
    allowed = found.scan.allowed
    assert (allowed.sum(axis=1) == 1).all()
    for metric, values in (("loss", found.scan.loss), ("accuracy", found.right)):
        assert found.mean[metric] == pytest.approx(values[allowed].mean())
    with pytest.raises(InputError, match=r"examples \[60\]: want numbers 0..59"):
        evaluate(functional(), x, y, examples=[COUNT])


def test_protection_says_what_it_did():
    x = sequences.one_hot(sequences.encode(["AAAAAA", "CAAAAA", "ACAAAA", "AACAAA"]))
    protect = np.array([[0, 4], [4, 5], [0, 1], [2, 6]])  # starts {0}, {1, 2}, {0}, {2}
    done = evaluate(detector(), x, np.ones(4), protect=protect).protection
    assert done["windows_excluded"] == pytest.approx(7 / 12)
    assert (done["examples_bounded"], done["centre_moved"]) == (4, 3)
    assert done["worst_without"]["accuracy"] == 0.25


# ---- self-checks and controls ----


def failed(found):
    return {check.name for check in found.checks if not check.passed}


def letter_counter(*, scale=8.0, order="ACGT", bias=0.0):
    """One sigmoid: bound if most bases are C, by a kernel on the channels of an alphabet."""
    model = keras.Sequential(
        [
            keras.Input((20, 4)),
            layers.GlobalAveragePooling1D(),
            layers.Dense(1, "sigmoid"),
        ]
    )
    kernel = np.zeros((4, 1), "float32")
    kernel[order.index("C")], kernel[order.index("G")] = scale, -scale
    model.layers[-1].set_weights([kernel, np.array([bias], "float32")])
    return model


@pytest.fixture
def counted(rng):
    """Sequences of 24 bp and whether they have more C than G."""
    codes = rng.integers(0, 4, (300, 24))
    centre = codes[:, 2:22]
    return sequences.one_hot(codes), ((centre == 1).sum(1) > (centre == 2).sum(1)).astype(int)


def test_a_sound_model_passes_every_check(counted):
    found = evaluate(letter_counter(), *counted)
    assert failed(found) == set()
    assert {check.name for check in found.checks} == {
        "room", "repeatable", "saturation", "chance", "labels", "alphabet",
    }  # fmt: skip
    still = evaluate(letter_counter(), *counted, max_shift=0)  # was asked for
    assert failed(still) == set()


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("order", {"alphabet", "labels", "chance"}),
        ("labels", {"labels", "chance", "alphabet"}),
        ("always", {"chance"}),
        ("saturated", {"saturation"}),
        ("dropout", {"repeatable"}),
        ("short", {"room"}),
    ],
)
def test_checks_find_what_is_broken(change, expected, counted):
    x, y = counted
    if change == "order":
        model = letter_counter(order="AGCT")
    elif change == "always":
        model = letter_counter(scale=0.001, bias=5.0)
    elif change == "saturated":
        model = letter_counter(scale=2000.0)
    else:
        model = letter_counter()
    if change == "labels":
        y = 1 - y
    if change == "short":
        x = x[:, 2:22]
    if change == "dropout":

        class Careless(layers.Layer):
            def __init__(self):
                super().__init__()
                self.seeds = keras.random.SeedGenerator(0)

            def call(self, x):
                return x + keras.random.normal(keras.ops.shape(x), stddev=0.05, seed=self.seeds)

        inputs = keras.Input((20, 4))
        model = keras.Model(inputs, model(Careless()(inputs)))
    assert failed(evaluate(model, x, y)) == expected


def test_checks_of_several_labels(rng):
    """A network whose labels are one column off, and one that knows nothing."""
    x = random_sequences(rng, 400, WINDOW + 2)
    model = functional(4, "sigmoid")
    p = model.predict(x[:, 1 : 1 + WINDOW].astype("float32"), verbose=0)
    y = (p > np.median(p, axis=0)).astype(int)
    assert "labels" not in failed(evaluate(model, x, y, strategies=["none"]))
    moved = evaluate(model, x, np.roll(y, 1, axis=1), strategies=["none"])
    assert "labels" in failed(moved)
    guess = evaluate(model, x, random_labels(rng, 400, 4, "binary"), strategies=["none"])
    assert "chance" in failed(guess)


def test_overlapping_training_windows_are_counted():
    def examples(starts, codes, names=None):
        starts = np.array(starts)
        places = data.examples.Intervals(np.array(["chr1"] * len(starts)), starts, starts + 10)
        return data.Examples(codes, np.eye(2, dtype="u1")[[0] * len(starts)], places, names)

    rng = np.random.default_rng(0)
    training = examples([100, 200, 1000], rng.integers(0, 4, (3, 10)).astype("u1"))
    codes = rng.integers(0, 4, (5, 10)).astype("u1")
    codes[4] = sequences.reverse_complement_codes(training.codes[1])
    names = np.array(["a", "b", "c_shuf", "d", "e"])
    # touching is not overlapping; one base is; a shuffled sequence lies nowhere
    test = examples([110, 109, 200, 91, 500], codes, names)
    duplicates, places = checks.overlap(test, training)
    assert "1 of 5 test sequences" in duplicates.message and not duplicates.passed
    assert "2 of 4 test windows overlap" in places.message and not places.passed
    assert all(check.passed for check in checks.overlap(test.rows([0]), training))


def test_controls_by_hand(rng):
    """A network that counts C is as sure of shuffles as of the real windows, and calls as many."""
    x = sequences.one_hot(rng.choice(4, (300, 24), p=[0.2, 0.5, 0.1, 0.2]))
    found = controls(letter_counter(), x, np.ones(300))
    p = 1 / (1 + np.exp(-8 * (x[:, 2:22, 1].mean(1) - x[:, 2:22, 2].mean(1, dtype=float))))
    assert found["real"]["confidence"] == pytest.approx(np.maximum(p, 1 - p).mean(), abs=1e-5)
    assert found["real"]["called"] == pytest.approx((p > 0.5).mean())
    for kind in ("shuffled", "dinucleotide"):  # keep the composition
        assert found[kind]["confidence"] == pytest.approx(found["real"]["confidence"], abs=1e-6)
        assert found[kind]["detection"] == pytest.approx(0.5)
    assert found["uniform"] == {
        "confidence": 0.5, "called": 0.0,
        "detection": pytest.approx((p != 0.5).mean() + (p == 0.5).mean() / 2),
    }  # fmt: skip
    assert found["random"]["detection"] > 0.7
    assert found == controls(letter_counter(), x, np.ones(300))
