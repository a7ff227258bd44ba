"""Curves, certificates, intervals and tests of pairs: by brute force, by hand, by textbook;
plain numpy, no network."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sklearn_metrics

from tfbs_shift.evaluation import profiles, statistics
from tfbs_shift.evaluation.curves import (
    certificates,
    highest_within,
    nearest,
    radii,
    random_within,
)
from tfbs_shift.scanning.scans import ShiftScan
from tfbs_shift.tasks.areas import label_scores, resampled_scores
from tfbs_shift.windows import WindowRange


@st.composite
def cases(draw):
    """Losses with ties at every start, whether right, and perhaps spans that forbid some starts."""
    slack = draw(st.integers(0, 9))
    bound = draw(st.one_of(st.none(), st.integers(0, 6)))
    windows = WindowRange(10 + slack, 10, bound)
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    count, size = draw(st.integers(1, 6)), len(windows)
    loss = rng.integers(0, 4, (count, size)).astype(np.float32)
    right = rng.random((count, size)) < 0.7
    allowed = None
    if draw(st.booleans()):
        allowed = rng.random((count, size)) < 0.5
        allowed[np.arange(count), rng.integers(0, size, count)] = True
    return windows, loss, right, allowed


def permitted(windows, allowed, i, r):
    """Columns that example i may use within r bp: those allowed, or else No Shift's."""
    columns = [c for c in range(len(windows)) if abs(windows.shifts[c]) <= r
               and (allowed is None or allowed[i, c])]  # fmt: skip
    return columns or [int(nearest(len(allowed), windows, allowed)[i])]


@given(cases())
@settings(deadline=None, max_examples=200)
def test_worst_within_every_radius_by_brute_force(case):
    windows, loss, right, allowed = case
    found = highest_within(loss, windows, allowed)
    assert found.shape == (len(loss), len(radii(windows)))
    certified = certificates(right, windows, allowed)
    for i in range(len(loss)):
        certificate = -1
        for r in radii(windows):
            columns = permitted(windows, allowed, i, r)
            highest = max(loss[i, c] for c in columns)
            assert loss[i, found[i, r]] == highest
            assert found[i, r] in columns
            if r == radii(windows)[-1]:  # of equals the smallest start, as worst_start has it
                assert found[i, r] == min(c for c in columns if loss[i, c] == highest)
            if certificate == r - 1 and all(right[i, c] for c in columns):
                certificate = r
        centre = int(nearest(len(loss), windows, allowed)[i])
        assert certified[i] == (certificate if right[i, centre] else -1)
    scan = ShiftScan(windows, loss, allowed)
    assert np.array_equal(windows.starts[found[:, -1]], scan.worst_start)


@given(cases())
@settings(deadline=None, max_examples=100)
def test_random_curve_has_the_moments_of_draws(case):
    windows, loss, _, allowed = case
    mean, deviation = random_within(loss, windows, allowed)
    for r in radii(windows):
        columns = [permitted(windows, allowed, i, r) for i in range(len(loss))]
        means = [loss[i, c].mean() for i, c in enumerate(columns)]
        variances = [loss[i, c].astype(float).var() for i, c in enumerate(columns)]
        assert mean[r] == pytest.approx(np.mean(means))
        assert deviation[r] == pytest.approx(np.sqrt(sum(variances)) / len(loss))


def test_certificates_by_hand():
    """Shifts -2 .. 2; the certificate grows until the first wrong window, on either side."""
    windows = WindowRange(8, 4)
    right = np.array(
        [[1, 1, 1, 1, 1], [0, 1, 1, 1, 1], [1, 1, 1, 1, 0], [1, 0, 1, 1, 1], [1, 1, 0, 1, 1]], bool
    )
    assert certificates(right, windows).tolist() == [2, 1, 1, 0, -1]
    # what may not be used does not count against an example
    allowed = np.ones((5, 5), bool)
    allowed[1, 0] = allowed[3, 1] = False
    assert certificates(right, windows, allowed).tolist() == [2, 2, 1, 2, -1]


def test_even_ranges_reach_one_bp_further_right():
    windows = WindowRange(101, 90)
    assert list(radii(windows)) == [*range(7)]
    loss = np.zeros((1, 12))
    loss[0, 11] = 1  # shift +6
    assert highest_within(loss, windows)[0].tolist() == [5, 4, 3, 2, 1, 0, 11]


# ---- statistics ----


