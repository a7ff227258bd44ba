"""The page as a browser sees it, and the commands that make it."""

import csv
import json
import re
import shutil
import subprocess

import keras
import numpy as np
import pytest
from scipy import stats
from sklearn import metrics

from tfbs_shift import Details, InputError, Shifts, audit, data, models, reports
from tfbs_shift.commands import main
from tfbs_shift.data import Examples
from tfbs_shift.evaluation.comparing import SavedAudit, compare, signed
from tfbs_shift.reports import tables

from .conftest import WINDOW, functional
from .test_commands import deepsea_folder, fails

__all__ = ["deepsea_folder"]  # a fixture

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)


@pytest.fixture(scope="module")
def audits(tmp_path_factory):
    """Two untrained networks audited on synthetic sequences with coordinates."""
    folder = tmp_path_factory.mktemp("audits")
    examples = data.synthetic(40, length=44, seed=3)
    rows = zip(examples.codes, examples.labels[:, 1], strict=True)
    lines = []
    for i, (codes, label) in enumerate(rows):
        letters = data.examples.sequences.decode(codes)
        end = "" if label else "_shuf"
        lines.append(f">chr{i % 7 + 1}:{1000 * i + 1}-{1000 * i + 44}{end} {letters} {label}\n")
    for name in ("train", "test"):
        (folder / f"{name}.data").write_text("".join(lines))
    for seed in (0, 1):
        keras.utils.set_random_seed(seed)
        models.cnn(36).save(folder / f"cnn{seed}.keras")
        words = [f"--model={folder}/cnn{seed}.keras", f"--data={folder}", "--examples=2"]
        assert main(["evaluate", *words, f"--out={folder / f'audit{seed}'}"]) == 0
    return folder


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
@pytest.mark.parametrize("what", ["audit", "comparison"])
def test_a_browser_shows_the_page(what, audits, tmp_path):
    """Real headless Chromium: nothing on the console, every figure drawn, tables and text there,
    nothing wider than a phone."""
    page = audits / "audit0" / "report.html"
    if what == "comparison":
        runs = f"--runs={audits}/audit0,{audits}/audit1"
        assert main(["compare", runs, f"--out={tmp_path / 'both'}"]) == 0
        page = tmp_path / "both" / "report.html"
    probe = """<script>addEventListener("load", () => {
      const boxes = [...document.querySelectorAll("figure svg")].map(
        s => { const b = s.getBoundingClientRect(); return [b.width, b.height] });
      const drawn = [...document.querySelectorAll("figure svg")].map(
        s => s.querySelectorAll("path, image").length);
      document.title = JSON.stringify({boxes, drawn, wide: document.documentElement.scrollWidth,
        inner: innerWidth, tables: document.querySelectorAll("table").length,
        labels: [...document.querySelectorAll("figure svg")].map(
          s => (s.getAttribute("aria-label") || "").length)}) })</script>"""
    copy = tmp_path / "page.html"
    copy.write_text(page.read_text().replace("</body>", probe + "</body>"))
    done = subprocess.run(
        [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr",
         "--disable-background-networking", "--disable-component-update", "--disable-sync",
         "--no-first-run", f"--user-data-dir={tmp_path / 'profile'}", "--window-size=500,900",
         "--virtual-time-budget=3000", "--dump-dom", copy.as_uri()],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    assert "CONSOLE" not in done.stderr
    seen = json.loads(re.search(r"<title>(.*?)</title>", done.stdout)[1].replace("&quot;", '"'))
    assert len(seen["boxes"]) == len(list((page.parent / "plots").glob("*.svg"))) > 2
    assert all(width > 200 and height > 100 for width, height in seen["boxes"])
    assert all(count > 5 for count in seen["drawn"])
    assert all(length > 40 for length in seen["labels"])
    assert seen["wide"] <= seen["inner"]
    assert seen["tables"] >= 2


def test_what_an_audit_with_coordinates_says(audits):
    """Chromosomes as groups, the duplicates of a test set that is the training set, controls."""
    figures = json.loads((audits / "audit0" / "robustness.json").read_text())
    assert figures["intervals"]["groups"]["number"] == 7
    assert figures["data"]["negatives"] == "shuffled"
    checks = {check["name"]: check for check in figures["checks"]}
    # a tenth of the training file is the validation set
    assert "72 of 80 test sequences" in checks["duplicates"]["message"]
    assert re.search(r"3\d of 40 test windows overlap", checks["overlap"]["message"])
    assert not checks["chance"]["passed"]
    assert set(figures["controls"]) == {"real", "shuffled", "dinucleotide", "uniform", "random"}
    bed = (audits / "audit0" / "certificates.bed").read_text().splitlines()
    assert len(bed) == 41
    assert all(re.fullmatch(r"chr\d\t\d+\t\d+\tchr\S+_r=-?\d\t\d+\t\+", row) for row in bed[1:])
    page = (audits / "audit0" / "report.html").read_text()
    assert page.count('class="warning"') == sum(not c["passed"] for c in checks.values())


def test_protecting_a_motif_on_the_command_line(audits, tmp_path, capsys):
    words = [f"--model={audits}/cnn0.keras", f"--data={audits}", f"--out={tmp_path / 'p'}"]
    assert main(["evaluate", *words, "--protect=motif", "--motif=SP1"]) == 0
    assert "note: --motif=SP1: SP1, 11 bp, counts of 8734 sites\n" in capsys.readouterr().err
    done = json.loads((tmp_path / "p" / "robustness.json").read_text())["protection"]
    free = json.loads((audits / "audit0" / "robustness.json").read_text())
    assert done["what"] == "motif SP1"
    assert 0 < done["windows_excluded"] < 1
    worst = free["strategies"]["worst"]
    assert done["worst_without"]["loss"] == pytest.approx(worst["loss"])
    with np.load(tmp_path / "p" / "shifts.npz") as arrays:
        assert (~arrays["allowed"]).mean() == pytest.approx(done["windows_excluded"])
    page = (tmp_path / "p" / "report.html").read_text()
    assert "Protected spans (motif SP1) excluded" in page
    assert "--motif=SP1" in (tmp_path / "p" / "flags.txt").read_text()
    for more, message in (
        (["--motif=SP1"], "--motif=SP1: only with --protect=motif"),
        (["--motif_format=meme"], "--motif_format=meme: only with --protect=motif"),
        (["--protect=motif"], "protect motif: which matrix?"),
        (["--protect=0-44"], "no window of 36 bp"),
        (["--protect=summit"], "has no summits"),
        (["--examples=80"], "--examples=80: no example has this name or number"),
    ):
        assert message in fails(capsys, "evaluate", *words[:2], f"--out={tmp_path / 'o'}", *more)
        assert not (tmp_path / "o" / "report.html").exists()


def test_repeats_and_differences_on_the_page(audits, tmp_path, capsys):
    """Two seeds of one training; the second run named by hand."""
    folders = []
    for seed in (0, 1):
        folder = tmp_path / f"seed{seed}"
        shutil.copytree(audits / f"audit{seed}", folder)
        figures = json.loads((folder / "robustness.json").read_text())
        figures["training"] = {"model": "cnn", "strategy": "none", "seed": seed}
        reports.write_json(signed(figures), folder / "robustness.json")
        folders.append(folder)
    runs = f"--runs={folders[0]},other={folders[1]}"
    assert main(["compare", runs, f"--out={tmp_path / 'both'}"]) == 0
    printed = capsys.readouterr().out
    assert "Repeats with other seeds" in printed
    assert "Differences from seed0" in printed
    found = json.loads((tmp_path / "both" / "comparison.json").read_text())
    (group,) = found["repeats"]
    assert group["seeds"] == [0, 1]
    values = [
        json.loads((folder / "robustness.json").read_text())["strategies"]["worst"]["accuracy"]
        for folder in folders
    ]
    assert group["strategies"]["worst"]["accuracy"]["mean"] == pytest.approx(np.mean(values))
    assert {row["run"] for row in found["differences"]} == {"other"}
    worst = next(row for row in found["differences"] if row["strategy"] == "worst")
    assert worst["difference"] == pytest.approx(values[1] - values[0])


def test_networks_of_several_labels_are_compared(deepsea_folder, tmp_path, capsys):
    """The difference in AUROC is scikit-learn's on the predictions kept; labels are tested, too."""
    folders = []
    for seed in (0, 1):
        keras.utils.set_random_seed(seed)
        file = tmp_path / f"several{seed}.keras"
        functional(5, "sigmoid", window=90).save(file)
        out = tmp_path / f"audit{seed}"
        words = [f"--model={file}", f"--data={deepsea_folder}", "--labels=all", "--draws=2"]
        assert main(["evaluate", *words, "--strategies=none,worst", f"--out={out}"]) == 0
        page = (out / "report.html").read_text()
        assert page.count("<svg") == len(list((out / "plots").glob("*.svg")))
        assert "lowest and highest draw" in page
        assert "keeps every label" in page
        folders.append(out)
    first = json.loads((folders[0] / "robustness.json").read_text())
    assert first["curve"][-1]["auroc"] == first["strategies"]["worst"]["auroc"]
    assert (folders[0] / "curve.csv").read_text().startswith("max_shift,")
    assert not (folders[0] / "certificates.bed").exists()
    capsys.readouterr()
    runs = f"--runs={folders[0]},{folders[1]}"
    assert main(["compare", runs, f"--out={tmp_path / 'both'}"]) == 0
    assert "labels that differ" in capsys.readouterr().out
    rows = json.loads((tmp_path / "both" / "comparison.json").read_text())["differences"]
    assert [(row["strategy"], row["metric"]) for row in rows] == [
        ("none", "auroc"), ("none", "aupr"), ("worst", "auroc"), ("worst", "aupr"),
        (None, "reliability"),
    ]  # fmt: skip
    y = data.load(deepsea_folder, labels="all").y
    kept = [0, 1, 2, 4]  # label 3 has no example
    for row in rows[:4:2]:
        file = f"predictions/predictions_{row['strategy']}.npy"
        areas = [
            metrics.roc_auc_score(y[:, kept], np.load(folder / file)[:, kept]) for folder in folders
        ]
        assert row["difference"] == pytest.approx(areas[1] - areas[0])
        assert row["low"] < row["difference"] < row["high"]
        assert row["labels_tested"] == 4
    with (tmp_path / "both" / "labels.csv").open() as file:
        labels = list(csv.DictReader(file))
    assert [(row["strategy"], row["label"]) for row in labels] == [
        (strategy, str(k)) for strategy in ("none", "worst") for k in kept
    ]
    for i, k in enumerate(kept):
        p = np.load(folders[1] / "predictions" / "predictions_none.npy")[:, k]
        assert float(labels[i]["auroc"]) == pytest.approx(metrics.roc_auc_score(y[:, k], p))
        assert float(labels[i]["p"]) <= float(labels[i]["q"]) <= 1
    (folders[1] / "predictions" / "predictions_worst.npy").write_bytes(b"")
    words = ["compare", runs, f"--out={tmp_path / 'o'}"]
    assert "predictions_worst.npy: damaged, or of another audit" in fails(capsys, *words)


def test_python_finds_out_and_writes_what_the_command_does(audits, tmp_path):
    """Figures and tables of ``ts.audit`` and ``write_audit`` are the command's, checksum too."""
    model, examples = models.load(audits / "cnn0.keras"), data.load(audits)
    seen = data.load(audits, "train")
    found = audit(model, examples, details=Details(examples=[2]), trained_on=seen)
    reports.write_audit(found, examples, tmp_path / "mine", title="cnn0.keras")
    theirs = audits / "audit0"
    for name in ("robustness.json", "robustness.csv", "curve.csv", "examples.csv"):
        assert (tmp_path / "mine" / name).read_text() == (theirs / name).read_text()
    assert main(["compare", f"--runs={theirs},{tmp_path}/mine", f"--out={tmp_path / 'both'}"]) == 0
    rows = json.loads((tmp_path / "both" / "comparison.json").read_text())["differences"]
    assert len(rows) == 3 * 4 + 1  # strategies, metrics but the loss; reliability
    assert {row["difference"] for row in rows} == {0.0}


def test_audits_of_several_labels_written_from_python_are_compared(tmp_path, rng):
    """The predictions that compare needs are written, too; other examples are not paired."""
    x, y = rng.integers(0, 4, (30, 20)).astype("u1"), rng.integers(0, 2, (30, 3)).astype("u1")
    runs = {}
    for name, labels in (("one", y), ("two", y), ("other", 1 - y)):
        examples = data.Examples(x, labels, source="random")
        found = audit(functional(3, "sigmoid"), examples, Shifts(("none", "worst")))
        reports.write_audit(found, examples, tmp_path / name, title=name)
        runs[name] = found
    read = [SavedAudit.read(tmp_path / name) for name in runs]
    comparison = compare(read)
    assert comparison.unpaired == ["other"]
    assert {row["run"] for row in comparison.differences} == {"two"}
    row = comparison.differences[0]
    auroc = [metrics.roc_auc_score(y, runs[n].chosen["none"]["scores"]) for n in ("one", "two")]
    assert row["difference"] == pytest.approx(auroc[1] - auroc[0])


# ---- values, and audits without labels ----


def audited(tmp_path, units, activation, labelled=True, name="a", seed=0, **details):
    """An audit of a random network, in a folder: (audit, examples, folder)."""
    keras.utils.set_random_seed(seed)
    model = functional(units, activation)
    rng = np.random.default_rng(1)
    codes = rng.integers(0, 4, (40, WINDOW + 5)).astype(np.uint8)
    y = rng.normal(size=(40, units)).astype(np.float32) if labelled else None
    names = [f"track{k}" for k in range(units)] if units > 1 else None
    examples = Examples(codes, y, source="random", label_names=names)
    found = audit(model, examples, details=Details(**details))
    reports.write_audit(found, examples, tmp_path / name, title="network")
    return found, examples, tmp_path / name


def test_an_audit_of_one_value(tmp_path):
    _, examples, out = audited(tmp_path, 1, None)
    arrays = np.load(out / "shifts.npz")
    y = examples.y[:, 0]
    figures = json.loads((out / "robustness.json").read_text())
    for strategy in ("none", "random", "worst"):
        p = arrays[f"prediction_{strategy}"]
        metrics = figures["strategies"][strategy]
        assert metrics["pearson"] == pytest.approx(stats.pearsonr(y, p)[0], abs=1e-5)
        assert metrics["mse"] == pytest.approx(np.mean((y - p) ** 2), rel=1e-4)
    tolerance = arrays["prediction_none"].std() / 10
    assert figures["tolerance"] == [pytest.approx(tolerance, rel=1e-4)]
    rows = list(csv.DictReader((out / "examples.csv").open()))
    assert np.allclose([float(row["label"]) for row in rows], y, atol=1e-5)
    lowest = arrays["prediction"].min(axis=1)
    assert np.allclose([float(row["lowest"]) for row in rows], lowest, atol=1e-5)
    page = (out / "report.html").read_text()
    kept = (arrays["certificate"] == 3).mean()
    assert f"{kept:.1%} of 40 examples keep at every shift what is predicted" in page
    assert f"within {tolerance:.3g}, a tenth of the standard deviation" in page
    assert "its labels are numbers other than 0 and 1" in page
    assert "<b>Pearson, Spearman</b>" in page and "<b>AUROC" not in page
    assert not (out / "labels.csv").exists()
    assert {path.stem for path in (out / "plots").glob("*.png")} >= {"curve", "curve_mse"}
    given, _, out = audited(tmp_path, 1, None, name="given", tolerance=0.25)
    assert given.task.tolerance == (0.25,)
    assert "predicted at the centre, within 0.25." in (out / "report.html").read_text()


def test_an_audit_of_several_values(tmp_path):
    found, examples, out = audited(tmp_path, 3, "softplus")
    rows = list(csv.DictReader((out / "labels.csv").open()))
    assert [row["label"] for row in rows] == ["track0", "track1", "track2"]
    for k, row in enumerate(rows):
        for strategy in ("none", "worst"):
            p = np.load(out / "predictions" / f"predictions_{strategy}.npy")[:, k]
            y = examples.y[:, k]
            assert float(row[f"pearson_{strategy}"]) == pytest.approx(
                stats.pearsonr(y, p)[0], abs=1e-5
            )
            assert float(row[f"spearman_{strategy}"]) == pytest.approx(
                stats.spearmanr(y, p)[0], abs=1e-5
            )
            assert float(row[f"mse_{strategy}"]) == pytest.approx(np.mean((y - p) ** 2), rel=1e-4)
    assert "each output within a tenth" in (out / "report.html").read_text()
    assert "mean of 3 outputs" in tables.text_table({"a": found.to_dict()})


@pytest.mark.parametrize(("units", "activation"), [(1, "sigmoid"), (2, "softmax"), (3, "sigmoid"),
                                                   (1, None), (2, None)])  # fmt: skip
def test_an_audit_without_labels(units, activation, tmp_path):
    _, _, out = audited(tmp_path, units, activation, labelled=False)
    arrays = np.load(out / "shifts.npz")
    assert "labels" not in arrays.files
    rows = list(csv.DictReader((out / "examples.csv").open()))
    assert "label" not in rows[0]
    worst = arrays["worst_start"] - arrays["starts"][0]
    moved = arrays["moved"][np.arange(40), worst]
    assert np.allclose([float(row["moved"]) for row in rows], moved, atol=1e-5)
    figures = json.loads((out / "robustness.json").read_text())
    assert figures["task"] == "unlabelled"
    assert figures["strategies"]["worst"]["moved"] == pytest.approx(moved.mean(), rel=1e-4)
    page = (out / "report.html").read_text()
    if activation is None:
        assert "keep at every shift what is predicted" in page and "flipped" not in page
        assert figures["controls"] is None if "controls" in figures else True
    else:
        assert "called at every shift as at the centre" in page and "<b>flipped</b>" in page
    assert ("prediction" in rows[0]) == (activation is None and units == 1)
    assert ("probability" in rows[0]) == (activation == "softmax" or (units, activation) ==
                                          (1, "sigmoid"))  # fmt: skip


@pytest.mark.parametrize(("units", "labelled"), [(1, True), (3, True), (1, False)])
def test_audits_of_values_are_compared(units, labelled, tmp_path):
    """Paired tests and differences, beside scipy's on the arrays."""
    folders = [audited(tmp_path, units, None, labelled, f"seed{s}", s)[2] for s in (0, 1)]
    audits = [SavedAudit.read(folder) for folder in folders]
    found = compare(audits)
    column = "squared_error" if labelled else "moved"
    one, two = (np.load(folder / "shifts.npz")[f"{column}_worst"] for folder in folders)
    metric = "mse" if labelled else "moved"
    (row,) = [r for r in found.differences if (r["strategy"], r["metric"]) == ("worst", metric)]
    assert row["difference"] == pytest.approx((two - one).mean(), rel=1e-4)
    assert row["low"] < row["difference"] < row["high"]
    assert row["p"] == pytest.approx(stats.wilcoxon(two.astype(float) - one).pvalue)
    (none,) = [r for r in found.differences if (r["strategy"], r["metric"]) == ("none", metric)]
    if not labelled:
        assert none["difference"] == pytest.approx(0, abs=1e-4)
        assert found.labels == []
        return
    (row,) = [r for r in found.differences if (r["strategy"], r["metric"]) == ("worst", "pearson")]
    gap = [a.figures["strategies"]["worst"]["pearson"] for a in audits]
    assert row["difference"] == pytest.approx(gap[1] - gap[0], abs=1e-5)
    assert len(found.labels) == (3 * 3 if units == 3 else 0)
    for one in found.labels:
        k = int(one["label"].removeprefix("track"))
        errors = [
            (np.load(folder / "predictions" / f"predictions_{one['strategy']}.npy")[:, k]
             - np.load(folder / "shifts.npz")["labels"][:, k]) ** 2
            for folder in folders
        ]  # fmt: skip
        assert one["p"] == pytest.approx(stats.wilcoxon(errors[1] - errors[0]).pvalue, rel=1e-3)


def test_other_tasks_are_not_compared(tmp_path):
    values, nothing = (audited(tmp_path, 1, None, labelled, f"is{labelled}")[2]
                       for labelled in (True, False))  # fmt: skip
    with pytest.raises(InputError, match=r"different tasks .*isTrue: values, isFalse: unlabelled"):
        compare([SavedAudit.read(values), SavedAudit.read(nothing)])


def test_one_label_by_itself(tmp_path):
    """A sigmoid that is to be judged as a label: AUROC and AUPR, and nothing of classes."""
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(1)
    codes = rng.integers(0, 4, (40, WINDOW + 5)).astype(np.uint8)
    y = rng.integers(0, 2, (40, 1)).astype(np.uint8)
    examples = Examples(codes, y, source="random")
    for name, seed in (("a", 0), ("b", 1)):
        keras.utils.set_random_seed(seed)
        model = functional(1, "sigmoid")
        found_audit = audit(model, examples, details=Details(task="labels"))
        reports.write_audit(found_audit, examples, tmp_path / name)
    assert list(found_audit.strategies["worst"]) == ["auroc", "aupr", "loss"]
    scores = np.load(tmp_path / "b" / "predictions" / "predictions_worst.npy")
    assert found_audit.strategies["worst"]["auroc"] == pytest.approx(
        metrics.roc_auc_score(y[:, 0], scores[:, 0])
    )
    found = compare([SavedAudit.read(tmp_path / name) for name in ("a", "b")])
    assert {row["metric"] for row in found.differences} == {"auroc", "aupr", "reliability"}
