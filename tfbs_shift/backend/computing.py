"""What a Keras backend forces, in one place."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import importlib
import re
import sys
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from tfbs_shift.errors import InputError

if TYPE_CHECKING:
    import tensorflow as tf
    import torch

Tensor = Any
Variable = Any


def name() -> str:
    """ "tensorflow", "jax" or "torch": what Keras computes with."""
    return keras.backend.backend()


def version() -> str:
    """Name and version of what computes, for people."""
    called = {"tensorflow": "TensorFlow", "jax": "JAX", "torch": "PyTorch"}[name()]
    return f"{called} {importlib.import_module(name()).__version__}"


def gpus() -> int:
    """How many GPUs the backend sees; with PyTorch the one that Keras takes."""
    if name() == "tensorflow":
        import tensorflow as tf

        return len(tf.config.list_physical_devices("GPU"))
    if name() == "jax":
        import jax

        return len(jax.devices()) if jax.default_backend() == "gpu" else 0
    return int(_torch_device().type != "cpu")


def hardware() -> str:
    """What computes here, for people: the GPUs' names, or "CPU"."""
    if not gpus():
        return "CPU"
    if name() == "jax":
        import jax

        found = [device.device_kind for device in jax.devices()]
    elif name() == "torch":
        import torch

        kind = _torch_device().type
        found = [torch.cuda.get_device_name() if kind == "cuda" else kind.upper()]
    else:
        import tensorflow as tf

        details = tf.config.experimental.get_device_details
        listed = tf.config.list_physical_devices("GPU")
        found = [details(device).get("device_name", "GPU") for device in listed]
    return f"{len(found)} x {found[0]}"


def _torch_device() -> torch.device:
    return keras.ops.convert_to_tensor(0.0).device


def gains_from_xla() -> bool | str:
    """What to give ``compile`` as ``jit_compile``.

    On a CPU a step of TensorFlow's takes as long with XLA as without, and twice as long to compile.
    JAX without it runs one operation after the other. PyTorch, left to Keras, does so: its compiler
    takes a minute or more for a step.
    """
    return False if name() == "tensorflow" and not gpus() else "auto"


@functools.cache
def keep_freed_memory() -> None:
    """Undoes what TensorFlow 2.21 does to the whole process in its first ``from_generator``.

    It has the C library give the memory of every tensor above 128 KB back to the system, which
    clears and maps it again for the next one: a CPU step of the paper's CNN then takes 1.6 times
    the processor's time. Both limits become the highest that the library itself would adapt to.
    """
    if not sys.platform.startswith("linux"):
        return
    import tensorflow as tf

    signature = tf.TensorSpec((), tf.int32)
    next(iter(tf.data.Dataset.from_generator(lambda: iter([0]), output_signature=signature)))
    with contextlib.suppress(AttributeError):  # another C library
        library = ctypes.CDLL(None)
        library.mallopt(_M_MMAP_THRESHOLD, 2**25)
        library.mallopt(_M_TRIM_THRESHOLD, 2**26)


_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h


def one_hot_dataset(
    epoch: Callable[[], Iterator[tuple[np.ndarray, ...]]],
    columns: Sequence[Any],
    table: np.ndarray,
    count: int | None,
) -> tf.data.Dataset:
    """A dataset of batches (x, y), one-hot (B, W, 4) and labels (B, K), whatever the backend is.

    Args:
        epoch: makes an iterator of batches of codes (B, W) and labels (B, K), once an epoch.
        columns: what they are batches of, (N, W) and (N, K): their widths and types.
        table: (5, 4), what each code becomes.
        count: batches an epoch; None: not known.
    """
    import tensorflow as tf

    keep_freed_memory()
    signature = tuple(tf.TensorSpec((None, *column.shape[1:]), column.dtype) for column in columns)
    letters = tf.constant(table)
    dataset = tf.data.Dataset.from_generator(epoch, output_signature=signature)
    dataset = dataset.map(lambda codes, y: (tf.gather(letters, tf.cast(codes, tf.int32)), y))
    dataset = dataset.prefetch(tf.data.AUTOTUNE)
    if count is None:
        return dataset
    return dataset.apply(tf.data.experimental.assert_cardinality(count))


