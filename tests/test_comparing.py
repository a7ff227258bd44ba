"""Audits of values, and of examples without labels, side by side: beside scipy, and by hand."""

import json

import keras
import numpy as np
import pytest
from scipy import stats

from tfbs_shift import Details, Shifts, audit, reports, sequences
from tfbs_shift.commands import main
from tfbs_shift.data import Examples
from tfbs_shift.evaluation.comparing import SavedAudit, compare, differences
from tfbs_shift.reports import plots, tables

from .conftest import WINDOW, functional

COUNT, STARTS = 60, 4


def audited(folder, units=1, activation=None, y="values", seed=0, spans=None, **details):
    """The audit of a random network, its folder read back; the examples are always the same."""
    keras.utils.set_random_seed(seed)
    rng = np.random.default_rng(5)
    codes = rng.integers(0, 4, (COUNT, WINDOW + STARTS - 1)).astype(np.uint8)
    numbers = rng.normal(size=(COUNT, units)).astype(np.float32)
    if details.get("average_strands"):
        codes[COUNT // 2 :] = sequences.reverse_complement_codes(codes[: COUNT // 2])
        numbers[COUNT // 2 :] = numbers[: COUNT // 2]
    labels = {"values": numbers, "labels": (numbers > 0).astype(np.uint8), None: None}[y]
    examples = Examples(codes, labels, source="random")
    shifts = None if spans is None else Shifts(protect=spans)
    found = audit(functional(units, activation), examples, shifts, Details(**details))
    reports.write_audit(found, examples, folder)
    return SavedAudit.read(folder)


def arrays_of(audits):
    return [np.load(one.folder / "shifts.npz") for one in audits]


def intraclass(values):
    """ICC(1) of (N, S) from the F test of scipy: (F - 1) / (F + S - 1)."""
    f = stats.f_oneway(*values.astype(float)).statistic
    return (f - 1) / (f + values.shape[1] - 1)


@pytest.mark.parametrize("y", ["values", None])
def test_differences_in_reliability(y, tmp_path, rng):
    """Beside the analysis of variance of the predictions at every start, examples drawn anew."""
    audits = [audited(tmp_path / f"{s}", y=y, seed=s) for s in (0, 1)]
    (row,) = [one for one in differences(audits) if one["metric"] == "reliability"]
    one, two = (arrays["prediction"] for arrays in arrays_of(audits))
    assert row["strategy"] is None and "p" not in row
    assert row["difference"] == pytest.approx(intraclass(two) - intraclass(one), abs=1e-4)
    drawn = [rng.integers(0, COUNT, COUNT) for _ in range(400)]
    changes = [intraclass(two[rows]) - intraclass(one[rows]) for rows in drawn]
    low, high = np.percentile(changes, [2.5, 97.5])
    assert [row["low"], row["high"]] == pytest.approx([low, high], abs=0.2 * (high - low))
    figures = [one.figures["reliability"] for one in audits]
    assert row["difference"] == pytest.approx(figures[1] - figures[0], abs=1e-6)


@pytest.mark.parametrize(("units", "activation", "y"), [(3, None, "values"), (3, None, None),
                                                        (3, "sigmoid", "labels")])  # fmt: skip
def test_reliability_of_several_outputs(units, activation, y, tmp_path):
    """It is that of each audit, of examples that may not use every start, too; without worst there
    is none."""
    spans = np.tile([3, 12], (COUNT, 1))
    spans[: COUNT // 2] = [1, 13]  # these may use two starts
    audits = [audited(tmp_path / f"{s}", units, activation, y, s, spans) for s in (0, 1)]
    assert audits[0].arrays["allowed"].sum(axis=1).tolist() != [STARTS] * COUNT
    (row,) = [one for one in differences(audits) if one["metric"] == "reliability"]
    figures = [one.figures["reliability"] for one in audits]
    assert row["difference"] == pytest.approx(figures[1] - figures[0], abs=1e-6)
    assert row["low"] < row["high"]


def test_both_strands_are_drawn_as_one(tmp_path):
    """Of mean squared errors the halves are pairs: as wide an interval as of their means alone."""
    audits = [audited(tmp_path / f"{s}", seed=s, average_strands=True) for s in (0, 1)]
    rows = {(r["strategy"], r["metric"]): r for r in differences(audits)}
    row = rows["worst", "mse"]
    one, two = (arrays["squared_error_worst"].astype(float) for arrays in arrays_of(audits))
    change = (two - one).reshape(2, -1).mean(axis=0)
    assert row["difference"] == pytest.approx(change.mean())
    assert row["p"] == pytest.approx(stats.wilcoxon(change).pvalue)
    size = change.std() / np.sqrt(len(change)) * 2 * 1.96
    assert row["high"] - row["low"] == pytest.approx(size, rel=0.15)
    figures = [a.figures["strategies"]["worst"]["pearson"] for a in audits]
    assert rows["worst", "pearson"]["difference"] == pytest.approx(figures[1] - figures[0])


def test_what_is_zero_by_definition_is_not_tested(tmp_path):
    """Else a p-value were of rounding, and would count among the tests."""
    audits = [audited(tmp_path / f"{s}", 2, y=None, seed=s) for s in (0, 1)]
    rows = [row for row in differences(audits) if row["metric"] == "moved"]
    assert [(row["strategy"], "p" in row) for row in rows] == [
        ("none", False), ("random", True), ("worst", True)
    ]  # fmt: skip
    p = [row["p"] for row in rows[1:]]
    q = stats.false_discovery_control(p)
    assert [row["q"] for row in rows[1:]] == pytest.approx(q)


def test_different_tolerances_are_said(tmp_path, capsys):
    """They are compared, since no metric depends on them; certificates do."""
    audits = [audited(tmp_path / name, tolerance=t) for name, t in (("a", 0.25), ("b", 0.5))]
    found = compare(audits)
    assert {row["difference"] for row in found.differences} == {0.0}
    out = tmp_path / "both"
    assert main(["compare", f"--runs={tmp_path}/a,{tmp_path}/b", f"--out={out}"]) == 0
    said = "a: certified within 0.25; b: certified within 0.5"
    assert said in capsys.readouterr().out
    page = (out / "report.html").read_text()
    assert said in page and "certified at every shift" in page
    table = {row[0]: row[1:] for row in tables.table(found.figures)}
    shares = [(one.arrays["certificate"] == STARTS // 2).mean() for one in audits]
    assert [float(cell) for cell in table["certified at every shift"]] == pytest.approx(
        shares, abs=1e-4
    )


def test_the_page_says_which_tests(tmp_path):
    for units, y, words in (
        (3, "values", ["Wilcoxon&#x27;s signed-rank test of the squared errors.", "MSE (less is"]),
        (2, None, ["Wilcoxon&#x27;s signed-rank test of the distances.", "moved (standard"]),
    ):
        audits = [audited(tmp_path / f"{units}-{s}", units, y=y, seed=s) for s in (0, 1)]
        out = tmp_path / f"both{units}"
        reports.write_comparison(compare(audits), out)
        page = (out / "report.html").read_text()
        assert all(word in page for word in words)
        assert "McNemar" not in page
        rows = json.loads((out / "comparison.json").read_text())["differences"]
        assert rows[-1]["metric"] == "reliability" and rows[-1]["strategy"] is None


def test_numbers_with_a_unit_are_never_rounded_to_nothing(tmp_path):
    assert tables.number(3.25e-6, "mse") == "3.25e-06"
    assert tables.number(-3.25e-6, "reliability") == "-0.0000"
    assert tables.number(1234567.0, "wobble", 3) == "1.23e+06"
    assert tables.number(0.25, "mse", 3, "+") == "+0.250"


def test_predictions_that_never_change(tmp_path):
    """There is no correlation: the finding and the curve are of what is known."""
    rng = np.random.default_rng(5)
    codes = rng.integers(0, 4, (COUNT, WINDOW + 3)).astype(np.uint8)
    examples = Examples(codes, rng.normal(size=(COUNT, 1)).astype(np.float32), source="random")
    model = functional(1, None)
    model.layers[-1].set_weights([np.zeros((8, 1)), np.ones(1)])
    audits = []
    for name in ("a", "b"):
        found = audit(model, examples)
        reports.write_audit(found, examples, tmp_path / name, title="flat")
        audits.append(SavedAudit.read(tmp_path / name))
    mse = np.mean((examples.y - 1) ** 2)
    page = (tmp_path / "a" / "report.html").read_text()
    assert f"flat: MSE {mse:.3f} under none" in page and "<td>Pearson" not in page
    assert not (tmp_path / "a" / "plots" / "curve_mse.png").exists()  # the first is of it
    metrics = {row["metric"] for row in differences(audits)}
    assert metrics == {"mse"}
    reports.write_comparison(compare(audits), tmp_path / "both")
    assert "MSE (less is better)" in (tmp_path / "both" / "report.html").read_text()


def test_losses_below_zero_are_drawn():
    """Those of Poisson's are p - y log p: above 0 where y is 0, below for a large one."""
    model = functional(1, "softplus")
    model.compile("sgd", keras.losses.Poisson())
    model.layers[-1].set_weights([np.full((8, 1), 0.5), np.full(1, 9.0)])
    x = np.random.default_rng(5).integers(0, 4, (COUNT, WINDOW + 3)).astype(np.uint8)
    counts = np.where(np.arange(COUNT) % 2, 0, 12)[:, None].astype(np.float32)
    found = audit(model, Examples(x, counts, source="random"))
    loss = found.every["loss"]
    assert loss[0].max() < 0 < loss[1].min()
    for axes in plots.examples(found, {"many": 0, "none": 1}).axes[1::2]:
        low, high = axes.get_ylim()
        assert axes.get_ylabel() == "loss"
        assert low < loss[:2].min() and loss[:2].max() < high
