"""Old files of any other network: the numbers against numpy alone, and what is in them not run."""

import base64
import importlib.util
import json
import marshal
import warnings
import zipfile
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest

from tfbs_shift import InputError, models, scan

from . import old_keras
from .conftest import random_sequences
from .old_keras import conv, functional, part, write

INPUT = {"batch_input_shape": [None, 12, 4], "dtype": "float32", "sparse": False}


def arrays(rng, **shapes):
    return {
        name: rng.uniform(0.5, 2, shape) if "variance" in name else rng.normal(0, 0.5, shape)
        for name, shape in shapes.items()
    }


def dense(name, *reads, units=2, activation="softmax"):
    return part("Dense", name, *reads, units=units, activation=activation, use_bias=True)


def recurrent(kind, name, **config):
    settings = {"units": 3, "activation": "tanh", "recurrent_activation": "hard_sigmoid",
                "use_bias": True, "implementation": 1, "return_sequences": False}  # fmt: skip
    return part(kind, name, **{**settings, **config})


def small(path, rng, **how):
    """Conv1D, Flatten, Dense: a list-valued Sequential, as Keras 2.1 wrote it."""
    first = conv("c", filters=3, width=3, activation="relu")
    first["config"]["batch_input_shape"] = [None, 12, 4]
    last = [part("Flatten", "f"), dense("d")]
    weights = {
        "c": arrays(rng, kernel=(3, 4, 3), bias=(3,)),
        "f": {},
        "d": arrays(rng, kernel=(30, 2), bias=(2,)),
    }
    config = {"class_name": "Sequential", "config": how.pop("parts", [first, *last])}
    return write(path, config, how.pop("weights", weights), **how)


@pytest.fixture
def x(rng):
    return random_sequences(rng, 5, 12).astype("float32")


def agrees(path, x):
    model = models.load(path)
    assert not model.compiled
    found = model.predict(x, verbose=0)
    assert found.std() > 1e-3
    assert np.allclose(found, old_keras.predict(path, x), atol=1e-5)
    return model


@pytest.mark.parametrize("backend", ["tensorflow", "theano"])
def test_a_sequential_whose_configuration_is_a_list(tmp_path, rng, x, backend):
    agrees(small(tmp_path / "old.h5", rng, backend=backend), x)


def test_a_gru_resets_before_its_product_and_has_the_old_hard_sigmoid(tmp_path, rng, x):
    """Keras 2 said nothing of ``reset_after``; Keras 3 means True, and another slope."""
    gru = recurrent("GRU", "r")
    gru["config"]["batch_input_shape"] = [None, 12, 4]
    weights = {
        "r": arrays(rng, kernel=(4, 9), recurrent_kernel=(3, 9), bias=(9,)),
        "d": arrays(rng, kernel=(3, 4), bias=(4,)),
    }
    parts = [gru, dense("d", units=4, activation="hard_sigmoid")]
    agrees(small(tmp_path / "old.h5", rng, parts=parts, weights=weights), x)


def test_layers_inside_others_mean_what_they_meant(tmp_path, rng, x):
    inner = recurrent("LSTM", "lstm", time_major=False)  # of tf.keras, unknown to Keras 3
    inner = {"class_name": "LSTM", "config": inner["config"]}
    both = part("Bidirectional", "b", layer=inner, merge_mode="concat")
    both["config"]["batch_input_shape"] = [None, 12, 4]
    shapes = {"kernel": (4, 12), "recurrent_kernel": (3, 12), "bias": (12,)}
    names = {f"b/{way}_lstm/{key}": shape for way in ("forward", "backward")
             for key, shape in shapes.items()}  # fmt: skip
    weights = {"b": arrays(rng, **names), "d": arrays(rng, kernel=(6, 2), bias=(2,))}
    path = small(tmp_path / "old.h5", rng, parts=[both, dense("d")], weights=weights)
    agrees(path, x)