@contextlib.contextmanager
def reading_errors() -> Iterator[None]:
    """Raises what went wrong in reading data as it was: tf.data makes an error of its own of it."""
    if name() != "tensorflow":
        yield
        return
    import tensorflow as tf

    try:
        yield
    except tf.errors.OpError as error:
        found = re.search(r"InputError: ([^\n]+)", error.message)
        if not found:
            raise
        raise InputError(found[1]) from error


def compiled(function: Callable, variables: Sequence[Variable] = ()) -> Callable:
    """``function`` of tensors, compiled where the backend can.

    A call with tensors of shapes seen before runs what was compiled then. PyTorch runs one
    operation after the other.

    Args:
        function: of positional tensors; called with arrays, too.
        variables: every Keras variable that it reads or changes. JAX knows no variables: there
            their values go in and, where changed, come out.
    """
    if name() == "tensorflow":
        import tensorflow as tf

        graph = tf.function(function, reduce_retracing=True, autograph=False)
        # Or it warns of one function traced again and again: ours are others, of the same code.
        graph._key_for_call_stats = graph
        return lambda *args: _as_written(graph, [tf.convert_to_tensor(arg) for arg in args])
    if name() == "torch":
        return lambda *args: function(*map(keras.ops.convert_to_tensor, args))
    import jax

    changed: list[int] = []

    @jax.jit
    def pure(values: list[Tensor], *args: Tensor) -> tuple[Tensor, list[Tensor]]:
        with keras.StatelessScope(state_mapping=zip(variables, values, strict=True)) as scope:
            result = function(*args)
        after = [scope.get_current_value(variable) for variable in variables]
        changed[:] = [i for i, value in enumerate(after) if value is not values[i]]
        return result, [after[i] for i in changed]

    def run(*args: Tensor) -> Tensor:
        result, after = pure([variable.value for variable in variables], *args)
        for i, value in zip(changed, after, strict=True):
            variables[i].assign(value)
        return result

    return run


@contextlib.contextmanager
def inference(model: keras.Model) -> Iterator[None]:
    """Nothing that is computed inside is kept for gradients, and a model's layers do not train.

    PyTorch would keep every activation; and a layer of its kind may ask its ``training`` instead of
    the call's: it is set as Keras's ``predict`` does. A compiled step of TensorFlow or JAX knows by
    itself what a gradient needs.

    Args:
        model: any Keras model; all its parts are afterwards as they were.
    """
    if name() != "torch":
        yield
        return
    import torch

    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module in training:
            module.training = True


def seed_step(*numbers: int) -> None:
    """Gives the draws of a training step that no Keras variable counts a seed of their own.

    With PyTorch, Keras leaves dropout to PyTorch's own generator; a run that goes on from a step
    must draw what a whole one does there. TensorFlow's and JAX's draws are Keras variables'.

    Args:
        numbers: what tells the step from all others, each 0 or more.
    """
    if name() == "torch":
        import torch

        torch.manual_seed(int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0]))


def pads_means_with_copies(left: int, right: int) -> bool:
    """Whether a mean of neighbours, so padded, counts copies of the outermost unit.

    Keras's does with PyTorch, which knows no padding of two widths; else padding does not count.
    """
    return name() == "torch" and left != right


def fenced(tensor: Tensor) -> Tensor:
    """The tensor itself; if it is joined of others in a graph of TensorFlow's, nothing behind it is
    moved to before it (:func:`_as_written`).

    Others are left alone: of a softmax or sigmoid Keras's losses find the logits.
    """
    if name() != "tensorflow" or not hasattr(tensor, "graph"):
        return tensor
    import tensorflow as tf

    operation = tensor.op
    while operation.type in _PASSES_ON and operation.inputs:
        operation = operation.inputs[0].op
    return tf.ensure_shape(tensor, tensor.shape) if operation.type in _JOINS else tensor


