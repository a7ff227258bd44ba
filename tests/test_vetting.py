"""Files that would run code, or read other files, when they are opened: none of them does.

Several of them do in one of the versions of Keras that ``setup.cfg`` allows, or with a reader that
trusts its file. To be run with the oldest and with the newest of those versions.
"""

import base64
import io
import json
import marshal
import pickle
import stat
import sys
import warnings
import zipfile
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
from keras import layers

from tfbs_shift import InputError, data, models
from tfbs_shift.commands import main
from tfbs_shift.data.deepsea import read_mat
from tfbs_shift.data.stored import layout, read_stored, write_stored
from tfbs_shift.models.original import save_original
from tfbs_shift.models.vetting import vet_weights
from tfbs_shift.training.checkpoints import Checkpoints, State

from . import old_keras
from .conftest import WINDOW, functional, random_sequences

KERAS = tuple(map(int, keras.__version__.split(".")[:3]))


@pytest.fixture
def trace(tmp_path, monkeypatch):
    """What a proof leaves behind when it is run, or when the module ``hostile`` is imported."""
    trace = tmp_path / "trace"
    (tmp_path / "hostile.py").write_text(f"open({str(trace)!r}, 'w')\ndef run(*_, **__): pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield trace
    assert "hostile" not in sys.modules


def refused(path, trace, message, load=models.load):
    """In one line that begins with the file, and nothing was run."""
    with pytest.raises(InputError, match=message) as error:
        load(path)
    assert not trace.exists()
    text = str(error.value)
    assert text.startswith(f"{path}: ")
    assert "\n" not in text
    assert len(text) - len(str(path)) < 350


def members(path):
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def pack(path, contents, compression=zipfile.ZIP_STORED):
    """A ``.keras`` file of (name or ZipInfo, bytes)."""
    with zipfile.ZipFile(path, "w", compression) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # two of one name
        for name, text in contents:
            archive.writestr(name, text)
    return path


def saved(path):
    """The members of a small model's ``.keras`` file."""
    x = keras.Input((WINDOW, 4))
    keras.Model(x, layers.Identity(name="bad")(layers.Flatten()(x))).save(path)
    return members(path)


def with_layer(path, layer):
    """A model whose last layer is made up, in either kind of file."""
    good = saved(path.with_suffix(".keras"))
    config = json.loads(good["config.json"])
    last = {**config["config"]["layers"][-1], **layer}
    config["config"]["layers"][-1] = {k: value for k, value in last.items() if value is not None}
    if path.suffix == ".keras":
        return pack(path, {**good, "config.json": json.dumps(config)}.items())
    return old_keras.write(path, config, {}, version=keras.__version__)


def touching(trace):
    """Code of this very Python that leaves the trace when it is called, as Keras stores it."""
    run = eval(f"lambda *_, **__: open({str(trace)!r}, 'w').close()")
    return base64.b64encode(marshal.dumps(run.__code__)).decode()


def pickled(trace):
    class Touching:
        def __reduce__(self):
            return open, (str(trace), "w")

    return Touching()


def function(module, name):
    return {"module": module, "class_name": "function", "config": name, "registered_name": name}


def layer(kind, module="keras.layers", /, **config):
    return {"module": module, "class_name": kind, "registered_name": None,
            "config": {"name": "bad", **config}}  # fmt: skip


def lambda_layers(trace):
    code = {"class_name": "__lambda__",
            "config": {"code": touching(trace), "defaults": None, "closure": None}}  # fmt: skip
    bad = layer("Lambda", function=code, arguments={})
    listed = {"function": [touching(trace), None, None], "function_type": "lambda"}
    shaped = {"function": function("builtins", "relu"), "output_shape": code}
    return {
        "as Keras 2 wrote it": {**layer("Lambda", **listed), "module": None},
        "as Keras 3 writes it": bad,
        "its shape": layer("Lambda", **shaped),
        "in a wrapper": layer("TimeDistributed", layer=bad),
        "in a wrapper's other half": layer("Bidirectional", layer=layer("LSTM", units=1),
                                           backward_layer=bad),
        "in a list of cells": layer("RNN", cell=layer("StackedRNNCells", cells=[bad])),
        "in a model": layer("Sequential", "keras", layers=[bad]),
        "an activation": layer("Dense", units=2, activation=code),
        "given to a call": {"inbound_nodes": [{"args": [], "kwargs": {"inputs": code}}]},
        "how it was built": {"build_config": {"input_shape": code}},
        "what it was compiled with": {"compile_config": {"loss": code}},
    }  # fmt: skip


def other_layers(trace):
    """(layer, what is said) of functions and classes that load, run or import something."""
    run = function("hostile", "run")
    here = Path(__file__)
    fetched = {"origin": here.as_uri(), "cache_dir": str(trace.parent), "cache_subdir": "."}
    named = {"inbound_nodes": [{"args": [], "kwargs": {"inputs": trace.name}}]}

    def calling(module, name, **arguments):
        return {**layer("Lambda", function=function(module, name), arguments=arguments), **named}

    elsewhere = r"layer bad: {} \(module {}\) is not Keras's: register it"
    nothing = r"layer bad: {} \(module {}\) is nothing that a model is made of: want layers"
    loading = "layer bad: {} is a layer that may run code or read other files"
    code = base64.b64encode(pickle.dumps(pickled(trace))).decode()
    files = "keras.src.utils.file_utils"
    return {
        "os.system": (calling("os", "system"), elsewhere.format("system", "os")),
        "os.system, a class": (layer("system", "os"), elsewhere.format("system", "os")),
        "builtins.eval": (calling("builtins", "eval"), elsewhere.format("eval", "builtins")),
        "a module": (layer("Dense", units=2, activation=run), elsewhere.format("run", "hostile")),
        "a module's class": (layer("run", "hostile"), elsewhere.format("run", "hostile")),
        "a class of Keras's name": (layer("Dense", "hostile", units=2),
                                    elsewhere.format("Dense", "hostile")),
        "a function of Keras's name": (
            layer("Dense", units=2, activation=function("hostile", "relu")),
            elsewhere.format("relu", "hostile")),
        "an initializer": (layer("Dense", units=2, kernel_initializer=layer("run", "hostile")),
                           elsewhere.format("run", "hostile")),
        "registered by us, elsewhere": (
            layer("Dense", activation={**run, "registered_name": "tfbs_shift>keras2_hard_sigmoid"}),
            elsewhere.format("run", "hostile")),
        "get_file": (calling("keras.utils", "get_file", **fetched),
                     nothing.format("get_file", "keras.utils")),
        "get_file, inside": (calling(files, "get_file", **fetched),
                             nothing.format("get_file", files)),
        "get_file, a class": (layer("get_file", "keras.utils", **fetched),
                              nothing.format("get_file", "keras.utils")),
        "what Keras imported": (calling(files, "urlretrieve"),
                                nothing.format("urlretrieve", files)),
        "safe mode": (calling("keras.config", "enable_unsafe_deserialization"),
                      nothing.format("enable_unsafe_deserialization", "keras.config")),
        "load_model": (layer("load_model", "keras.models", filepath=str(here)),
                       nothing.format("load_model", "keras.models")),
        "TorchModuleWrapper": (layer("TorchModuleWrapper", module=code),
                               loading.format("TorchModuleWrapper")),
        "TFSMLayer": (layer("TFSMLayer", filepath=str(here)), loading.format("TFSMLayer")),
        "StringLookup": (layer("StringLookup", vocabulary=str(here)),
                         loading.format("StringLookup")),
        "TextVectorization, nameless": (
            {**layer("TextVectorization", vocabulary=str(here)), "module": None},
            loading.format("TextVectorization")),
        "a class of two names": (
            {**layer("TFSMLayer", filepath=str(here)), "registered_name": "tfbs_shift>ActivityL1"},
            loading.format("TFSMLayer")),
        "a newline": (layer("No\nwhere\x1b[1m"), r"No\?where\?\[1m \(module keras.layers\) is not"),
        "no text": (layer(["Dense"]), "cannot be read"),
        "no settings": ({"class_name": "TypeSpec", "config": None}, "cannot be read"),
    }  # fmt: skip


@pytest.mark.parametrize("kind", lambda_layers(Path("x")))
@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_no_byte_code_is_run(tmp_path, trace, kind, suffix):
    path = with_layer(tmp_path / f"bad{suffix}", lambda_layers(trace)[kind])
    refused(path, trace, "layer bad: Lambda holds code, which is not run from a file")


@pytest.mark.parametrize("kind", other_layers(Path("x").resolve()))
@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_nothing_is_imported_or_fetched(tmp_path, trace, kind, suffix):
    bad, message = other_layers(trace)[kind]
    refused(with_layer(tmp_path / f"bad{suffix}", bad), trace, message)


def test_the_proofs_leave_their_trace_where_they_are_run(tmp_path, trace):
    """Else nothing above could fail."""
    found = {**lambda_layers(trace), **{k: bad for k, (bad, _) in other_layers(trace).items()}}
    runs = [("as Keras 3 writes it", ".keras", {"safe_mode": False})]
    runs += [("as Keras 2 wrote it", ".h5", {})] * (KERAS < (3, 11, 3))
    runs += [("get_file", ".keras", {}), ("get_file, inside", ".h5", {})] * (KERAS < (3, 11))
    for kind, suffix, how in runs:
        path = with_layer(tmp_path / f"bad{suffix}", found[kind])
        try:
            keras.models.load_model(path, **how)
        except Exception as error:  # what was run gives no tensor
            print(error)
        assert trace.exists(), kind
        trace.unlink()
    pickle.loads(pickle.dumps(pickled(trace))).close()
    assert trace.exists()


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_code_in_the_loss_is_left_out(tmp_path, trace, rng, suffix):
    model = functional()
    model.compile("sgd", "mse")
    path = tmp_path / f"m{suffix}"
    model.save(path)
    loss = lambda_layers(trace)["an activation"]["config"]["activation"]
    if suffix == ".keras":
        good = members(path)
        config = json.loads(good["config.json"])
        config["compile_config"]["loss"] = loss
        pack(path, {**good, "config.json": json.dumps(config)}.items())
    else:
        with h5py.File(path, "r+") as file:
            config = json.loads(file.attrs["training_config"])
            file.attrs["training_config"] = json.dumps({**config, "loss": loss})
    with pytest.warns(UserWarning, match=r"compiled with what Keras cannot read \(Lambda\)"):
        found = models.load(path)
    assert not found.compiled
    assert not trace.exists()
    x = random_sequences(rng, 3, WINDOW)
    assert np.array_equal(found.predict(x, verbose=0), model.predict(x, verbose=0))


def link():
    info = zipfile.ZipInfo("assets/link")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return info


@pytest.mark.parametrize(
    ("name", "message"),
    [
        *((name, "which Keras does not write; want config.json")
          for name in ("../trace", "assets/../../trace", "/tmp/trace", "assets\\..\\trace",
                       "assets/C:/trace", "assets//x", "trace.py", "model.weights.npz", link())),
        ("config.json", "two files of the same name"),
    ],
)  # fmt: skip
def test_an_archive_holds_what_keras_writes(tmp_path, trace, name, message):
    """And no pickles: ``model.weights.npz``, which Keras would read, is one here."""
    text = io.BytesIO()
    np.savez(text, np.array([pickled(trace)], object))
    good = saved(tmp_path / "m.keras")
    if name == "model.weights.npz":
        del good["model.weights.h5"]
    path = pack(tmp_path / "bad.keras", [*good.items(), (name, text.getvalue())])
    refused(path, trace, message)


def test_archives_that_are_damaged_or_would_fill_the_disk(tmp_path, trace):
    good = saved(tmp_path / "m.keras")
    path = tmp_path / "bad.keras"
    for name in ("config.json", "metadata.json", "model.weights.h5"):
        pack(path, [(key, text) for key, text in good.items() if key != name])
        refused(path, trace, f"no {name} in it: not a whole .keras file")
    zeros = bytes(2**28 + 1)
    pack(path, [*good.items(), ("assets/zeros", zeros)], zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 2**20
    refused(path, trace, "bytes that would become 2684")
    pack(path, good.items(), zipfile.ZIP_BZIP2)
    refused(path, trace, "packed in a way that Keras does not write")
    pack(path, good.items())
    whole = path.read_bytes()
    at = whole.index(good["config.json"])
    path.write_bytes(whole[:at] + b"?" + whole[at + 1 :])
    refused(path, trace, "damaged, or no .keras file .*CRC")
    path.write_bytes(whole[:-40])
    refused(path, trace, "damaged, or no .keras file")
    for text in (b"no", b"[]", b"[" * 10**5, b'{"class_name": "Functional"}'):
        pack(path, {**good, "config.json": text}.items())
        refused(path, trace, "its config.json cannot be read")
    pack(path, {**good, "model.weights.h5": b"no"}.items())
    refused(path, trace, "its model.weights.h5 is damaged")
    pack(path, [*good.items(), ("assets/layers/vocabulary.txt", b"A")], zipfile.ZIP_DEFLATED)
    assert models.load(path).input_shape == (None, WINDOW, 4)  # packed again, with an asset


# Parts in other files.


def outside(kind, group, name, other):
    """Puts a dataset where its numbers lie in another file in place of one."""
    shape = group[name].shape
    del group[name]
    if kind == "link":
        group[name] = h5py.ExternalLink(other, "/secret")
    elif kind == "storage":
        size = 4 * int(np.prod(shape))
        group.create_dataset(name, shape, "float32", external=[(str(other), 0, size)])
    else:
        virtual = h5py.VirtualLayout(shape, "float32")
        virtual[:] = h5py.VirtualSource(other, "secret", shape)
        group.create_virtual_dataset(name, virtual)


def changed(path, change):
    """Calls ``change`` with the group and the name of the first dataset in a file."""
    archive = members(path) if path.suffix == ".keras" else {}
    weights = io.BytesIO(archive.get("model.weights.h5", b""))
    with h5py.File(weights if archive else path, "r+") as file:
        first = file.visititems(lambda _, item: item if isinstance(item, h5py.Dataset) else None)
        change(first.parent, first.name.rsplit("/", 1)[1])
    if archive:
        pack(path, {**archive, "model.weights.h5": weights.getvalue()}.items())


def weights_of_keras(path):
    functional().save(path)
    return path


def weights_alone(path):
    save_original(models.cnn(30), path)
    return path


def our_examples(path):
    columns = {name: np.ones(shape, kind) for name, (shape, kind) in layout(4, 6, 2).items()}
    write_stored(path, columns, 6, ["a", "b"], {"chr1": 99, "chr2": 99}, "here")
    return path


def matlab(path):
    with h5py.File(path, "w", userblock_size=512) as file:
        file["trainxdata"] = np.zeros((6, 4, 5), np.uint8)
        file["traindata"] = np.zeros((2, 5), np.uint8)
    return path


OPENED = {
    "m.h5": (weights_of_keras, models.load),
    "cnn.hdf5": (weights_alone, models.load),
    "m.keras": (weights_of_keras, models.load),
    "best.keras": (weights_of_keras, vet_weights),
    "examples.h5": (our_examples, read_stored),
    "train.mat": (matlab, read_mat),
}


@pytest.mark.parametrize("kind", ["link", "storage", "virtual"])
@pytest.mark.parametrize("name", OPENED)
def test_no_other_file_is_read(tmp_path, trace, name, kind):
    """Numbers of a file that its owner would not show, in what is computed and written."""
    make, load = OPENED[name]
    path, other = make(tmp_path / name), tmp_path / "other.h5"
    with h5py.File(other, "w") as file:
        file["secret"] = np.zeros(10**5, "float32")
    load(path)  # as it is
    changed(path, lambda group, name: outside(kind, group, name, other))
    of_data = r"lies? in (an)?other files?.*; want (it|them) in this one"
    whole = "another file; want one whole file"
    refused(path, trace, of_data if load in (read_mat, read_stored) else whole, load)


@pytest.mark.parametrize("name", ["m.h5", "cnn.hdf5", "m.keras"])
def test_what_claims_more_than_it_stores(tmp_path, trace, name):
    """0.4 TB of zeros, in a file of a few kB."""
    path = OPENED[name][0](tmp_path / name)

    def claim(group, name):
        del group[name]
        group.create_dataset(name, (10**6, 10**5), "float32", chunks=(100, 100))

    changed(path, claim)
    refused(path, trace, "claims 400000000000 bytes, and 0 are stored")


def test_pickles_among_arrays_are_not_read(tmp_path, trace, capsys):
    bad = np.array([pickled(trace)], object)
    np.savez(tmp_path / "bad.npz", bad, bad, bad, bad)
    with pytest.raises(InputError, match=r"bad\.npz: arr_0: Python objects; want a plain array"):
        data.load(tmp_path / "bad.npz", "train")
    states = Checkpoints(tmp_path)
    states.save(State(epoch=1, values=[np.ones(2)]))
    np.savez(tmp_path / "state-000002-000000000.npz", about=bad)
    found = states.latest()
    assert found.epoch == 1
    assert "state-000002-000000000.npz: damaged (" in capsys.readouterr().err
    assert not trace.exists()


# What is let in.


@keras.saving.register_keras_serializable("test_vetting")
def doubled(x):
    return 2 * x


@keras.saving.register_keras_serializable("test_vetting")
class Branches(layers.Layer):
    def __init__(self, branches, **kwargs):
        super().__init__(**kwargs)
        self.branches = branches

    def call(self, x):
        return sum(branch(x) for branch in self.branches)

    def get_config(self):
        branches = keras.saving.serialize_keras_object(self.branches)
        return {**super().get_config(), "branches": branches}

    @classmethod
    def from_config(cls, config):
        return cls(**keras.saving.deserialize_keras_object(config))


def many_layers():
    """Layers, operations and settings of all kinds, nested; functions by name."""
    x = keras.Input((WINDOW, 4))
    h = layers.Conv1D(
        4, 3, padding="same", activation=keras.activations.gelu, kernel_initializer="he_normal",
        kernel_regularizer=keras.regularizers.L1L2(0.1, 0.1),
        kernel_constraint=keras.constraints.MaxNorm(2), dtype="mixed_bfloat16",
        activity_regularizer=models.architectures.ActivityL1(1e-3),
    )(x)  # fmt: skip
    h = layers.BatchNormalization()(layers.Add()([h, x]))
    h = keras.ops.sigmoid(2 * h + x)[:, 1:-1]
    h = keras.ops.concatenate([h, keras.ops.mean(h, axis=1, keepdims=True)], axis=1)
    h = layers.MultiHeadAttention(2, 3)(h, h)
    h = layers.Lambda(doubled, output_shape=(WINDOW - 1, 4))(h)
    h = Branches([layers.Dense(3), layers.Dense(3, activation=doubled)])(h)
    h = layers.Bidirectional(
        layers.LSTM(3, return_sequences=True), backward_layer=layers.GRU(
            3, return_sequences=True, go_backwards=True)
    )(h)  # fmt: skip
    inner = keras.Sequential([keras.Input((None, 6)), layers.TimeDistributed(layers.Dense(2))])
    h = layers.RNN([layers.LSTMCell(3), layers.GRUCell(2)])(inner(h))
    model = keras.Model(x, layers.Activation("softmax")(h))
    schedule = keras.optimizers.schedules.CosineDecay(0.1, 10)
    model.compile(
        keras.optimizers.AdamW(schedule),
        keras.losses.CategoricalCrossentropy(label_smoothing=0.1),
        metrics=["accuracy", keras.metrics.AUC(), keras.losses.poisson],
    )
    return model


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_models_of_keras_and_of_registered_parts_are_read(tmp_path, rng, suffix):
    model = many_layers() if suffix == ".keras" else functional()
    model.save(tmp_path / f"m{suffix}")
    x = random_sequences(rng, 3, WINDOW).astype("float32")
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "was compiled with")
        found = models.load(tmp_path / f"m{suffix}")
    assert np.array_equal(found.predict(x, verbose=0), model.predict(x, verbose=0))


def test_functions_as_older_versions_named_them(tmp_path, rng):
    """Keras 3.6 and older left out the package under which one is registered."""
    bad = layer("Activation", activation=function("builtins", "doubled"))
    x = random_sequences(rng, 3, WINDOW).astype("float32")
    found = models.load(with_layer(tmp_path / "m.keras", bad))
    assert np.array_equal(found.predict(x, verbose=0), 2 * x.reshape(3, -1))


def test_a_layer_made_of_one_that_is_not_read_is_not_read(tmp_path, trace):
    """It inherits how that is loaded, whoever has registered it."""

    @keras.saving.register_keras_serializable("test_vetting")
    class Lookup(layers.IntegerLookup):
        pass

    bad = {**layer("Lookup", "test_vetting"), "registered_name": "test_vetting>Lookup"}
    path = with_layer(tmp_path / "m.keras", bad)
    refused(path, trace, "layer bad: Lookup is a layer that may run code or read other files")


def test_a_module_beside_the_data_is_not_imported(tmp_path, monkeypatch, capsys):
    """Only where --import or --model names one: a folder may hold somebody's json.py."""
    functional().save(tmp_path / "m.keras")
    bases = np.array(list("ACGT"))[np.random.default_rng(0).integers(0, 4, (8, 20))]
    rows = [f"{''.join(row)},{i % 2}" for i, row in enumerate(bases)]
    (tmp_path / "d.csv").write_text("\n".join(["sequence,label", *rows]))
    monkeypatch.chdir(tmp_path)
    words = ["evaluate", "--model=m.keras", "--data=d.csv", "--explain"]
    before = list(sys.path)
    assert main(words) == 0
    assert sys.path == before
    monkeypatch.setattr(sys, "path", [*before])
    assert main([*words, "--import=nowhere_at_all"]) == 1
    assert sys.path == [*before, str(tmp_path)]
    assert "--import=nowhere_at_all: cannot be imported" in capsys.readouterr().err
