"""What is told of a run's settings before it begins."""

import pytest

from tfbs_shift import InputError, NoShift, data, models
from tfbs_shift.training import runs
from tfbs_shift.training.settings import Settings


@pytest.mark.parametrize(
    ("name", "smallest"),
    [
        ("epochs", 1),
        ("batch_size", 1),
        ("patience", 1),
        ("lr_patience", 0),
        ("seed", 0),
        ("save_every", 1),
    ],
)
def test_numbers_have_a_smallest_value(name, smallest):
    assert getattr(Settings(**{name: smallest}), name) == smallest
    wrong = smallest - 1
    with pytest.raises(InputError, match=f"^{name} {wrong}: must be at least {smallest}$"):
        Settings(**{name: wrong})


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"learning_rate": -0.1}, "learning_rate -0.1: must be a number, 0 or more"),
        ({"learning_rate": float("inf")}, "learning_rate inf: must be a number, 0 or more"),
        ({"learning_rate": float("nan")}, "learning_rate nan: must be a number, 0 or more"),
        ({"precision": "float16"}, "precision 'float16': want one of float32, mixed_bfloat16, "),
        ({"profile": True}, "profile: needs log_dir"),
    ],
)
def test_what_cannot_be(wrong, message):
    with pytest.raises(InputError, match=message):
        Settings(**wrong)


@pytest.mark.parametrize(
    ("settings", "length", "message"),
    [
        (Settings(window=41), 40, "window 41: but model 'cnn' reads 36 bp"),
        (Settings(max_shift=-1), 40, "max_shift -1: must be 0 bp or more"),
        (Settings(monitor="worst"), 40, "monitor 'worst': is not validated; want none"),
        (Settings(), 39, "39 bp, but the training sequences have 40"),
    ],
)
def test_what_does_not_fit_writes_nothing(settings, length, message, tmp_path):
    out = tmp_path / "run"
    parts = data.synthetic(8, length=40, seed=0), data.synthetic(8, length=length, seed=1)
    with pytest.raises(InputError, match=message):
        runs.train(models.cnn(36), *parts, NoShift(), {"none": NoShift()}, out, settings,
                   flagfile="")  # fmt: skip
    assert not out.exists()
