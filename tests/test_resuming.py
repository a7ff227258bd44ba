"""Runs that are interrupted, and end as if they had not been."""

import gc
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfbs_shift import InputError, WorstShift, data, models
from tfbs_shift.commands import main
from tfbs_shift.errors import Interrupted
from tfbs_shift.training import runs
from tfbs_shift.training.feeding import Feed
from tfbs_shift.training.settings import Settings

from .test_commands import repeated, write_csv
from .test_vetting import changed, outside

STEPS = 5  # an epoch: 72 examples, 16 a step
EPOCHS = 4


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    for split, count in (("train", 36), ("dev", 10)):
        write_csv(folder / f"{split}.csv", data.synthetic(count, length=40, seed=count))
    return folder


class Stop(keras.callbacks.Callback):
    """Ends the process, as it were, before a step or at the end of an epoch."""

    def __init__(self, epoch: int, step: int | None):
        super().__init__()
        self.at, self.epoch = (epoch, step), 0

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_begin(self, batch, logs=None):
        if (self.epoch, batch) == self.at:
            raise KeyboardInterrupt

    def on_epoch_end(self, epoch, logs=None):
        if (epoch, None) == self.at:
            raise KeyboardInterrupt


def small() -> keras.Model:
    """With L1, L2 and dropout."""
    x = inputs = keras.Input((36, 4))
    x = keras.layers.Conv1D(8, 5, activation="relu", kernel_regularizer="l1l2")(x)
    x = keras.layers.Dropout(0.5)(keras.layers.GlobalMaxPooling1D()(x))
    return keras.Model(inputs, keras.layers.Dense(2, "softmax", kernel_regularizer="l2")(x))


def train(folder, out, *callbacks, epochs=EPOCHS):
    """With drawn starts, a schedule and early stopping: all that has a state."""
    keras.utils.set_random_seed(0)
    parts = [data.load(folder, split) for split in ("train", "valid")]
    strategies = {name: WorstShift(2, seed=1) for name in ("random", "worst")}
    return runs.train(
        small(), *parts, WorstShift(3, seed=0), strategies, out,
        Settings(epochs=epochs, batch_size=16, learning_rate=0.3, patience=3, lr_patience=1,
                 save_every=2),
        flagfile="--seed=0\n", callbacks=callbacks,
    )  # fmt: skip


def interrupted(folder, out, *callbacks):
    """A run that a callback ends."""
    with pytest.raises(KeyboardInterrupt):
        train(folder, out, *callbacks)
    # TensorFlow lets go of an iterator only after about as long as it has lain there.
    gc.collect()


def result(out) -> tuple[list[dict[str, str]], list[np.ndarray]]:
    return repeated(out), models.load(out).get_weights()


@pytest.fixture(scope="module")
def whole(folder, tmp_path_factory):
    """What an uninterrupted run ends with."""
    out = tmp_path_factory.mktemp("whole") / "run"
    train(folder, out)
    history, weights = result(out)
    assert len({row["learning_rate"] for row in history}) > 1  # the schedule has a part in it
    return history, weights


def assert_same_run(out, whole):
    history, weights = result(out)
    assert history == whole[0]
    assert all(np.array_equal(a, b) for a, b in zip(weights, whole[1], strict=True))
    assert not list((out / "checkpoints").glob("state-*"))


@pytest.mark.parametrize(
    "stops",
    [
        [(0, 1)],  # before anything is saved
        [(1, 0), (1, None)],  # at the beginning of an epoch, and at its end
        [(0, 4), (0, 2), (2, 2), (3, 1)],
    ],
)
def test_an_interrupted_run_ends_with_the_bits_of_a_whole_one(stops, whole, folder, tmp_path):
    """The step of a stop counts from where its epoch goes on."""
    out = tmp_path / "run"
    for epoch, step in stops:
        interrupted(folder, out, Stop(epoch, step))
        assert not (out / "model.keras").exists()
    train(folder, out)
    assert_same_run(out, whole)


def test_the_best_weights_are_read_from_their_own_file_alone(folder, tmp_path):
    """A run folder that somebody else has sent."""
    out = tmp_path / "run"
    interrupted(folder, out, Stop(EPOCHS - 1, None))
    best = out / "checkpoints" / "best.keras"
    changed(best, lambda group, name: outside("link", group, name, tmp_path / "other.h5"))
    with pytest.raises(InputError, match="is a link to another file; want one whole file"):
        train(folder, out)


