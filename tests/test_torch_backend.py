"""Keras's third backend: what only it does. From another backend the module runs itself with it."""

import importlib.util
import json
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
from keras import layers, ops

from tfbs_shift import InputError, ShiftTrainer, WorstShift, data, evaluate, models, plan_scan, scan
from tfbs_shift.backend import computing
from tfbs_shift.commands import main
from tfbs_shift.evaluation.audits import provenance
from tfbs_shift.scanning.predictors import predictor

from .conftest import WINDOW, random_labels, random_sequences
from .test_commands import write_csv

SLACK = 5
with_torch = pytest.mark.skipif(keras.backend.backend() != "torch", reason="Keras computes without")


@pytest.mark.skipif(keras.backend.backend() == "torch", reason="this is that run")
def test_all_of_it_with_pytorch():
    if importlib.util.find_spec("torch") is None:
        pytest.skip("PyTorch is not installed")
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__],
        env=os.environ | {"KERAS_BACKEND": "torch"}, capture_output=True, text=True,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout[-3000:]


@pytest.fixture
def module():
    """A PyTorch network (B, 4, L) -> (B, 2), softmax, whose running means are no beginner's."""
    from torch import nn

    module = nn.Sequential(
        nn.Conv1d(4, 8, 5), nn.BatchNorm1d(8), nn.ReLU(), nn.AdaptiveMaxPool1d(1), nn.Flatten(),
        nn.Dropout(0.5), nn.Linear(8, 2), nn.Softmax(1),
    )  # fmt: skip
    module[1].running_mean.uniform_(-0.5, 0.5)
    module[1].running_var.uniform_(0.5, 2)
    return module


def wrapped(module):
    sequence = keras.Input((WINDOW, 4))
    channels_first = layers.Permute((2, 1))(sequence)
    wrapper = layers.TorchModuleWrapper(module, output_shape=(None, 2))
    model = keras.Model(sequence, wrapper(channels_first))
    model.compile(keras.optimizers.SGD(0.5), "categorical_crossentropy")
    return model


def losses_of(module, x, y):
    """Cross-entropy (N, S), by PyTorch alone."""
    import torch

    module.eval()
    with torch.no_grad():
        p = np.stack(
            [
                module(torch.tensor(x[:, s : s + WINDOW].transpose(0, 2, 1).astype("f4"))).numpy()
                for s in range(SLACK + 1)
            ],
            axis=1,
        )
    return -np.log((p * y[:, None]).sum(axis=2))


@pytest.fixture
def batch(rng):
    x = random_sequences(rng, 9, WINDOW + SLACK)
    return x, random_labels(rng, 9, 2, "categorical").astype("float32")


@with_torch
def test_a_wrapped_module_against_pytorch(module, batch):
    x, y = batch
    expected = losses_of(module, x, y)
    module.train()
    model = wrapped(module)
    found = scan(model, x, y)
    assert found.loss.std() > 1e-3
    assert plan_scan(model, WINDOW + SLACK).rows == 128  # what a module holds is not known
    assert np.allclose(found.loss, expected, atol=1e-6)
    audit = evaluate(model, x, y, self_checks=False)
    assert audit.strategies["worst"]["loss"] == pytest.approx(expected.max(axis=1).mean(), abs=1e-6)
    before = [np.array(part) for part in predictor(model).state()]
    module[1].running_mean += 1
    pairs = zip(before, predictor(model).state(), strict=True)
    assert sum(not np.array_equal(one, other) for one, other in pairs) == 1


@with_torch
def test_a_wrapped_module_trains_as_in_pytorch(module, batch):
    """A step on the worst windows, by PyTorch's own optimizer; the choice leaves no trace."""
    import copy

    import torch

    module[5].p = 0.0  # draws are each one's own
    other = copy.deepcopy(module)
    x, y = batch
    starts = losses_of(other, x, y).argmax(axis=1)
    assert len(set(starts)) > 1
    windows = np.stack([row[s : s + WINDOW] for row, s in zip(x, starts, strict=True)])
    other.train()
    p = other(torch.tensor(windows.transpose(0, 2, 1).astype("f4")))
    (-(torch.log(p) * torch.tensor(y)).sum(1)).mean().backward()
    torch.optim.SGD(other.parameters(), 0.5).step()

    trainer = ShiftTrainer(wrapped(module), WorstShift())
    trainer.fit(x, y, batch_size=len(x), verbose=0)
    for name, value in other.state_dict().items():
        assert np.allclose(module.state_dict()[name], value, atol=1e-6), name


