"""Training against shifts: the window is chosen inside the compiled step."""

from __future__ import annotations

import contextlib
from functools import partial
from typing import Any

import keras
import numpy as np
from keras import ops

from tfbs_shift import sequences
from tfbs_shift.backend import devices
from tfbs_shift.backend.computing import fenced, step_arguments
from tfbs_shift.backend.internals import loss_weights
from tfbs_shift.backend.precision import computing_in, last_layers
from tfbs_shift.errors import InputError
from tfbs_shift.models import alphabet
from tfbs_shift.models.inputs import fed, input_window
from tfbs_shift.scanning.engine import ModelAtStarts, windows_at
from tfbs_shift.scanning.scans import crop
from tfbs_shift.strategies import ShiftStrategy
from tfbs_shift.tasks.losses import TotalLoss, compiled_losses
from tfbs_shift.tasks.outputs import Outputs
from tfbs_shift.windows import WindowRange

Tensor = Any


class ShiftTrainer(keras.Model):
    """Trains any Keras model on windows that a strategy chooses from longer sequences.

    Use it as a Keras model: ``compile``, ``fit`` with sequences longer than the model's input,
    ``evaluate``. Sequences are one-hot (B, W, channels), or codes (B, W), integers 0..4 = A, C, G,
    T, unknown, which become one-hot on the device in the order that the model reads. Each
    ``train_step`` draws candidate starts for each example, computes the model's loss there as at
    inference (no dropout, no gradient), crops the window of highest loss, and hands it to Keras's
    own step: weighting, loss scaling and metrics stay Keras's. ``test_step`` does the same with
    the validation strategy. ``predict`` reads the centre window. The wrapped ``model`` shares its
    weights; ``save`` saves it alone. A ``train_step`` of the wrapped model's own is not used.

    Cost of a step with n candidates: a scan of n starts (see ``plan_scan``; none for n = 1) and a
    training step.

    Args:
        model: any Keras model (B, L, channels) with one input, and one output or several. If it is
            compiled, the trainer starts out compiled alike, with a fresh optimizer. Of several
            outputs the losses are added up with their weights, as ``compile`` was told; labels of
            an output with P positions stay if they are (B, P, ...), and move with the window if
            they are (B, P + W - L, ...).
        strategy: NoShift, RandomShift or WorstShift, for training.
        validation_strategy: for ``evaluate`` and validation data; None: the training strategy, as
            in the paper.
        window: the model's input length L, where that is free or not known.
        max_shift: the largest absolute shift, in bp; None: every start.
        **kwargs: as for any Keras model. ``dtype="mixed_bfloat16"`` or ``"mixed_float16"`` is what
            the step computes in, the choice of windows included: the model's float32 layers do,
            but the last, while its weights, what is saved, validation and ``predict`` stay
            float32. ``compile`` then scales the loss of mixed_float16, as Keras does.

    Raises:
        InputError: no Keras model, or its input does not fit; on the first batch, if the sequences
            or labels do not.

    >>> import tfbs_shift as ts
    >>> train = ts.data.synthetic(8, length=40)
    >>> model = ts.models.cnn(30)
    >>> trainer = ts.ShiftTrainer(model, ts.WorstShift(tries=4))
    >>> trainer.compile("adam", "categorical_crossentropy", metrics=["accuracy"])
    >>> history = trainer.fit(train.x, train.y, epochs=2, verbose=0).history
    >>> sorted(history), len(history["loss"])
    (['accuracy', 'loss'], 2)
    """

    def __init__(
        self,
        model: keras.Model,
        strategy: ShiftStrategy,
        validation_strategy: ShiftStrategy | None = None,
        *,
        window: int | None = None,
        max_shift: int | None = None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if not isinstance(model, keras.Model):
            raise InputError(
                f"model {getattr(model, '__name__', type(model).__name__)}: want a Keras model; "
                "others can be scanned and evaluated, but not trained here"
            )
        self.window = input_window(model, window)
        self.max_shift = max_shift
        self.model = model
        self.strategy = strategy
        self.validation_strategy = validation_strategy or strategy
        # Kept as attributes of a layer, the states of the draws are variables of the compiled step.
        self.seed_generators = [
            s.seed_generator
            for s in dict.fromkeys((self.strategy, self.validation_strategy))
            if s.seed_generator is not None
        ]
        if getattr(model, "compiled", False):
            with contextlib.suppress(TypeError, ValueError):  # custom parts that Keras can't copy
                self.compile_from_config(model.get_compile_config())

    @property
    def input_shape(self) -> tuple[None, int, None]:
        """(None, L, None): what the wrapped model reads; longer sequences are cropped."""
        return (None, self.window, None)

    @property
    def output_names(self) -> list[str] | None:
        """What Keras calls the outputs of the wrapped model, if it knows: keys of losses."""
        return getattr(self.model, "output_names", None)

    def call(self, x: Tensor, training: bool | None = None) -> Tensor:
        """Predictions of the wrapped model at the centre window."""
        windows = self._windows(x)
        if windows.slack:
            x = x[:, windows.centre : windows.centre + windows.window]
        return self.model(fed(self.model, self._one_hot(x)), training=training)

    def train_step(self, *args):
        """One step on the windows that the training strategy chooses.

        The arguments and the result are those of Keras's ``train_step`` for the backend: data, or
        (state, data) with JAX.
        """
        with computing_in(self.model, self.dtype_policy.name, but=last_layers(self.model)):
            change = partial(self._shifted, strategy=self.strategy)
            return super().train_step(*step_arguments(self, args, change))

    def test_step(self, *args):
        """One evaluation step on the windows that the validation strategy chooses."""
        change = partial(self._shifted, strategy=self.validation_strategy)
        return super().test_step(*step_arguments(self, args, change))

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """Keras's own, of what the model predicts."""
        y_pred = keras.tree.map_structure(fenced, y_pred)
        y = self._at_centre(x, y, y_pred)
        return super().compute_loss(x, y, y_pred, sample_weight, training)

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        """Keras's own, of what the model predicts."""
        return super().compute_metrics(x, self._at_centre(x, y, y_pred), y_pred, sample_weight)

    def _at_centre(self, x, y, y_pred):
        """Labels that move with the window, where x was not cropped: when Keras, before the first
        step, finds out what shapes there are."""
        windows = None if x is None else self._windows(x)
        flat, predictions = keras.tree.flatten(y), keras.tree.flatten(y_pred)
        if windows is None or not windows.slack or len(flat) != len(predictions):
            return y
        centre = windows.centre
        cropped = {
            id(one): one[:, centre : centre + p.shape[1]]
            for one, p in zip(flat, predictions, strict=True)
            if len(one.shape) > 1 and one.shape[1] == p.shape[1] + windows.slack
        }
        return keras.tree.map_structure(lambda leaf: cropped.get(id(leaf), leaf), y)

    def save(self, filepath, overwrite: bool = True, **kwargs) -> None:
        """Saves the wrapped model, as its own ``save`` does; the trainer leaves no trace in it."""
        self.model.save(filepath, overwrite=overwrite, **kwargs)

    def _windows(self, x: Tensor) -> WindowRange:
        if len(x.shape) not in (2, 3) or x.shape[1] is None:
            raise InputError(
                f"sequences {tuple(x.shape)}: want one-hot (batch, length, channels) or codes "
                "(batch, length), the length known"
            )
        return WindowRange(int(x.shape[1]), self.window, self.max_shift)

    def _one_hot(self, x: Tensor) -> Tensor:
        """Codes (B, W) or one-hot (B, W, C) as one-hot floats (B, W, C).

        The model's layers turn them into what they compute in, as Keras does.
        """
        if len(x.shape) == 2:
            order = [sequences.ACGT.index(base) for base in alphabet(self.model)]
            x = ops.equal(
                x[:, :, None], np.asarray(order, keras.backend.standardize_dtype(x.dtype))
            )
        return ops.cast(x, keras.config.floatx())

    def _shifted(self, data, strategy: ShiftStrategy):
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        windows = self._windows(x)
        candidates = devices.draw(partial(strategy.candidates, windows=windows), ops.shape(x)[0])
        count = candidates.shape[1]
        outputs = self._outputs(y)
        loss = TotalLoss(tuple(compiled_losses(self.loss, loss_weights(self), outputs.names)))
        labels: list[Tensor] = []
        if loss.losses and y is not None:
            labels = loss.of_outputs(outputs, y)
        elif count > 1:
            raise InputError("the model has no loss: give one to compile")
        moving = loss.moving(outputs, labels, windows.slack) if labels else ()

        def worst(x: Tensor, candidates: Tensor, *labels: Tensor) -> Tensor:
            """The starts, each example's from its own row."""
            one_hot = self._one_hot(x)
            model = ModelAtStarts(
                self.model, windows, int(one_hot.shape[2]), count, precision=strategy.precision
            )
            tried = None if strategy.tries_every_start(windows) else candidates
            losses = model(
                one_hot, tried, labels=labels, moving=moving,
                keep=lambda outputs, y: loss(outputs, y)[:, None],
            )[..., 0]  # fmt: skip
            return strategy.choose(candidates, losses, windows)

        starts = candidates[:, 0]
        if count > 1:
            starts = devices.by_rows(worst, x, candidates, *labels)
        cropped = devices.by_rows(
            lambda x, starts: self._one_hot(crop(x, starts, windows)), x, starts
        )
        moved = {
            id(one): windows_at(one, starts[:, None], length)
            for one, length in zip(labels, moving, strict=True)
            if length is not None
        }
        if moved:
            y = keras.tree.map_structure(lambda leaf: moved.get(id(leaf), leaf), y)
        return cropped, y, sample_weight

    def _outputs(self, y: Any) -> Outputs:
        """Names and shapes of what the model predicts; where that makes no difference, none."""
        several = any(isinstance(one, dict | list | tuple) for one in (self.loss, y))
        try:
            predictions = self.model.output
        except (AttributeError, ValueError):
            if not several and len(getattr(y, "shape", ())) < 3:
                return Outputs(("output",), ((None,),), None)
            # Its shapes alone are used: of a compiled step nothing of it is left.
            sequence = ops.zeros((1, self.window, len(alphabet(self.model))))
            predictions = self.model(fed(self.model, sequence), training=False)
        return Outputs.of(predictions, getattr(self.model, "output_names", None))
