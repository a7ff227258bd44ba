import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
from sklearn import metrics

import tfbs_shift
from tfbs_shift import data, evaluate, models, reports, scan, sequences
from tfbs_shift.commands import COMMANDS, main
from tfbs_shift.training import runs
from tfbs_shift.training.settings import Settings

from .test_deepsea import random_set, write_hdf5, write_v5

CONFIGS = Path(__file__).parents[1] / "configs"

METRICS = ("accuracy", "auroc", "aupr", "mcc", "loss")  # of two classes
PLOTS = {"curve", "certificates", "worst_shifts", "profile", "distance", "heat_map", "examples"}


def write_csv(path, examples):
    rows = zip(sequences.decode(examples.codes), examples.y[:, 1], strict=True)
    path.write_text("sequence,label\n" + "".join(f"{s},{label}\n" for s, label in rows))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    for split, count, seed in (("train", 40, 0), ("test", 30, 1)):
        write_csv(folder / f"{split}.csv", data.synthetic(count, length=40, seed=seed))
    return folder


@pytest.fixture(scope="module")
def trained(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "worst"
    words = ["--window=36", "--strategy=worst_of_2", "--epochs=2", "--learning_rate=1e-3"]
    assert main(["train", f"--data={folder}", *words, f"--out={out}"]) == 0
    return out


def fails(capsys, *words) -> str:
    """Runs a command that must end with status 1 and one line; returns the line."""
    assert main(list(words)) == 1
    err = capsys.readouterr().err
    lines = [line for line in err.splitlines() if line.startswith("tfbs-shift: ")]
    assert len(lines) == 1, err
    return lines[0]


def test_evaluate_explains_what_it_would_do(trained, folder, tmp_path, capsys):
    words = [f"--model={trained}", f"--data={folder}", "--explain"]
    assert main(["evaluate", *words]) == 0
    out = capsys.readouterr().out
    assert "model 'cnn': 5 windows of 36 bp in 40 bp" in out
    assert "the stem ends" not in out  # it goes on into the sliding window
    assert "GlobalMaxPooling1D" in out and "times fewer" in out
    assert main(["evaluate", *words, "--strategies=none,worst_of_2", "--max_shift=1"]) == 0
    assert "3 windows of 36 bp in 40 bp" in capsys.readouterr().out
    assert main(["evaluate", *words, "--strategies=none"]) == 0
    assert "1 windows of 36 bp" in capsys.readouterr().out


def test_train_writes_a_run(trained, folder):
    files = {str(p.relative_to(trained)) for p in trained.rglob("*") if p.is_file()}
    assert files == {"model.keras", "flags.txt", "history.csv", "checkpoints/best.keras"}
    history = (trained / "history.csv").read_text().splitlines()
    assert len(history) == 3
    assert set(history[0].split(",")) == {
        "epoch", "loss", "accuracy", "learning_rate", *(f"val_{m}" for m in METRICS),
        *(f"val_{s}_{m}" for s in ("none", "worst_of_2") for m in METRICS),
        "steps_per_second", "examples_per_second", "windows_per_second",
    }  # fmt: skip
    assert models.load(trained).input_shape == (None, 36, 4)
    flags = (trained / "flags.txt").read_text()
    assert f"--data={folder}" in flags
    assert re.search(r"# .*TensorFlow .*Keras ", flags)
    assert "--out" not in [line.split("=")[0] for line in flags.splitlines()]


def repeated(run) -> list[dict[str, str]]:
    """The history of a run, but what no seed repeats."""
    rows = list(csv.DictReader((run / "history.csv").open()))
    return [{k: v for k, v in row.items() if not k.endswith("_per_second")} for row in rows]


def test_flags_repeat_the_run(trained, tmp_path):
    again = tmp_path / "again"
    assert main(["train", f"--flagfile={trained / 'flags.txt'}", f"--out={again}"]) == 0
    assert repeated(again) == repeated(trained)
    pairs = zip(models.load(again).get_weights(), models.load(trained).get_weights(), strict=True)
    assert all(np.array_equal(a, b) for a, b in pairs)
    settings = [
        [line for line in (run / "flags.txt").read_text().splitlines() if line.startswith("--")]
        for run in (again, trained)
    ]
    assert settings[0] == settings[1]


@pytest.mark.parametrize("monitor", ["none", "random", "worst", "worst_of_5"])
def test_validation_under_the_monitored_strategy(monitor, trained, folder, tmp_path):
    """Nothing is learnt, so that the losses are those of the file's model, by a scan."""
    out = tmp_path / "run"
    words = [f"--model={trained / 'model.keras'}", f"--data={folder}", f"--monitor={monitor}"]
    more = ["--epochs=2", "--learning_rate=1e-12", "--lr_patience=0"]
    assert main(["train", *words, *more, f"--out={out}"]) == 0
    rows = repeated(out)
    valid = data.load(folder, "valid")
    found = scan(models.load(trained), valid.x, valid.y)
    expected = {"none": found.loss[:, 2].mean(), "worst": found.worst_loss.mean()}
    if monitor == "worst_of_5":  # of 5
        expected[monitor] = expected["worst"]
    for row in rows:
        assert row["val_loss"] == row[f"val_{monitor}_loss"]
        for name, loss in expected.items():
            assert float(row[f"val_{name}_loss"]) == pytest.approx(loss, abs=1e-5)
    if monitor == "random":  # the same windows in each epoch, neither the centre nor the worst
        losses = [float(row["val_random_loss"]) for row in rows]
        assert losses[0] == pytest.approx(losses[1], abs=1e-6)
        assert expected["none"] != pytest.approx(float(rows[0]["val_random_loss"]), abs=1e-5)
        assert found.loss.min(axis=1).mean() < float(rows[0]["val_loss"]) < expected["worst"]


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="TensorFlow's profiler")
def test_log_dir_and_profile(folder, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    logs = tmp_path / "logs"
    words = [f"--data={folder}", "--window=36", "--strategy=worst_of_2", "--epochs=1"]
    more = ["--batch_size=3", f"--log_dir={logs}", "--profile", f"--out={tmp_path / 'run'}"]
    assert main(["train", *words, *more]) == 0
    for part, name in (
        ("train", "epoch_windows_per_second"),
        ("validation", "epoch_worst_of_2_loss"),
    ):
        events = EventAccumulator(str(logs / part))
        events.Reload()
        assert name in events.Tags()["tensors"]
    assert list(logs.rglob("*.xplane.pb"))


def test_training_goes_on_from_a_file(trained, folder, tmp_path):
    out = tmp_path / "more"
    words = [f"--model={trained / 'model.keras'}", "--epochs=1", f"--data={folder}"]
    assert main(["train", *words, f"--out={out}"]) == 0
    assert models.load(out).input_shape == (None, 36, 4)


def test_evaluate_writes_an_audit(trained, folder, tmp_path, capsys):
    out = tmp_path / "audit"
    words = [f"--model={trained}", f"--data={folder}", "--strategies=none,random,worst,worst_of_2"]
    assert main(["evaluate", *words, f"--out={out}"]) == 0
    printed = capsys.readouterr().out
    files = {str(p.relative_to(out)) for p in out.rglob("*") if p.is_file()}
    plots = {*PLOTS, "curve_auroc"}
    assert files == {
        "robustness.json", "robustness.csv", "curve.csv", "examples.csv", "report.html",
        "shifts.npz", "flags.txt", *(f"plots/{p}{end}" for p in plots for end in (".png", ".svg")),
    }  # fmt: skip
    figures = json.loads((out / "robustness.json").read_text())
    assert (figures["examples"], figures["window"], figures["sequence_length"]) == (60, 36, 40)
    assert figures["shifts"] == [-2, -1, 0, 1, 2]
    assert list(figures["strategies"]) == ["none", "random", "worst", "worst_of_2"]
    assert [point["max_shift"] for point in figures["curve"]] == [0, 1, 2]
    examples = data.load(folder)
    reference = scan(models.load(trained), examples.x, examples.y)
    with np.load(out / "shifts.npz") as arrays:
        assert np.allclose(arrays["loss"], reference.loss, atol=1e-6)
        # rounding may choose another among starts of the same loss
        chosen = np.take_along_axis(reference.loss, arrays["worst_start"][:, None], axis=1)
        assert np.allclose(chosen[:, 0], reference.worst_loss, atol=1e-6)
        assert arrays["right"].mean(axis=0)[2] == figures["strategies"]["none"]["accuracy"]
    for name in ("none", "random", "worst"):
        assert f"{figures['strategies'][name]['accuracy']:.4f}" in printed
    rows = (out / "robustness.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows[1:]] == [
        *figures["strategies"],
        "mean_over_shifts",
        "averaged_over_shifts",
    ]
    # into the same folder again: replaced, and nothing temporary left
    assert main(["evaluate", *words, "--max_shift=1", f"--out={out}"]) == 0
    assert {str(p.relative_to(out)) for p in out.rglob("*") if p.is_file()} == files
    assert "--max_shift=1" in (out / "flags.txt").read_text().splitlines()
    assert json.loads((out / "robustness.json").read_text())["shifts"] == [-1, 0, 1]
    # what this audit has not is not left over from the last
    assert main(["evaluate", *words[:2], "--strategies=none", f"--out={out}"]) == 0
    assert {str(p.relative_to(out)) for p in out.rglob("*") if p.is_file()} == {
        "robustness.json", "robustness.csv", "report.html", "shifts.npz", "flags.txt",
    }  # fmt: skip


def test_channels_go_in_as_the_model_reads_them(folder, tmp_path):
    """A model whose input is named for A, G, C, T gets them in that order, in either command."""
    inputs = keras.Input((36, 4), name="sequence_AGCT")
    flat = keras.layers.Flatten()(inputs)
    model = keras.Model(inputs, keras.layers.Dense(2, "softmax")(flat))
    file = tmp_path / "agct.keras"
    model.save(file)
    examples = data.load(folder)
    x = examples.x[..., [0, 2, 1, 3]]
    out = tmp_path / "audit"
    assert main(["evaluate", f"--model={file}", f"--data={folder}", f"--out={out}"]) == 0
    with np.load(out / "shifts.npz") as arrays:
        assert np.allclose(arrays["loss"], scan(model, x, examples.y).loss, atol=1e-6)
    (batch, _) = next(examples.as_dataset(60, alphabet="AGCT").as_numpy_iterator())
    assert np.array_equal(batch, x)
    run = tmp_path / "run"
    words = [f"--model={file}", f"--data={folder}", "--epochs=1", "--learning_rate=1e-12"]
    assert main(["train", *words, f"--out={run}"]) == 0
    assert models.alphabet(models.load(run)) == "AGCT"
    # nothing was learnt, so the validation loss is that of the file's model
    valid = data.load(folder, "valid")
    expected = scan(model, valid.x[..., [0, 2, 1, 3]], valid.y, max_shift=0).loss.mean()
    (row,) = csv.DictReader((run / "history.csv").open())
    assert float(row["val_loss"]) == pytest.approx(expected, abs=1e-5)


def test_report_of_several_labels(tmp_path):
    """Labels of one class only leave NaN, which the files state as null and as an empty cell."""
    flat = keras.Sequential(
        [keras.Input((10, 4)), keras.layers.Flatten(), keras.layers.Dense(3, "sigmoid")]
    )
    codes = np.random.default_rng(0).integers(0, 4, (20, 14)).astype("uint8")
    labels = np.random.default_rng(1).integers(0, 2, (20, 3)).astype("uint8")
    for y, value in ((labels, None), (0 * labels, "nan")):
        examples = data.Examples(codes, y)
        found = evaluate(flat, examples.x, y)
        reports.write_audit(found, examples, tmp_path, title="several", about=[])
        figures = json.loads((tmp_path / "robustness.json").read_text())
        expected = None if value else found.strategies["worst"]["auroc"]
        assert figures["strategies"]["worst"]["auroc"] == expected
        header, *rows = (tmp_path / "robustness.csv").read_text().splitlines()
        columns = [f"{m}{end}" for m in ("auroc", "aupr", "loss") for end in ("", "_low", "_high")]
        assert header.split(",") == ["strategy", *columns]
        assert len(rows) == 5
        assert {path.stem for path in (tmp_path / "plots").iterdir()} == PLOTS
        assert (tmp_path / "report.html").read_text().count("<svg") == len(PLOTS)


def test_report_is_one_file_that_says_it(trained, folder, tmp_path):
    out = tmp_path / "audit"
    assert main(["evaluate", f"--model={trained}", f"--data={folder}", f"--out={out}"]) == 0
    page = (out / "report.html").read_text()
    figures = json.loads((out / "robustness.json").read_text())
    for name in ("none", "random", "worst"):
        assert f"<td>{figures['strategies'][name]['accuracy']:.4f}<small>" in page
    drawn = len(list((out / "plots").glob("*.svg")))
    assert page.count('<svg role="img" aria-label=') == page.count("<figcaption>") == drawn > 1
    linked = set(re.findall(r'(?:src|href)="([^"]+)"', page))
    assert all(link.startswith(("#", "data:")) for link in linked)  # nothing outside the file
    ids = re.findall(r' id="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert f"--data={folder}" in page


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["trian"], "no command 'trian': did you mean train?"),
        (["frobnicate"], "'frobnicate': want demo, extend, train, import, evaluate, compare"),
        (["train", "--epoch=3"], "Unknown command line flag 'epoch'. Did you mean: epochs ?"),
        (["train"], "--data is needed: labelled sequences"),
        (["train", "--data=/nowhere", "--out={tmp}/o"], "/nowhere: no such file or folder"),
        (["train", "--data={data}"], "--out is needed: run folder to write"),
        (["train", "--data={data}", "--out={tmp}/o", "--window=99"], "window 99: longer than"),
        (["train", "--data={data}", "--out={tmp}/o", "--model=x.keras"], "x.keras: no such file"),
        (["train", "--data={data}", "--out={tmp}/o", "extra"], "not know what to do with 'extra'"),
        (["train", "--epochs=0"], "--epochs=0"),
        (["train", "--learning_rate=0"], "--learning_rate=0"),
        (["train", "--learning_rate=1e30"], "--learning_rate=1e30"),
        (["train", "--seed=9223372036854775808"], "--seed=9223372036854775808"),
        (["train", "--strategy=worst_of_99999999999999999999"], "n from 1 to 999999999"),
        (["evaluate", "--flank=99999999999"], "--flank=99999999999"),
        (["train", "--data={data}", "--out="], "--out=: want the name of a folder"),
        (["train", "--data={data}", "--out={data}"], "holds the data; choose another folder"),
        (["evaluate", "--model={run}", "--data={data}", "--out={data}"], "holds the data"),
        (["evaluate", "--model={run}", "--data={data}", "--out={run}"], "holds a run of train"),
        (["train", "--data={data}\n--seed=3", "--out={tmp}/o"], "has a line break or another"),
        (["train", "--data={data}\udcff", "--out={tmp}/o"], "another character that is none of"),
        (["evaluate", "--model={run}", "--data={data}", "--out={tmp}/o",
          "--strategies=worst_of_99999999999"], "n is too large; worst tries every start"),
        (["train", "--strategy=best"],
         "--strategy=best: want none, random, worst or worst_of_<n>, n from 1"),
        (["train", "--monitor=worst_of_0"], "--monitor=worst_of_0: want none, random, worst or"),
        (["train", "--data={data}", "--out={tmp}/o", "--profile"], "profile: needs log_dir"),
        (["train", "--flagfile=/nowhere"], "Unable to open flagfile"),
        (["train", "--data={data}", "--out={run}"], "holds a finished run (model.keras) with"),
        (["evaluate", "--model={run}", "--data={data}"], "--out is needed"),
        (["evaluate", "--model={run}", "--data={data}", "--out={tmp}/o", "--strategies=best"],
         "strategy 'best'"),
        (["evaluate", "--model={run}", "--data={data}", "--out={tmp}/o", "--strategies="],
         "--strategies: want one or more"),
        (["evaluate", "--model={run}", "--data={data}", "--out={tmp}/o", "--window=10"],
         "window 10: but model 'cnn' reads 36 bp"),
        (["evaluate", "--model={data}", "--data={data}", "--out={tmp}/o"], "no model.keras"),
        (["demo", "--out={data}"], "not empty, and no earlier demo"),
        (["train", "--data={data}", "--out={data}/test.csv"], "test.csv: is a file; want a folder"),
    ],
)  # fmt: skip
def test_mistakes(words, message, folder, trained, tmp_path, capsys):
    words = [word.format(data=folder, run=trained, tmp=tmp_path) for word in words]
    assert message in fails(capsys, *words)
    assert not (tmp_path / "o").exists()  # nothing half-written


