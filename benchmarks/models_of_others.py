"""Models that others wrote, scanned, beside a loop over their own ``predict`` and their own loss.

  python benchmarks/models_of_others.py [--only=crested,bpnet] [--evoaug_zoo=DIR] [--bp=8]

Each model is made, or read, by its own package; what is not installed is said and left out:

  pip install crested spliceai mmsplice bpnet-lite tangermeme evoaug-tf gReLU torch

(``--no-deps`` with what they then miss at import is enough: no training is done here.) DeepSTARR is
in no package: ``--evoaug_zoo`` is the folder ``code`` of github.com/54yyyu/evoaug-tf_analysis.

The loop runs each window of each example through the model's own ``predict``, and computes the loss
of each by itself, with the loss of the model's package where it has one: a batch of one. Sequences
are random, of their own seed, with a GC content that wanders as a genome's does; weights are those
of the package's files, or random. "Moves" is by how much an example's loss differs between starts
(median); a row is marked where a loss is off by more than a hundredth of that. Windows/s are those
of a second scan, when all is traced.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from absl import app, flags
from keras import ops

import tfbs_shift as ts

FLAGS = flags.FLAGS
flags.DEFINE_list("only", None, "Rows to run, by the beginning of their names; default: all.")
flags.DEFINE_string("evoaug_zoo", None, "Folder with model_zoo.py of evoaug-tf_analysis.")
flags.DEFINE_integer("bp", 8, "Bases beyond the window: starts less one.", lower_bound=1)
flags.DEFINE_integer("examples", 4, "Sequences.", lower_bound=2)


@dataclass
class Model:
    """A model as it comes, and what its own package says of a window.

    Attributes:
        model: what ``ts.scan`` is given.
        window: bp it reads.
        labels: of some examples: (rng, count) -> (count, ...).
        predict: windows float32 (n, window, 4) -> predictions as the package gives them; None: the
            Keras model's own predict.
        loss: (labels of one example, its predictions), each a batch of one -> a number.
        arguments: of ``ts.scan``.
        parameters: how many; None: a Keras model counts them.
    """

    model: Any
    window: int
    labels: Callable[[np.random.Generator, int], np.ndarray]
    loss: Callable[[Any, Any], Any]
    predict: Callable[..., Any] | None = None
    arguments: dict[str, Any] = field(default_factory=dict)
    parameters: int | None = None


def counts(width: int) -> Callable[[np.random.Generator, int], np.ndarray]:
    """Labels like heights of peaks."""
    return lambda rng, count: rng.gamma(1, 2, (count, width)).astype(np.float32)


def one_of(width: int) -> Callable[[np.random.Generator, int], np.ndarray]:
    """One-hot labels."""
    return lambda rng, count: np.eye(width, dtype=np.float32)[rng.integers(0, width, count)]


def yes_no(width: int) -> Callable[[np.random.Generator, int], np.ndarray]:
    """0/1 labels."""
    return lambda rng, count: rng.integers(0, 2, (count, width)).astype(np.float32)


def crested_dilated() -> Model:
    """CREsted's default of peak regression: its loss mixes the examples of a batch."""
    import crested.tl as tl

    model = tl.zoo.dilated_cnn(2114, 19)
    model.compile(loss=tl.default_configs("peak_regression").loss)
    return Model(model, 2114, counts(19), model.loss, arguments={"task": "values"})


def crested_decoupled() -> Model:
    """A head for each output: what TensorFlow's optimiser makes NaN of in Keras's ``evaluate``."""
    import crested.tl as tl

    model = tl.zoo.dilated_cnn_decoupled(2114, 19)
    for layer in model.layers:  # or predictions of 1e-5, of whose log(1 + p) float32 keeps little
        if layer.name.startswith("dense_out"):
            layer.kernel.assign(0.1 * layer.kernel)
    model.compile(loss=tl.losses.PoissonLoss())
    return Model(model, 2114, counts(19), model.loss, arguments={"task": "values"})


