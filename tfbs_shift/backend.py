"""What a Keras backend forces, in one place."""

from __future__ import annotations

from collections.abc import Callable

import keras


def compiled(function: Callable) -> Callable:
    """``function`` of tensors, as a graph where the backend has graphs.

    With TensorFlow a call with tensors of shapes seen before runs the graph made then. Other
    backends run the function as it is.
    """
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.function(function, reduce_retracing=True)
    return function
