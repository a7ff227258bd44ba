"""The networks of the paper, as Keras functional models."""

from __future__ import annotations

import keras
from keras import layers, ops, regularizers

from tfbs_shift.errors import InputError

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


def cnn(window: int | None, *, classes: int = 2, regularized: bool = True) -> keras.Model:
    """The two-layer CNN of Pap & Megyeri 2022 (section 3.2 and PROTOCOL of its code).

    Conv1D(256, 24) - ReLU - Conv1D(64, 12) - ReLU - global max pooling - Dense(500, ReLU) -
    dropout 0.5 - Dense(classes, softmax), convolutions padded to "same". One forward pass costs
    2 * window * (24 * 4 * 256 + 12 * 256 * 64) FLOPs in the convolutions: 40 million at 90 bp.

    Args:
        window: bases the model reads, L; None leaves the length free.
        classes: width of the softmax; 2 in the paper, class 1 = bound.
        regularized: L1 5e-5 on the activity (per example) and L2 5e-4 on the kernel of both
            convolutions, before the ReLU, and the dropout. The rows marked * in Table 1 have none
            of the three.

    Returns:
        A model (B, window, 4) -> (B, classes), channels A, C, G, T, not compiled.

    Raises:
        InputError: ``window`` or ``classes`` is out of range.
    """
    if window is not None and window < 1:
        raise InputError(f"window {window}: must be at least 1 bp")
    if classes < 2:
        raise InputError(f"classes {classes}: a softmax needs at least 2")

    def convolution(filters: int, width: int, name: str) -> layers.Conv1D:
        return layers.Conv1D(
            filters,
            width,
            padding="same",
            activity_regularizer=ActivityL1(5e-5) if regularized else None,
            kernel_regularizer=regularizers.L2(5e-4) if regularized else None,
            name=name,
        )

    sequence = keras.Input((window, 4), name="sequence")
    x = layers.ReLU()(convolution(256, 24, "conv1")(sequence))
    x = layers.ReLU()(convolution(64, 12, "conv2")(x))
    x = layers.GlobalMaxPooling1D()(x)
    x = layers.Dense(500, activation="relu", name="hidden")(x)
    if regularized:
        x = layers.Dropout(0.5)(x)
    return keras.Model(sequence, layers.Dense(classes, "softmax", name="classes")(x), name="cnn")
