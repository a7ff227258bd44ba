"""Several devices, of one host or of many: each computes some rows of every batch.

Who shares a batch is Keras's to know: a model made inside TensorFlow's ``MirroredStrategy.scope()``
or Keras's ``DataParallel.scope()`` (JAX) is trained and run by all devices there. ``distributed``
enters the one that fits; everything else here asks which one is in force.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import numpy as np

from tfbs_shift.backend import computing
from tfbs_shift.errors import InputError

Tensor = Any

_BATCH = "batch"  # Keras's name of the axis


def join(host: tuple[int, int], coordinator: str | None) -> None:
    """Connects the processes of several hosts; before anything is computed.

    Args:
        host: (i, n): this is process i of n.
        coordinator: HOST:PORT of process 0, which the others can reach; None: as Slurm says.

    Raises:
        InputError: the backend is not JAX, or the coordinator is not known or does not answer.
    """
    if computing.name() != "jax":
        raise InputError(
            f"--distribute=multihost: Keras's backend is {computing.name()} here, and only JAX "
            "computes on several hosts: set KERAS_BACKEND=jax"
        )
    if coordinator is None and "SLURM_JOB_NODELIST" not in os.environ:
        raise InputError("--distribute=multihost: needs --coordinator=HOST:PORT, of process 0")
    if coordinator is not None and not coordinator.rpartition(":")[2].isdecimal():
        raise InputError(f"--coordinator={coordinator}: want HOST:PORT")
    index, hosts = host
    try:
        keras.distribution.initialize(coordinator, hosts, index)
    except RuntimeError as error:
        raise InputError(
            f"process {index} of {hosts}: no connection to the others at {coordinator} ({error})"
        ) from error


@contextlib.contextmanager
def distributed(kind: str) -> Iterator[None]:
    """All devices share the batches of models that are made inside; "none": one device.

    With TensorFlow each of several devices draws dropout for its rows as it would for the first
    ones; with JAX the draws are those of one device. All else is the same computation.

    Raises:
        InputError: the backend is PyTorch, with which Keras computes on one device.
    """
    if kind != "none" and computing.name() == "torch":
        raise InputError(
            f"--distribute={kind}: Keras's backend is torch here, which computes on one device: "
            "set KERAS_BACKEND=tensorflow or jax"
        )
    if kind == "none" or _devices() == 1:
        yield
    elif computing.name() == "jax":
        with keras.distribution.DataParallel(auto_shard_dataset=False).scope():
            yield
    else:
        import tensorflow as tf

        with tf.distribute.MirroredStrategy(_tensorflow_devices()).scope():
            yield


def replicas() -> int:
    """How many devices share a batch, those of all hosts together."""
    if computing.name() == "tensorflow":
        import tensorflow as tf

        return tf.distribute.get_strategy().num_replicas_in_sync
    mesh = _mesh()
    return 1 if mesh is None else mesh.size


def host() -> tuple[int, int]:
    """(i, n): this process is host i of the n that share a batch."""
    if computing.name() != "jax" or _mesh() is None:
        return 0, 1
    import jax

    return jax.process_index(), jax.process_count()


def together(what: str) -> None:
    """Returns when every host has come here, having said the same.

    Raises:
        InputError: another host has said something else.
    """
    if host()[1] == 1:
        return
    from jax.experimental import multihost_utils

    said = np.frombuffer(what.encode().ljust(64)[:64], np.uint8)
    if not (multihost_utils.process_allgather(said) == said).all():
        raise InputError(
            f"{what}: other hosts see something else; --out must be a folder that all hosts share"
        )


def asked_to_stop(step: int) -> bool:
    """Whether any host has got SIGTERM, and all of them are at ``step`` together."""
    from jax.experimental import multihost_utils

    return multihost_utils.reached_preemption_sync_point(step)


def draw(function: Callable[[Any], Tensor], count: Any) -> Tensor:
    """``function(count)``, random rows for a batch, on each device those of its rows.

    What is drawn does so not depend on how many devices there are.

    Args:
        function: of a number of rows.
        count: rows of the batch that the caller sees: with TensorFlow those of one device.
    """
    if computing.name() == "tensorflow":
        import tensorflow as tf

        context = tf.distribute.get_replica_context()
        if context is not None and context.num_replicas_in_sync > 1:
            first = context.replica_id_in_sync_group * count
            return function(context.num_replicas_in_sync * count)[first : first + count]
    return function(count)


def by_rows(function: Callable, *args: Tensor) -> Tensor:
    """``function(*args)`` of a step, each device computing its rows by itself.

    TensorFlow's devices see nothing but their rows. XLA, which cuts up JAX's computation as it sees
    fit, would send activations from one to the other.

    Args:
        function: of batches, to one batch; a row depends on that row alone.
    """
    mesh = _mesh()
    if mesh is None or mesh.size == 1:
        return function(*args)
    import jax

    rows = jax.sharding.PartitionSpec(_BATCH)
    # Without the check, what each device has of its own need not be told from what all have.
    shared = jax.shard_map(function, mesh=mesh, in_specs=rows, out_specs=rows, check_vma=False)
    return shared(*args)


def compiled(function: Callable, variables: Sequence[Any]) -> Callable:
    """Like ``computing.compiled``, of arrays whose rows the devices share; all get the result.

    The number of rows is a multiple of ``replicas()``. A device runs what it would run alone, on
    its rows: the result has the bits that it would have.
    """
    count = replicas()
    if count == 1:
        return computing.compiled(function, variables)
    if computing.name() == "tensorflow":
        import tensorflow as tf

        strategy = tf.distribute.get_strategy()

        def mine(*args: Tensor) -> Tensor:
            i = tf.distribute.get_replica_context().replica_id_in_sync_group
            rows = tf.shape(args[0])[0] // count
            return function(*(arg[i * rows : (i + 1) * rows] for arg in args))

        def everybodys(*args: Tensor) -> Tensor:
            return tf.concat(strategy.experimental_local_results(strategy.run(mine, args)), 0)

        return computing.compiled(everybodys, variables)

    import jax

    mesh = _mesh()
    rows = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(_BATCH))
    everywhere = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())

    run = computing.compiled(lambda *args: by_rows(function, *args), variables)
    gathered = jax.jit(lambda rows: rows, out_shardings=everywhere)

    def of_rows(*args: Any) -> Tensor:
        arrays = map(np.asarray, args)
        placed = (jax.make_array_from_callback(a.shape, rows, a.__getitem__) for a in arrays)
        return gathered(run(*placed))

    return of_rows


def _devices() -> int:
    """How many there are, of all hosts; GPUs if there are any."""
    if computing.name() == "tensorflow":
        return len(_tensorflow_devices())
    return len(keras.distribution.list_devices())


def _tensorflow_devices() -> list[str]:
    import tensorflow as tf

    found = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    return [device.name for device in found]


def _mesh() -> Any:
    """The devices that share a batch with JAX, as it wants them; None: just one."""
    if computing.name() != "jax":
        return None
    chosen = keras.distribution.distribution()
    if not isinstance(chosen, keras.distribution.DataParallel):
        return None
    import jax

    devices = {f"{device.platform}:{device.id}": device for device in jax.devices()}
    names = chosen.device_mesh.devices.flatten()
    return jax.sharding.Mesh(np.array([devices[str(name)] for name in names]), (_BATCH,))
