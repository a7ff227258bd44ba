import base64
import subprocess
import sys

import keras
import numpy as np
import pytest

import tfbs_shift as ts
from tfbs_shift import models, sequences
from tfbs_shift.errors import InputError
from tfbs_shift.reports import exploring

from .conftest import functional, random_sequences

_PNG = b"\x89PNG\r\n"


@pytest.fixture(scope="module")
def found():
    keras.utils.set_random_seed(0)
    model = models.cnn(30)
    x = random_sequences(np.random.default_rng(0), 1, 41)
    return model, x[0], ts.explore(model, x[0], np.array([0, 1]))


@pytest.mark.parametrize("max_shift", [None, 0, 3])
def test_every_window_is_what_the_model_says(found, max_shift):
    model, x, _ = found
    here = ts.explore(model, x, np.array([0, 1]), max_shift=max_shift)
    starts = range(12) if max_shift is None else range(5 - max_shift, 6 + max_shift)
    for i, start in enumerate(starts):
        probability = model.predict(x[None, start : start + 30], verbose=0)[0, 1]
        assert here.probability[i] == pytest.approx(probability, abs=1e-6)
        assert here.loss[i] == pytest.approx(-np.log(probability), abs=1e-5)
    assert here.loss[list(here.windows.shifts).index(here.worst_shift)] == here.loss.max()


def test_labels_and_attention():
    keras.utils.set_random_seed(0)
    model = models.tbinet(120, labels=3)
    x = random_sequences(np.random.default_rng(0), 1, 131)
    y = np.array([0, 1, 0])
    every = np.concatenate([x[:, s : s + 120] for s in range(12)])
    probabilities = model.predict(every, verbose=0)
    weights = models.attention(model).predict(every, verbose=0)
    for label in (None, 0, 2):
        here = ts.explore(model, x, y, label=label)
        column = np.ptp(probabilities, axis=0).argmax() if label is None else label
        assert here.what == f"label {column}"
        assert np.allclose(here.probability, probabilities[:, column], atol=1e-6)
        assert np.allclose(here.attention, weights, atol=1e-6)
        assert np.allclose(here.attention.sum(axis=1), 1, atol=1e-5)
    bars = here.figure(-5).axes[1].patches  # the 7 positions of TBiNet's attention, 13 bp apart
    middles = [bar.get_x() + bar.get_width() / 2 for bar in bars]
    # Position t pools the 13 convolutions that begin at 13 t, each 26 wide: 38 bp from 13 t on.
    assert middles == pytest.approx([13 * t + 19 for t in range(7)], abs=2)


def test_letters_are_those_of_the_sequence(found):
    _, x, here = found
    letters = [t.get_text() for t in here.figure(0).axes[0].texts]
    assert "".join(letters) == sequences.decode(sequences.from_one_hot(x))


@pytest.mark.parametrize("shift", [-5, 0, 6, None])
def test_a_figure_at_any_shift(found, shift):
    here = found[2]
    figure = here.figure(shift)
    start = 5 + (here.worst_shift if shift is None else shift)
    assert figure.axes[0].patches[0].get_x() == start
    assert figure.axes[0].patches[0].get_width() == 30


def test_mistakes(found):
    model, x, here = found
    with pytest.raises(InputError, match=r"shift 7: want -5..6 bp"):
        here.figure(7)
    with pytest.raises(InputError, match="want one, "):
        ts.explore(model, np.stack([x, x]), np.array([[0, 1]] * 2))
    with pytest.raises(InputError, match="only for labels"):
        ts.explore(model, x, np.array([0, 1]), label=0)
    with pytest.raises(InputError, match=r"want 0..2"):
        several = random_sequences(np.random.default_rng(0), 1, 80)[0]
        ts.explore(models.tbinet(70, labels=3), several, np.zeros(3), label=3)


def test_a_notebook_without_widgets_shows_the_figure(found, monkeypatch):
    monkeypatch.setattr(exploring, "_widgets_work", lambda: False)
    bundle = found[2]._repr_mimebundle_()
    assert base64.b64decode(bundle["image/png"]).startswith(_PNG)
    assert not any("widget" in kind for kind in bundle)


def test_the_slider_moves_the_window(found, monkeypatch):
    pytest.importorskip("ipywidgets")
    here = found[2]
    slider, image = here.slider().children
    assert (slider.min, slider.max, slider.value) == (-5, 6, here.worst_shift)
    before = image.value
    slider.value = -5 if here.worst_shift != -5 else 0
    assert bytes(image.value).startswith(_PNG) and image.value != before
    monkeypatch.setattr(exploring, "_widgets_work", lambda: True)
    bundle = here._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in bundle
    assert base64.b64decode(bundle["image/png"]).startswith(_PNG)


def test_widgets_are_not_needed():
    code = (
        "import sys; sys.modules['ipywidgets'] = None\nfrom tfbs_shift.reports import exploring\n"
    )
    code += "assert not exploring._widgets_work()"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_what_it_does_not_show(rng):
    x = random_sequences(rng, 1, 34)
    values = functional(1, None, window=30)
    for model in (values, lambda windows: np.asarray(values(windows))):
        with pytest.raises(InputError, match="want a Keras model of probabilities"):
            ts.explore(model, x, [0.3], window=30)
