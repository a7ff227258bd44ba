"""The networks of the paper, as Keras functional models, and which channels a model reads."""

from __future__ import annotations

import keras
from keras import layers, ops, regularizers

from tfbs_shift.backend.internals import input_names
from tfbs_shift.errors import InputError
from tfbs_shift.sequences import ACGT, AGCT

# From 3.14 on, Keras divides what an activity regulariser returns by the batch size, as Keras 2
# did; before, it does not.
_KERAS_AVERAGES = tuple(map(int, keras.__version__.split(".")[:2])) >= (3, 14)


@keras.saving.register_keras_serializable("tfbs_shift")
class ActivityL1(regularizers.Regularizer):
    """L1 on a layer's output, summed over each example and averaged over the batch.

    The paper's ``activity_regularizer=l1(...)`` means this, whatever the batch size; Keras's own
    L1 means it in some versions and the sum over the batch in others.
    """

    def __init__(self, l1: float):
        self.l1 = l1

    def __call__(self, x):
        penalty = self.l1 * ops.sum(ops.abs(x))
        return penalty if _KERAS_AVERAGES else penalty / ops.cast(ops.shape(x)[0], penalty.dtype)

    def get_config(self):
        return {"l1": self.l1}


_HEADS = {"classes": "softmax", "labels": "sigmoid", "values": "linear"}
"""Activation of the last layer, by what it predicts."""


def cnn(
    window: int | None, *, classes: int = 2, regularized: bool = True, task: str = "classes"
) -> keras.Model:
    """The two-layer CNN of Pap & Megyeri 2022 (section 3.2 and PROTOCOL of its code).

    Conv1D(256, 24) - ReLU - Conv1D(64, 12) - ReLU - global max pooling - Dense(500, ReLU) -
    dropout 0.5 - Dense(classes, softmax), convolutions padded to "same". One forward pass costs
    2 * window * (24 * 4 * 256 + 12 * 256 * 64) FLOPs in the convolutions: 40 million at 90 bp.

    Args:
        window: bases the model reads, L; None leaves the length free.
        classes: width of the softmax, or how many labels or values; 2 in the paper, class 1 =
            bound.
        regularized: L1 5e-5 on the activity (per example) and L2 5e-4 on the kernel of both
            convolutions, before the ReLU, and the dropout. The rows marked * in Table 1 have none
            of the three.
        task: what is predicted: "classes" (the paper's softmax), "labels" (sigmoids), "values"
            (numbers, no activation).

    Returns:
        A model (B, window, 4) -> (B, classes), channels A, C, G, T, not compiled.

    Raises:
        InputError: ``window`` or ``classes`` is out of range, an unknown task.

    >>> cnn(90).input_shape, cnn(90).output_shape
    ((None, 90, 4), (None, 2))
    """
    if window is not None and window < 1:
        raise InputError(f"window {window}: must be at least 1 bp")
    if task not in _HEADS:
        raise InputError(f"task {task!r}: want one of {', '.join(_HEADS)}")
    if classes < (2 if task == "classes" else 1):
        raise InputError(
            f"classes {classes}: a softmax needs at least 2"
            if task == "classes"
            else f"classes {classes}: how many {task}? Want at least 1"
        )
    return cnn_of_sizes(window, (24, 12), (256, 64), 500, classes, regularized, task)


def cnn_of_sizes(
    window: int | None,
    widths: tuple[int, int],
    filters: tuple[int, int],
    hidden: int,
    classes: int,
    regularized: bool,
    task: str = "classes",
) -> keras.Model:
    """:func:`cnn` with kernels, filters and hidden units of other sizes, as files may have."""
    x = sequence = keras.Input((window, 4), name="sequence")
    for i in range(2):
        x = layers.Conv1D(
            filters[i],
            widths[i],
            padding="same",
            activity_regularizer=ActivityL1(5e-5) if regularized else None,
            kernel_regularizer=regularizers.L2(5e-4) if regularized else None,
            name=f"conv{i + 1}",
        )(x)
        x = layers.ReLU()(x)
    x = layers.GlobalMaxPooling1D()(x)
    x = layers.Dense(hidden, activation="relu", name="hidden")(x)
    if regularized:
        x = layers.Dropout(0.5)(x)
    x = layers.Dense(classes, _HEADS[task], name=task)(x)
    return keras.Model(sequence, x, name="cnn")


