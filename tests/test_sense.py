"""Data that mean nothing are said to: when they are read, in self-checks, in files and tables."""

import csv
import json
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest

from tfbs_shift import audit, data, evaluate, reports, sequences
from tfbs_shift.commands import main
from tfbs_shift.data.sense import doubts, findings
from tfbs_shift.evaluation import Details
from tfbs_shift.files import write_rows

from .conftest import WINDOW, functional, sequential
from .test_deepsea import write_hdf5

LENGTH = WINDOW + 2


def letters(count, seed=0):
    """Sequences that differ, also from each other's other strand."""
    codes = np.random.default_rng(seed).integers(0, 4, (count, LENGTH))
    return sequences.decode(codes.astype(np.uint8))


def examples(rows, labels=None, names=None):
    y = None if labels is None else np.array(labels)
    return data.Examples(sequences.encode(rows), y, label_names=names)


def of_two(*labels):
    """One-hot labels of two classes."""
    return np.eye(2, dtype=np.uint8)[list(labels)]


def line(name, *given):
    """(whether it is sound, what is said) in one respect."""
    (found,) = [one for one in findings(examples(*given)) if one.name == name]
    return found.sound, found.line


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (1, (False, "1 example: figures of so few are anecdotes")),
        (9, (False, "9 examples: figures of so few are anecdotes")),
        (10, (True, "10 examples")),
    ],
)
def test_few_examples(count, expected):
    assert line("examples", letters(count)) == expected


def test_no_examples():
    nothing = data.Examples(np.zeros((0, LENGTH), np.uint8), None)
    assert doubts(nothing) == ["0 examples: figures of so few are anecdotes"]


def test_unknown_bases():
    rows = ["ACGTACGT", "NNNNACGT", "NNNNNCGT", "NNNNNNNN"]
    assert line("bases", rows) == (
        False,
        "2 of 4 examples are more than half unknown bases (N), 1 of them nothing else: a model has "
        "nothing to read in them",
    )
    assert line("bases", rows[:2]) == (
        True, "0 of 2 examples are more than half unknown bases (N)"
    )  # fmt: skip


COPIES = "copies tell nothing new, and may stand on both sides of a split"
DIFFER = "labels differ for {} (on one strand or the other), and no model can be right of all"


@pytest.mark.parametrize(
    ("rows", "labels", "sound", "said"),
    [
        (["AAC", "GTT", "ACA"], of_two(1, 1, 0), True,  # both strands with one label, as DeepSEA's
         "0 of 3 distinct sequences stand more than once in 3 examples"),
        (["AAC", "GTT", "ACA"], of_two(1, 0, 0), False,
         "0 of 3 distinct sequences stand more than once in 3 examples: " + DIFFER.format(1)),
        (["AAC", "AAC", "ACA"], of_two(1, 1, 0), False,
         "1 of 2 distinct sequences stand more than once in 3 examples: " + COPIES),
        (["AAC", "AAC", "AAC"], of_two(1, 0, 0), False,
         f"the same sequence stands 3 times in 3 examples: {COPIES}; {DIFFER.format(1)}"),
        (["AAC", "AAC", "GTT", "CCC", "GGG"], of_two(1, 1, 0, 1, 0), False,
         f"1 of 4 distinct sequences stand more than once in 5 examples: {COPIES}; "
         + DIFFER.format(2)),
        (["ACGT", "AATT"], of_two(1, 0), True,  # their own other strands
         "0 of 2 distinct sequences stand more than once in 2 examples"),
        (["NNN", "NNN", "AAC"], of_two(1, 0, 0), True,  # said elsewhere
         "0 of 1 distinct sequences stand more than once in 3 examples"),
        (["AAC", "AAC"], [[0.5], [0.7]], False,  # measured again
         "the same sequence stands 2 times in 2 examples: " + COPIES),
        (["AAC", "AAC"], None, False, "the same sequence stands 2 times in 2 examples: " + COPIES),
    ],
)  # fmt: skip
def test_repeats(rows, labels, sound, said):
    assert line("repeats", rows, labels) == (sound, said)


