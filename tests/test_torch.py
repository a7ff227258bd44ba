"""PyTorch modules as they are, under any Keras backend."""

import warnings
from collections import OrderedDict

import numpy as np
import pytest

from tfbs_shift import InputError, Output, evaluate, plan_scan, scan
from tfbs_shift.tasks import Classes, Values

from .conftest import WINDOW, random_sequences

torch = pytest.importorskip("torch", reason="PyTorch is not installed (pip install torch)")
nn = torch.nn
COUNT = 6


class Net(nn.Module):
    """(B, 4, L), with what tells training from inference, and an argument more."""

    def __init__(self, units=1, more=0):
        super().__init__()
        self.conv, self.norm = nn.Conv1d(4, 8, 5), nn.BatchNorm1d(8)
        self.drop, self.out = nn.Dropout(0.5), nn.Linear(8 + more, units)

    def forward(self, x, *more):
        h = self.drop(self.norm(self.conv(x))).amax(dim=2)
        return self.out(torch.cat([h, *more], dim=1))


@pytest.fixture
def x(rng):
    return random_sequences(rng, COUNT, WINDOW + 3)


def predicted(module, x, *more):
    """(N, S, K), by hand."""
    modes = [part.training for part in module.modules()]
    module.eval()
    with torch.no_grad():
        windows = [torch.tensor(x[:, s : s + WINDOW].astype("f4")) for s in range(4)]
        p = [module(w.permute(0, 2, 1), *map(torch.tensor, more)).numpy() for w in windows]
    for part, training in zip(module.modules(), modes, strict=True):
        part.training = training
    return np.stack(p, axis=1)


@pytest.mark.parametrize("units", [1, 3])
@pytest.mark.parametrize("batch_size", [1, 4, None])
def test_a_module_beside_a_loop(units, batch_size, x, rng):
    module, y = Net(units), rng.normal(size=(COUNT, units))
    expected = ((predicted(module, x) - y[:, None]) ** 2).mean(axis=2)
    found = scan(module, x, y, window=WINDOW, batch_size=batch_size)
    assert np.allclose(found.loss, expected, rtol=1e-4, atol=1e-6)
    result = evaluate(module, x, y, window=WINDOW)
    assert result.strategies["worst"]["loss"] == pytest.approx(expected.max(1).mean(), rel=1e-4)
    assert result.task.asked() == Values(units)
    assert "it is a PyTorch module" in str(plan_scan(module, 20, window=WINDOW))


def test_it_is_left_as_it_was(x):
    module = Net()
    module.norm.eval()
    modes = [part.training for part in module.modules()]
    state = {name: value.clone() for name, value in module.state_dict().items()}
    scan(module, x, window=WINDOW)
    assert [part.training for part in module.modules()] == modes
    assert all(torch.equal(value, state[name]) for name, value in module.state_dict().items())
    assert all(weight.grad is None for weight in module.parameters())

    class Broken(Net):
        def forward(self, x):
            raise RuntimeError("no")

    broken = Broken()
    with pytest.raises(RuntimeError, match="no"):
        scan(broken, x, window=WINDOW)
    assert broken.training


def test_a_last_sigmoid_or_softmax_tells(x, rng):
    y = rng.integers(0, 2, COUNT)
    for module, task in (
        (nn.Sequential(Net(), nn.Sigmoid()), Classes(1)),
        (nn.Sequential(Net(2), nn.Sequential(nn.Softmax(dim=1))), Classes(2)),
    ):
        p = predicted(module, x)
        truth = p[..., -1] if task.width == 2 else p[..., 0]
        expected = -np.log(np.where(y[:, None] == 1, truth, 1 - truth))
        assert np.allclose(scan(module, x, y, window=WINDOW).loss, expected, rtol=1e-4)
        assert evaluate(module, x, y, window=WINDOW).task == task
    with pytest.raises(InputError, match="an unknown last layer does not tell"):
        scan(Net(), x, y, window=WINDOW)


