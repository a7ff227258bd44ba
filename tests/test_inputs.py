"""Models that read other forms than (batch, length, channels)."""

import warnings

import keras
import numpy as np
import pytest
from keras import layers

from tfbs_shift import InputError, ShiftTrainer, WorstShift, models, plan_scan, scan
from tfbs_shift.models.inputs import as_read, input_shape, input_window

from .conftest import WINDOW, Subclassed, random_sequences


def head(x):
    return layers.Dense(2, "softmax")(layers.Flatten()(x))


def reading(shape, layer, **of_input):
    inputs = keras.Input(shape, **of_input)
    return keras.Model(inputs, head(layer(inputs)))


# layout: (a model that reads it, how numpy makes it of windows (b, L, 4))
LAYOUTS = {
    "NCL": (lambda: reading((4, 12), layers.Conv1D(3, 2)), lambda w: w.transpose(0, 2, 1)),
    "NL1C": (lambda: reading((12, 1, 4), layers.Conv2D(3, (3, 1))), lambda w: w[:, :, None]),
    "N1LC": (lambda: reading((1, 12, 4), layers.Conv2D(3, (1, 3))), lambda w: w[:, None]),
    "NLC1": (lambda: reading((12, 4, 1), layers.Conv2D(3, (3, 4))), lambda w: w[..., None]),
    "NC1L": (
        lambda: reading((4, 1, 12), layers.Conv2D(3, (4, 1))),
        lambda w: w.transpose(0, 2, 1)[:, :, None],
    ),
    "NL": (
        lambda: reading((12,), layers.Embedding(5, 3), dtype="int32"),
        lambda w: np.where(w.any(-1), w.argmax(-1), 4),
    ),
}


def brute_force(model, x, y, arranged):
    """-log p(y) of every window, by Keras's own predict."""
    losses = []
    for start in range(x.shape[1] - WINDOW + 1):
        windows = x[:, start : start + WINDOW].astype("float32")
        losses.append(-np.log(model.predict(arranged(windows), verbose=0)[np.arange(len(y)), y]))
    return np.array(losses).T


@pytest.fixture
def x(rng):
    x = random_sequences(rng, 5, 17)
    x[0, 8] = 0  # an unknown base
    return x


@pytest.fixture
def y(rng):
    return rng.integers(0, 2, 5)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_is_fed(layout, x, y):
    make, arranged = LAYOUTS[layout]
    model = make()
    wrapped = as_read(model, layout)
    assert wrapped.input_shape == (None, WINDOW, 4)
    assert np.allclose(scan(wrapped, x, y).loss, brute_force(model, x, y, arranged), atol=1e-5)
    with pytest.raises(InputError, match=f"layout='{layout}'"):  # the way is named
        input_shape(model)


def test_training_through_a_layout_trains_the_model(x, y):
    model = LAYOUTS["NCL"][0]()
    model.compile("sgd", "sparse_categorical_crossentropy")
    wrapped = as_read(model, "NCL")
    assert wrapped.loss == "sparse_categorical_crossentropy"
    before = model.get_weights()
    trainer = ShiftTrainer(wrapped, WorstShift())
    trainer.compile("sgd", "sparse_categorical_crossentropy")
    trainer.fit(x, y, verbose=0)
    assert not np.array_equal(before[0], model.get_weights()[0])


def test_what_there_is_nothing_to_change_of():
    model = reading((12, 4), layers.Conv1D(3, 2))
    assert as_read(model) is model
    assert as_read(model, "NLC") is model