@pytest.mark.parametrize("groups", [1, 4, 5, 23])
def test_chromosomes_are_resampled_if_they_are_enough(groups):
    chrom = np.array([f"chr{i}" for i in np.arange(60) % groups])
    found = statistics.resampling_groups(chrom)
    assert found is None if groups < 5 else np.array_equal(found, chrom)
    assert statistics.resampling_groups(None) is None


def test_bootstrap_interval_of_a_mean_is_the_normal_one(rng):
    """95%, neither 93% nor 97%: 20,000 resamples leave 1% of noise in the ends."""
    values = rng.normal(3, 2, (400, 1))
    low, high = statistics.of_means(values, resamples=20_000)
    error = values.std() / np.sqrt(400)
    assert low[0] == pytest.approx(values.mean() - 1.96 * error, abs=0.07 * error)
    assert high[0] == pytest.approx(values.mean() + 1.96 * error, abs=0.07 * error)


def test_a_seed_repeats_the_resamples(rng):
    values, groups = rng.normal(size=(50, 2)), np.arange(50) // 5

    def interval(seed, groups=None):
        return np.stack(statistics.of_means(values, groups, seed=seed, resamples=200)).tolist()

    for some in (None, groups):
        assert interval(1, some) == interval(1, some)
        assert interval(1, some) != interval(2, some)


def test_groups_are_drawn_as_wholes_by_enumeration(rng):
    """All 6^6 ways to draw six groups of 1 to 32 examples: a group weighs as its members do, and
    2.5% of the ways lie below the interval and 2.5% above it."""
    sizes = 2 ** np.arange(6)
    groups = rng.permutation(np.repeat(np.array(list("cafbed")), sizes))
    values = np.stack([rng.normal(size=63) ** 2 + 3 * (groups == "d"), groups == "a"], axis=1)
    members = [values[groups == name] for name in "abcdef"]
    totals = np.array([some.sum(axis=0) for some in members])
    counts = np.array([len(some) for some in members])
    ways = np.array(list(itertools.product(range(6), repeat=6)))
    means = totals[ways].sum(axis=1) / counts[ways].sum(axis=1)[:, None]
    found = statistics.of_means(values, groups, resamples=20_000)
    for outwards, end in ((-1, found.low), (1, found.high)):
        beyond = outwards * (means - end)
        # Several ways give the same mean: with those on the end itself it is more than 2.5%.
        assert ((beyond > 1e-9).mean(axis=0) < 0.0295).all()
        assert ((beyond > -1e-9).mean(axis=0) > 0.0205).all()


def test_bootstrap_covers_the_truth(rng):
    """95% intervals of 200 samples hold the true mean about 190 times."""
    inside = 0
    for _ in range(200):
        low, high = statistics.of_means(rng.random((60, 1)) < 0.3, resamples=300)
        inside += low[0] <= 0.3 <= high[0]
    assert 178 <= inside <= 199


def test_groups_that_agree_within_widen_the_interval(rng):
    """Ten groups of 100 equal members hold ten observations, not a thousand."""
    groups = np.repeat(np.arange(10), 100)
    values = np.repeat(rng.normal(size=10), 100)[:, None]
    alone, together = statistics.of_means(values), statistics.of_means(values, groups)
    width = [one.high[0] - one.low[0] for one in (alone, together)]
    assert width[1] / width[0] == pytest.approx(10, rel=0.2)
    # of unequal size: a group weighs as its members do
    groups[:50] = 1
    middle = statistics.of_means(values, groups)
    assert middle.low[0] < values.mean() < middle.high[0]


def test_one_group_has_no_interval():
    low, high = statistics.of_means(np.ones((5, 2)), np.zeros(5))
    assert np.isnan([low, high]).all()


def test_mcnemar_by_hand():
    """1 against 6 discordant pairs: 2 * (1 + 7) / 2^7."""
    first = np.array([1] * 1 + [0] * 6 + [1] * 20 + [0] * 9, bool)
    second = np.array([0] * 1 + [1] * 6 + [1] * 20 + [0] * 9, bool)
    assert statistics.mcnemar(first, second) == pytest.approx(0.125)
    assert statistics.mcnemar(first, first) == 1.0


def test_correction_by_hand():
    """Benjamini & Hochberg: p * m / rank, made monotone from the largest down."""
    found = statistics.corrected([0.01, np.nan, 0.04, 0.03, 0.2])
    assert found[[0, 2, 3, 4]] == pytest.approx([0.04, 4 * 0.04 / 3, 4 * 0.04 / 3, 0.2])
    assert np.isnan(found[1])


