import keras
import numpy as np
import pytest
from keras import layers

from tfbs_shift import InputError, models
from tfbs_shift.commands import main
from tfbs_shift.models.inputs import input_window

from .conftest import (
    WINDOW,
    Subclassed,
    functional,
    random_sequences,
    sequential,
)


@pytest.mark.parametrize("regularized", [True, False])
def test_the_papers_cnn(regularized):
    model = models.cnn(90, regularized=regularized)
    kinds = [type(layer).__name__ for layer in model.layers[1:]]
    dropout = ["Dropout"] if regularized else []
    assert kinds == [
        *["Conv1D", "ReLU"] * 2, "GlobalMaxPooling1D", "Dense", *dropout, "Dense",
    ]  # fmt: skip
    shapes = [w.shape for w in model.get_weights()]
    assert shapes == [
        (24, 4, 256), (256,), (12, 256, 64), (64,), (64, 500), (500,), (500, 2), (2,),
    ]  # fmt: skip
    assert model.input_shape == (None, 90, 4)
    predictions = model(np.zeros((3, 90, 4)))
    assert np.allclose(np.sum(predictions, axis=1), 1)
    assert models.cnn(None, classes=5).output_shape == (None, 5)


def test_the_regulariser_by_hand(rng):
    """L1 5e-5 on what the convolutions put out before the ReLU, per example; L2 5e-4 on kernels.

    The same for any batch size, in every version of Keras.
    """
    model = models.cnn(30)
    x = random_sequences(rng, 7, 30).astype("float32")
    model(x, training=True)
    convolutions = [layer for layer in model.layers if isinstance(layer, layers.Conv1D)]
    expected = 0.0
    for layer in convolutions:
        before = keras.Model(model.input, layer.output)(x)
        expected += 5e-5 * np.abs(before).sum() / len(x) + 5e-4 * np.sum(layer.kernel**2)
    assert float(sum(model.losses)) == pytest.approx(expected, rel=1e-5)
    assert models.cnn(30, regularized=False).losses == []


def test_impossible_cnns():
    with pytest.raises(InputError, match="window 0"):
        models.cnn(0)
    with pytest.raises(InputError, match="classes 1"):
        models.cnn(10, classes=1)


def test_load(tmp_path, rng):
    model = functional()
    (tmp_path / "run").mkdir()
    for file, path in (("a.keras", "a.keras"), ("run/model.keras", "run")):
        model.save(tmp_path / file)
        x = random_sequences(rng, 4, WINDOW)
        assert np.array_equal(models.load(tmp_path / path)(x), model(x))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("missing.keras", None, "no such file or folder"),
        ("folder", "", "no model.keras in this folder"),
        ("a.txt", b"x", "want a .keras file"),
        ("a.keras", b"not a zip", "it is no zip archive"),
    ],
)
def test_load_names_what_is_wrong(tmp_path, name, content, message):
    path = tmp_path / name
    if content == "":
        path.mkdir()
    elif content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=message) as error:
        models.load(path)
    assert name in str(error.value)
    assert "\n" not in str(error.value)


class Unregistered(layers.Layer):
    __module__ = "of_somebody_else"  # older versions of Keras look where a class was made

    def call(self, x):
        return 2 * x


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (
            Unregistered,
            r"layer unregistered: Unregistered \(module of_somebody_else\) is not Keras's: reg",
        ),
        (lambda: layers.Lambda(lambda x: 2 * x), "Lambda holds code, which is not run"),
    ],
)
def test_load_says_what_to_do_about_layers_of_ones_own(tmp_path, layer, message):
    model = keras.Sequential([keras.Input((12, 4)), layer(), layers.Flatten(), layers.Dense(1)])
    model.save(tmp_path / "mine.keras")
    with pytest.raises(InputError, match=message):
        models.load(tmp_path / "mine.keras")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_load_refuses_weights_that_are_no_numbers(tmp_path, value):
    """What a network that diverged leaves: ReLU and pooling may turn it into a number again."""
    model = functional()
    kernel = model.weights[-2]
    kernel.assign(np.where(np.arange(kernel.shape[-1]) == 0, value, kernel))
    model.save(tmp_path / "mine.keras")
    with pytest.raises(InputError, match=rf"mine.keras: {kernel.path} has weights that are no fin"):
        models.load(tmp_path / "mine.keras")


def test_input_window():
    assert input_window(functional()) == WINDOW
    assert input_window(functional(), WINDOW) == WINDOW
    assert input_window(functional(window=None), 7) == 7
    assert input_window(Subclassed(), 7) == 7
    with pytest.raises(InputError, match=r"window 7: but model 'functional.*' reads 12 bp"):
        input_window(functional(), 7)
    for free in (functional(window=None), Subclassed(), sequential(built=False)):
        with pytest.raises(InputError, match="its input length is free: give window"):
            input_window(free)
    two = [keras.Input((5, 4)), keras.Input((5, 4))]
    with pytest.raises(InputError, match="several inputs"):
        input_window(keras.Model(two, layers.Add()(two)))
    flat = keras.Sequential([keras.Input((48,)), layers.Dense(1)])
    with pytest.raises(InputError, match=r"want \(batch, length, channels\)"):
        input_window(flat)


