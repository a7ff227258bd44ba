"""The files of an audit against a case worked by hand: names, order, values (docs/files.md)."""

import hashlib
import json
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics

from tfbs_shift import InputError, data, evaluate, reports, sequences
from tfbs_shift.commands import main
from tfbs_shift.evaluation.comparing import (
    SavedAudit,
    compare,
    differences,
    label_differences,
    repeats,
    signed,
)
from tfbs_shift.files import sha256, write_rows
from tfbs_shift.tasks.areas import resampled_scores

from .test_evaluation import detector

DOCS = (Path(__file__).parents[1] / "docs" / "files.md").read_text()
LOW, HIGH = np.log1p(np.exp(-10)), np.log1p(np.exp(10))  # losses of a right and a wrong window
SURE = 1 / (1 + np.exp(-10))


@pytest.fixture
def hand(tmp_path):
    """Window 4 of 6; a window that begins with C is called unbound; all are bound.

    Right at shifts -1, 0, 1: AAAAAA everywhere; CAAAAA not at -1; ACAAAA not at 0; AACAAA not at 1.
    """
    codes = sequences.encode(["AAAAAA", "CAAAAA", "ACAAAA", "AACAAA"])
    places = data.examples.Intervals(
        np.array(["chr2", "chr1", "chr1", "chr1"]),
        np.array([10, -2, 30, 20]), np.array([16, 4, 36, 26]),
    )  # fmt: skip
    names = np.array(["a", "b", "c_shuf", "d"])
    labels = np.eye(2, dtype="u1")[[1] * 4]
    sizes = {"chr1": 24, "chr2": 99}
    examples = data.Examples(codes, labels, places, names, "by hand", chromosomes=sizes)
    found = evaluate(detector(), examples.x, np.ones(4), strategies=("none", "worst"))
    out = tmp_path / "audit"
    reports.write_audit(found, examples, out, title="detector", about=["by hand"])
    return out


METRICS = ("accuracy", "auroc", "aupr", "mcc", "loss")
NO_AREAS = {"auroc": None, "aupr": None, "mcc": None}  # all are bound


