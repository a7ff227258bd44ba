import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import layers

from tfbs_shift import InputError, models, scan, sequences
from tfbs_shift.scanning.scans import crop
from tfbs_shift.windows import WindowRange

from .conftest import WINDOW, ZOO, functional, random_labels, random_sequences, sequential


def test_crops_by_hand():
    letters = np.array([list("abcdef"), list("ghijkl"), list("mnopqr")])
    x = np.vectorize(ord)(letters).astype("int32")[..., None]

    def cropped(starts, window):
        out = crop(
            keras.ops.convert_to_tensor(x), np.array(starts, "int32"), WindowRange(6, window)
        )
        return ["".join(map(chr, row)) for row in np.asarray(out)[..., 0]]

    assert cropped([0, 1, 2], 4) == ["abcd", "hijk", "opqr"]  # even slack: first, centre, last
    assert cropped([0, 1, 3], 3) == ["abc", "hij", "pqr"]  # odd slack
    assert cropped([5, 0, 5], 1) == ["f", "g", "r"]
    assert cropped([0, 0, 0], 6) == ["abcdef", "ghijkl", "mnopqr"]  # no slack


@settings(deadline=None, max_examples=50)
@given(st.data())
def test_crops_against_slices(data):
    window, slack = data.draw(st.integers(1, 9)), data.draw(st.integers(0, 9))
    batch, channels = data.draw(st.integers(1, 5)), data.draw(st.integers(1, 5))
    starts = data.draw(st.lists(st.integers(0, slack), min_size=batch, max_size=batch))
    x = np.arange(batch * (window + slack) * channels).reshape(batch, -1, channels)
    out = crop(x, np.array(starts, "int32"), WindowRange(window + slack, window))
    expected = [row[start : start + window] for row, start in zip(x, starts, strict=True)]
    assert np.array_equal(out, expected)


def brute_force(model, loss, x, y, window):
    """Every window through ``predict``, each loss by Keras's own loss object with no reduction."""
    loss = keras.losses.get(loss)
    if not isinstance(loss, keras.losses.Loss):
        function = loss
    else:
        function = type(loss).from_config(loss.get_config() | {"reduction": None})
    columns = []
    for start in range(x.shape[1] - window + 1):
        windows = x[:, start : start + window].astype("float32")
        p = model.predict(windows, verbose=0)
        columns.append(np.asarray(function(y.astype("float32"), p)))
    return np.stack(columns, axis=1)