def crested_topics() -> Model:
    """CREsted's default of topic classification."""
    import crested.tl as tl

    model = tl.zoo.deeptopic_cnn(500, 80)
    model.compile(loss=tl.default_configs("topic_classification").loss)
    return Model(model, 500, yes_no(80), model.loss)


def spliceai() -> Model:
    """One of SpliceAI's five networks: no splice site, acceptor, or donor, of the base between."""
    model = ts.models.load(str(_folder("spliceai") / "models" / "spliceai1.h5"))
    return Model(
        model, 10_001, one_of(3),
        lambda y, p: keras.losses.categorical_crossentropy(y, p[:, 0]),
        arguments={
            "window": 10_001, "output": ts.Output(positions="centre"), "task": "classes",
        },
    )  # fmt: skip


def spliceai_ensemble() -> Model:
    """SpliceAI as its own program runs it, the mean of five networks: a function."""
    folder = _folder("spliceai") / "models"
    models = [ts.models.load(str(folder / f"spliceai{i}.h5")) for i in range(1, 6)]

    def mean(x: np.ndarray) -> np.ndarray:
        return np.mean([model.predict(x, verbose=0) for model in models], axis=0)[:, 0]

    return Model(
        mean, 10_001, one_of(3), keras.losses.categorical_crossentropy, mean,
        arguments={"window": 10_001, "task": "classes"},
        parameters=sum(model.count_params() for model in models),
    )  # fmt: skip


def mmsplice_donor() -> Model:
    """MMSplice's donor: 18 bp around a splice site, one sigmoid."""
    model = ts.models.load(str(_folder("mmsplice") / "models" / "Donor.h5"))
    return Model(model, 18, yes_no(1), keras.losses.binary_crossentropy)


def mmsplice_intron() -> Model:
    """MMSplice's intron beside an acceptor: any length, a score, no labels."""
    model = ts.models.load(str(_folder("mmsplice") / "models" / "Intron3.h5"))
    return Model(model, 100, _none, _squared, arguments={"window": 100, "task": "values"})


def bpnet_counts() -> Model:
    """bpnet-lite's BPNet, its counts, and its loss of them."""
    import torch
    from bpnetlite import BPNet
    from bpnetlite.bpnet import CountWrapper
    from bpnetlite.losses import log1pMSELoss

    torch.manual_seed(0)
    module = CountWrapper(BPNet(n_control_tracks=0, verbose=False))
    return Model(
        module, 2114, lambda rng, count: rng.poisson(40, (count, 1)).astype(np.float32),
        lambda y, p: log1pMSELoss(torch.tensor(p), torch.tensor(y)).mean().item(),
        _torch_predict(module),
        {
            "window": 2114, "task": "values",
            "loss": lambda y, p: ops.mean((ops.log(y + 1) - p) ** 2, axis=-1),
        },
        _parameters(module),
    )  # fmt: skip


def bpnet_profile() -> Model:
    """Its two heads and control tracks, through tangermeme's ``predict``; labels that stay."""
    import torch
    from bpnetlite import BPNet
    from bpnetlite.losses import _mixture_loss

    torch.manual_seed(0)
    module = BPNet(n_layers=6, verbose=False)
    bins = 2 * (1000 - 2 * module.trimming)
    control = np.random.default_rng(3).poisson(0.2, (FLAGS.examples, 2, 1000)).astype(np.float32)

    def beside(heads: Any) -> np.ndarray:
        return np.concatenate([heads[0].reshape(len(heads[0]), -1), heads[1]], axis=1)

    def multinomial(y: Any, p: Any) -> Any:
        logs = p[:, :bins] - ops.logsumexp(p[:, :bins], axis=-1, keepdims=True)
        y, total = y[:, :bins], y[:, bins]
        ways = _log_factorial(total) - ops.sum(_log_factorial(y), axis=-1)
        return (ops.log(total + 1) - p[:, bins]) ** 2 - ways - ops.sum(y * logs, axis=-1)

    def own(y: np.ndarray, p: np.ndarray) -> float:
        logits, logcounts = torch.tensor(p[:, :bins]).reshape(1, 2, -1), torch.tensor(p[:, bins:])
        return _mixture_loss(torch.tensor(y[:, :bins]), logits, logcounts, 1)[2].item()

    def reads(rng: np.random.Generator, count: int) -> np.ndarray:
        profile = rng.poisson(0.5, (count, bins))
        return np.column_stack([profile, profile.sum(axis=1)]).astype(np.float32)

    return Model(
        module, 1000, reads, own,
        lambda x: beside(_tangermeme(module, x, control)),
        {
            "window": 1000, "task": "values", "output": beside, "args": (control,),
            "loss": multinomial,
        },
        _parameters(module),
    )  # fmt: skip