def test_a_functional_model_gets_its_weights_by_name(tmp_path, rng, x):
    """Two branches of the same shapes, and a nested Sequential that is called twice."""
    inner = conv("n", filters=4, width=1)
    inner["config"]["batch_input_shape"] = [None, 12, 4]
    nested = {"class_name": "Sequential", "name": "s", "config": [inner],
              "inbound_nodes": [[["in", 0, 0, {}]], [["s", 1, 0, {}]]]}  # fmt: skip
    joined = part("Concatenate", "j", axis=-1)
    joined["inbound_nodes"] = [[["two", 0, 0, {}], ["one", 0, 0, {}], ["s", 2, 0, {}]]]
    config = functional(
        part("InputLayer", "in", **INPUT),
        conv("one", "in", filters=4, width=3, padding="same"),
        nested,
        conv("two", "in", filters=4, width=3, padding="same", dilation_rate=[2]),
        joined,
        part("BatchNormalization", "bn", "j", axis=-1, epsilon=0.001, momentum=0.99),
        part("GlobalMaxPooling1D", "g", "bn"),
        dense("d", "g"),
        outputs="d",
    )
    shapes = {"kernel": (3, 4, 4), "bias": (4,)}
    norm = dict.fromkeys(("gamma", "beta", "moving_mean", "moving_variance"), (12,))
    weights = {
        "two": arrays(rng, **shapes),  # an order that is not Keras 3's
        "s": arrays(rng, **{"n/kernel": (1, 4, 4), "n/bias": (4,)}),
        "one": arrays(rng, **shapes),
        "bn": arrays(rng, **norm),
        "d": arrays(rng, kernel=(12, 2), bias=(2,)),
    }
    model = agrees(write(tmp_path / "old.hdf5", config, weights), x)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = scan(model, random_sequences(rng, 3, 15), [0, 1, 1])
    assert found.loss.shape == (3, 4)
    weights["other"] = weights.pop("two")
    path = write(tmp_path / "wrong.hdf5", config, weights)
    with pytest.raises(InputError, match="are not those of its model_config"):
        models.load(path)


def test_layers_of_the_papers_cnn_with_other_settings_are_another_network(tmp_path, rng, x):
    """Padding "valid": read as the paper's, it would predict something else without a word."""
    parts = [
        conv("c1", filters=3, width=3),
        part("ReLU", "r1", max_value=None),
        conv("c2", filters=3, width=3),
        part("ReLU", "r2", max_value=None),
        part("GlobalMaxPooling1D", "g"),
        dense("d1", units=4, activation="relu"),
        dense("d2"),
    ]
    parts[0]["config"]["batch_input_shape"] = [None, 12, 4]
    weights = {
        "c1": arrays(rng, kernel=(3, 4, 3), bias=(3,)),
        "c2": arrays(rng, kernel=(3, 3, 3), bias=(3,)),
        "d1": arrays(rng, kernel=(3, 4), bias=(4,)),
        "d2": arrays(rng, kernel=(4, 2), bias=(2,)),
    }
    agrees(small(tmp_path / "old.h5", rng, parts=parts, weights=weights), x)


def test_what_is_known_of_theano(tmp_path, rng):
    even = conv("c", filters=3, width=2, padding="same")
    even["config"]["batch_input_shape"] = [None, 12, 4]
    weights = {"c": arrays(rng, kernel=(2, 4, 3), bias=(3,))}
    how = {"parts": [even], "weights": weights}
    with pytest.warns(UserWarning, match="layer c pads its ends as TensorFlow does"):
        models.load(small(tmp_path / "old.h5", rng, backend="theano", **how))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        models.load(small(tmp_path / "old.h5", rng, **how))
    other = {**even, "class_name": "Conv2DTranspose"}
    with pytest.raises(InputError, match="how Conv2DTranspose's kernels are to be turned"):
        models.load(small(tmp_path / "t.h5", rng, backend="theano", **{**how, "parts": [other]}))
    unsaid = small(tmp_path / "unsaid.h5", rng, backend=None)
    with pytest.raises(InputError, match="does not say which backend"):
        models.load(unsaid)
    kernels = [models.load(unsaid, backend=name).get_weights()[0] for name in
               ("theano", "tensorflow")]  # fmt: skip
    assert np.array_equal(kernels[0], kernels[1][::-1])


def in_parts(path, *parts, **how):
    first = {"class_name": "InputLayer", "config": {"name": "in", **INPUT}}
    config = {"class_name": "Sequential", "config": [first, *parts]}
    return write(path, config, {}, **how)


@pytest.mark.parametrize("version", ["2.2.4", "3.10.0"])
@pytest.mark.parametrize("depth", [0, 1])
def test_code_in_a_file_is_not_run(tmp_path, version, depth):
    """Byte code of this very Python, which would leave a file behind; whatever the file says."""
    trace = tmp_path / "trace"
    code = compile(f"open({str(trace)!r}, 'w')", "<file>", "eval")
    exec(code)
    assert trace.exists()  # it would
    trace.unlink()
    function = [base64.b64encode(marshal.dumps(code)).decode(), None, None]
    bad = part("Lambda", "l", function=function, function_type="lambda", arguments={})
    if depth:
        bad = part("TimeDistributed", "t", layer=bad)
    path = in_parts(tmp_path / "bad.h5", bad, version=version)
    with pytest.raises(InputError, match="Lambda holds code, which is not run") as error:
        models.load(path)
    assert not trace.exists()
    one_line(error, path)