@pytest.mark.parametrize(("copies", "sound"), [(1, True), (2, False)])
def test_copies_below_one_percent_are_only_counted(copies, sound):
    rows = letters(150)
    rows[-copies:] = rows[:copies]
    said = f"{copies} of {150 - copies} distinct sequences stand more than once in 150 examples"
    assert line("repeats", rows) == (sound, said + (f": {COPIES}" if not sound else ""))


ANECDOTE = "are anecdotes, and have no interval where resamples lack a class"


@pytest.mark.parametrize(
    ("labels", "sound", "said"),
    [
        (of_two(*[0, 1] * 10), True,
         "class 1 is 10 of 20 examples, and always calling the commoner class has accuracy 0.500"),
        (of_two(*[1] * 20), False,
         "all 20 examples are class 1: training learns to call it always, and there is no AUROC, "
         "AUPR or MCC"),
        (np.zeros((20, 1)), False,  # one sigmoid
         "all 20 examples are class 0: training learns to call it always, and there is no AUROC, "
         "AUPR or MCC"),
        (of_two(1, *[0] * 999), False,
         "class 1 is 1 of 1000 examples, and always calling the commoner class has accuracy 0.999: "
         "beside that an accuracy says little, and chance has an AUPR of 0.001; areas of 1 against "
         f"999 {ANECDOTE}"),
        (of_two(*[0] * 10, *[1] * 1990), False,
         "class 1 is 1990 of 2000 examples, and always calling the commoner class has accuracy "
         "0.995: beside that an accuracy says little, and chance has an AUPR of 0.995"),
        (of_two(*[0] * 11, *[1] * 9), False,
         "class 1 is 9 of 20 examples, and always calling the commoner class has accuracy 0.550: "
         f"areas of 9 against 11 {ANECDOTE}"),
        (of_two(0, 1), True,  # few they are in any case
         "class 1 is 1 of 2 examples, and always calling the commoner class has accuracy 0.500"),
        (np.eye(3)[[0, 1, 1, 2]], True,
         "class 1, the commonest of 3, is 2 of 4 examples, and always calling it has accuracy "
         "0.500"),
        (np.eye(4)[[1] * 200 + [2]], False,
         "class 1, the commonest of 4, is 200 of 201 examples, and always calling it has accuracy "
         "0.995: beside that an accuracy says little; without an example is 0, 3"),
    ],
)  # fmt: skip
def test_classes(labels, sound, said):
    assert line("balance", letters(len(labels)), labels) == (sound, said)


def test_several_labels():
    y = np.zeros((30, 7), np.uint8)
    y[:15, 0] = y[:10, 1] = y[:9, 2] = y[:, 3] = 1
    named = [f"factor{k}" for k in range(7)]
    rows = letters(30)
    assert line("balance", rows, y, named) == (
        False,
        "3 of 7 labels have both classes in 30 examples: left out of means: factor3, factor4, "
        "factor5 and 1 more; with fewer than 10 of a class, anecdotes: factor2",
    )
    assert line("balance", rows, y[:, :2], named[:2]) == (
        True, "2 of 2 labels have both classes in 30 examples"
    )  # fmt: skip
    assert line("balance", rows, y[:, 3:]) == (  # no two of which are one-hot
        False,
        "class 0, the commonest of 4, is 30 of 30 examples, and always calling it has accuracy "
        "1.000: beside that an accuracy says little; without an example is 1, 2, 3",
    )
    assert line("balance", rows, y[:, 3:], named[3:]) == (
        False, "0 of 4 labels have both classes in 30 examples: there is no AUROC or AUPR"
    )  # fmt: skip
    assert line("balance", rows, of_two(*[1] * 30), named[:2])[1].startswith("0 of 2 labels")