def grelu() -> Model:
    """A convolutional network of gReLU: (B, tasks, bins), without labels."""
    import torch
    from grelu.model.models import ConvModel

    torch.manual_seed(0)
    module = ConvModel(n_tasks=3)
    own = _torch_predict(module)
    return Model(
        module, 500, _none, _squared, lambda x: own(x)[:, :, 0],
        {"window": 500, "task": "values", "output": lambda p: p[:, :, 0]}, _parameters(module),
    )  # fmt: skip


def evoaug_deepstarr() -> Model:
    """DeepSTARR inside evoaug's RobustModel, which is to be audited without its augmentations."""
    if FLAGS.evoaug_zoo is None:
        raise ImportError("--evoaug_zoo is not given")
    sys.path.insert(0, FLAGS.evoaug_zoo)
    from evoaug_tf import augment, evoaug

    zoo = importlib.import_module("model_zoo")
    robust = evoaug.RobustModel(
        zoo.DeepSTARR, (249, 4), augment_list=[augment.RandomMutation(mutate_frac=0.05)]
    )
    robust.compile(loss="mse")
    inner = robust.model
    return Model(
        inner, 249, lambda rng, count: rng.normal(size=(count, 2)).astype(np.float32),
        keras.losses.mean_squared_error, arguments={"task": "values", "loss": "mse"},
    )  # fmt: skip


# fmt: off
# name: (package, what it predicts, its task, how it is made)
MODELS: dict[str, tuple[str, str, str, Callable[[], Model]]] = {
    "crested dilated_cnn": ("crested", "19 softplus", "values", crested_dilated),
    "crested dilated_cnn_decoupled":
        ("crested", "19 softplus, a head each", "values", crested_decoupled),
    "crested deeptopic_cnn": ("crested", "80 sigmoid", "labels", crested_topics),
    "spliceai1.h5": ("spliceai", "positions x 3 softmax", "classes", spliceai),
    "spliceai ensemble": ("spliceai", "3, mean of 5 networks", "classes", spliceai_ensemble),
    "mmsplice Donor.h5": ("mmsplice", "1 sigmoid", "classes", mmsplice_donor),
    "mmsplice Intron3.h5": ("mmsplice", "1 linear", "values, no labels", mmsplice_intron),
    "bpnet counts": ("bpnet-lite", "1 log count", "values", bpnet_counts),
    "bpnet profile, controls":
        ("bpnet-lite", "2 x 654 logits, 1 log count", "values", bpnet_profile),
    "grelu ConvModel": ("gReLU", "3 x 1 linear", "values, no labels", grelu),
    "evoaug DeepSTARR": ("evoaug-tf", "2 linear", "values", evoaug_deepstarr),
}
# fmt: on


def _folder(package: str) -> Path:
    """Where a package's files are, without running it."""
    found = importlib.util.find_spec(package)
    if found is None or found.origin is None:
        raise ImportError(f"No module named {package!r}")
    return Path(found.origin).parent


def _none(rng: np.random.Generator, count: int) -> None:
    return None


def _squared(y: np.ndarray, p: np.ndarray) -> np.ndarray:
    return ((y - p) ** 2).sum(axis=1)


def _parameters(module: Any) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _torch_predict(module: Any) -> Callable[[np.ndarray], np.ndarray]:
    import torch

    def predict(x: np.ndarray) -> np.ndarray:
        module.eval()
        with torch.no_grad():
            return module(torch.tensor(x).permute(0, 2, 1)).numpy()

    return predict