@pytest.mark.parametrize("order", ["ACGT", "AGCT"])
@pytest.mark.parametrize("kind", ["functional", "sequential"])
def test_a_models_input_name_says_its_channel_order(kind, order, tmp_path):
    """Sequential makes its input tensor anew, under another name; saving keeps the given one."""
    inputs = keras.Input((12, 4), name=f"dna_{order}")
    head = [keras.layers.Flatten(), keras.layers.Dense(2, "softmax")]
    if kind == "sequential":
        model = keras.Sequential([inputs, *head])
    else:
        model = keras.Model(inputs, head[1](head[0](inputs)))
    assert models.alphabet(model) == order
    model.save(tmp_path / "model.keras")
    assert models.alphabet(models.load(tmp_path / "model.keras")) == order


def test_a_loss_that_nobody_imported(tmp_path, rng):
    """The model is read, and the line says without what."""

    @keras.saving.register_keras_serializable("somebody")
    class TheirLoss(keras.losses.Loss):
        def call(self, y, predictions):
            return keras.ops.mean(predictions - y, axis=-1)

    model = functional()
    model.compile("sgd", TheirLoss())
    for name in ("mine.keras", "mine.h5"):
        model.save(tmp_path / name)
        assert models.load(tmp_path / name).compiled
    del keras.saving.get_custom_objects()["somebody>TheirLoss"]
    x = random_sequences(rng, 4, WINDOW)
    for name in ("mine.keras", "mine.h5"):
        with pytest.warns(UserWarning, match=rf"{name}: was compiled with .* without its loss"):
            found = models.load(tmp_path / name)
        assert not found.compiled
        assert np.array_equal(found(x), model(x))


def test_models_and_layers_of_a_module(tmp_path, monkeypatch):
    (tmp_path / "of_mine.py").write_text(
        "import keras\n"
        "class Doubling(keras.layers.Layer):\n"
        "    def call(self, x):\n"
        "        return 2 * x\n"
        "class Dense(keras.layers.Dense):\n"
        "    pass\n"
        "model = keras.Sequential([keras.Input((12, 4)), Doubling()])\n"
        "number = 3\n"
        "def function(windows):\n"
        "    return windows\n"
    )
    (tmp_path / "broken.py").write_text("raise RuntimeError('no\\nway')")
    monkeypatch.syspath_prepend(tmp_path)
    model = models.find("of_mine:model")
    assert model.input_shape == (None, 12, 4)
    assert models.find("of_mine:function")(3) == 3
    custom = keras.saving.get_custom_objects()
    assert custom["Doubling"] is type(model.layers[0])
    assert "Dense" not in custom  # Keras's is not hidden
    model.save(tmp_path / "m.keras")
    assert models.find(str(tmp_path / "m.keras")).input_shape == (None, 12, 4)
    del custom["Doubling"]
    for name, message in (
        ("of_mine:Doubling", "of_mine:Doubling: is a class; want a model made of it"),
        ("of_mine:number", "is of type int"),
        ("of_mine:nothing", "module of_mine has no nothing"),
        ("nowhere.at_all:x", r"nowhere.at_all: cannot be imported \(ModuleNotFoundError"),
        ("broken:x", r"broken: cannot be imported \(RuntimeError: no way\)"),
        ("of_mine.py", "no such file or folder"),
    ):
        with pytest.raises(InputError, match=message):
            models.find(name)


def test_import_in_the_shell(tmp_path, monkeypatch, capsys):
    """A module in the current folder, whose layer an old-fashioned author never registered."""
    (tmp_path / "layers_here.py").write_text(
        "import keras\n"
        "class Tripling(keras.layers.Layer):\n"
        "    def call(self, x):\n"
        "        return 3 * x\n"
    )
    tripling = type("Tripling", (layers.Layer,), {"call": lambda self, x: 3 * x})
    tripling.__module__ = "of_somebody_else"
    body = [layers.Flatten(), layers.Dense(1, "sigmoid")]
    keras.Sequential([keras.Input((12, 4)), tripling(), *body]).save(tmp_path / "m.keras")
    monkeypatch.chdir(tmp_path)
    bases = np.array(list("ACGT"))[np.random.default_rng(0).integers(0, 4, (8, 20))]
    rows = [f"{''.join(row)},{i % 2}" for i, row in enumerate(bases)]
    (tmp_path / "d.csv").write_text("\n".join(["sequence,label", *rows]))
    words = ["evaluate", "--model=m.keras", "--data=d.csv", "--explain"]
    assert main([*words, "--import=layers_there"]) == 1
    assert "--import=layers_there: cannot be imported" in capsys.readouterr().err
    assert main(words) == 1
    assert (
        "Tripling (module of_somebody_else) is not Keras's: register it" in capsys.readouterr().err
    )
    assert main([*words, "--import=layers_here"]) == 0
    assert "Tripling" in capsys.readouterr().out
    del keras.saving.get_custom_objects()["Tripling"]
