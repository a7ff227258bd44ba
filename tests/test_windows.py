import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfbs_shift import InputError
from tfbs_shift.windows import WindowRange


def test_the_papers_example():
    """101 -> 90 keeps bases 5..94."""
    windows = WindowRange(101, 90)
    assert (windows.slack, windows.centre) == (11, 5)
    assert list(range(101))[windows.centre : windows.centre + 90][::89] == [5, 94]
    assert windows.shifts.tolist() == list(range(-5, 7))


@pytest.mark.parametrize(
    ("length", "window", "bound", "starts", "shifts"),
    [
        (6, 4, None, [0, 1, 2], [-1, 0, 1]),  # even slack
        (6, 3, None, [0, 1, 2, 3], [-1, 0, 1, 2]),  # odd slack
        (6, 6, None, [0], [0]),  # none
        (6, 1, None, [0, 1, 2, 3, 4, 5], [-2, -1, 0, 1, 2, 3]),
        (6, 3, 0, [1], [0]),  # one single window
        (6, 3, 1, [0, 1, 2], [-1, 0, 1]),
        (6, 3, 2, [0, 1, 2, 3], [-1, 0, 1, 2]),
        (6, 4, 99, [0, 1, 2], [-1, 0, 1]),
    ],
)
def test_starts_by_hand(length, window, bound, starts, shifts):
    windows = WindowRange(length, window, bound)
    assert windows.starts.tolist() == starts
    assert windows.shifts.tolist() == shifts
    assert (windows.first, windows.last, len(windows)) == (starts[0], starts[-1], len(starts))


@given(st.integers(1, 40), st.integers(0, 40), st.none() | st.integers(0, 50))
def test_starts_against_the_definition(window, slack, bound):
    windows = WindowRange(window + slack, window, bound)
    limit = slack + 1 if bound is None else bound
    expected = [s for s in range(slack + 1) if abs(s - slack // 2) <= limit]
    assert windows.starts.tolist() == expected
    assert 0 in windows.shifts


def test_protected_spans_by_hand():
    windows = WindowRange(8, 5)  # starts 0..3
    spans = np.array([[0, 1], [3, 5], [7, 8], [0, 5], [3, 3]])
    assert windows.keeping(spans).astype(int).tolist() == [
        [1, 0, 0, 0],
        [1, 1, 1, 1],
        [0, 0, 0, 1],
        [1, 0, 0, 0],  # one single window is left
        [1, 1, 1, 1],  # a summit between two bases
    ]
    assert WindowRange(8, 5, 0).keeping(np.array([[1, 6]])).tolist() == [[True]]


@given(st.data())
def test_protected_spans_against_the_definition(data):
    window = data.draw(st.integers(1, 20))
    windows = WindowRange(window + data.draw(st.integers(0, 20)), window)
    start = data.draw(st.integers(0, windows.length))
    end = data.draw(st.integers(start, min(windows.length, start + window)))
    inside = [s <= start and end <= s + window for s in windows.starts]
    assert windows.keeping(np.array([[start, end]]))[0].tolist() == inside


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((10, 11), "window 11: longer than the sequences, which have 10 bp"),
        ((10, 0), "window 0: must be at least 1"),
        ((10, 5, -1), "max_shift -1"),
    ],
)
def test_impossible_windows(arguments, message):
    with pytest.raises(InputError, match=message):
        WindowRange(*arguments)


@pytest.mark.parametrize(
    ("spans", "message"),
    [
        ([[2, 4], [0, 8]], r"example 1: protected span 0\.\.8: no window of 5 bp"),
        ([[2, 9]], r"example 0: protected span 2\.\.9: not a span of 0\.\.8"),
        ([[-1, 2]], "not a span"),
        ([[4, 2]], "not a span"),
        ([2, 4], "shape"),
        ([[2.0, 4.0]], "integers"),
    ],
)
def test_impossible_spans(spans, message):
    with pytest.raises(InputError, match=message):
        WindowRange(8, 5).keeping(np.array(spans))
