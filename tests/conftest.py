"""What the tests share: where the real data is, and models of every kind users have."""

import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import pytest
from keras import layers

from tfbs_shift import sequences

WINDOW = 12


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data sets, or a skip that says where it was looked for."""
    beside = Path(__file__).parents[2] / "shared" / "data"
    folder = Path(os.environ.get("TFBS_SHIFT_DATA", beside))
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder} (set TFBS_SHIFT_DATA)")
    return folder


@pytest.fixture(autouse=True)
def _seeded():
    keras.utils.set_random_seed(0)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def random_sequences(rng: np.random.Generator, count: int, length: int) -> np.ndarray:
    """``uint8`` one-hot (count, length, 4)."""
    return sequences.one_hot(rng.integers(0, 4, (count, length)))


def _body(x, units: int, activation: str | None):
    x = layers.Conv1D(8, 5, padding="same", activation="relu")(x)
    x = layers.GlobalMaxPooling1D()(x)
    return layers.Dense(units, activation, kernel_initializer="random_normal")(x)


def functional(units: int = 2, activation: str | None = "softmax", window: int | None = WINDOW):
    sequence = keras.Input((window, 4))
    return keras.Model(sequence, _body(sequence, units, activation))


def sequential(units: int = 1, activation: str | None = "sigmoid", built: bool = True):
    parts = [
        layers.Conv1D(8, 5, activation="relu"),
        layers.MaxPooling1D(2),
        layers.Flatten(),
        layers.Dense(units, activation),
    ]
    return keras.Sequential([keras.Input((WINDOW, 4)), *parts] if built else parts)


class Subclassed(keras.Model):
    """A model without a structure to look into, and with dropout."""

    def __init__(self, units: int = 2, activation: str | None = "softmax"):
        super().__init__()
        self.out = layers.Dense(units, activation)  # on purpose not the last attribute
        self.conv = layers.Conv1D(8, 5, activation="relu")
        self.drop = layers.Dropout(0.5)
        self.pool = layers.GlobalAveragePooling1D()

    def call(self, x, training=False):
        return self.out(self.pool(self.drop(self.conv(x), training=training)))


class NoTrainingArgument(Subclassed):
    def call(self, x):
        return self.out(self.pool(self.conv(x)))


def _compiled(model, loss):
    model.compile("sgd", loss)
    return model


# name: (model, its loss, label width, window to give)
ZOO = {
    "softmax": lambda: (functional(), "categorical_crossentropy", 2, None),
    "softmax of 5": lambda: (functional(5), keras.losses.CategoricalCrossentropy(), 5, None),
    "one sigmoid": lambda: (sequential(), "binary_crossentropy", 1, None),
    "several sigmoids": lambda: (functional(3, "sigmoid"), "binary_crossentropy", 3, None),
    "subclassed": lambda: (Subclassed(), "categorical_crossentropy", 2, WINDOW),
    "subclassed sigmoid": lambda: (
        NoTrainingArgument(1, "sigmoid"),
        keras.losses.BinaryCrossentropy(),
        1,
        WINDOW,
    ),
    "never built": lambda: (sequential(built=False), "binary_crossentropy", 1, WINDOW),
    "free length": lambda: (functional(window=None), "categorical_crossentropy", 2, WINDOW),
    "softmax logits": lambda: _with_loss(
        functional(2, None), keras.losses.CategoricalCrossentropy(from_logits=True), 2
    ),
    "sigmoid logits": lambda: _with_loss(
        functional(1, None), keras.losses.BinaryCrossentropy(from_logits=True), 1
    ),
    "nested": lambda: (keras.Sequential([functional()]), "categorical_crossentropy", 2, WINDOW),
}


def _with_loss(model, loss, width):
    return _compiled(model, loss), loss, width, None


def random_labels(rng: np.random.Generator, count: int, width: int, loss) -> np.ndarray:
    """Labels (count, width): one-hot for categorical losses, else 0/1."""
    name = loss if isinstance(loss, str) else type(loss).__name__.lower()
    if "categorical" in name:
        return np.eye(width, dtype=np.uint8)[rng.integers(0, width, count)]
    return rng.integers(0, 2, (count, width)).astype(np.uint8)