def test_columns_are_named_or_found_and_said(folder, trained, tmp_path, capsys):
    for split in ("train", "test"):
        text = (folder / f"{split}.csv").read_text().replace("sequence,label", "bases,bound_1")
        (tmp_path / f"{split}.csv").write_text(text)
    found = ["--window=36", "--epochs=1", f"--data={tmp_path}", f"--out={tmp_path / 'found'}"]
    assert main(["train", *found]) == 0
    note = "note: train.csv: sequences from column 'bases', labels from column 'bound_1'"
    assert capsys.readouterr().err.splitlines().count(note) == 1  # two splits of one file
    named = ["--sequence_column=bases", "--label_column=bound_1"]
    out = tmp_path / "named"
    assert main(["train", *found[:-1], *named, f"--out={out}"]) == 0
    assert "note: " not in capsys.readouterr().err
    assert set(named) <= set((out / "flags.txt").read_text().splitlines())
    again = tmp_path / "again"
    assert main(["train", f"--flagfile={out / 'flags.txt'}", f"--out={again}"]) == 0
    weights = [models.load(run).get_weights() for run in (tmp_path / "found", again)]
    assert all(np.array_equal(a, b) for a, b in zip(*weights, strict=True))
    capsys.readouterr()
    words = ["evaluate", f"--model={out}", f"--data={tmp_path}", "--explain"]
    assert main(words) == 0
    assert "note: test.csv: sequences from column 'bases'" in capsys.readouterr().err
    assert main([*words, *named]) == 0
    assert "note: " not in capsys.readouterr().err
    fasta, audit = tmp_path / "a.fa", tmp_path / "audit"  # has none of these columns
    letters = sequences.decode(data.load(tmp_path, "train", label_column="bound_1").codes)
    fasta.write_text("".join(f">{i}\n{each}\n" for i, each in enumerate(letters)))
    words = [f"--model={out}", f"--data={fasta}", "--bound", f"--out={audit}"]
    assert main(["evaluate", *words]) == 0
    assert "72 of 72 test sequences" in capsys.readouterr().err


