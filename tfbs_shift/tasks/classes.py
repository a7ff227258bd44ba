"""One class for each example: a softmax, or one sigmoid."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from scipy import special

from tfbs_shift.errors import InputError
from tfbs_shift.tasks.areas import label_scores, resampled_scores
from tfbs_shift.tasks.base import Columns, Task, binary_labels, clipped, improbable, numbers, span
from tfbs_shift.tasks.losses import is_sparse


@dataclass(frozen=True)
class Classes(Task):
    """Exclusive classes, of which the prediction calls one: binary (K 1 or 2) or multiclass.

    Columns: ``right``, whether the call is the label; ``probability``, of class 1 if there are two,
    else of the true class. Metrics: ``accuracy``; of two classes also ``auroc``, ``aupr`` (the
    trapezoid area, as in the paper) and ``mcc``, Matthews' correlation coefficient of the calls.

    Two classes are called by ``threshold``: class 1 where its probability is above; at 0.5 the
    class of the larger one.
    """

    name = "classes"
    means: ClassVar = {"accuracy": "right"}
    columns: ClassVar = {"right": np.bool_, "probability": np.float32}
    certificate, certified = "right", "is right"
    shown = "probability"

    def __post_init__(self):
        super().__post_init__()
        if not self.binary and self.threshold != 0.5:
            raise InputError(
                f"threshold {self.threshold}: {self.width} classes have none, the highest "
                "probability wins; only for two classes or for labels"
            )

    @property
    def binary(self) -> bool:
        """Two classes, of which one may be what the other is not."""
        return self.width <= 2

    @property
    def statistics(self) -> tuple[str, ...]:
        return ("auroc", "aupr", "mcc") if self.binary else ()

    @property
    def scored(self) -> int:
        return int(self.binary)

    @property
    def score_column(self) -> str:
        return "probability" if self.binary else ""

    def labels(self, y: Any, count: int) -> np.ndarray:
        """One-hot (N, K) for a softmax, 0/1 (N, 1) for one sigmoid.

        From one-hot (N, K), class numbers (N,) or (N, 1); for one sigmoid also one-hot (N, 2),
        whose column 1 is the positive class.
        """
        if len(y) != count:
            raise InputError(f"{count} sequences, but {len(y)} labels")
        y = numbers(y)
        flat = y.reshape(count) if y.shape in ((count,), (count, 1)) else None
        if self.width == 1:
            if y.shape == (count, 2) and (y.sum(axis=1) == 1).all():
                flat = y[:, 1]
            if flat is not None:
                binary_labels(flat, "0 or 1")
                return flat[:, None]
        if flat is not None:
            if not (np.mod(flat, 1) == 0).all() or flat.min() < 0 or flat.max() >= self.width:
                raise InputError(
                    f"labels {flat.min():g}..{flat.max():g}: want classes 0..{self.width - 1}; for "
                    "numbers as labels give task='values'"
                )
            y = np.eye(self.width, dtype=np.float32)[flat.astype(int)]
        if self.width == 1 or y.shape != (count, self.width):
            raise InputError(f"labels {y.shape}: the model predicts ({count}, {self.width})")
        binary_labels(y, "one class each, as a column of 1 among columns of 0")
        if not (y.sum(axis=1) == 1).all():
            raise InputError(
                "labels: some examples have several of them or none, and a softmax wants "
                "one class each; want a model that ends in sigmoids, such as tbinet"
            )
        return y

    def for_loss(self, loss: Any, y: np.ndarray) -> np.ndarray:
        return y.argmax(axis=1) if self.width > 1 and is_sparse(loss) else y

    def truth(self, y: np.ndarray) -> np.ndarray:
        """The class of each example, ``int64`` (N,); y as :meth:`labels` has it."""
        if y.shape[1] == 1:
            return (y[:, 0] > 0.5).astype(np.int64)
        return y.argmax(axis=1)

    def calls(self, predictions: np.ndarray) -> np.ndarray:
        """The class that predictions (..., K) call, ``int64`` (...)."""
        odds = special.logit(self.threshold) if self.logits else None
        if self.width == 1:
            limit = self.threshold if odds is None else odds
            return (predictions[..., 0] > limit).astype(np.int64)
        if self.width > 2:
            return predictions.argmax(axis=-1)
        no, yes = predictions[..., 0], predictions[..., 1]
        if odds is not None:
            return (yes - no > odds).astype(np.int64)
        # Not yes > threshold: a softmax rounds, and a tie is no call. Halving does not round.
        return (yes * (1 - self.threshold) > no * self.threshold).astype(np.int64)

    def called(self, predictions: np.ndarray) -> np.ndarray:
        """Labels, as :meth:`labels` has them, that predictions (N, K) would be right of."""
        calls = self.calls(predictions)
        return calls[:, None] if self.width == 1 else np.eye(self.width, dtype=np.float32)[calls]

    def unfit(self, predictions: np.ndarray) -> str:
        if self.logits:
            return ""
        sums = predictions.sum(axis=-1)
        if self.width > 1 and not np.allclose(sums, 1, atol=1e-2):
            return (
                f"of one window sum to {float(sums.min()):.4g}..{float(sums.max()):.4g} and not to "
                "1, as probabilities of exclusive classes do"
            )
        return improbable(predictions)

    def outputs(self, predictions: np.ndarray) -> np.ndarray:
        if not self.logits:
            return predictions
        if self.width == 1:
            return special.expit(predictions)
        return special.softmax(predictions, axis=-1)

    def at_starts(self, predictions: np.ndarray, y: np.ndarray) -> Columns:
        truth, outputs = self.truth(y), self.outputs(predictions)
        if self.binary:
            probability = outputs[..., -1]
        else:
            probability = outputs[np.arange(len(outputs)), :, truth]
        return {
            "right": self.calls(predictions) == truth[:, None],
            "probability": probability,
        }

    def scores(self, predictions: np.ndarray) -> np.ndarray:
        return self.outputs(predictions)[..., -1:] if self.binary else super().scores(predictions)

    def over_starts(
        self, predictions: np.ndarray, columns: Columns, weights: np.ndarray, centre: np.ndarray
    ) -> Columns:
        calls, possible = self.calls(predictions), weights > 0
        share = np.stack([(weights * (calls == k)).sum(axis=1) for k in range(max(2, self.width))])
        same = calls == calls[np.arange(len(calls)), centre][:, None]
        return {
            "consistency": (share**2).sum(axis=0),
            "wobble": span(columns["probability"], possible),
            "flipped": (~same & possible).any(axis=1),
        }

    def per_label(
        self, y: np.ndarray, scores: np.ndarray, *, average_strands: bool = False
    ) -> Columns:
        truth = self.truth(np.asarray(y))[:, None]
        areas = label_scores(truth, scores, average_strands=average_strands)
        return {
            "auroc": areas.auroc,
            "aupr": areas.aupr,
            "mcc": self._mcc(truth, scores, np.ones((1, len(truth)))),
            "positives": areas.positives,
        }

    def resampled(self, y: np.ndarray, scores: np.ndarray, counts: np.ndarray) -> np.ndarray:
        truth = self.truth(np.asarray(y))[:, None]
        areas = resampled_scores(truth, scores, counts)
        return np.concatenate([areas, self._mcc(truth, scores, counts)[None]])

    def _mcc(self, truth: np.ndarray, scores: np.ndarray, counts: np.ndarray) -> np.ndarray:
        """Matthews' correlation coefficient in each of b resamples, (b,); NaN of one class only.

        0 where all calls are alike: they tell nothing (Chicco & Jurman 2020, limit of the formula).
        """
        truth = truth[:, 0] == 1
        calls = scores[:, 0] > self.threshold
        cells = np.stack([calls & truth, calls & ~truth, ~calls & truth, ~calls & ~truth], axis=1)
        hits, alarms, misses, rejections = (counts @ cells).T
        sides = (hits + alarms) * (misses + rejections)
        classes = (hits + misses) * (alarms + rejections)
        product = np.sqrt(sides) * np.sqrt(classes)
        difference = hits * rejections - alarms * misses
        mcc = np.divide(difference, product, out=np.zeros(len(counts)), where=product > 0)
        return np.where(classes > 0, mcc, np.nan)

    def surprise(self, y: np.ndarray, outputs: np.ndarray) -> np.ndarray:
        p = clipped(outputs)
        if self.width > 1:
            return -np.log(p[np.arange(len(p)), self.truth(y)])
        return -np.where(y > 0.5, np.log(p), np.log(1 - p)).mean(axis=1)

    def confidence(self, outputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        called = self.without_logits().calls(outputs) == max(2, self.width) - 1
        if self.width == 1:
            outputs = np.concatenate([1 - outputs, outputs], axis=1)
        return outputs.max(axis=1), called

    def profile(
        self, outputs: np.ndarray, y: np.ndarray, label: int | None
    ) -> tuple[np.ndarray, str]:
        if label is not None:
            raise InputError(f"label {label}: the model tells classes apart; only for labels")
        column = 1 if self.binary else int(self.truth(y)[0])
        return outputs[:, -1 if self.binary else column], f"class {column}"

    def described(self) -> dict[str, Any]:
        return {"task": self.name, "classes": max(2, self.width), "threshold": self.threshold}