@pytest.mark.parametrize("name", ZOO)
@pytest.mark.parametrize("slack", [0, 1, 6])
def test_against_brute_force(name, slack, rng):
    model, loss, width, window = ZOO[name]()
    x = random_sequences(rng, 11, WINDOW + slack)
    y = random_labels(rng, 11, width, loss)
    found = scan(model, x, y, window=window, batch_size=4)
    expected = brute_force(model, loss, x, y, WINDOW)
    assert found.loss.shape == (11, slack + 1)
    assert found.loss.dtype == np.float32
    assert np.allclose(found.loss, expected, atol=1e-5)
    assert np.array_equal(found.starts, np.arange(slack + 1))
    assert np.array_equal(found.shifts, np.arange(slack + 1) - slack // 2)
    assert np.array_equal(found.worst_loss, found.loss.max(axis=1))
    assert np.array_equal(found.worst_start, found.loss.argmax(axis=1))


def test_the_papers_cnn_against_brute_force(rng):
    model = models.cnn(75)
    x = random_sequences(rng, 20, 101)
    y = random_labels(rng, 20, 2, "categorical")
    expected = brute_force(model, "categorical_crossentropy", x, y, 75)
    assert np.allclose(scan(model, x, y).loss, expected, atol=1e-5)


@pytest.mark.parametrize("batch_size", [1, 2, 7, 10, 64, None])
def test_batch_size_changes_nothing(batch_size, rng):
    model = functional()
    x, y = random_sequences(rng, 10, 20), random_labels(rng, 10, 2, "categorical")
    reference = scan(model, x, y, batch_size=5).loss
    assert np.allclose(scan(model, x, y, batch_size=batch_size).loss, reference, atol=1e-6)


def test_a_bound_takes_the_middle_columns(rng):
    model = functional()
    x, y = random_sequences(rng, 5, WINDOW + 7), random_labels(rng, 5, 2, "categorical")
    everything = scan(model, x, y)
    bounded = scan(model, x, y, max_shift=2)
    assert bounded.shifts.tolist() == [-2, -1, 0, 1, 2]
    assert np.allclose(bounded.loss, everything.loss[:, 1:6], atol=1e-6)
    assert scan(model, x, y, max_shift=0).starts.tolist() == [3]


def one_position_detector(position: int) -> keras.Model:
    """Says "bound" unless the base at one position of the window is C."""
    model = keras.Sequential(
        [keras.Input((WINDOW, 4)), layers.Flatten(), layers.Dense(1, "sigmoid")]
    )
    kernel = np.zeros((WINDOW, 4, 1), "float32")
    kernel[position, 1] = -20
    model.layers[-1].set_weights([kernel.reshape(-1, 1), np.array([10.0], "float32")])
    return model


@pytest.mark.parametrize("position", [0, 5, WINDOW - 1])
@pytest.mark.parametrize("slack", [4, 5])
def test_the_attack_finds_the_one_shift_that_breaks_a_detector(position, slack):
    """A sequence of A with one C: only the start that puts the C on the position is wrong."""
    starts = np.arange(slack + 1)
    codes = np.zeros((slack + 1, WINDOW + slack), int)
    codes[starts, starts + position] = 1
    x = sequences.one_hot(codes)
    found = scan(one_position_detector(position), x, np.ones(slack + 1))
    assert found.worst_start.tolist() == starts.tolist()
    assert np.allclose(found.worst_loss, 10, atol=1e-3)
    others = found.loss[~np.eye(slack + 1, dtype=bool)]
    assert np.all(others < 1e-3)


def test_a_protected_base_may_not_leave_the_window():
    position, slack = 2, 6
    codes = np.zeros((1, WINDOW + slack), int)
    codes[0, position + 6] = 1  # only start 6 breaks the detector
    x = sequences.one_hot(codes)
    model = one_position_detector(position)
    assert scan(model, x, np.ones(1)).worst_start.tolist() == [6]
    kept = scan(model, x, np.ones(1), protect=np.array([[5, 9]]))
    assert kept.allowed[0].tolist() == [True] * 6 + [False]
    assert kept.worst_start.tolist() == [0]
    assert kept.worst_loss[0] < 1e-3


@pytest.mark.parametrize("slack", [6, 7])
def test_the_other_strand_flips_the_sign_of_the_worst_shift(slack, rng):
    """For a model that reads both strands alike; an odd slack's centre lies half a base off."""
    sequence = keras.Input((WINDOW, 4))
    read = keras.Sequential(
        [layers.Conv1D(6, 4, activation="tanh"), layers.Flatten(), layers.Dense(1)]
    )
    both = layers.Add()([read(sequence), read(keras.ops.flip(keras.ops.flip(sequence, 1), 2))])
    model = keras.Model(sequence, layers.Activation("sigmoid")(both))
    x = random_sequences(rng, 30, WINDOW + slack)
    y = rng.integers(0, 2, 30)
    one, other = scan(model, x, y), scan(model, sequences.reverse_complement(x), y)
    assert np.allclose(one.loss, other.loss[:, ::-1], atol=1e-6)
    assert len(set(one.worst_start)) > 3
    mirrored = slack - other.worst_start
    worst = np.take_along_axis(one.loss, mirrored[:, None], axis=1)[:, 0]
    assert np.allclose(worst, one.worst_loss, atol=1e-6)


def test_reads_what_can_be_sliced(tmp_path, rng):
    import h5py

    x, y = random_sequences(rng, 9, 16), rng.integers(0, 2, 9)
    model = sequential()
    reference = scan(model, x, y).loss
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["x"] = x
        assert np.array_equal(scan(model, file["x"], y, batch_size=9).loss, reference)
    assert np.allclose(scan(model, x.astype("float64"), y).loss, reference, atol=1e-6)


def test_sequences_are_read_block_by_block(rng):
    class Recorder:
        def __init__(self, x):
            self.x, self.shape, self.read = x, x.shape, []

        def __len__(self):
            return len(self.x)

        def __getitem__(self, rows):
            self.read.append(len(self.x[rows]))
            return self.x[rows]

    x, y = random_sequences(rng, 70, 16), rng.integers(0, 2, 70)
    stored = Recorder(x)
    model = sequential()
    assert np.allclose(
        scan(model, stored, y, batch_size=16).loss, scan(model, x, y).loss, atol=1e-6
    )
    assert max(stored.read) == 16


def test_what_does_not_fit(rng):
    x, y = random_sequences(rng, 4, 20), np.ones(4)
    model = sequential()
    for arguments, options, message in (
        ((x[0], y), {}, r"sequences \(20, 4\): want \(N, length, channels\)"),
        ((x[:0], y[:0]), {}, "N above 0"),
        ((x[:, :5], y), {}, "window 12: longer than the sequences, which have 5 bp"),
        ((x[..., :3], y), {}, "the model reads 4 channels$"),
        ((x, y[:3]), {}, "4 sequences, but 3 labels"),
        ((x, y), {"window": 5}, "window 5: but model .* reads 12 bp"),
        ((x, y), {"max_shift": -1}, "max_shift -1"),
        ((x, y), {"protect": np.array([[0, 2]])}, "4 sequences, but 1 protected spans"),
    ):
        with pytest.raises(InputError, match=message):
            scan(model, *arguments, **options)


def test_a_model_of_channels_by_length_is_told(rng):
    model = keras.Sequential(
        [keras.Input((4, 12)), keras.layers.Flatten(), keras.layers.Dense(1, "sigmoid")]
    )
    with pytest.raises(InputError, match=r"reads 12 channels: its input is .*, its axes swapped"):
        scan(model, random_sequences(rng, 4, 20), np.ones(4))