def test_numbers():
    rows = letters(3)
    assert line("balance", rows, [[2.5]] * 3) == (
        False, "the label is 2.5 in all 3 examples: nothing correlates with it"
    )  # fmt: skip
    assert line("balance", rows, [[2.5, 1], [2.5, 2], [2.5, 1]], ["a", "b"]) == (
        False, "1 of 2 labels are the same in all 3 examples (a): nothing correlates with it"
    )  # fmt: skip
    assert line("balance", rows, [[0.0], [1.0], [0.5]]) == (
        True, "labels are numbers, not all the same in 3 examples"
    )  # fmt: skip


def test_of_a_file_some_rows_are_looked_at(tmp_path):
    """128 rows in 8 places: of 8,128 they begin at 0, 1142, 2285, ... 8000."""
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 4, (8128, 20)).astype(np.uint8)
    y = np.zeros((8128, 3), np.uint8)
    codes[:130] = 4  # 128 of them looked at
    codes[4000:4500] = 4  # between two places, 3428..3555 and 4571..4698
    y[1142:1152, 0] = 1
    write_hdf5(tmp_path / "train.mat", codes, y)
    read = data.load(tmp_path, "train")
    looked = "1024 examples looked at (evenly spread over 8128)"
    assert [found.line for found in findings(read)] == [
        "8128 examples",
        f"128 of {looked} are more than half unknown bases (N), 128 of them nothing else: a model "
        "has nothing to read in them",
        f"0 of 896 distinct sequences stand more than once in {looked}",
        f"1 of 3 labels have both classes in {looked}",  # of the others it is not known
    ]
    one = data.load(tmp_path, "train", labels="1")
    assert doubts(one)[-1] == (
        f"all {looked} are class 0: if the others are like these, training learns to call it "
        "always, and there is no AUROC, AUPR or MCC"
    )
    none = data.load(tmp_path, "train", labels="1,2")
    assert doubts(none)[-1] == (
        f"0 of 2 labels have both classes in {looked}: if the others are like these, there is no "
        "AUROC or AUPR"
    )
    whole = read.rows(np.arange(1000))
    assert findings(whole)[1].line.startswith("130 of 1000 examples are")
    assert findings(whole)[3].line.endswith("there is no AUROC or AUPR")