@pytest.mark.parametrize("version", ["2.2.4", "3.10.0"])
def test_modules_that_a_file_names_are_not_imported(tmp_path, version, monkeypatch):
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'trace')!r}, 'w')\ndef f(x): pass")
    monkeypatch.syspath_prepend(tmp_path)
    function = {"module": "evil", "class_name": "function", "config": "f", "registered_name": "f"}
    for number, bad in enumerate((
        dense("d", activation=function),
        part("Dense", "d", units=2, kernel_initializer={**function, "class_name": "F"}),
        {**dense("d"), "module": "evil", "registered_name": "evil>D"},
        # registered by us, but Keras would look a function up by another name
        dense("d", activation={**function, "registered_name": "tfbs_shift>keras2_hard_sigmoid"}),
    )):  # fmt: skip
        path = in_parts(tmp_path / f"{number}.h5", bad, version=version)
        with pytest.raises(
            InputError, match=r"\(module evil\) is not Keras's: register it"
        ) as error:
            models.load(path)
        one_line(error, path)
    assert not (tmp_path / "trace").exists()


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (part("TFOpLambda", "t", function="math.multiply"), "an operation of TensorFlow outside"),
        (
            part("TorchModuleWrapper", "t", module="x"),
            "TorchModuleWrapper is a layer that may run code",
        ),
        (part("Nowhere", "n"), "Nowhere is not Keras's: register it .* --import=MODULE"),
        (part("ThresholdedReLU", "n"), "ThresholdedReLU is not Keras's"),
        (dense("d", units="many"), "Keras .* cannot read this model of Keras 2.1.3"),
        ({"class_name": "Dense"}, "its model_config cannot be read"),
    ],
)
def test_what_cannot_be_read_is_said_in_one_line(tmp_path, bad, message):
    path = in_parts(tmp_path / "bad.h5", bad, *[part("Flatten", f"f{i}") for i in range(300)])
    with pytest.raises(InputError, match=message) as error:
        models.load(path)
    one_line(error, path)


def one_line(error, path):
    text = str(error.value)
    assert text.startswith(f"{path}: ")
    assert "\n" not in text
    assert len(text) - len(str(path)) < 350


def test_parts_outside_the_file_are_refused(tmp_path, rng):
    other = small(tmp_path / "other.h5", rng)
    for number, change in enumerate((
        lambda group: group.__setitem__("kernel", h5py.ExternalLink("other.h5", "/x")),
        lambda group: group.create_dataset("kernel", (3, 4, 3), external=[(str(other), 0, 144)]),
        lambda group: group.create_virtual_dataset("kernel", virtual(other)),
    )):  # fmt: skip
        path = small(tmp_path / f"{number}.h5", rng)
        with h5py.File(path, "r+") as file:
            del file["model_weights/c/c/kernel"]
            change(file["model_weights/c/c"])
        with pytest.raises(InputError, match=r"kernel .* another file; want one whole file"):
            models.load(path)


def virtual(other):
    layout = h5py.VirtualLayout((3, 4, 3), "float32")
    layout[:] = h5py.VirtualSource(other, "model_weights/c/c/kernel", (3, 4, 3))
    return layout


def test_registered_layers_are_found(tmp_path, rng, x):
    first = conv("c", filters=3, width=3)
    first["class_name"] = "ConvOfMine"
    first["config"]["batch_input_shape"] = [None, 12, 4]
    weights = {"c": arrays(rng, kernel=(3, 4, 3), bias=(3,))}
    path = small(tmp_path / "old.h5", rng, parts=[first], weights=weights)
    with pytest.raises(InputError, match="ConvOfMine is not Keras's"):
        models.load(path)
    own = type("ConvOfMine", (keras.layers.Conv1D,), {})
    with keras.saving.custom_object_scope({"ConvOfMine": own}):
        assert type(models.load(path).layers[0]) is own


def test_keras_1_and_weights_alone(tmp_path, rng):
    path = small(tmp_path / "old.h5", rng, version="1.2.2")
    with pytest.raises(InputError, match=r"written by Keras 1.2.2; load and save it in Keras 2"):
        models.load(path)
    with h5py.File(path, "r+") as file:
        del file.attrs["model_config"]
    with pytest.raises(InputError, match="neither TBiNet nor the paper's CNN; its arrays are"):
        models.load(path)


@pytest.mark.parametrize(
    ("package", "file", "length"),
    [("spliceai", "spliceai1.h5", 10_050), ("mmsplice", "Donor.h5", 18),
     ("mmsplice", "Intron3.h5", 60)],
)  # fmt: skip
def test_files_of_other_peoples_packages(rng, package, file, length):
    spec = importlib.util.find_spec(package)
    if spec is None:
        pytest.skip(f"{package} is not installed (pip install --no-deps {package})")
    path = Path(next(iter(spec.submodule_search_locations))) / "models" / file
    agrees(path, random_sequences(rng, 2, length).astype("float32"))


def test_a_keras_file_of_keras_2(tmp_path):
    """Refused before Keras 3 gives its hard sigmoid another slope."""
    with zipfile.ZipFile(tmp_path / "old.keras", "w") as archive:
        archive.writestr("metadata.json", json.dumps({"keras_version": "2.15.0"}))
    with pytest.raises(InputError, match=r"written by Keras 2.15.0 .* save it there as .h5"):
        models.load(tmp_path / "old.keras")