def test_robustness_json(hand):
    figures = json.loads((hand / "robustness.json").read_text())
    third = (2 * LOW + HIGH) / 3
    none, worst = 0.75 * LOW + 0.25 * HIGH, 0.25 * LOW + 0.75 * HIGH
    mean = 0.25 * LOW + 0.75 * third
    assert figures["id"] == signed(figures)["id"]
    intervals, (at_centre, everywhere) = figures.pop("intervals"), figures.pop("curve")
    checks = figures.pop("checks")
    assert figures.pop("files") == {
        "shifts.npz": hashlib.sha256((hand / "shifts.npz").read_bytes()).hexdigest()
    }
    del figures["id"]
    close = pytest.approx
    codes = sequences.encode(["AAAAAA", "CAAAAA", "ACAAAA", "AACAAA"])
    checksum = hashlib.sha256(codes.tobytes() + b"\x00\x01" * 4).hexdigest()[:16]
    assert figures == {
        "schema": 2,
        "task": "classes",
        "task_known_by": "its last layer is a sigmoid",
        "classes": 2,
        "threshold": 0.5,
        "examples": 4,
        "sequence_length": 6,
        "window": 4,
        "max_shift": None,
        "shifts": [-1, 0, 1],
        "seed": 0,
        "strategies": {
            "none": {"accuracy": 0.75, **NO_AREAS, "loss": close(none, rel=1e-4)},
            "worst": {"accuracy": 0.25, **NO_AREAS, "loss": close(worst, rel=1e-4)},
        },
        "mean_over_shifts": {"accuracy": close(0.75), "loss": close(mean, rel=1e-4)},
        "averaged_over_shifts": {"accuracy": 1.0, **NO_AREAS},
        "right_at_every_shift": 0.25,
        "consistency": close((1 + 3 * 5 / 9) / 4),
        "wobble": close(0.75 * (2 * SURE - 1), abs=1e-6),
        "flipped": 0.75,
        # In units of the range the means are 0 and three times 1/3: mean squares 1/12 and 1/4.
        "reliability": close((1 / 12 - 1 / 4) / (1 / 12 + 2 / 4)),
        "certificates": {"median": 0.0, "radius": [-1, 0, 1], "examples": [1, 2, 1]},
        "worst_shifts": {
            "examples": [1, 1, 1],
            "ties": 1,
            "at_the_edges": close(2 / 3),
            "at_the_edges_if_anywhere": close(2 / 3),
            "p_uniform": None,
        },
        "phase": None,
        "data": {"source": "by hand", "checksum": f"sha256 {checksum}", "negatives": None},
    }
    assert list(at_centre) == [
        "max_shift", "accuracy", "random_accuracy", "random_accuracy_low", "random_accuracy_high",
        "loss", "random_loss", "random_loss_low", "random_loss_high",
        *(f"{start}{area}{end}" for area in NO_AREAS
          for start, end in (("", ""), ("random_", ""), ("random_", "_low"), ("random_", "_high"))),
        *(f"{metric}{end}" for metric in METRICS[:-1] for end in ("_low", "_high")),
    ]  # fmt: skip
    assert (at_centre["max_shift"], at_centre["accuracy"]) == (0, 0.75)
    assert at_centre["random_accuracy_low"] == at_centre["random_accuracy_high"] == 0.75
    assert (everywhere["max_shift"], everywhere["accuracy"]) == (1, 0.25)
    # three of four examples are right with probability 2/3: sd sqrt(3 * 2/9) / 4
    assert everywhere["random_accuracy"] == close(0.75)
    assert everywhere["random_accuracy_low"] == close(0.75 - 1.959964 * np.sqrt(2 / 3) / 4)
    assert everywhere["random_accuracy_high"] == 1.0
    assert 0 <= everywhere["accuracy_low"] <= 0.25 <= everywhere["accuracy_high"] <= 1
    over = intervals.pop("examples")
    assert intervals == {
        "confidence": 0.95, "resamples": 1000, "resamples_of_statistics": 200
    }  # fmt: skip
    assert over["number"] == 4
    assert over["averaged_over_shifts"] == {
        "accuracy": [1.0, 1.0], **{area: [None, None] for area in NO_AREAS}
    }  # fmt: skip
    assert set(over) == {
        "number", "strategies", "mean_over_shifts", "averaged_over_shifts",
        "right_at_every_shift", "consistency", "wobble", "flipped", "reliability",
    }  # fmt: skip
    assert [set(check) for check in checks] == [{"name", "passed", "message"}] * len(checks)
    for name in figures | {"intervals": 0, "curve": 0, "checks": 0}:
        assert f"`{name}`" in DOCS


def test_tables(hand):
    rows = (hand / "robustness.csv").read_text().splitlines()
    columns = [f"{metric}{end}" for metric in METRICS for end in ("", "_low", "_high")]
    assert rows[0] == ",".join(["strategy", *columns])
    accuracies = {row.split(",")[0]: float(row.split(",")[1]) for row in rows[1:]}
    expected = {"none": 0.75, "worst": 0.25, "mean_over_shifts": 0.75, "averaged_over_shifts": 1.0}
    assert accuracies == pytest.approx(expected)
    assert list(accuracies) == list(expected)
    assert rows[4] == "averaged_over_shifts,1.0,1.0,1.0" + 12 * ","
    curve = (hand / "curve.csv").read_text().splitlines()
    assert curve[0].startswith("max_shift,accuracy,random_accuracy,")
    assert [row.split(",")[:2] for row in curve[1:]] == [["0", "0.75"], ["1", "0.25"]]
    low, high, sure, not_sure = (f"{v:.6g}" for v in (LOW, HIGH, SURE, 1 - SURE))
    wobble = f"{2 * SURE - 1:.6g}"
    header, *examples = (hand / "examples.csv").read_text().splitlines()
    assert header == (
        "example,name,chrom,start,end,label,loss,worst_loss,worst_shift,probability,lowest,"
        "highest,wobble,certificate"
    )
    expected = [
        ["0", "a", "chr2", "10", "16", "1", low, low, "-1", sure, sure, sure, "0", "1"],
        ["1", "b", "chr1", "-2", "4", "1", low, high, "-1", sure, not_sure, sure, wobble, "0"],
        ["2", "c_shuf", "chr1", "30", "36", "1", high, high, "0", not_sure, not_sure, sure,
         wobble, "-1"],
        ["3", "d", "chr1", "20", "26", "1", low, high, "1", sure, not_sure, sure, wobble, "0"],
    ]  # fmt: skip
    for row, cells in zip(examples, expected, strict=True):
        for ours, theirs in zip(row.split(","), cells, strict=True):
            same = ours == theirs or float(ours) == pytest.approx(float(theirs), rel=2e-3)
            assert same, (row, cells)


