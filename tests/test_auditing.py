"""The callback that audits while a model trains."""

import csv
import sys

import keras
import numpy as np
import pytest

from tfbs_shift import InputError, ShiftAudit, ShiftTrainer, WorstShift, evaluate

from .conftest import WINDOW, functional, random_labels, random_sequences


@pytest.fixture
def sets(rng):
    x = random_sequences(rng, 24, WINDOW + 4)
    return x, random_labels(rng, 24, 2, "categorical")


def test_it_logs_what_evaluate_finds(sets, tmp_path):
    """In anybody's fit: the last row is evaluate's on the trained model; Keras's logs have it."""
    x, y = sets
    model = functional()
    model.compile(keras.optimizers.SGD(0.5), "categorical_crossentropy")
    pytest.importorskip("tensorboard")
    audit = ShiftAudit(x, y, csv_file=tmp_path / "deep" / "audit.csv", log_dir=tmp_path / "board")
    logger = keras.callbacks.CSVLogger(tmp_path / "keras.csv")
    history = model.fit(x[:, 2 : 2 + WINDOW].astype("f4"), y, epochs=3, verbose=0,
                        callbacks=[audit, logger])  # fmt: skip
    found = evaluate(model, x, y).to_dict()
    with (tmp_path / "deep" / "audit.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["0", "1", "2"]
    for name, value in (
        ("shift_worst_loss", found["strategies"]["worst"]["loss"]),
        ("shift_none_accuracy", found["strategies"]["none"]["accuracy"]),
        ("shift_wobble", found["wobble"]),
        ("shift_consistency", found["consistency"]),
        ("shift_flipped", found["flipped"]),
    ):
        assert float(rows[-1][name]) == pytest.approx(value, abs=1e-6)
        assert history.history[name][-1] == pytest.approx(value, abs=1e-6)
    assert len({row["shift_worst_loss"] for row in rows}) == 3
    assert "shift_worst_accuracy" in (tmp_path / "keras.csv").read_text().splitlines()[0]
    assert _scalars(tmp_path / "board")["epoch_shift_wobble"] == pytest.approx(
        [float(row["shift_wobble"]) for row in rows], abs=1e-6
    )


def test_its_threshold_is_that_of_evaluate(sets):
    x, y = sets
    model = functional()
    model.compile("sgd", "categorical_crossentropy")
    centre = (x.shape[1] - WINDOW) // 2
    p = model.predict(x[:, centre : centre + WINDOW].astype("float32"), verbose=0)[:, 1]
    threshold = float(np.median(p))  # half of them on either side, not all
    found = evaluate(model, x, y, threshold=threshold)
    audit = ShiftAudit(x, y, threshold=threshold, strategies=["none"])
    audit.set_model(model)
    logs = {}
    audit.on_epoch_end(0, logs)
    assert logs["shift_none_mcc"] == pytest.approx(found.strategies["none"]["mcc"])
    other = evaluate(model, x, y).strategies["none"]["mcc"]
    assert other != pytest.approx(logs["shift_none_mcc"])


def _scalars(folder):
    """What TensorBoard would show, from its own event files."""
    import tensorflow as tf

    found: dict[str, list[float]] = {}
    for file in sorted(folder.glob("events*")):
        for event in tf.compat.v1.train.summary_iterator(str(file)):
            for value in event.summary.value:
                number = float(tf.make_ndarray(value.tensor))
                found.setdefault(value.tag, []).append(number)
    return found


def test_in_a_shift_trainer_and_every_other_epoch(sets, tmp_path):
    x, y = sets
    model = functional()
    trainer = ShiftTrainer(model, WorstShift())
    trainer.compile(keras.optimizers.SGD(0.1), "categorical_crossentropy")
    audit = ShiftAudit(x, y, every=2, strategies=["none"], csv_file=tmp_path / "a.csv")
    for _ in range(2):  # a second fit begins the file anew
        trainer.fit(x, y, epochs=5, verbose=0, callbacks=[audit])
    rows = (tmp_path / "a.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows] == ["epoch", "1", "3"]
    metrics = ("accuracy", "auroc", "aupr", "mcc", "loss")
    assert rows[0] == ",".join(["epoch", *(f"shift_none_{metric}" for metric in metrics)])


def test_training_can_stop_by_it(sets):
    """EarlyStopping on the robust metric, as any other."""
    x, y = sets
    model = functional()
    model.compile(keras.optimizers.SGD(0.0), "categorical_crossentropy")
    stop = keras.callbacks.EarlyStopping(monitor="shift_worst_loss", mode="min", patience=1)
    history = model.fit(x[:, :WINDOW].astype("f4"), y, epochs=9, verbose=0,
                        callbacks=[ShiftAudit(x, y), stop])  # fmt: skip
    assert len(history.epoch) == 2


def test_what_does_not_fit(sets, monkeypatch):
    with pytest.raises(InputError, match="every 0: must be at least 1"):
        ShiftAudit(*sets, every=0)
    for package, name in (("tensorboard", "TensorBoard"), ("tensorflow", "TensorFlow")):
        with monkeypatch.context() as patched:
            patched.setitem(sys.modules, package, None)  # as where it is not installed
            with pytest.raises(InputError, match=f"here: needs {name}: pip install {package}"):
                ShiftAudit(*sets, log_dir="here")
    model = functional()
    model.compile("sgd", "categorical_crossentropy")
    x = np.zeros((2, WINDOW, 4), "f4")
    with pytest.raises(InputError, match="longer than the sequences"):
        model.fit(x, np.eye(2), verbose=0, callbacks=[ShiftAudit(x[:, 1:], np.eye(2))])