@pytest.mark.parametrize("as_dict", [False, True])
def test_constants_for_the_other_inputs(as_dict, x, y):
    dna, cell = keras.Input((12, 4), name="dna_AGCT"), keras.Input((3,), name="cell")
    kind = keras.Input((1,), dtype="int32", name="kind")
    known = layers.Flatten()(layers.Embedding(4, 2)(kind))
    pooled = layers.GlobalMaxPooling1D()(layers.Conv1D(5, 3)(dna))
    out = layers.Dense(2, "softmax")(layers.Concatenate()([pooled, cell, known]))
    inputs = [cell, dna, kind]
    model = keras.Model({one.name: one for one in inputs} if as_dict else inputs, out)
    wrapped = as_read(model, constant={"cell": [1.0, 2.0, 3.0], "kind": 2})
    assert models.alphabet(wrapped) == "AGCT"

    def fed(windows):
        count = len(windows)
        cells, kinds = np.tile(np.float32([1, 2, 3]), (count, 1)), np.full((count, 1), 2)
        if as_dict:
            return {"cell": cells, "dna_AGCT": windows, "kind": kinds}
        return [cells, windows, kinds]

    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        found = scan(wrapped, x, y).loss
    assert np.allclose(found, brute_force(model, x, y, fed), atol=1e-5)
    steps = {step.name: step.how for step in plan_scan(wrapped, 17).steps}
    assert "once" in next(how for name, how in steps.items() if name.startswith("conv1d"))
    for constant, message in (
        ({"cell": [1.0, 2.0], "kind": 2}, r"constant\['cell'\]: has shape \(2,\); want \(3,\)"),
        ({"cell": 1.0}, r"one must be left.*dna_AGCT \(None, 12, 4\), kind"),
        ({"cells": 1.0}, "has no input 'cells'; want some of"),
        ({"cell": 1.0, "kind": 1, "dna_AGCT": 0}, "left are: none"),
    ):
        with pytest.raises(InputError, match=message):
            as_read(model, constant=constant)
    with pytest.raises(InputError, match=r"several inputs \(.*cell \(None, 3\).*constant=.*args="):
        input_shape(model)


@pytest.mark.parametrize("structure", [list, tuple, dict])
def test_one_input_in_a_list_is_one_input(structure, x, y):
    inputs = keras.Input((12, 4), name="dna_AGCT")
    own = {"dna_AGCT": inputs} if structure is dict else structure([inputs])
    model = keras.Model(own, head(layers.Conv1D(3, 2)(inputs)))
    assert input_window(model) == 12
    assert models.alphabet(model) == "AGCT"
    trainer = ShiftTrainer(model, WorstShift())
    trainer.compile("sgd", "sparse_categorical_crossentropy")
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # of a structure that does not match
        found = scan(model, x, y).loss
        trainer.fit(x, y, verbose=0)
        trainer.predict(x, verbose=0)

    def fed(windows):
        return {"dna_AGCT": windows} if structure is dict else [windows]

    untrained = scan(model, x, y).loss  # the weights of now
    assert np.allclose(untrained, brute_force(model, x, y, fed), atol=1e-5)
    assert found.shape == untrained.shape


class Wrapping(keras.Model):
    """As evoaug's RobustModel."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def call(self, x, training=False):
        return self.model(x, training=training)


def test_a_model_that_wraps_another(x, y):
    wrapping = Wrapping(LAYOUTS["NCL"][0]())
    with pytest.raises(InputError, match=r"give window, or, as it wraps .* its \.model"):
        input_window(wrapping)
    with pytest.raises(InputError, match=r"give window$"):
        input_window(Subclassed())
    found = scan(as_read(wrapping, "NCL", window=12), x, y).loss
    arranged = LAYOUTS["NCL"][1]
    assert np.allclose(found, brute_force(wrapping.model, x, y, arranged), atol=1e-5)


def test_a_sequential_around_a_model_knows_its_alphabet():
    model = keras.Sequential([models.tbinet(64, labels=2), layers.Dense(1)])
    assert models.alphabet(model) == "AGCT"


@pytest.mark.parametrize(
    ("layout", "message"),
    [
        ("LNC", "want N, then L and C in any order"),
        ("NLL", "want N, then L and C in any order"),
        ("NC1L", r"layout 'NC1L': but model .* reads \(None, 4, 12\)"),
        ("NL", r"layout 'NL': but model .* reads \(None, 4, 12\)"),
    ],
)
def test_layouts_that_are_none_or_not_the_models(layout, message):
    model = LAYOUTS["NCL"][0]()
    with pytest.raises(InputError, match=message):
        as_read(model, layout)
