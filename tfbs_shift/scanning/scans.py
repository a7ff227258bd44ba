"""A model at every start of its window.

Cost of a scan: for each of N examples, what its S windows have in common once, the rest S times
(``plan_scan`` says how much that is; for a model whose layers are not known, S forward passes).
Memory beyond the inputs and the (N, S) losses: the activations of some windows, whatever N and S.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np
from keras import ops

from tfbs_shift.backend.precision import checked
from tfbs_shift.errors import InputError
from tfbs_shift.scanning.engine import windows_at
from tfbs_shift.scanning.jobs import ScanJob
from tfbs_shift.scanning.plans import ScanPlan
from tfbs_shift.scanning.predicting import Request
from tfbs_shift.scanning.predictors import KerasModel, predictor
from tfbs_shift.scanning.screening import Screening, screen
from tfbs_shift.tasks.inferring import Meaning
from tfbs_shift.windows import WindowRange

if TYPE_CHECKING:
    from typing_extensions import Unpack

Tensor = Any


@dataclass(frozen=True, eq=False)
class ShiftScan:
    """Losses at every start.

    Attributes:
        windows: the geometry: sequence length, window, bound.
        loss: float32 (N, S), one column a start.
        allowed: bool (N, S) where spans are protected: the windows that hold the example's span;
            None where every window may be used.
        screening: what was done in bfloat16, if anything was.
    """

    windows: WindowRange
    loss: np.ndarray
    allowed: np.ndarray | None = None
    screening: Screening | None = None

    @property
    def starts(self) -> np.ndarray:
        """``int32`` (S,): where the window begins, ascending."""
        return self.windows.starts

    @property
    def shifts(self) -> np.ndarray:
        """``int32`` (S,): signed distance from the centre window, in bp."""
        return self.windows.shifts

    @property
    def worst_start(self) -> np.ndarray:
        """``int32`` (N,): the start of the highest loss, the smallest of equals."""
        return self.starts[self._worst]

    @property
    def worst_loss(self) -> np.ndarray:
        """float32 (N,): the highest loss."""
        return self.loss[np.arange(len(self.loss)), self._worst]

    @property
    def _worst(self) -> np.ndarray:
        loss = self.loss if self.allowed is None else np.where(self.allowed, self.loss, -np.inf)
        return loss.argmax(axis=1)


class Reading(TypedDict, total=False):
    """The rarer arguments of ``scan``, ``evaluate`` and ``plan_scan``: how a model is called.

    ``layout``: the order of the axes that it reads: a word of N (first), L, C and 1, such as "NLC",
    "NCL", "NL1C", or "NL" for integers; None: "NLC", of a ``torch.nn.Module`` "NCL". ``args``: what
    it is given after the windows, an array (N, ...) each. ``constant``: values of a Keras model's
    other inputs, the same for all examples, by name.
    """

    layout: str | None
    args: Sequence[Any]
    constant: Mapping[str, Any] | None


def plan_scan(
    model: Any,
    sequence_length: int,
    *,
    window: int | None = None,
    max_shift: int | None = None,
    tries: int | None = None,
    **reading: Unpack[Reading],
) -> ScanPlan:
    """What a scan of a model shares between windows, what it costs, and where sharing ends.

    Args:
        model: any model that ``scan`` takes; of one that is no Keras model every window is run.
        sequence_length: bases stored per example, W.
        window: the model's input length L, where that is free or not known.
        max_shift: the largest absolute shift, in bp; None: every start.
        tries: starts run for each example, where they are fewer than all.
        **reading: ``layout``, ``args``, ``constant``, as for ``scan``.

    Returns:
        A plan: print it, or read ``plain_flops`` and ``shared_flops`` of one example, ``steps``
        and ``stem_ends``.

    Raises:
        InputError: the window does not fit the model or the sequences.

    >>> import tfbs_shift as ts
    >>> plan = ts.plan_scan(ts.models.cnn(75), 101)
    >>> plan.shared_flops < plan.plain_flops
    True
    """
    one = predictor(model, **reading)
    windows = WindowRange(sequence_length, one.window(window), max_shift)
    count = None if tries is None else min(tries, len(windows))
    return one.plan(Request(windows, one.channels or 4, count))


def scan(
    model: Any,
    x: Any,
    y: Any = None,
    *,
    window: int | None = None,
    max_shift: int | None = None,
    protect: np.ndarray | None = None,
    output: Any = None,
    task: str | None = None,
    loss: Any = None,
    batch_size: int | None = None,
    precision: str = "float32",
    progress: bool = False,
    **reading: Unpack[Reading],
) -> ShiftScan:
    """The loss of a model at every start of its window, for each example.

    Args:
        model: a Keras model (B, L, channels) -> predictions; a ``torch.nn.Module`` (B, 4, L), run
            in eval mode, without gradients, on its own device; or a function float32 (b, L, 4) ->
            array (b, ...), or a list or dict of arrays. Windows share what they can where it is a
            functional or Sequential Keras model; of all others each is run.
        x: sequences (N, W, channels), W >= L, one-hot in the model's own channel order; anything
            that can be sliced (numpy, h5py, memmap): read block by block.
        y: labels: (N, K), class numbers (N,), or for one sigmoid one-hot (N, 2) as well; for
            several outputs a dict or list of labels, as ``fit`` takes them. Labels of an output
            with P positions stay if they are (N, P, ...), and move with the window if they are
            (N, P + W - L, ...). None: the loss is the squared distance from the prediction at the
            centre window.
        window: the model's input length L, where that is free or not known.
        max_shift: the largest absolute shift, in bp; None: every start 0..W - L.
        protect: integers (N, 2): a span of each sequence, 0-based half-open, that must stay inside
            the window (see :meth:`WindowRange.keeping`).
        output: which output, or how to condense it to (b, K): a name, a number, a function of the
            predictions, or ``ts.Output(name, positions="mean")``. None: the only one; of several,
            the compiled losses are added up with their weights.
        task: what predictions mean: "classes", "labels" (probabilities) or "values"; None: found
            out where that is sure.
        loss: of an example: a Keras loss, its name, or a function (y, predictions) of
            ``keras.ops``; overrules what was compiled.
        batch_size: examples a block; changes speed and memory, not the losses.
        precision: "bfloat16" runs every start in it and then, in float32, every start that could
            be the worst, so that ``worst_loss`` and ``worst_start`` are those of float32; all else
            in ``loss`` is approximate (see ``screening``). Fast only where the processor multiplies
            bfloat16 itself (AMX, most GPUs). Of Keras models only.
        progress: show a bar on standard error.
        **reading: ``layout``, ``args``, ``constant``: how the model is called, see ``Reading``.

    Returns:
        The losses, each of its example as a batch of one: ``loss``, else the compiled one, else
        cross-entropy of probabilities, else squared error of values.

    Raises:
        InputError: model, window, sequences, labels or spans do not fit each other; predictions
            whose meaning is not surely known; losses that are no finite numbers.

    >>> import tfbs_shift as ts
    >>> test = ts.data.synthetic(4, length=40)
    >>> found = ts.scan(ts.models.cnn(30), test.x, test.y)
    >>> found.loss.shape, found.shifts.tolist()
    ((8, 11), [-5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5])
    """
    job = ScanJob.of(
        predictor(model, **reading), x, y, window=window, max_shift=max_shift, protect=protect,
        meaning=Meaning(output, task, loss),
    )  # fmt: skip
    if checked(precision) != "float32" and not isinstance(job.predictor, KerasModel):
        raise InputError(
            f"precision {precision}: {job.predictor.reason}, and computes in what it is made of; "
            "want float32"
        )
    job = replace(job, precision=precision)
    losses = np.empty((len(x), len(job.windows)), np.float32)
    for rows, found, _ in job.blocks(None, batch_size, progress, predictions=False):
        losses[rows] = found
    screening = None if precision == "float32" else screen(job, losses, progress)
    job.check_finite(losses)
    return ShiftScan(job.windows, losses, job.allowed, screening)


def crop(x: Tensor, starts: Tensor, windows: WindowRange) -> Tensor:
    """One window an example: (B, W, ...) and ``int32`` (B,) -> (B, L, ...), of any dtype."""
    starts = ops.convert_to_tensor(starts, "int32")
    return windows_at(x, starts[:, None], windows.window)