def areas_by_sklearn(y, scores):
    """Mean AUROC and AUPR over the labels that have both classes."""
    auroc, aupr = [], []
    for one, score in zip(y.T, scores.T, strict=True):
        if 0 < one.sum() < len(one):
            auroc.append(sklearn_metrics.roc_auc_score(one, score))
            curve = sklearn_metrics.precision_recall_curve(one, score)
            aupr.append(sklearn_metrics.auc(curve[1], curve[0]))
    return [np.mean(auroc), np.mean(aupr)] if auroc else [np.nan, np.nan]


@pytest.mark.parametrize("levels", [2, 12, None])
def test_weighted_areas_equal_sklearns_on_repeated_examples(levels, rng):
    """Scores with many ties, with some, all distinct; a third of the examples is not drawn, once
    those of the highest scores, once of the lowest; a label lacks a class in some resamples."""
    y = (rng.random((50, 4)) < [0.4, 0.5, 0.9, 0]).astype(np.uint8)
    y[7, 3] = 1
    scores = rng.random((50, 4)) if levels is None else rng.integers(0, levels, (50, 4)) / levels
    counts = rng.multinomial(50, np.full(50, 1 / 50), size=12).astype(float)
    counts[0] = 1
    for b, order in enumerate((np.argsort(scores[:, 0]), np.argsort(-scores[:, 0])), start=1):
        counts[b, order[:10]] = 0
    lacking = 0
    found = resampled_scores(y, scores, counts)
    for b, drawn in enumerate(counts.astype(int)):
        rows = np.repeat(np.arange(50), drawn)
        assert found[:, b] == pytest.approx(areas_by_sklearn(y[rows], scores[rows]))
        lacking += not y[rows, 3].any()
    assert 0 < lacking < 12
    assert found[:, 0] == pytest.approx(list(label_scores(y, scores).means().values()))


def test_areas_of_one_class_are_none():
    y, scores = np.array([[1], [1], [0]]), np.array([[0.3], [0.2], [0.1]])
    found = resampled_scores(y, scores, np.array([[2.0, 1, 0], [0, 0, 3], [1, 0, 2]]))
    assert np.isnan(found[:, :2]).all()
    assert found[:, 2].tolist() == [1, 1]
    assert np.isnan(resampled_scores(1 + 0 * y, scores, np.ones((1, 3)))).all()


# ---- where the loss is high ----


def test_a_loss_that_follows_the_phase_is_explained_by_it():
    windows = WindowRange(60, 40)  # shifts -10 .. 10
    phases = np.mod(windows.shifts, 4)
    loss = np.tile(phases.astype(np.float32), (30, 1)) + np.arange(30)[:, None]
    found = profiles.phase(ShiftScan(windows, loss), 4)
    assert found["explained"] == pytest.approx(1)
    assert np.diff(found["loss"]) == pytest.approx([1, 1, 1])
    assert found["explained_by_chance"] == pytest.approx(3 / 20)
    change = profiles.change_by_distance(loss)
    assert change[[4, 8, 12]] == pytest.approx([0, 0, 0], abs=1e-6)
    assert (change[[1, 2, 3, 5]] > 0.5).all()
    assert profiles.phase(ShiftScan(windows, loss), 1) is None
    assert profiles.phase(ShiftScan(windows, loss), 21) is None


def test_phases_explain_noise_by_chance(rng):
    windows = WindowRange(60, 40)
    loss = rng.random((4000, 21)).astype(np.float32)
    found = profiles.phase(ShiftScan(windows, loss), 4)
    assert found["explained"] == pytest.approx(found["explained_by_chance"], abs=0.01)


def test_where_worst_shifts_lie(rng):
    windows = WindowRange(14, 10)
    loss = np.zeros((100, 5), np.float32)
    loss[:60, 0] = loss[60:90, 4] = 1  # the last ten have the same loss everywhere
    found = profiles.worst_shifts(ShiftScan(windows, loss))
    assert found["examples"] == [60, 0, 0, 0, 30]
    assert (found["ties"], found["at_the_edges"]) == (10, 1.0)
    assert found["at_the_edges_if_anywhere"] == pytest.approx(0.4)
    assert found["p_uniform"] < 1e-6
    noise = rng.random((1000, 5)).astype(np.float32)
    assert profiles.worst_shifts(ShiftScan(windows, noise))["p_uniform"] > 1e-4