def _tangermeme(module: Any, x: np.ndarray, control: np.ndarray) -> list[np.ndarray]:
    import torch
    from tangermeme.predict import predict

    windows = torch.tensor(x).permute(0, 2, 1)
    heads = predict(module, windows, args=(torch.tensor(control),), device="cpu")
    return [head.numpy() for head in heads]


def _log_factorial(n: Any) -> Any:
    """Of small whole numbers: keras.ops has no lgamma."""
    table = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, 4096)))]).astype(np.float32)
    return ops.take(ops.convert_to_tensor(table), ops.cast(n, "int32"), axis=0)


def genome(rng: np.random.Generator, count: int, length: int) -> np.ndarray:
    """One-hot (count, length, 4) whose GC content wanders between 0.3 and 0.7."""
    walk = np.cumsum(rng.normal(0, 0.02, (count, length)), axis=1)
    gc = 0.5 + 0.2 * np.sin(walk + rng.uniform(0, 6, (count, 1)))
    strong = rng.random((count, length)) < gc
    second = rng.random((count, length)) < 0.5
    codes = np.where(strong, np.where(second, 1, 2), np.where(second, 0, 3))
    return ts.sequences.one_hot(codes)


def brute_force(model: Model, x: np.ndarray, y: np.ndarray | None) -> np.ndarray:
    """Losses (N, S): every window by itself."""
    predict = model.predict or (lambda x: model.model.predict(x, verbose=0))
    starts = range(x.shape[1] - model.window + 1)
    windows = [x[:, s : s + model.window].astype(np.float32) for s in starts]
    predictions = [np.asarray(predict(these)) for these in windows]
    if y is None:
        y = predictions[FLAGS.bp // 2]
    return np.array(
        [
            [np.mean(model.loss(y[n : n + 1], p[n : n + 1])) for p in predictions]
            for n in range(len(x))
        ]
    )


def row(name: str) -> tuple[str, bool]:
    """A line of the table, and whether the losses are the same."""
    package, predicts, task, make = MODELS[name]
    keras.utils.set_random_seed(0)
    try:
        version = importlib.metadata.version(package)
        model = make()
    except (ImportError, importlib.metadata.PackageNotFoundError) as error:
        return f"{name:30} not run: {error}", True
    rng = np.random.default_rng(1)
    x = genome(rng, FLAGS.examples, model.window + FLAGS.bp)
    y = model.labels(rng, len(x))
    expected = brute_force(model, x, y)
    ts.scan(model.model, x, y, **model.arguments)
    begun = time.perf_counter()
    found = ts.scan(model.model, x, y, **model.arguments)
    seconds = time.perf_counter() - begun
    off = np.abs(found.loss - expected)
    moves = float(np.median(np.ptp(expected, axis=1)))
    same = bool(off.max() <= 0.01 * moves)
    parameters = model.parameters or model.model.count_params()
    return (
        f"{name:30} {package + ' ' + version:17} {parameters:>10,} {model.window:>7,} "
        f"{predicts:27} {task:17} {expected.mean():>10.4g} {moves:>9.1e} {off.max():>10.1e} "
        f"{expected.size / seconds:>10,.1f}{'' if same else '   DIFFERS'}"
    ), same


def main(argv: list[str]) -> None:
    del argv
    print(
        f"{FLAGS.examples} sequences, {FLAGS.bp + 1} starts; Keras {keras.__version__} on "
        f"{keras.backend.backend()}\n"
    )
    print(
        f"{'':30} {'package':17} {'parameters':>10} {'bp':>7} {'predicts':27} {'task':17} "
        f"{'mean loss':>10} {'moves':>9} {'difference':>10} {'windows/s':>10}"
    )
    right = True
    for name in MODELS:
        if FLAGS.only and not any(name.startswith(only) for only in FLAGS.only):
            continue
        line, same = row(name)
        print(line, flush=True)
        right &= same
    sys.exit(0 if right else 1)


if __name__ == "__main__":
    app.run(main)