def test_certificates_bed(hand):
    """Sorted by place, 0-based half-open, cut at both ends; what was shuffled lies nowhere."""
    track, *rows = (hand / "certificates.bed").read_text().splitlines()
    assert track.startswith("track ") and "useScore=1" in track
    assert [row.split("\t") for row in rows] == [
        ["chr1", "0", "4", "b_r=0", "500", "+"],
        ["chr1", "20", "24", "d_r=0", "500", "+"],
        ["chr2", "10", "16", "a_r=1", "1000", "+"],
    ]


def test_shifts_npz(hand):
    with np.load(hand / "shifts.npz") as arrays:
        assert set(arrays.files) == {
            "starts", "shifts", "start_none", "start_worst", "right_none", "right_worst", "loss",
            "worst_start", "worst_loss", "right", "probability", "wobble", "certificate", "labels",
            "names", "chrom", "start", "end", "probability_none", "probability_worst", "mean",
            "variance",
        }  # fmt: skip
        assert arrays["certificate"].tolist() == [1, 0, -1, 0]
        assert arrays["probability"][1] == pytest.approx([1 - SURE, SURE, SURE], abs=1e-6)
        for name in arrays.files:
            assert f"`{name}`" in DOCS or f"`{name.partition('_')[0]}_<strategy>`" in DOCS


def saved(name, right, *, folder=Path(), arrays=(), **figures):
    """An audit as it is read, of which only what compare needs is made up."""
    strategies = {"worst": {"accuracy": float(np.mean(right)), "loss": 0.0}}
    # Three classes: of those accuracy is all there is beside the loss.
    figures = {"task": "classes", "classes": 3, "threshold": 0.5} | figures
    figures = {"examples": len(right), "shifts": [0], "strategies": strategies} | figures
    audit = SavedAudit(name, folder, {"schema": 2, "data": {"checksum": "x"}, **figures})
    audit.__dict__["arrays"] = {"right_worst": np.asarray(right, bool), **dict(arrays)}
    return audit


def saved_labels(folder, y, predictions, *, arrays=(), **figures):
    """The same of an audit of several labels, its predictions in a file."""
    (folder / "predictions").mkdir(parents=True)
    name = "predictions/predictions_worst.npy"
    np.save(folder / name, predictions)
    figures["files"] = {name: sha256(folder / name)}
    arrays = {"labels": y, **dict(arrays)}
    figures = {"task": "labels", "labels": y.shape[1], "threshold": 0.5} | figures
    return saved(folder.name, y[:, 0], folder=folder, arrays=arrays, **figures)


def resamples(groups, count):
    """How often each example is drawn, float64 (count, N), groups being drawn as wholes."""
    names, index = np.unique(groups, return_inverse=True)
    size = len(names)
    times = np.random.default_rng(7).multinomial(size, np.full(size, 1 / size), count)
    return times[:, index].astype(float)


def about(interval, part):
    """Of two ends: the same but for a part of the distance between them."""
    return pytest.approx(interval, abs=part * (interval[1] - interval[0]))


def test_differences_by_hand():
    """1 against 6 discordant pairs of 36: p = 0.125; two rows: q is twice the smaller p."""
    first = saved("first", [1] * 1 + [0] * 6 + [1] * 20 + [0] * 9)
    better = saved("better", [0] * 1 + [1] * 6 + [1] * 20 + [0] * 9)
    rows = differences([first, better, saved("same", [1] * 1 + [0] * 6 + [1] * 20 + [0] * 9)])
    assert [list(row) for row in rows] == [
        ["run", "baseline", "strategy", "metric", "difference", "low", "high", "p", "q"]
    ] * 2
    assert rows[0]["difference"] == pytest.approx(5 / 36)
    assert rows[0]["low"] < 5 / 36 < rows[0]["high"]
    assert (rows[0]["p"], rows[0]["q"]) == (pytest.approx(0.125), pytest.approx(0.25))
    assert (rows[1]["difference"], rows[1]["low"], rows[1]["p"], rows[1]["q"]) == (0, 0, 1, 1)
    for data_of in ({"checksum": "y"}, {"checksum": ""}, {"checksum": None}, {}):
        assert differences([first, saved("other", [1] * 36, data=data_of)]) == []


