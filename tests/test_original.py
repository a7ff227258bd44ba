"""Old weight files: against the original stacks' own predictions, and against every trap."""

import json
import os
import shutil
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest

from tfbs_shift import InputError, evaluate, models, sequences
from tfbs_shift.commands import main
from tfbs_shift.models.original import save_original


@pytest.fixture(scope="module")
def originals() -> Path:
    """Files that the original stacks wrote, with their predictions."""
    beside = Path(__file__).parents[2] / "shared" / "data"
    folder = Path(os.environ.get("TFBS_SHIFT_DATA", beside)).parent / "fixtures/original_weights"
    if not folder.is_dir():
        pytest.skip(f"no files of the original stacks at {folder}")
    return folder


def arrays(folder, name):
    with np.load(folder / f"{name}.npz") as file:
        return {key: file[key] for key in file.files}


@pytest.mark.parametrize("kind", ["model", "weights"])
@pytest.mark.parametrize("stack", ["theano", "tf21"])
def test_tbinet_predicts_what_the_original_predicted(originals, stack, kind):
    inputs, expected = (
        arrays(originals, "tbinet_inputs"),
        arrays(originals, f"tbinet_{stack}_expected"),
    )
    model = models.load(originals / f"tbinet_{stack}_{kind}.hdf5")
    x = inputs["x"].astype("float32")
    assert model.input_shape == (None, 200, 4)
    assert models.alphabet(model) == "AGCT"
    # the TF file has one chaotic sequence: 1e-4 there
    tolerance = 1e-5 if stack == "theano" else 1e-4
    assert np.allclose(model.predict(x, verbose=0), expected["predictions"], atol=tolerance)
    weights = models.attention(model).predict(x, verbose=0)
    assert np.allclose(weights, expected["attention"], atol=1e-5)
    assert np.allclose(weights.sum(axis=1), 1, atol=1e-5)
    model.compile(loss="binary_crossentropy")
    loss = model.evaluate(x, inputs["y"], verbose=0)
    assert loss == pytest.approx(float(expected["evaluate_loss"]), abs=1e-4)


@pytest.mark.parametrize(
    ("size", "kind", "window"),
    [("small", "model", 90), ("small", "weights", None), ("real", "weights", None)],
)
def test_the_papers_cnn_predicts_what_the_original_predicted(originals, size, kind, window):
    inputs = arrays(originals, f"tfmodel_{size}_inputs")
    expected = arrays(originals, f"tfmodel_{size}_tf21_expected")
    model = models.load(originals / f"tfmodel_{size}_tf21_{kind}.hdf5")
    x = inputs["x"].astype("float32")
    assert model.input_shape == (None, window, 4)
    assert models.alphabet(model) == "ACGT"
    assert np.allclose(model.predict(x, verbose=0), expected["predictions"], atol=1e-5)
    model.compile(loss="categorical_crossentropy")
    # with the regulariser's terms, which the original's loss has
    loss = model.evaluate(x, inputs["y"], verbose=0)
    assert loss == pytest.approx(float(expected["evaluate_loss"]), rel=1e-5)


def test_the_papers_trained_model_knows_its_motif(real_data):
    """Conv2D layout. With MafK's site planted it says "bound", whatever the rest."""
    (file,) = (real_data / "trained").glob("*.hdf5")
    model = models.load(file)
    assert model.input_shape == (None, 90, 4)
    codes = np.random.default_rng(0).integers(0, 4, (50, 101))
    codes[:, 44:57] = sequences.encode("TGCTGACTCAGCA")
    found = evaluate(model, sequences.one_hot(codes), np.ones(50, int))
    assert found.strategies["worst"]["accuracy"] == 1.0
    assert found.scan.worst_loss.max() < 0.1


def test_what_was_imported_is_saved_and_read_back(originals, tmp_path, capsys):
    out = tmp_path / "tbinet.keras"
    weights = originals / "tbinet_theano_model.hdf5"
    assert main(["import", f"--weights={weights}", f"--out={out}"]) == 0
    assert "tbinet" in capsys.readouterr().out
    model, again = models.load(weights), models.load(out)
    x = arrays(originals, "tbinet_inputs")["x"].astype("float32")
    assert np.array_equal(model.predict(x, verbose=0), again.predict(x, verbose=0))
    assert models.alphabet(again) == "AGCT"