def _as_written(graph: Any, args: Sequence[Tensor]) -> Tensor:
    """What a ``tf.function`` of tensors gives, without what TensorFlow 2.21 optimises wrongly.

    One rewrite turns concat(f(a), f(b)) into f(concat(a, b)), another log(x + 1) into log1p(x) and
    exp(x) - 1 into expm1(x). Where the second follows the first, f is lost: the result is not
    finite or, where it happens to be, wrong. Only graphs that have both lose the optimiser of
    arithmetic, with which others compute the bits that they always did.
    """
    import tensorflow as tf

    traced = graph.get_concrete_function(*args)
    if traced not in _loses:
        _loses[traced] = _loses_a_function(traced.graph.as_graph_def())
    if not _loses[traced]:
        return traced(*args)
    options, switch = tf.config.optimizer, "arithmetic_optimization"
    before = options.get_experimental_options().get(switch, True)
    options.set_experimental_options({switch: False})
    try:
        return traced(*args)
    finally:
        options.set_experimental_options({switch: before})


_loses: weakref.WeakKeyDictionary[Any, bool] = weakref.WeakKeyDictionary()
_PASSES_ON = {"Identity", "StopGradient", "PreventGradient", "Reshape", "Squeeze", "ExpandDims"}
_JOINS = {"Concat", "ConcatV2", "Split", "SplitV"}


def _loses_a_function(graph: Any) -> bool:
    """Whether a graph may hold both: loops are functions of its library."""
    bodies = [graph.node, *(function.node_def for function in graph.library.function)]
    joins = any(node.op in _JOINS for nodes in bodies for node in nodes)
    return joins and any(map(_logarithm_of_a_sum, bodies))


def _logarithm_of_a_sum(nodes: Any) -> bool:
    """Whether one of the nodes is a log(x + y) or an exp(x) - y."""
    by_name = {node.name: node for node in nodes}

    def operand(node: Any) -> str:
        while node is not None and node.input:
            node = by_name.get(node.input[0].split(":")[0])
            if node is None or node.op not in _PASSES_ON:
                break
        return node.op if node is not None else ""

    return any(
        (node.op == "Log" and operand(node) in ("Add", "AddV2"))
        or (node.op == "Sub" and operand(node) == "Exp")
        for node in nodes
    )


def step_arguments(trainer: keras.Model, arguments: tuple, change: Callable) -> tuple:
    """The arguments of a trainer's own step, with ``change`` made to the data.

    TensorFlow and PyTorch hand a step its data. JAX hands it (state, data): the values of the
    trainable and the other variables, then those of optimizer and metrics. The change may read all
    of the trainer's variables and draw from its seeds.
    """
    *states, data = arguments
    if not states:
        return (change(data),)
    trainable, others, *rest = states[0]
    mapping = [
        *zip(trainer.trainable_variables, trainable, strict=True),
        *zip(trainer.non_trainable_variables, others, strict=True),
    ]
    with keras.StatelessScope(state_mapping=mapping) as scope:
        data = change(data)
    others = [scope.get_current_value(variable) for variable in trainer.non_trainable_variables]
    return (trainable, others, *rest), data


def mapped(function: Callable, xs: Any, dtype: str) -> Any:
    """``function`` of the slices of tensors along their first axis, one after the other, stacked.

    Args:
        function: of one slice (or a tuple of slices) to one tensor of type ``dtype``.
        xs: a tensor, or a tuple of tensors.
    """
    if name() == "tensorflow":  # keras.ops.map runs the function twice there
        import tensorflow as tf

        signature = tf.dtypes.as_dtype(dtype)
        return tf.map_fn(function, xs, fn_output_signature=signature, parallel_iterations=1)
    return keras.ops.map(function, xs)


class SummaryWriter:
    """Writes numbers for TensorBoard; needs TensorFlow, whatever computes.

    Args:
        folder: for its event files; made where it does not exist.
    """

    def __init__(self, folder: Path):
        import tensorflow as tf

        self._summary = tf.summary
        self._writer = tf.summary.create_file_writer(str(folder))

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Writes the values of a step, by name, so that they are to be seen at once."""
        with self._writer.as_default(step=step):
            for name, value in values.items():
                self._summary.scalar(name, value)
        self._writer.flush()

    def close(self) -> None:
        """Closes the file."""
        self._writer.close()