def test_other_layouts_arguments_outputs_and_types(x, rng):
    y, more = rng.normal(size=(COUNT, 1)), rng.normal(size=(COUNT, 2)).astype("f4")
    module = Net(1, more=2)
    expected = (predicted(module, x, more)[..., 0] - y) ** 2
    found = scan(module, x, y, window=WINDOW, args=[more], batch_size=2)
    assert np.allclose(found.loss, expected, rtol=1e-4, atol=1e-6)

    class Turned(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = module

        def forward(self, x, more):
            out = self.net(x.permute(0, 2, 1), more)
            return {"sum": x.sum(dim=(1, 2)), "out": out}

    found = scan(Turned(), x, y, window=WINDOW, args=[more], layout="NLC", output="out")
    assert np.allclose(found.loss, expected, rtol=1e-4, atol=1e-6)
    double = Net().double()
    p = predicted(lambda_module(double), x)
    found = scan(double, x, y, window=WINDOW)
    assert np.allclose(found.loss, (p[..., 0] - y) ** 2, rtol=1e-4, atol=1e-6)


def test_outputs_by_name_are_in_their_own_order(x, rng):
    class Named(Net):
        def forward(self, x):
            out = super().forward(x)
            return OrderedDict(z=out[:, :1], a=out[:, 1:])

    module, y = Named(3), rng.normal(size=(COUNT, 1))
    expected = (predicted(lambda_named(module), x)[..., 0] - y) ** 2
    found = scan(module, x, y, window=WINDOW, output="z")
    assert np.allclose(found.loss, expected, rtol=1e-4, atol=1e-6)


def test_in_training_mode_it_would_be_said(x):
    """It is run in eval mode: neither random nor of its batch."""
    module = Net().train()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scan(module, x, window=WINDOW)

    class Always(Net):
        def forward(self, x):
            self.norm.train()
            return super().forward(x)

    with pytest.warns(UserWarning, match="looks at the batch"):
        scan(Always(), x, window=WINDOW)


def test_scripted_and_exported_modules(x):
    module = nn.Sequential(nn.Flatten(), nn.Linear(4 * WINDOW, 1))
    expected = scan(module, x, window=WINDOW).loss
    batch = {0: torch.export.Dim("b")}
    one = (torch.zeros(2, 4, WINDOW),)
    for other in (
        torch.jit.trace(module, one),
        torch.export.export(module, one, dynamic_shapes=(batch,)).module(),
    ):
        found = scan(other, x, window=WINDOW)
        assert np.allclose(found.loss, expected, rtol=1e-4, atol=1e-9)


def test_a_folder_is_of_one_set_of_weights(x, tmp_path):
    """A step of training that no few predictions would tell."""
    module = Net()

    def run(**more):
        return evaluate(module, x, window=WINDOW, self_checks=False, **more).every["prediction"]

    first = run(folder=tmp_path).copy()  # the next one writes into these files
    with torch.no_grad():
        module.out.weight *= 1.000002
    assert np.array_equal(run(folder=tmp_path), run()) and not np.array_equal(first, run())


def test_its_positions_are_not_guessed(x):
    """(B, K, P), as gReLU has them, or (B, P, K): a function says which."""
    module = nn.Conv1d(4, 2, 3)
    with pytest.raises(InputError, match=r"positions: .* not known which axis .* p.mean\(-1\)"):
        scan(module, x, window=WINDOW, output=Output(positions="mean"))
    p = predicted(module, x).mean(axis=3)
    found = scan(module, x, window=WINDOW, output=lambda p: p.mean(-1))
    assert np.allclose(found.loss, ((p - p[:, 1:2]) ** 2).sum(axis=2), rtol=1e-3, atol=1e-9)


def lambda_named(module):
    """A module that gives one of the outputs of another."""

    class One(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = module

        def forward(self, x):
            return self.net(x)["z"]

    return One()


def lambda_module(double):
    """A module of doubles that takes floats."""

    class Cast(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = double

        def forward(self, x):
            return self.net(x.double())

    return Cast()