class Seen(layers.Layer):
    """Notes whether gradients are kept, and whether its ``training`` says that it trains."""

    def call(self, x):
        import torch

        if not x.is_meta:  # Keras asks for shapes
            self.seen = [*getattr(self, "seen", []), (torch.is_grad_enabled(), self.training)]
        return x


class Subclassed(keras.Model):
    """Only of such a model does Keras tell the parts whether it trains."""

    def __init__(self):
        super().__init__()
        self.convolution, self.notes, self.last = layers.Conv1D(4, 3), Seen(), layers.Dense(2)

    def call(self, x):
        x = self.notes(self.convolution(x))
        return ops.softmax(self.last(ops.reshape(x, (-1, 4 * (WINDOW - 2)))))


@with_torch
def test_windows_are_chosen_without_gradients_and_as_at_inference(batch):
    model = Subclassed()
    model(np.zeros((1, WINDOW, 4), "float32"))
    seen = model.notes
    trainer = ShiftTrainer(model, WorstShift(), window=WINDOW)
    trainer.compile("sgd", "categorical_crossentropy")
    seen.seen = []
    trainer.fit(*batch, batch_size=9, verbose=0)
    *choice, step = seen.seen
    assert set(choice) == {(False, False)} and step == (True, True)
    model.compile("sgd", "categorical_crossentropy")
    model.train()
    seen.seen = []
    scan(model, *batch, window=WINDOW)
    assert set(seen.seen) == {(False, False)} and seen.training


@with_torch
@pytest.mark.parametrize(("width", "shared"), [(5, False), (4, True)])
def test_a_mean_whose_padding_counts_is_not_shared(width, shared, rng):
    """18 positions by fours: a width of 5 is padded by 1 and 2, and Keras counts that here."""
    sequence = keras.Input((18, 4))
    x = layers.Conv1D(6, 3, padding="same", bias_initializer="random_normal")(sequence)
    x = layers.AveragePooling1D(width, 4, padding="same")(x)
    model = keras.Model(sequence, layers.Dense(1, "sigmoid")(layers.Flatten()(x)))
    x, y = random_sequences(rng, 6, 18 + SLACK), rng.integers(0, 2, 6)
    p = [model.predict(x[:, s : s + 18].astype("f4"), verbose=0)[:, 0] for s in range(SLACK + 1)]
    p = np.stack(p, axis=1)
    expected = -np.log(np.where(y[:, None] == 1, p, 1 - p))
    assert np.allclose(scan(model, x, y).loss, expected, atol=1e-6)
    (pool,) = [step for step in plan_scan(model, 18 + SLACK).steps if "Average" in step.kind]
    assert pool.how.startswith("once") is shared


@with_torch
def test_what_it_is_called():
    import torch

    assert computing.version() == f"PyTorch {torch.__version__}"
    assert any(f"PyTorch {torch.__version__}" in line for line in provenance())
    if not torch.cuda.is_available():
        assert computing.hardware() == "CPU"


@with_torch
def test_from_the_command_line(tmp_path, capsys):
    for split, count in (("train", 24), ("dev", 8), ("test", 8)):
        write_csv(tmp_path / f"{split}.csv", data.synthetic(count, length=40, seed=count))
    run, audit = tmp_path / "run", tmp_path / "audit"
    words = [
        "train", f"--data={tmp_path}", "--model=cnn", "--window=30", "--strategy=worst_of_3",
        "--epochs=1", "--batch_size=16", f"--out={run}",
    ]  # fmt: skip
    assert main([*words, "--distribute=mirrored"]) == 1
    assert "which computes on one device: set KERAS_BACKEND=" in capsys.readouterr().err
    assert main(words) == 0
    assert main(["evaluate", f"--model={run}", f"--data={tmp_path}", f"--out={audit}"]) == 0
    test = data.load(tmp_path, "test")
    found = scan(models.load(run), test.x, test.y)
    worst = json.loads((audit / "robustness.json").read_text())["strategies"]["worst"]
    assert worst["loss"] == pytest.approx(found.worst_loss.mean(), abs=1e-5)


@with_torch
def test_a_saved_wrapped_module_is_not_unpickled(module, tmp_path):
    """Keras would run what is pickled in the file; weights alone are data."""
    model = wrapped(module)
    model.save(tmp_path / "model.keras")
    with pytest.raises(InputError) as error:
        models.load(tmp_path / "model.keras")
    assert "\n" not in str(error.value)
    model.save_weights(tmp_path / "model.weights.h5")
    before = ops.convert_to_numpy(module[1].running_mean).copy()
    module[1].running_mean += 1
    model.load_weights(tmp_path / "model.weights.h5")
    assert np.array_equal(ops.convert_to_numpy(module[1].running_mean), before)
