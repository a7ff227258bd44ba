"""What a Keras backend forces, in one place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras


def compiled(function: Callable) -> Callable:
    """``function`` of tensors, as a graph where the backend has graphs.

    With TensorFlow a call with tensors of shapes seen before runs the graph made then. Other
    backends run the function as it is.
    """
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.function(function, reduce_retracing=True, autograph=False)
    return function


def mapped(function: Callable, xs: Any, dtype: str) -> Any:
    """``function`` of the slices of tensors along their first axis, one after the other, stacked.

    Args:
        function: of one slice (or a tuple of slices) to one tensor of type ``dtype``.
        xs: a tensor, or a tuple of tensors.
    """
    if keras.backend.backend() == "tensorflow":  # keras.ops.map runs the function twice there
        import tensorflow as tf

        signature = tf.dtypes.as_dtype(dtype)
        return tf.map_fn(function, xs, fn_output_signature=signature, parallel_iterations=1)
    return keras.ops.map(function, xs)