def test_data_without_labels(trained, tmp_path, capsys):
    fasta = tmp_path / "a.fa"
    letters = sequences.decode(data.synthetic(20, length=40).codes[::2])
    fasta.write_text("".join(f">{i}\n{each}\n" for i, each in enumerate(letters)))
    line = fails(capsys, "train", f"--data={fasta}", f"--out={tmp_path / 'run'}")
    assert f"{fasta}: has no labels" in line
    out = tmp_path / "audit"
    words = ["evaluate", f"--model={trained}", f"--data={fasta}", "--bound", f"--out={out}"]
    assert main(words) == 0
    assert "note: " not in capsys.readouterr().err
    assert "--bound" in (out / "flags.txt").read_text().splitlines()
    assert [row["label"] for row in csv.DictReader((out / "examples.csv").open())] == ["1"] * 20


def test_training_that_diverges_is_said(folder, tmp_path):
    parts = [data.load(folder, split) for split in ("train", "valid")]
    with pytest.raises(tfbs_shift.InputError, match=r"learning_rate 1e\+38: training diverged"):
        runs.train(
            models.cnn(36), *parts, tfbs_shift.NoShift(), {"none": tfbs_shift.NoShift()},
            tmp_path / "run", Settings(epochs=2, learning_rate=1e38), flagfile="",
        )  # fmt: skip
    assert not (tmp_path / "run" / "model.keras").exists()