def tbinet(window: int = 1000, *, labels: int = 690) -> keras.Model:
    """TBiNet (Park et al. 2020), layer by layer as its authors wrote it for Keras 2.

    Conv1D(320, 26, valid, ReLU) - max pooling 13 - dropout 0.2 - attention - bidirectional
    LSTM(320) - dropout 0.5 - Dense(695, ReLU) - Dense(labels, sigmoid). The attention is a softmax
    over the T = (window - 25) // 13 pooled positions, times the features; it can be had with
    :func:`attention`. ``get_weights`` has the original's 14 arrays in the original's order
    (35,515,816 numbers at 1000 bp and 690 labels).

    Args:
        window: bases the model reads, L; at least 38, which leaves one position.
        labels: number of sigmoids; 690 are DeepSEA's transcription factors.

    Returns:
        A model (B, window, 4) -> (B, labels), channels A, G, C, T, not compiled.

    Raises:
        InputError: ``window`` or ``labels`` is out of range.
    """
    if window < 38:
        raise InputError(f"window {window}: TBiNet needs at least 38 bp")
    if labels < 1:
        raise InputError(f"labels {labels}: must be at least 1")
    return tbinet_of_sizes(window, 26, 320, 320, 695, labels)


def tbinet_of_sizes(
    window: int, width: int, filters: int, units: int, hidden: int, labels: int
) -> keras.Model:
    """:func:`tbinet` with a kernel, filters and units of other sizes, as files may have."""
    sequence = keras.Input((window, 4), name=f"sequence_{AGCT}")
    x = layers.Conv1D(filters, width, activation="relu", name="conv")(sequence)
    x = layers.MaxPooling1D(13, 13)(x)
    x = features = layers.Dropout(0.2)(x)
    x = layers.Dense(1, name="attention_scores")(x)
    x = layers.Permute((2, 1))(x)
    x = layers.Activation("softmax")(x)
    x = layers.Permute((2, 1))(x)
    x = layers.Reshape((-1,), name="attention")(x)  # the original's Lambda, a squeeze
    x = layers.RepeatVector(filters)(x)
    x = layers.Permute((2, 1))(x)
    x = layers.Multiply()([features, x])
    lstm = layers.LSTM(units, recurrent_activation=keras2_hard_sigmoid, return_sequences=True)
    x = layers.Bidirectional(lstm, name="lstm")(x)
    x = layers.Dropout(0.5)(x)
    x = layers.Flatten()(x)
    x = layers.Dense(hidden, name="hidden")(x)
    x = layers.Activation("relu")(x)
    x = layers.Dense(labels, name="labels")(x)
    x = layers.Activation("sigmoid")(x)
    return keras.Model(sequence, x, name="tbinet")


@keras.saving.register_keras_serializable("tfbs_shift")
def keras2_hard_sigmoid(x):
    """clip(0.2 x + 0.5, 0, 1): what Keras 2 called ``hard_sigmoid``; Keras 3 has another slope."""
    return ops.clip(0.2 * x + 0.5, 0.0, 1.0)


def attention(model: keras.Model) -> keras.Model:
    """The attention weights of a TBiNet, (B, T), as a model of the same input and weights.

    Raises:
        InputError: the model has no layer named attention.
    """
    if "attention" not in [layer.name for layer in model.layers]:
        raise InputError(f"model {model.name!r}: has no layer named attention")
    return keras.Model(model.input, model.get_layer("attention").output, name="attention")


def alphabet(model: keras.Model) -> str:
    """The channel order that a model reads: what its input's name ends with, else "ACGT".

    Our TBiNet names its input "sequence_AGCT", which saving keeps. A model of your own that reads
    A, G, C, T says so in the same way.

    >>> alphabet(cnn(90)), alphabet(keras.Sequential([keras.Input((90, 4), name="dna_AGCT")]))
    ('ACGT', 'AGCT')
    """
    named = any(name.endswith(f"_{AGCT}") for name in input_names(model))
    return AGCT if named else ACGT