def test_a_damaged_state_is_named_and_the_one_before_it_used(whole, folder, tmp_path, capsys):
    out = tmp_path / "run"
    interrupted(folder, out, Stop(2, 4))
    older, newer = sorted((out / "checkpoints").glob("state-*"))
    assert (older.name, newer.name) == ("state-000002-000000000.npz", "state-000002-000000002.npz")
    content = newer.read_bytes()
    for damaged in (content[: len(content) // 2], content[:-40000] + bytes(40000), b""):
        newer.write_bytes(damaged)
        interrupted(folder, out, Stop(2, 1))
        captured = capsys.readouterr()
        assert f"{newer}: damaged" in captured.err
        assert "going on at epoch 3, step 0" in captured.out
    train(folder, out)
    assert_same_run(out, whole)


def test_all_states_damaged(whole, folder, tmp_path, capsys):
    """Then the run begins anew: nothing of them is left in it."""
    out = tmp_path / "run"
    interrupted(folder, out, Stop(1, 4))
    for file in (out / "checkpoints").glob("state-*"):
        file.write_bytes(file.read_bytes()[:1000])
    train(folder, out)
    assert capsys.readouterr().err.count(": damaged (") == 2
    assert_same_run(out, whole)


def test_a_run_that_was_over_but_for_its_model(whole, folder, tmp_path, monkeypatch):
    out = tmp_path / "run"
    with monkeypatch.context() as patched:
        patched.setattr(keras.Model, "load_weights", lambda *_: (_ for _ in ()).throw(OSError()))
        with pytest.raises(OSError):
            train(folder, out)
    train(folder, out, Stop(0, 0), Stop(EPOCHS - 1, 0))  # no step is made
    assert_same_run(out, whole)


def test_fewer_epochs_than_are_done(whole, folder, tmp_path):
    out = tmp_path / "run"
    interrupted(folder, out, Stop(2, 1))
    train(folder, out, epochs=1)
    assert repeated(out) == whole[0][:2]


def words(folder, out, *more):
    return [
        "train", f"--data={folder}", f"--out={out}", "--window=36", "--strategy=worst",
        "--epochs=2", "--save_every=1", "--batch_size=16", *more,
    ]  # fmt: skip


def test_another_run_does_not_go_on_there(folder, tmp_path, capsys, monkeypatch):
    out = tmp_path / "run"
    monkeypatch.setattr(keras.callbacks.EarlyStopping, "on_epoch_end", _raise)
    with pytest.raises(Interrupted):
        from tfbs_shift.commands import dispatch

        dispatch(words(folder, out))
    capsys.readouterr()
    assert main(words(folder, out, "--learning_rate=0.1")) == 1
    assert (
        "holds an unfinished run with learning_rate 5e-05, not 0.1; give the same to go on, or "
        "choose another folder" in capsys.readouterr().err
    )
    other = tmp_path / "data"
    other.mkdir()
    write_csv(other / "train.csv", data.synthetic(36, length=40, seed=9))
    assert main(words(other, out)) == 1
    assert "holds an unfinished run on other data" in capsys.readouterr().err
    monkeypatch.undo()
    assert main(words(folder, out, "--epochs=1")) == 0  # the end may move
    assert len(repeated(out)) == 1


def _raise(self, epoch, logs=None):
    raise Interrupted(signal.SIGTERM)


def child(folder, out, *more, before: Sequence[str] = ()) -> subprocess.Popen:
    command = [sys.executable, "-c", "import sys; from tfbs_shift.commands import main; "
               "sys.exit(main(sys.argv[1:]))", *words(folder, out, *more)]  # fmt: skip
    return subprocess.Popen(
        [*before, *command], cwd=Path(__file__).parents[1], stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def test_a_full_disk_is_one_line_and_leaves_no_damaged_file(folder, tmp_path):
    out = tmp_path / "run"
    small_files = ["bash", "-c", 'ulimit -f 98; exec "$@"', "bash"]  # KB
    stopped = child(folder, out, before=small_files)
    _, err = stopped.communicate(timeout=300)
    lines = [line for line in err.splitlines() if line.startswith("tfbs-shift: ")]
    state = out / "checkpoints" / "state-000000-000000001.npz"
    assert lines == [f"tfbs-shift: {state}: File too large"]
    assert "Traceback" not in err
    assert stopped.returncode == 1
    assert [file.name for file in out.rglob("*") if file.is_file()] == ["flags.txt"]
    assert main(words(folder, out)) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_run_after_the_step(number, folder, tmp_path):
    out = tmp_path / "run"
    stopped = child(folder, out, "--epochs=100000", "--save_every=1000000")
    while not (out / "history.csv").exists() and stopped.poll() is None:
        time.sleep(0.05)
    stopped.send_signal(number)
    _, err = stopped.communicate(timeout=300)
    assert stopped.returncode == 128 + number, err
    assert "Traceback" not in err
    (line,) = [line for line in err.splitlines() if line.startswith("tfbs-shift: ")]
    assert "the same command goes on" in line
    assert list((out / "checkpoints").glob("state-*"))
    assert repeated(out)


KILLED = """
import os, sys
from tfbs_shift.commands import main
import keras, tfbs_shift.training.runs, tfbs_shift.commands.train
for line in sys.stdin:  # each line a command in a process of its own, the imports made
    child = os.fork()
    if not child:
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        status = main(line.split())
        sys.stdout.flush()
        os._exit(status)
    print(child, flush=True)
    print("status", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_twenty_kills_at_random_moments(tmp_path):
    """SIGKILL at any moment of start, steps, validation and saving: the run ends as a whole one."""
    folder = tmp_path / "data"
    folder.mkdir()
    small().save(tmp_path / "small.keras")
    for split, count in (("train", 1000), ("dev", 50)):
        write_csv(folder / f"{split}.csv", data.synthetic(count, length=40, seed=count))
    outs = tmp_path / "whole", tmp_path / "killed"
    commands = [
        f"train --data={folder} --out={out} --model={tmp_path / 'small.keras'} "
        "--strategy=worst_of_3 --epochs=40 --batch_size=32 --save_every=10 --learning_rate=0.01 "
        "--lr_patience=1\n"
        for out in outs
    ]
    rng = np.random.default_rng(0)
    kills = 0
    with subprocess.Popen(
        [sys.executable, "-c", KILLED], cwd=Path(__file__).parents[1], text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    ) as server:  # fmt: skip

        def until(start: str) -> str:
            for line in server.stdout:
                if line.startswith(start) or (not start and line.strip().isdecimal()):
                    return line
            raise AssertionError("the server has ended")

        def start(command: str) -> int:
            server.stdin.write(command)
            server.stdin.flush()
            return int(until(""))

        start(commands[0])
        assert until("status") == "status 0\n"
        states = outs[1] / "checkpoints"
        while kills < 20:
            before = sorted(states.glob("state-*"))
            child = start(commands[1])
            if kills % 4:  # three of four get on a little; the others die while they start
                while sorted(states.glob("state-*")) == before:
                    assert not (outs[1] / "model.keras").exists(), f"over after {kills} kills"
                    time.sleep(0.01)
            time.sleep(rng.uniform(0, 0.4))
            os.kill(child, signal.SIGKILL)
            assert until("status") == "status -9\n", f"over after {kills} kills"
            kills += 1
        start(commands[1])
        assert until("status") == "status 0\n"
        server.stdin.close()
    assert_same_run(outs[1], result(outs[0]))


@settings(max_examples=60, deadline=None)
@given(
    count=st.integers(1, 40), per_replica=st.integers(1, 5), per_host=st.integers(1, 3),
    hosts=st.integers(1, 3), epoch=st.integers(0, 3), data=st.data(),
)  # fmt: skip
def test_hosts_share_the_batches_of_one(count, per_replica, per_host, hosts, epoch, data):
    """Any step, however the feed comes to it: by going on, by jumping, again."""
    codes = np.arange(count, dtype=np.uint8)[:, None]
    replicas = per_host * hosts
    batch_size = per_replica * replicas
    if count < replicas:
        with pytest.raises(InputError, match=f"{count} training examples: fewer than {replicas}"):
            Feed(codes, codes, batch_size, seed=3, replicas=replicas)
        return
    alone = Feed(codes, codes, batch_size, seed=3)
    parts = [
        Feed(codes, codes, batch_size, seed=3, replicas=replicas, host=(i, hosts))
        for i in range(hosts)
    ]
    begin = data.draw(st.integers(0, len(parts[0]) - 1))
    for feed in (alone, *parts):
        feed.begin(epoch, begin)
    seen = []
    for step in range(parts[0].num_batches):
        batch = [part[step] for part in parts]
        assert all(np.array_equal(x, y) for x, y in batch)
        assert len({len(x) for x, _ in batch}) == 1
        assert len(batch[0][0]) % per_host == 0
        joined = np.concatenate([x for x, _ in batch])
        expected = alone[step][0]
        assert np.array_equal(joined, expected[: len(expected) // replicas * replicas])
        seen.append(joined)
    again = data.draw(st.integers(0, parts[0].num_batches - 1))
    assert np.array_equal(np.concatenate([part[again][0] for part in parts]), seen[again])
    if not begin:
        assert len(np.unique(np.concatenate(seen))) == count // replicas * replicas


def test_batches_must_divide_among_the_devices():
    codes = np.zeros((8, 1), np.uint8)
    with pytest.raises(InputError, match="batch_size 6: must be a multiple of the 4 devices"):
        Feed(codes, codes, 6, seed=0, replicas=4)