def changed(originals, tmp_path, name, change):
    path = tmp_path / "changed.hdf5"
    shutil.copy(originals / name, path)
    path.chmod(0o644)
    with h5py.File(path, "r+") as file:
        change(file)
    return path


def test_a_file_that_does_not_say_its_backend(originals, tmp_path, capsys):
    def forget(file):
        del file.attrs["backend"]

    path = changed(originals, tmp_path, "tbinet_theano_weights.hdf5", forget)
    with pytest.raises(InputError, match="does not say which backend wrote it"):
        models.load(path)
    right = models.load(originals / "tbinet_theano_weights.hdf5").get_weights()
    theano = models.load(path, backend="theano").get_weights()
    tensorflow = models.load(path, backend="tensorflow").get_weights()
    assert np.array_equal(theano[0], right[0])
    assert np.array_equal(tensorflow[0], right[0][::-1])
    assert main(["import", f"--weights={path}", "--out=x.keras"]) == 1
    assert "give backend" in capsys.readouterr().err
    with pytest.raises(InputError, match="given, but the file says 'theano'"):
        models.load(originals / "tbinet_theano_weights.hdf5", backend="tensorflow")


def test_files_that_are_something_else(originals, tmp_path):
    def other_layer(file):
        config = json.loads(file.attrs["model_config"])
        config["config"]["layers"][2]["class_name"] = "AveragePooling1D"
        file.attrs["model_config"] = json.dumps(config)

    def other_length(file):
        config = json.loads(file.attrs["model_config"])
        config["config"]["layers"][0]["config"]["batch_input_shape"] = [None, 300, 4]
        file.attrs["model_config"] = json.dumps(config)

    def not_finite(file):
        group = file["model_weights/dense_3/dense_3"]
        group["bias"][0] = np.nan

    def no_order(file):
        del file["model_weights"].attrs["layer_names"]

    for change, message in (
        (other_layer, "its layers are Conv1D, AveragePooling1D"),
        (other_length, "input of 300 bp does not give the 13 positions"),
        (not_finite, "no finite numbers"),
        (no_order, "no layer_names"),
        (lambda file: file.attrs.__setitem__("model_config", "{"), "model_config cannot be read"),
        (lambda file: file["model_weights"].__delitem__("dense_3"), "not a whole HDF5 file"),
    ):
        path = changed(originals, tmp_path, "tbinet_theano_model.hdf5", change)
        with pytest.raises(InputError, match=message) as error:
            models.load(path)
        assert "changed.hdf5" in str(error.value)
        assert "\n" not in str(error.value)
    (tmp_path / "text.h5").write_text("no")
    with pytest.raises(InputError, match="not a whole HDF5 file"):
        models.load(tmp_path / "text.h5")


def test_other_networks(originals, tmp_path):
    """One that Keras 3 wrote in the old format is read by Keras; one of Keras 2 is refused."""
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    model.save(tmp_path / "dense.h5")
    assert np.array_equal(
        models.load(tmp_path / "dense.h5").get_weights()[0], model.get_weights()[0]
    )

    def one_layer_less(file):
        names = file["model_weights"].attrs["layer_names"]
        file["model_weights"].attrs["layer_names"] = names[:-2]

    path = changed(originals, tmp_path, "tbinet_theano_model.hdf5", one_layer_less)
    with pytest.raises(InputError, match="neither TBiNet nor the paper's CNN; its arrays are"):
        models.load(path)


@pytest.mark.parametrize(
    ("window", "positions"), [(1000, 75), (900, 67), (38, 1), (50, 1), (51, 2)]
)
def test_tbinet_shapes(window, positions):
    """T = (L - 25) // 13, the 14 arrays in the original's order."""
    model = models.tbinet(window, labels=3)
    assert [w.shape for w in model.get_weights()] == [
        (26, 4, 320), (320,), (320, 1), (1,),
        (320, 1280), (320, 1280), (1280,), (320, 1280), (320, 1280), (1280,),
        (positions * 640, 695), (695,), (695, 3), (3,),
    ]  # fmt: skip
    assert models.attention(model).output_shape == (None, positions)
    assert (window - 25) // 13 == positions
    assert not any(isinstance(layer, keras.layers.Lambda) for layer in model.layers)


def test_tbinet_has_the_originals_size():
    assert models.tbinet().count_params() == 35_515_816


