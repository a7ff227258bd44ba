"""The draws: their support, their distribution, nesting, and the paper's deviations."""

import keras
import numpy as np
import pytest
from scipy import stats

from tfbs_shift import InputError, NoShift, PaperWorstShift, RandomShift, WorstShift
from tfbs_shift.backend.computing import compiled
from tfbs_shift.strategies import strategy
from tfbs_shift.windows import WindowRange

SLACKS = [0, 1, 5, 6]


def draw(one, batch, windows, allowed=None):
    starts = one.candidates(batch, windows, allowed)
    assert keras.backend.standardize_dtype(starts.dtype) == "int32"
    return keras.ops.convert_to_numpy(starts)


@pytest.mark.parametrize("slack", SLACKS)
def test_support_and_distribution(slack):
    """Over many draws the starts are exactly {0..D}, and uniform."""
    windows = WindowRange(10 + slack, 10)
    everything = list(range(slack + 1))
    assert set(draw(NoShift(), 500, windows).ravel()) == {slack // 2}
    for one in (RandomShift(seed=1), WorstShift(tries=2, seed=1)):
        starts = draw(one, 5000, windows)
        assert sorted(set(starts.ravel())) == everything
        if starts.shape[1] > slack:  # every start, in order: nothing is drawn
            continue
        for column in starts.T:
            assert stats.chisquare(np.bincount(column, minlength=slack + 1)).pvalue > 1e-4
    assert draw(WorstShift(), 3, windows).tolist() == [everything] * 3


@pytest.mark.parametrize("slack", SLACKS)
@pytest.mark.parametrize("bound", [0, 1, 2, 9])
def test_support_within_a_bound(slack, bound):
    windows = WindowRange(10 + slack, 10, bound)
    allowed = [s for s in range(slack + 1) if abs(s - slack // 2) <= bound]
    assert sorted(set(draw(RandomShift(1), 2000, windows).ravel())) == allowed
    assert sorted(set(draw(WorstShift(3, 1), 2000, windows).ravel())) == allowed
    assert draw(WorstShift(), 1, windows)[0].tolist() == allowed
    assert draw(NoShift(), 1, windows).tolist() == [[slack // 2]]


def test_support_with_protected_spans():
    """Only the windows that hold the span, all of them, also where one single one is left."""
    windows = WindowRange(16, 10)
    kept = windows.keeping(np.array([[0, 2], [3, 11], [5, 7], [15, 16], [6, 16]]))
    ranges = [np.flatnonzero(row).tolist() for row in kept]
    assert ranges == [[0], [1, 2, 3], [0, 1, 2, 3, 4, 5], [6], [6]]
    nearest = [0, 3, 3, 6, 6]
    assert draw(NoShift(), 5, windows, kept)[:, 0].tolist() == nearest
    for one in (RandomShift(1), WorstShift(2, 1), WorstShift(4, 1), WorstShift()):
        seen = [set() for _ in ranges]
        for _ in range(100):
            for row, starts in zip(seen, draw(one, 5, windows, kept), strict=True):
                row.update(starts.tolist())
        assert [sorted(row) for row in seen] == ranges


def test_forbidden_starts_give_way_to_the_first_that_is_allowed():
    """Of every start the smallest allowed, of draws the first drawn: it wins among equal losses."""
    windows = WindowRange(16, 10, 2)  # starts 1..5
    kept = np.array([[0, 1, 1, 0, 1], [0, 0, 0, 1, 0], [0, 0, 1, 1, 1], [1, 1, 1, 1, 1]], bool)
    everything = draw(WorstShift(), 4, windows, kept)
    expected = [[2, 2, 3, 2, 5], [4, 4, 4, 4, 4], [3, 3, 3, 4, 5], [1, 2, 3, 4, 5]]
    assert everything.tolist() == expected
    assert choose(WorstShift(), everything, np.ones((4, 5)), windows) == [2, 4, 3, 1]
    one, leaders = WorstShift(4, seed=1), [set() for _ in kept]
    for _ in range(50):
        for row, starts, leader in zip(kept, draw(one, 4, windows, kept), leaders, strict=True):
            number = min(4, row.sum())
            assert len(set(starts[:number])) == number
            assert set(starts[:number]) <= set(windows.starts[row])
            assert set(starts[number:]) <= {starts[0]}
            leader.add(int(starts[0]))
    assert leaders == [{2, 3, 5}, {4}, {3, 4, 5}, {1, 2, 3, 4, 5}]


@pytest.mark.parametrize("kind", [RandomShift, lambda s: WorstShift(3, s)])
def test_a_data_set_is_drawn_in_blocks(kind):
    """Of 2**14 rows, each with its own rows of what is allowed."""
    windows, count = WindowRange(16, 10), 2**14 + 100
    one, same = kind(4), kind(4)
    expected = [draw(same, rows, windows) for rows in (2**14, 100)]
    assert np.array_equal(one.draw(count, windows), np.concatenate(expected))
    only = np.arange(count) % 7
    for some in (one, NoShift(), WorstShift()):
        assert (some.draw(count, windows, np.eye(7, dtype=bool)[only]) == only[:, None]).all()


def test_examples_are_shifted_one_by_one():
    starts = draw(RandomShift(1), 200, WindowRange(30, 10))[:, 0]
    assert len(set(starts)) > 10


def test_tries_are_drawn_without_replacement_and_nest():
    windows = WindowRange(30, 10)
    few, more = (draw(WorstShift(n, seed=5), 300, windows) for n in (4, 9))
    assert all(len(set(row)) == 9 for row in more)
    assert np.array_equal(few, more[:, :4])
    assert np.array_equal(draw(RandomShift(5), 300, windows), more[:, :1])


def test_more_tries_than_windows_is_every_window():
    windows = WindowRange(13, 10)
    assert draw(WorstShift(99, 1), 2, windows).tolist() == [[0, 1, 2, 3]] * 2


def test_a_seed_repeats_the_draws_and_each_call_draws_anew():
    windows = WindowRange(50, 10)
    one, same, other = RandomShift(1), RandomShift(1), RandomShift(2)
    first, second = draw(one, 64, windows), draw(one, 64, windows)
    assert not np.array_equal(first, second)
    assert np.array_equal(first, draw(same, 64, windows))
    assert np.array_equal(second, draw(same, 64, windows))
    assert not np.array_equal(first, draw(other, 64, windows))


def test_draws_are_not_frozen_in_a_compiled_function():
    one = WorstShift(3, seed=1)
    run = compiled(
        lambda x: one.candidates(keras.ops.shape(x)[0], WindowRange(50, 10)),
        [one.seed_generator.state],
    )
    x = keras.ops.zeros((8, 1))
    first, second = (keras.ops.convert_to_numpy(run(x)) for _ in range(2))
    assert not np.array_equal(first, second)
    again = WorstShift(3, seed=1)
    assert np.array_equal(first, draw(again, 8, WindowRange(50, 10)))
    assert np.array_equal(second, draw(again, 8, WindowRange(50, 10)))


def choose(one, candidates, losses, windows=None):
    windows = windows or WindowRange(30, 10)
    chosen = one.choose(np.array(candidates, "int32"), np.array(losses, "float32"), windows)
    return keras.ops.convert_to_numpy(chosen).tolist()


def test_the_highest_loss_is_chosen():
    candidates = [[4, 2, 9], [1, 8, 3], [7, 6, 5]]
    losses = [[0.1, 0.3, 0.2], [5.0, 1.0, 2.0], [0.5, 0.5, 0.5]]
    assert choose(WorstShift(3), candidates, losses) == [2, 1, 7]


def test_the_paper_draws_once_for_a_whole_call():
    windows = WindowRange(30, 10)
    one = PaperWorstShift(4, seed=3)
    first, second = draw(one, 50, windows), draw(one, 50, windows)
    assert len({tuple(row) for row in first}) == 1
    assert len(set(first[0])) == 4
    assert not np.array_equal(first, second)
    whole = PaperWorstShift(4, seed=3).draw(2**14 + 1, windows)
    assert whole.shape == (2**14 + 1, 4)
    assert (whole == first[0]).all()


def papers_choice(candidates, losses, first):
    """Start by start: a loss counts up to -ln(1e-4); the first drawn stands for the first start."""
    best = 0
    for i in range(1, len(candidates)):
        if min(losses[i], 9.21034037) > min(losses[best], 9.21034037):
            best = i
    return int(candidates[best]) if best else first


@pytest.mark.parametrize("tries", [3, 7, 99, None])
def test_the_papers_choice_by_brute_force(tries, rng):
    """At least as many tries as windows are every start in a random order, None in theirs."""
    windows = WindowRange(20, 10, 3)  # starts 2..8
    one = PaperWorstShift(tries, seed=1)
    assert one.tries_every_start(windows) == (tries is None)
    assert one.also(windows).tolist() == [2]
    candidates = draw(one, 500, windows)
    assert candidates.shape == (500, one.count(windows)) == (500, min(tries or 7, 7))
    if tries in (7, 99, None):
        assert sorted(candidates[0]) == list(range(2, 9))
        assert (candidates[0].tolist() == list(range(2, 9))) == (tries is None)
    losses = rng.uniform(0, 11, candidates.shape).astype("float32")
    losses[:100] = rng.integers(0, 3, (100, candidates.shape[1])) * 5  # ties
    expected = [papers_choice(*pair, 2) for pair in zip(candidates, losses, strict=True)]
    assert choose(one, candidates, losses, windows) == expected
    assert set(expected) == {2, *candidates[0, 1:].tolist()}


def test_only_the_paper_chooses_a_start_undrawn_and_takes_no_spans():
    strategies = NoShift(), RandomShift(1), WorstShift(), WorstShift(3, 1)
    assert all(len(one.also(WindowRange(20, 10))) == 0 and one.takes_spans for one in strategies)
    assert not PaperWorstShift().takes_spans


def test_the_paper_takes_start_0_when_the_first_draw_is_worst():
    one = PaperWorstShift(3)
    candidates = [[4, 2, 9]] * 4
    losses = [
        [0.9, 0.3, 0.2],  # the first is worst: start 0
        [0.1, 0.3, 0.2],
        [9.5, 12.0, 11.0],  # all beyond -ln(1e-4) = 9.21: they tie, the first wins: start 0
        [0.1, 10.0, 12.0],  # the second and third tie
    ]
    assert choose(one, candidates, losses) == [0, 2, 0, 2]


def test_names():
    assert [strategy(n).name for n in ("none", "random", "worst", "worst_of_20")] == [
        "none",
        "random",
        "worst",
        "worst_of_20",
    ]
    for name in ("worst", "worst_of_20"):
        assert type(strategy(name)) is WorstShift
        assert type(strategy(name, protocol="paper")) is PaperWorstShift
        assert strategy(name, protocol="paper").name == name
    for wrong in ("best", "worst_of_", "worst_of_x", "worst_of_-3"):
        with pytest.raises(InputError, match="want none, random, worst or worst_of_<n>"):
            strategy(wrong)
    with pytest.raises(InputError, match="tries 0"):
        strategy("worst_of_0")
    with pytest.raises(InputError, match="protocol 'papers'"):
        strategy("none", protocol="papers")