def test_an_output_that_cannot_be_written(trained, folder, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    out = tmp_path / "file" / "audit"
    line = fails(capsys, "evaluate", f"--model={trained}", f"--data={folder}", f"--out={out}")
    assert str(tmp_path / "file") in line


def test_help(capsys):
    assert main([]) == 0
    overview = capsys.readouterr().out
    assert all(f"  {name} " in overview for name in COMMANDS)
    for name in COMMANDS:
        assert main([name, "--help"]) == 0
        page = capsys.readouterr().out
        assert page.count(f"  tfbs-shift {name} --") >= 2  # examples
        assert "--out" in page
    assert "--[no]regularize" in _help(capsys, "train")
    assert "(default: 5e-05)" in _help(capsys, "train")
    assert main(["--version"]) == 0
    assert tfbs_shift.__version__ in capsys.readouterr().out


def _help(capsys, name):
    main([name, "--help"])
    return capsys.readouterr().out


def test_help_and_mistakes_load_no_tensorflow(folder, tmp_path):
    code = (
        "import sys; from tfbs_shift.commands import main\n"
        f"train = ['train', '--data={folder}', '--out={tmp_path / 'out'}']\n"
        "for words in (['--help'], ['train', '--help'], [*train, '--data=/nowhere'],\n"
        "              [*train, '--strategy=best'], [*train, '--profile']):\n"
        "    main(words)\n"
        "loaded = {'tensorflow', 'keras', 'sklearn', 'matplotlib'} & set(sys.modules)\n"
        "assert not loaded, loaded"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


@pytest.mark.parametrize("first", ["# a comment", "// another", "--batch_size=3", "--data=/gone"])
def test_a_flagfile_of_an_editor(first, tmp_path, capsys):
    """One that begins with a byte order mark says what it says."""
    file = tmp_path / "a.flags"
    file.write_text(f"{first}\n--data=/nowhere\n", encoding="utf-8-sig")
    line = fails(capsys, "train", f"--flagfile={file}", "--window=5", f"--out={tmp_path}")
    assert line == "tfbs-shift: /nowhere: no such file or folder"
    file.write_text("--data=/nowhere\n", encoding="utf-16")
    line = fails(capsys, "train", f"--flagfile={file}", "--window=5", f"--out={tmp_path}")
    assert "--flagfile: not a text file in UTF-8" in line


@pytest.mark.parametrize(("flag", "shown"), [((), False), (("--verbosity=0",), True)])
def test_what_the_backend_says_is_shown_on_demand(flag, shown, tmp_path):
    """TensorFlow tells at its start what the processor can do."""
    weights = tmp_path / "cnn.keras"
    models.cnn(30).save(weights)
    words = ["import", "--to_original", f"--weights={weights}", f"--out={tmp_path / 'cnn.h5'}"]
    run = subprocess.run(
        [sys.executable, "-c", "import sys; from tfbs_shift.commands import main; sys.exit(main())",
         *words, *flag], capture_output=True, text=True, check=True,
        env={k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"},
    )  # fmt: skip
    assert run.stdout.startswith("wrote ")
    assert bool(run.stderr) == shown


@pytest.mark.parametrize(
    ("words", "status", "out", "err"),
    [
        (["--version"], 0, f"tfbs-shift {tfbs_shift.__version__}\n", ""),
        (["trian"], 1, "", "tfbs-shift: no command 'trian': did you mean train?\n"),
    ],
)
def test_python_m_is_the_command(words, status, out, err):
    run = subprocess.run(
        [sys.executable, "-m", "tfbs_shift", *words], capture_output=True, text=True
    )
    assert (run.returncode, run.stdout, run.stderr) == (status, out, err)


def test_import_is_lazy_but_complete():
    for name in tfbs_shift.__all__:
        assert getattr(tfbs_shift, name) is not None
    assert set(tfbs_shift.__all__) <= set(dir(tfbs_shift))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = tfbs_shift.nothing


@pytest.mark.parametrize("config", sorted(CONFIGS.glob("*.flags")), ids=lambda p: p.stem)
def test_configs_are_read(config, tmp_path, capsys):
    """Each flagfile parses; the run stops at the data that is not there."""
    line = fails(capsys, "train", f"--flagfile={config}", "--data=/nowhere", f"--out={tmp_path}")
    assert "/nowhere: no such file or folder" in line


@pytest.mark.slow
def test_demo(tmp_path, capsys):
    """Half the demo: training against the worst shift holds up where centre training falls."""
    out = tmp_path / "demo"
    assert main(["demo", "--positives=600", f"--out={out}"]) == 0
    printed = capsys.readouterr().out
    assert "SYNTHETIC" in printed
    none, worst = (
        json.loads((out / name / "audit" / "robustness.json").read_text())["strategies"]
        for name in ("none", "worst")
    )
    assert none["none"]["accuracy"] > 0.65
    assert none["worst"]["accuracy"] < none["none"]["accuracy"] - 0.02
    assert worst["worst"]["accuracy"] > none["worst"]["accuracy"] + 0.02
    drawn = {path.stem for path in (out / "plots").iterdir()}
    assert drawn == {"curve", "curve_auroc"}
    assert (out / "report.html").read_text().count("<svg") == len(drawn)
    assert (out / "plots" / "curve.png").stat().st_size > 5000


@pytest.fixture(scope="module")
def deepsea_folder(tmp_path_factory):
    """A folder of DeepSEA's files: 100 bp, 5 labels, of which one has no example."""
    folder = tmp_path_factory.mktemp("deepsea")
    rng = np.random.default_rng(0)
    for split, count in (("train", 40), ("valid", 10), ("test", 24)):
        codes, y = random_set(rng, count, 100, 5)
        y[:, 3] = 0
        write = write_hdf5 if split == "train" else write_v5
        write(folder / f"{split}.mat", codes, y, name=split)
    return folder


def test_tbinet_on_deepseas_files(deepsea_folder, tmp_path, capsys):
    run, audit = tmp_path / "run", tmp_path / "audit"
    words = ["--model=tbinet", "--window=90", "--strategy=worst_of_2", "--lr_patience=0"]
    assert main(["train", f"--data={deepsea_folder}", *words, "--epochs=1", f"--out={run}"]) == 0
    model = models.load(run)
    assert (model.name, model.input_shape, model.output_shape) == (
        "tbinet", (None, 90, 4), (None, 5),
    )  # fmt: skip
    words = ["--strategies=none,random,worst_of_2", "--average_strands"]
    evaluate_words = ["evaluate", f"--model={run}", f"--data={deepsea_folder}", *words]
    assert main([*evaluate_words, f"--out={audit}"]) == 0
    printed = capsys.readouterr().out
    assert "mean of 4 of 5 labels" in printed
    figures = json.loads((audit / "robustness.json").read_text())
    assert (figures["labels"], figures["labels_left_out"]) == (5, ["3"])
    rows = list(csv.DictReader((audit / "labels.csv").open()))
    test = data.load(deepsea_folder)
    assert [int(row["positives"]) for row in rows] == (test.y.sum(axis=0) // 2).tolist()
    saved = np.load(audit / "predictions" / "predictions_none.npy")
    x = test.x[:, 5:95][..., [0, 2, 1, 3]].astype("float32")
    assert np.allclose(saved, model.predict(x, verbose=0), atol=1e-6)
    mean = (saved[:12] + saved[12:]) / 2
    for k in (0, 1, 2, 4):
        expected = metrics.roc_auc_score(test.y[:12, k], mean[:, k])
        assert float(rows[k]["auroc_none"]) == pytest.approx(expected, abs=1e-6)
    assert rows[3]["auroc_none"] == ""
    values = [float(rows[k]["auroc_worst_of_2"]) for k in (0, 1, 2, 4)]
    assert figures["strategies"]["worst_of_2"]["auroc"] == pytest.approx(np.mean(values), abs=1e-6)
    assert "AUROC (mean of 4 of 5 labels)" in (audit / "report.html").read_text()
    assert "the second half the other strand of the first" in printed
    # a softmax is no network for such labels; the paper's CNN has sigmoids for them
    words = [f"--data={deepsea_folder}", "--model=cnn", f"--out={tmp_path}/x"]
    line = fails(capsys, "train", *words, "--task=classes")
    assert "a softmax wants one class each" in line
    assert not (tmp_path / "x").exists()
    # other labels of the same files
    words = [f"--data={deepsea_folder}", "--labels=1,3..4", "--window=90", "--epochs=1"]
    assert main(["train", "--model=tbinet", *words, f"--out={tmp_path / 'three'}"]) == 0
    assert models.load(tmp_path / "three").output_shape == (None, 3)


def test_a_file_damaged_in_its_middle_ends_training_with_one_line(tmp_path, capsys):
    """Found while it is read, inside tf.data."""
    codes, y = random_set(np.random.default_rng(0), 2000, 100, 3)
    for split in ("train", "valid"):
        write_hdf5(tmp_path / f"{split}.mat", codes, y, name=split, chunks=(100, 4, 64),
                   compression="gzip")  # fmt: skip
    path = tmp_path / "train.mat"
    content = bytearray(path.read_bytes())
    with h5py.File(path) as file:
        chunk = file["trainxdata"].id.get_chunk_info(20)
    content[chunk.byte_offset + 40 : chunk.byte_offset + 400] = bytes(360)
    path.write_bytes(bytes(content))
    words = ["--model=tbinet", "--window=90", "--epochs=1", f"--out={tmp_path / 'run'}"]
    line = fails(capsys, "train", f"--data={tmp_path}", *words)
    assert "train.mat: trainxdata: examples" in line
    assert "cannot be read" in line