def test_keras2_hard_sigmoid_by_hand():
    from tfbs_shift.models.architectures import keras2_hard_sigmoid

    x = np.array([-9, -2.5, -1, 0, 1, 2.5, 9], "float32")
    assert np.allclose(keras2_hard_sigmoid(x), [0, 0, 0.3, 0.5, 0.7, 1, 1])


def test_impossible_tbinets():
    with pytest.raises(InputError, match="at least 38 bp"):
        models.tbinet(37)
    with pytest.raises(InputError, match="labels 0"):
        models.tbinet(100, labels=0)
    with pytest.raises(InputError, match="no layer named attention"):
        models.attention(models.cnn(20))


def described(file):
    """All that a weights file holds: names, order, types and values."""
    found = {}

    def attributes(item):
        for key in item.attrs:
            kind = h5py.h5a.open(item.id, key.encode()).get_type()
            facts = (kind.get_class(), str(item.attrs.get(key).__class__))
            if kind.get_class() == h5py.h5t.STRING:
                facts += (kind.is_variable_str(), kind.get_cset(), kind.get_size())
            found[item.name, key] = (facts, np.asarray(item.attrs[key]).tolist())

    def visit(_, item):
        attributes(item)
        if isinstance(item, h5py.Dataset):
            found[item.name] = (item.dtype.str, item[()].tobytes())
        else:
            found.setdefault(item.name, "group")

    attributes(file)
    file.visititems(visit)
    return found


@pytest.mark.parametrize(
    ("name", "backend"),
    [
        ("tbinet_theano_weights", "theano"),
        ("tbinet_tf21_weights", "tensorflow"),
        ("tfmodel_small_tf21_weights", "tensorflow"),
        ("tfmodel_real_tf21_weights", "tensorflow"),
    ],
)
def test_written_back_it_is_the_originals_file(originals, name, backend, tmp_path, capsys):
    """Every name, type and number of the file that the original stack wrote."""
    imported, back = tmp_path / "m.keras", tmp_path / "back.hdf5"
    original = originals / f"{name}.hdf5"
    assert main(["import", f"--weights={original}", f"--out={imported}"]) == 0
    words = ["import", "--to_original", f"--weights={imported}", f"--backend={backend}"]
    assert main([*words, f"--out={back}"]) == 0
    with h5py.File(original) as one, h5py.File(back) as other:
        expected, found = described(one), described(other)
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        assert found[key] == value, key
    # the other backend's file says the same
    other = "theano" if backend == "tensorflow" else "tensorflow"
    assert main([*words[:-1], f"--backend={other}", f"--out={back}"]) == 0
    pairs = zip(models.load(back).get_weights(), models.load(original).get_weights(), strict=True)
    assert all(np.array_equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("backend", ["theano", "tensorflow"])
@pytest.mark.parametrize(
    "model", [lambda: models.tbinet(64, labels=3), lambda: models.cnn(30, regularized=False)]
)
def test_to_the_original_layout_and_back(model, backend, tmp_path):
    model = model()
    path = tmp_path / "w.h5"
    save_original(model, path, backend)
    back = models.load(path)
    pairs = zip(back.get_weights(), model.get_weights(), strict=True)
    assert all(np.array_equal(a, b) for a, b in pairs)
    with h5py.File(path) as file:
        first = "conv1d_1/conv1d_1/kernel" if backend == "theano" else "conv1d/conv1d/kernel:0"
        kernel = file[first][:]
    assert np.array_equal(kernel[::-1] if backend == "theano" else kernel, model.get_weights()[0])


def test_only_the_originals_networks_are_written(tmp_path, capsys):
    model = keras.Sequential([keras.Input((9, 4)), keras.layers.Flatten(), keras.layers.Dense(2)])
    model.save(tmp_path / "m.keras")
    words = ["import", "--to_original", f"--weights={tmp_path / 'm.keras'}"]
    assert main([*words, f"--out={tmp_path / 'm.hdf5'}"]) == 1
    assert "neither TBiNet nor the paper's CNN" in capsys.readouterr().err
    assert main([*words, f"--out={tmp_path / 'm.keras'}"]) == 1
    assert "ends with .h5 or .hdf5" in capsys.readouterr().err
    assert not (tmp_path / "m.hdf5").exists()
    with pytest.raises(InputError, match="backend 'torch'"):
        save_original(models.cnn(30), tmp_path / "m.h5", "torch")