# ---- on the command line ----


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A model of each kind, in files."""
    folder = tmp_path_factory.mktemp("models")
    value = functional(1, "linear")
    value.compile("sgd", "mse")
    kinds = {
        "softmax": functional(), "sigmoid": sequential(), "labels": functional(3, "sigmoid"),
        "value": value,
    }  # fmt: skip
    for name, model in kinds.items():
        model.save(folder / f"{name}.keras")
    return folder


def table(path, rows, labels):
    """A CSV file; labels (N,) or (N, K)."""
    labels = np.asarray(labels).reshape(len(rows), -1)
    names = [f"label{k}" for k in range(labels.shape[1])]
    lines = [[row, *map(str, values)] for row, values in zip(rows, labels.tolist(), strict=True)]
    path.write_text("".join(",".join(line) + "\n" for line in [["sequence", *names], *lines]))
    return [f"--data={path}", f"--label_column={','.join(names)}"]


def audited_twice(model, words):
    """Two folders of one audit, to be compared."""
    one, two = (Path(words[0].partition("=")[2]).parent / name for name in ("one", "two"))
    assert main(["evaluate", f"--model={model}", *words, "--draws=2", f"--out={one}"]) == 0
    shutil.copytree(one, two)
    return one, two


ONE_CLASS = "training learns to call it always, and there is no AUROC, AUPR or MCC"
CASES = {
    "all N": ("softmax", ["N" * LENGTH] * 20, [0, 1] * 10,
              "20 of 20 examples are more than half unknown bases (N), 20 of them nothing else"),
    "the same": ("softmax", letters(1) * 20, [0, 1] * 10,
                 "the same sequence stands 20 times in 20 examples"),
    "one class": ("sigmoid", letters(20), [0] * 20, f"all 20 examples are class 0: {ONE_CLASS}"),
    "one example": ("softmax", letters(1), [1], "1 example: figures of so few are anecdotes"),
    "1:1000": ("sigmoid", letters(1001), [1] + [0] * 1000,
               "class 1 is 1 of 1001 examples, and always calling the commoner class has accuracy "
               "0.999: beside that an accuracy says little, and chance has an AUPR of 0.000999"),
    "labels": ("labels", letters(20), [[1, 0, 1]] * 20,
               "0 of 3 labels have both classes in 20 examples: there is no AUROC or AUPR"),
    "numbers": ("value", letters(20), [2.5] * 20,
                "the label is 2.5 in all 20 examples: nothing correlates with it"),
    "one number": ("value", letters(1), [2.5], "1 example: figures of so few are anecdotes"),
}  # fmt: skip


QUICK = ("one class", "1:1000", "one example")


@pytest.mark.parametrize(
    "case",
    [pytest.param(case, marks=[] if case in QUICK else pytest.mark.slow) for case in CASES],
)
def test_an_audit_says_it_and_leaves_whole_files(case, saved, tmp_path, capsys):
    model, rows, labels, said = CASES[case]
    audits = audited_twice(saved / f"{model}.keras", table(tmp_path / "t.csv", rows, labels))
    err = capsys.readouterr().err
    assert err.count(said) == 1
    assert f"WARNING: test set: {said}" in err
    figures = json.loads((audits[0] / "robustness.json").read_text())
    checks = [check for check in figures["checks"] if check["message"].startswith(said)]
    assert [check["passed"] for check in checks] == [False]
    assert {"examples", "bases"} <= {check["name"] for check in figures["checks"]}
    assert {c["name"]: c["passed"] for c in figures["checks"]}["chance"] is False
    assert f'<p class="warning" role="note">{said}' in (audits[0] / "report.html").read_text()
    known = {m for m, value in figures["strategies"]["worst"].items() if value is not None}
    assert known == {
        "one class": {"accuracy", "loss"}, "one example": {"accuracy", "loss"},
        "labels": {"loss"}, "numbers": {"mse", "loss"}, "one number": {"mse", "loss"},
    }.get(case, {"accuracy", "auroc", "aupr", "mcc", "loss"})  # fmt: skip
    out = tmp_path / "both"
    assert main(["compare", f"--runs={audits[0]},{audits[1]}", f"--out={out}"]) == 0
    printed = capsys.readouterr().out
    assert "nan" not in printed
    assert f"one: {said}" in (out / "report.html").read_text()
    files = [file for folder in (audits[0], out) for file in folder.glob("*.csv")]
    assert len(files) > 3
    for file in files:
        cells = {cell for row in csv.reader(file.open()) for cell in row}
        assert "nan" not in cells, file


def test_without_labels_there_is_no_unit(saved, tmp_path, capsys):
    """Of sequences that are all the same it is not known how far predictions move."""
    fasta = tmp_path / "a.fa"
    fasta.write_text("".join(f">{i}\n{row}\n" for i, row in enumerate(letters(1) * 12)))
    audits = audited_twice(saved / "value.keras", [f"--data={fasta}"])
    err = capsys.readouterr().err
    assert "WARNING: test set: the same sequence stands 12 times in 12 examples" in err
    assert "WARNING: 1 of 1 outputs are the same for all examples (output 0)" in err
    with (audits[0] / "examples.csv").open() as file:
        assert {row["moved"] for row in csv.DictReader(file)} == {""}
    out = tmp_path / "both"
    assert main(["compare", f"--runs={audits[0]},{audits[1]}", f"--out={out}"]) == 0
    assert "nan" not in capsys.readouterr().out
    rows = json.loads((out / "comparison.json").read_text())["differences"]
    assert [(row["strategy"], row["metric"]) for row in rows] == [
        ("none", "moved"), (None, "reliability")
    ]  # fmt: skip


@pytest.mark.parametrize("strategy", ["none", "worst"])
def test_training_says_it_first(strategy, tmp_path, capsys):
    """Both sets are looked at before an epoch is trained; the run itself is what was asked for."""
    table(tmp_path / "train.csv", letters(20), [1] * 20)
    table(tmp_path / "valid.csv", letters(1, seed=1), [1])
    words = [f"--data={tmp_path}", f"--strategy={strategy}", f"--window={WINDOW}", "--epochs=1"]
    out = tmp_path / "run"
    assert main(["train", *words, f"--out={out}"]) == 0
    warned = [w for w in capsys.readouterr().err.splitlines() if w.startswith("WARNING: ")]
    assert warned == [
        f"WARNING: training set: all 20 examples are class 1: {ONE_CLASS}",
        "WARNING: validation set: 1 example: figures of so few are anecdotes",
    ]
    (row,) = csv.DictReader((out / "history.csv").open())
    assert (row["val_auroc"], row["val_none_mcc"]) == ("", "")
    assert float(row["val_loss"]) > 0


# ---- in Python ----


def test_an_audit_in_python_has_them_first(saved):
    model = keras.models.load_model(saved / "softmax.keras")
    test = examples(letters(20), of_two(*[0, 1] * 10))
    training = examples(letters(20, seed=1), of_two(*[1] * 20))
    found = audit(model, test, trained_on=training)
    assert [check.name for check in found.checks[:5]] == [
        "examples", "bases", "repeats", "balance", "training balance"
    ]  # fmt: skip
    assert [check.passed for check in found.checks[:5]] == [True, True, True, True, False]
    assert found.checks[4].message == f"training set: all 20 examples are class 1: {ONE_CLASS}"
    without = audit(model, test, details=Details(self_checks=False))
    assert without.checks == []


def test_one_class_is_no_good_sign(saved):
    """Even if all calls are right."""
    model = keras.models.load_model(saved / "sigmoid.keras")
    x = sequences.one_hot(sequences.encode(letters(20)))
    y = (model.predict(x[:, 1 : 1 + WINDOW], verbose=0) > 0.5).astype(int)
    some = y[:, 0] == y[0, 0]
    found = evaluate(model, x[some], y[some], strategies=["none"])
    assert found.strategies["none"]["accuracy"] == 1.0
    (chance,) = [check for check in found.checks if check.name == "chance"]
    assert not chance.passed
    assert chance.message == (
        f"accuracy 1.000 of {some.sum()} examples, the commonest class is 1.000: one class only, "
        "so whether the model tells it from another is not known"
    )


def test_what_is_no_number_is_an_empty_cell(tmp_path):
    rows = [{"a": float("nan"), "b": 1.5, "c": np.float64("nan"), "d": "nan"}]
    write_rows(tmp_path / "t.csv", rows)
    assert (tmp_path / "t.csv").read_text() == "a,b,c,d\n,1.5,,nan\n"


def test_a_curve_of_nothing_is_drawn(tmp_path):
    """Figures that JSON has as null leave gaps."""
    points = [
        {"max_shift": r, "accuracy": value, "accuracy_low": None, "accuracy_high": None}
        for r, value in enumerate([0.5, None, 0.25])
    ]
    strategies = {"none": {"accuracy": 0.5, "loss": 1.0}}
    figure = reports.plots.curve({"a": {"curve": points, "strategies": strategies}}, "accuracy")
    (drawn,) = figure.axes[0].get_lines()
    assert np.array_equal(drawn.get_ydata(), [0.5, np.nan, 0.25], equal_nan=True)
    figure.savefig(tmp_path / "curve.png")
