"""Several devices, several hosts: the numbers are those of one."""

import csv
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pytest

from tfbs_shift import data, models
from tfbs_shift.commands import main
from tfbs_shift.evaluation import Details, Execution, Shifts, evaluate
from tfbs_shift.evaluation.robustness import evaluated

from .conftest import random_sequences
from .test_commands import repeated, write_csv
from .test_resuming import small

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Data, and a model with L1 and L2 but no dropout: of that each replica draws its own."""
    folder = tmp_path_factory.mktemp("data")
    for split, count in (("train", 36), ("dev", 15), ("test", 77)):
        write_csv(folder / f"{split}.csv", data.synthetic(count, length=40, seed=count))
    model = small()
    inputs = x = keras.Input((36, 4))
    for layer in model.layers[1:]:
        if not isinstance(layer, keras.layers.Dropout):
            x = layer(x)
    keras.Model(inputs, x).save(folder / "model.keras")
    return folder


def on_devices(count: int, *words, backend: str | None = None) -> subprocess.Popen:
    environment = os.environ | {"KERAS_BACKEND": backend or keras.backend.backend()}
    return subprocess.Popen(
        [sys.executable, "-m", "tests.on_devices", str(count), *map(str, words)], cwd=ROOT,
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def done(*processes: subprocess.Popen) -> list[str]:
    """Their standard outputs; each must end well."""
    outputs = []
    for process in processes:
        out, err = process.communicate(timeout=300)
        assert process.returncode == 0, err
        outputs.append(out)
    return outputs


def training(folder, out, *more) -> list[str]:
    return [
        "train", f"--data={folder}", f"--model={folder / 'model.keras'}", f"--out={out}",
        "--strategy=worst", "--epochs=3", "--batch_size=16", "--learning_rate=0.05",
        "--lr_patience=1", *more,
    ]  # fmt: skip


def assert_same_run(out, other):
    """72 examples, 16 a batch: the last one has 8."""
    for ours, theirs in zip(repeated(out), repeated(other), strict=True):
        assert ours.keys() == theirs.keys()
        for name in ours:
            assert float(ours[name]) == pytest.approx(float(theirs[name]), abs=1e-5), name
    ours, theirs = (models.load(run).get_weights() for run in (out, other))
    assert all(np.allclose(a, b, atol=1e-5) for a, b in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("strategy", ["worst", "worst_of_3"])
def test_two_devices_train_as_one(strategy, folder, tmp_path):
    """Loss, metrics, L1 and L2, the worst of drawn shifts and of all."""
    one, two = tmp_path / "one", tmp_path / "two"
    (_, said) = done(
        on_devices(1, *training(folder, one, f"--strategy={strategy}")),
        on_devices(2, *training(folder, two, f"--strategy={strategy}", "--distribute=mirrored")),
    )
    assert "batches shared by 2 devices of 1 hosts" in said
    assert len(repeated(one)) == 3
    assert_same_run(two, one)


def audit(folder, out, *more) -> list[str]:
    return ["evaluate", f"--data={folder}", f"--model={folder / 'model.keras'}", f"--out={out}",
            "--strategies=none,worst,worst_of_2", "--batch_size=32", *more]  # fmt: skip


def assert_same_audit(out, other):
    """Every file that has figures, byte by byte; arrays bit by bit."""
    files = {str(p.relative_to(other)) for p in other.rglob("*") if p.is_file()}
    assert {str(p.relative_to(out)) for p in out.rglob("*") if p.is_file()} == files
    for name in files:
        path = Path(name)
        if path.suffix in (".csv", ".json", ".bed", ".npy", ".f32"):
            assert (out / path).read_bytes() == (other / path).read_bytes(), name
    with np.load(out / "shifts.npz") as ours, np.load(other / "shifts.npz") as theirs:
        assert all(np.array_equal(ours[name], theirs[name]) for name in theirs.files)


def test_two_devices_evaluate_as_one(folder, tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    done(
        on_devices(1, *audit(folder, one)),
        on_devices(2, *audit(folder, two, "--distribute=mirrored")),
    )
    assert_same_audit(two, one)


def test_hosts_evaluate_as_one(folder, tmp_path, capsys):
    """The first host comes last here; it need not wait."""
    one, three = tmp_path / "one", tmp_path / "three"
    assert main(audit(folder, one)) == 0
    for index in (2, 1):
        words = audit(folder, three, "--distribute=multihost", "--hosts=3")
        assert main([*words, f"--host_index={index}"]) == 0
        assert f"host {index} of 3 is done" in capsys.readouterr().out
        assert not (three / "robustness.json").exists()
    assert main([*words, "--host_index=0"]) == 0
    assert_same_audit(three, one)


@pytest.mark.parametrize("hosts", [2, 3, 12])
def test_hosts_evaluate_several_labels_as_one(hosts, tmp_path, rng):
    """Their predictions stay in files; so do those that the curve needs, of any number a row.

    8 blocks: of 12 hosts some have nothing to do.
    """
    inputs = keras.Input((36, 4))
    flat = keras.layers.Flatten()(inputs)
    model = keras.Model(inputs, keras.layers.Dense(3, "sigmoid")(flat))
    x, y = random_sequences(rng, 61, 40), rng.integers(0, 2, (61, 3)).astype(np.uint8)
    folders = tmp_path / "one", tmp_path / "all"
    expected = evaluate(model, x, y, batch_size=8, folder=folders[0])

    def of_host(i):
        return evaluated(
            model, x, y, Shifts(), Details(), Execution(8, folders[1], False, (i, hosts))
        )

    for i in range(1, hosts):
        assert of_host(i) is None
    found = of_host(0)
    assert json.dumps(found.to_dict()) == json.dumps(expected.to_dict())
    names = {file.name for file in folders[0].iterdir()}
    assert names == {file.name for file in folders[1].iterdir()}
    for name in names:
        assert (folders[0] / name).read_bytes() == (folders[1] / name).read_bytes(), name
    for i in range(hosts):  # over: whoever asks again gets it at once
        assert (of_host(i) is None) == (i > 0)
    assert names == {file.name for file in folders[1].iterdir()}


def test_the_first_host_waits_for_the_others(folder, tmp_path):
    out = tmp_path / "out"
    words = audit(folder, out, "--distribute=multihost", "--hosts=2")
    first = on_devices(1, *words, "--host_index=0")
    for line in first.stderr:
        if line.startswith("waiting for host-1-of-2"):
            break
    assert not (out / "robustness.json").exists()
    assert main([*words, "--host_index=1"]) == 0
    assert "wrote" in done(first)[0]
    assert (out / "robustness.json").exists()
    assert not (out / "predictions").exists()


def hosts(folder, out, *more) -> list[subprocess.Popen]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return [
        on_devices(
            1, *training(folder, out, *more), "--distribute=multihost", "--hosts=2",
            f"--host_index={i}", f"--coordinator=127.0.0.1:{port}", backend="jax",
        )
        for i in range(2)
    ]  # fmt: skip


def test_two_hosts_train_as_one(folder, tmp_path):
    """One is killed on the way; both go on, and end as one process does."""
    pytest.importorskip("jax")
    one, two = tmp_path / "one", tmp_path / "two"
    more = ["--strategy=worst_of_3", "--save_every=1"]
    alone = on_devices(1, *training(folder, one, *more), backend="jax")
    both = hosts(folder, two, *more)
    while not list((two / "checkpoints").glob("state-*")):
        assert both[0].poll() is None, both[0].communicate()
        time.sleep(0.01)
    both[1].kill()
    both[0].kill()  # as Slurm and Kubernetes do, once one is lost
    for process in both:
        process.communicate()
    assert not (two / "model.keras").exists()
    outputs = done(alone, *hosts(folder, two, *more))
    assert "going on at epoch" in outputs[1]
    assert "epoch" not in outputs[2]  # one of them speaks
    assert_same_run(two, one)


def test_sigterm_ends_both_hosts_after_the_same_step(folder, tmp_path):
    pytest.importorskip("jax")
    out = tmp_path / "out"
    both = hosts(folder, out, "--epochs=1000000", "--save_every=1000000")
    while not (out / "history.csv").exists():
        assert both[0].poll() is None, both[0].communicate()
        time.sleep(0.01)
    both[1].send_signal(signal.SIGTERM)
    for process in both:
        _, err = process.communicate(timeout=300)
        assert process.returncode == 128 + signal.SIGTERM, err
        assert "the same command goes on" in err
    with (out / "history.csv").open() as file:
        epochs = len(list(csv.DictReader(file)))
    outputs = done(*hosts(folder, out, f"--epochs={epochs + 1}"))
    assert "going on at epoch" in outputs[0]
    assert len(repeated(out)) == epochs + 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--hosts=2"], "--hosts=2: only with --distribute=multihost"),
        (["--distribute=multihost"], "needs --hosts, or SLURM_NTASKS as Slurm sets it"),
        (
            ["--distribute=multihost", "--hosts=2", "--host_index=2"],
            "--host_index=2: want 0..1, one for each of --hosts=2",
        ),
    ],
)
def test_hosts_that_do_not_fit(words, message, folder, tmp_path, capsys, monkeypatch):
    for name in ("SLURM_NTASKS", "SLURM_PROCID"):
        monkeypatch.delenv(name, raising=False)
    for command in (training, audit):
        assert main(command(folder, tmp_path / "out", *words)) == 1
        assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_slurm_says_which_host_this_is(folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("SLURM_NTASKS", "2")
    monkeypatch.setenv("SLURM_PROCID", "1")
    assert main(audit(folder, tmp_path / "out", "--distribute=multihost")) == 0
    assert "host 1 of 2 is done" in capsys.readouterr().out


def test_without_tensorflow(folder, tmp_path):
    """A machine that has JAX alone trains and evaluates."""
    pytest.importorskip("jax")
    code = "import sys; sys.modules['tensorflow'] = None; from tfbs_shift.commands import main; "
    for words in (training(folder, tmp_path / "run"), audit(folder, tmp_path / "audit")):
        subprocess.run(
            [sys.executable, "-c", f"{code} sys.exit(main({words!r}))"], cwd=ROOT, check=True,
            env=os.environ | {"KERAS_BACKEND": "jax"}, capture_output=True,
        )  # fmt: skip
    assert (tmp_path / "audit" / "report.html").exists()