def test_what_is_not_known_to_be_the_same_is_not_paired():
    """Two audits without a checksum may be of any examples: neither pairs nor repeats."""
    training = {"model": "cnn", "strategy": "none"}
    unknown = [
        saved(f"{i}", [1, 0, 1, 1], data={}, training=training | {"seed": i}) for i in range(2)
    ]
    found = compare(unknown)
    assert (found.differences, found.repeats, found.unpaired) == ([], [], ["1"])
    known = [saved(f"{i}", [1, 0, 1, 1], training=training | {"seed": i}) for i in range(2)]
    found = compare(known)
    assert (len(found.differences), len(found.repeats), found.unpaired) == (1, 1, [])


@pytest.mark.parametrize("chromosomes", [None, 4, 8])
def test_intervals_of_differences_are_paired(chromosomes, rng):
    """Runs that differ in few examples, most of them on one chromosome: the interval is narrower
    than if other examples' answers were paired, wider if chromosomes are drawn as wholes."""
    first = rng.random(400) < 0.7
    where = ((chromosomes or 1) * rng.random(400) ** 2).astype(int)  # of unequal size
    changes = rng.random(400) < np.where(where == 0, 0.2, 0.02)
    second = np.where(changes, rng.random(400) < 0.8, first)
    order = rng.permutation(400)
    arrays = {} if chromosomes is None else {"chrom": where[order].astype(str)}
    runs = [saved(name, right[order], arrays=arrays)
            for name, right in (("first", first), ("second", second))]  # fmt: skip
    (row,) = differences(runs)
    change = second.astype(float) - first
    # fewer than five are too few to draw: examples are
    drawn = resamples(where if chromosomes == 8 else np.arange(400), 4000)
    expected = np.percentile(drawn @ change / drawn.sum(axis=1), [2.5, 97.5])
    assert [row["low"], row["high"]] == about(expected, 0.1)
    assert row["difference"] == pytest.approx(change.mean())
    better, worse = (change > 0).sum(), (change < 0).sum()
    assert row["p"] == pytest.approx(stats.binomtest(better, better + worse).pvalue)
    assert differences(runs, seed=1)[0]["low"] != row["low"]


@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("strands", [False, True])
def test_intervals_of_differences_in_areas_are_paired(grouped, strands, rng, tmp_path):
    """A network that differs little; or one that is better on some chromosomes, worse on
    others. With both strands in the files, their mean counts."""
    where = rng.permutation(np.arange(240) % 12)
    y = (rng.random((240, 2)) < 0.4).astype("uint8")
    p = y + rng.normal(size=(240, 2))
    q = p + 0.1 * rng.normal(size=(240, 2))
    if grouped:
        q += np.linspace(-1.5, 1.5, 12)[where, None] * (y - 0.4)
    runs = []
    for name, scores in (("first", p), ("second", q)):
        arrays, labels, given = {"chrom": where.astype(str)} if grouped else {}, y, scores
        if strands:
            apart = rng.normal(size=scores.shape)
            given = np.concatenate([scores + apart, scores - apart])
            labels = np.tile(y, (2, 1))
            arrays = {name: np.tile(values, 2) for name, values in arrays.items()}
        runs.append(saved_labels(tmp_path / name, labels, given, arrays=arrays,
                                 average_strands=strands))  # fmt: skip
    rows = differences(runs)
    assert [row["metric"] for row in rows] == ["auroc", "aupr"]
    drawn = resamples(where if grouped else np.arange(240), 1000)
    changes = resampled_scores(y, q, drawn) - resampled_scores(y, p, drawn)
    for row, change in zip(rows, changes, strict=True):
        assert [row["low"], row["high"]] == about(np.percentile(change, [2.5, 97.5]), 0.2)
    areas = [metrics.roc_auc_score(y, scores) for scores in (p, q)]
    assert rows[0]["difference"] == pytest.approx(areas[1] - areas[0])
    assert differences(runs, seed=1)[0]["low"] != rows[0]["low"]


@pytest.mark.parametrize("threshold", [0.5, 0.3])
def test_two_classes_are_compared_by_all_their_metrics(threshold, rng):
    """Accuracy, areas and correlation; the interval of each from pairs drawn by hand."""
    y = rng.integers(0, 2, 150)
    scores = [np.clip(y * 0.2 + rng.random(150) * 0.8, 0, 1) for _ in range(2)]
    runs = [
        saved(
            f"{i}", (p > threshold) == y, classes=2, threshold=threshold,
            arrays={"labels": np.eye(2, dtype="u1")[y], "probability_worst": p.astype("f4")},
        )
        for i, p in enumerate(scores)
    ]  # fmt: skip
    rows = {row["metric"]: row for row in differences(runs)}
    assert list(rows) == ["accuracy", "auroc", "aupr", "mcc"]
    assert [metric for metric, row in rows.items() if "p" in row] == ["accuracy"]
    counts = resamples(np.arange(150), 400).astype(int)
    for metric, of in (
        ("auroc", metrics.roc_auc_score),
        ("mcc", lambda y, p: metrics.matthews_corrcoef(y, p > threshold)),
    ):
        drawn = [np.repeat(np.arange(150), row) for row in counts]
        changes = [of(y[i], scores[1][i]) - of(y[i], scores[0][i]) for i in drawn]
        row = rows[metric]
        assert row["difference"] == pytest.approx(of(y, scores[1]) - of(y, scores[0]), abs=1e-6)
        assert [row["low"], row["high"]] == about(np.percentile(changes, [2.5, 97.5]), 0.2)


@pytest.mark.parametrize("strands", [1, 2])
def test_label_differences_by_hand(strands, tmp_path):
    """The calls of label 0 differ in 1 and 6 examples of 36, those of label 1 in none; label 2
    lacks a class."""
    y = np.zeros((36, 3), "uint8")
    y[::2, :2] = 1
    right = np.array([[1] * 1 + [0] * 6 + [1] * 20 + [0] * 9] * 2)
    right[1, :7] ^= 1
    runs = []
    for name, one in zip(("first", "second"), right, strict=True):
        calls = np.stack([one, right[0], right[0]], axis=1) == y
        given = (np.tile(values, (strands, 1)) for values in (y, np.where(calls, 0.9, 0.1)))
        runs.append(saved_labels(tmp_path / name, *given, average_strands=strands == 2))
    rows = label_differences(runs)
    assert [(row["label"], row["p"]) for row in rows] == [("0", pytest.approx(0.125)), ("1", 1.0)]
    assert [row["q"] for row in rows] == [pytest.approx(0.25), 1.0]
    for column, key in ((0, "auroc_baseline"), (1, "auroc")):
        called = right[column] == y[:, 0]
        assert rows[0][key] == pytest.approx(metrics.roc_auc_score(y[:, 0], called))
    assert [row["labels_different"] for row in differences(runs, rows)] == [0, 0]
    assert [row["labels_tested"] for row in differences(runs, rows)] == [2, 2]


def test_repeats_by_hand():
    """Runs that differ by their seed alone; a sample's standard deviation."""
    runs = [
        saved(f"run {seed}", [1] * n + [0] * (10 - n),
              training={"model": "cnn", "strategy": strategy, "seed": seed})
        for seed, n, strategy in ((0, 5, "none"), (1, 7, "none"), (2, 6, "worst"))
    ]  # fmt: skip
    (found,) = repeats(runs)
    assert (found["runs"], found["seeds"]) == (["run 0", "run 1"], [0, 1])
    assert repeats([saved("alone", [1])]) == []
    accuracy = found["strategies"]["worst"]["accuracy"]
    assert accuracy == {"mean": pytest.approx(0.6), "sd": pytest.approx(np.sqrt(0.02))}


def test_comparison_files(hand, tmp_path, capsys):
    out = tmp_path / "comparison"
    assert main(["compare", f"--runs=one={hand},two={hand}", f"--out={out}"]) == 0
    found = json.loads((out / "comparison.json").read_text())
    assert found["schema"] == 2
    assert found["runs"] == ["one", "two"]
    assert found["repeats"] == []
    assert found["differences"][0]["metric"] == "accuracy"
    assert found["differences"] == [
        {"run": "two", "baseline": "one", "strategy": strategy, "metric": "accuracy",
         "difference": 0.0, "low": 0.0, "high": 0.0, "p": 1.0, "q": 1.0}
        for strategy in ("none", "worst")
    ] + [
        {"run": "two", "baseline": "one", "strategy": None, "metric": "reliability",
         "difference": 0.0, "low": 0.0, "high": 0.0}
    ]  # fmt: skip
    assert (out / "differences.csv").read_text().splitlines() == [
        "run,baseline,strategy,metric,difference,low,high,p,q,labels_different,labels_tested",
        "two,one,none,accuracy,0.0,0.0,0.0,1.0,1.0,,",
        "two,one,worst,accuracy,0.0,0.0,0.0,1.0,1.0,,",
        "two,one,,reliability,0.0,0.0,0.0,,,,",
    ]
    files = {str(p.relative_to(out)) for p in out.rglob("*") if p.is_file()}
    assert files == {
        "comparison.json", "differences.csv", "report.html", "flags.txt", "plots/curve.png",
        "plots/curve.svg", "plots/differences.png", "plots/differences.svg",
    }  # fmt: skip
    assert "Differences from one" in capsys.readouterr().out
    for name in ("differences", "repeats", "runs", "labels_different"):
        assert f"`{name}`" in DOCS


@pytest.mark.parametrize(
    ("runs", "message"),
    [
        ("{hand}", "--runs: want two audits or more"),
        ("{hand},{hand}", "two are named"),
        ("{hand},/nowhere", "/nowhere: no robustness.json in it: run tfbs-shift evaluate first"),
        ("{hand},b={bad}", "robustness.json: damaged"),
        ("{hand},b={old}", "want schema 2; run tfbs-shift evaluate again"),
        ("{hand},b={part}", "robustness.json: no threshold in it; run tfbs-shift evaluate again"),
        ("{hand},b={kind}", "robustness.json: task 'poems' in it; run tfbs-shift evaluate again"),
        ("{hand},b={bare}", "shifts.npz: has no right_none; run tfbs-shift evaluate again"),
    ],
)
def test_mistakes_of_compare(runs, message, hand, tmp_path, capsys):
    for name, text in (("bad", "{"), ("old", "{}")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "robustness.json").write_text(text)
    figures = json.loads((hand / "robustness.json").read_text())
    without = {key: value for key, value in figures.items() if key != "threshold"}
    for name, changed in (("part", without), ("kind", figures | {"task": "poems"}),
                          ("bare", figures)):  # fmt: skip
        (tmp_path / name).mkdir()
        (tmp_path / name / "robustness.json").write_text(json.dumps(signed(changed)))
    bare = tmp_path / "bare" / "shifts.npz"
    np.savez(bare, labels=np.eye(2)[[1] * 4])
    changed = signed(
        figures | {"files": {bare.name: hashlib.sha256(bare.read_bytes()).hexdigest()}}
    )
    bare.with_name("robustness.json").write_text(json.dumps(changed))
    names = ("bad", "old", "part", "kind", "bare")
    runs = runs.format(hand=hand, **{name: tmp_path / name for name in names})
    assert main(["compare", f"--runs={runs}", f"--out={tmp_path / 'o'}"]) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "o").exists()


def test_rows_are_written_as_they_come(tmp_path):
    """A table of as many examples as there may be is not held at once."""
    rows = ({"a": i, "b": f"{i:050}"} for i in range(40_000))
    tracemalloc.start()
    write_rows(tmp_path / "t.csv", rows, ["a", "b"])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**20  # the rows together take 10 times that
    assert len((tmp_path / "t.csv").read_text().splitlines()) == 40_001


def test_an_audit_is_written_with_the_examples_it_was_made_on(tmp_path):
    """Others would give it their checksum, and compare would believe it."""
    examples = data.synthetic(6, length=40)
    found = evaluate(detector(), examples.x[:5], examples.y[:5], self_checks=False)
    with pytest.raises(InputError, match="12 examples, but the audit is of 5"):
        reports.write_audit(found, examples, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_rows_of_a_table(tmp_path):
    """Of other columns each; a file that could not be written whole is left as it was."""
    path = tmp_path / "new" / "table.csv"
    write_rows(path, iter([{"a": 1, "b": "x,y"}, {"b": "\u00e9", "c": 0.5}]))
    assert path.read_bytes() == 'a,b,c\n1,"x,y",\n,\u00e9,0.5\n'.encode()
    write_rows(path, [{"a": 1}], ["b", "a"])
    assert path.read_bytes() == b"b,a\n,1\n"
    with pytest.raises(ValueError):
        write_rows(path, [{"a": 2}, {"c": 1}], ["a"])
    assert path.read_bytes() == b"b,a\n,1\n"
    write_rows(path, [], ["a"])
    assert path.read_bytes() == b"a\n"
    assert [file.name for file in path.parent.iterdir()] == ["table.csv"]
