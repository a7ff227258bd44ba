"""An audit and a run are whole or absent, of one making, and known again."""

import csv
import hashlib
import json
import re
import shutil

import numpy as np
import pytest

from tfbs_shift import InputError, data, reports
from tfbs_shift.commands import main
from tfbs_shift.evaluation import audits
from tfbs_shift.evaluation.comparing import SavedAudit, signed

from .conftest import functional
from .test_commands import fails, folder, trained  # noqa: F401
from .test_deepsea import write_hdf5


@pytest.fixture(scope="module")
def done(trained, folder, tmp_path_factory):  # noqa: F811
    out = tmp_path_factory.mktemp("done") / "audit"
    words = [f"--model={trained}", f"--data={folder}", f"--out={out}"]
    assert main(["evaluate", *words]) == 0
    return words, out


def copied(done, tmp_path):
    words, out = done
    shutil.copytree(out, tmp_path / "audit")
    return [*words[:-1], f"--out={tmp_path / 'audit'}"], tmp_path / "audit"


def contents(folder):  # noqa: F811
    return {
        file.relative_to(folder): (file.stat().st_mtime_ns, file.read_bytes())
        for file in folder.rglob("*")
        if file.is_file() and "/." not in str(file.relative_to(folder.parent))
    }


def test_the_same_audit_again_is_not_computed(done, capsys):
    words, out = done
    before = contents(out)
    assert main(["evaluate", *words]) == 0
    assert capsys.readouterr().out.endswith(
        f"{out}: is done, with these flags, this model and this data\n"
    )
    assert contents(out) == before
    assert not [file for file in out.iterdir() if file.name in (".partial", ".new", ".writer")]


@pytest.mark.parametrize("change", ["flag", "whole", "data"])
def test_another_audit_takes_its_place(change, done, folder, tmp_path, capsys):  # noqa: F811
    words, out = done[0][:-1], tmp_path / "audit"
    shutil.copytree(done[1], out)
    (out / "mine.txt").touch()
    flags = (out / "flags.txt").read_text().replace(str(done[1]), str(out))
    (out / "flags.txt").write_text(flags)
    if change == "flag":
        words.append("--strategies=none,random")
    elif change == "whole":
        (out / "robustness.json").unlink()
    else:
        shutil.copytree(folder, tmp_path / "data")
        table = tmp_path / "data" / "test.csv"
        rows = table.read_text().splitlines()
        table.write_text("\n".join([rows[0], rows[1][:-1] + "01"[rows[1][-1] == "0"], *rows[2:]]))
        words[1] = f"--data={tmp_path / 'data'}"
        (out / "flags.txt").write_text(flags.replace(f"--data={folder}", words[1]))
    assert main(["evaluate", *words, f"--out={out}"]) == 0
    assert "is done" not in capsys.readouterr().out
    assert (out / "mine.txt").exists()
    assert (out / "certificates.bed").exists() is False
    assert (out / "curve.csv").exists() == (change != "flag")
    assert (out / "plots").exists() == (change != "flag")
    audit = SavedAudit.read(out)
    assert set(audit.arrays) >= {"starts", "labels"}


def test_arrays_of_another_audit_are_not_believed(done, trained, folder, tmp_path, capsys):  # noqa: F811
    _, one = copied(done, tmp_path)
    two = tmp_path / "two"
    assert main(["evaluate", f"--model={trained}", f"--data={folder}", "--max_shift=1",
                 f"--out={two}"]) == 0  # fmt: skip
    shutil.copy(two / "shifts.npz", one / "shifts.npz")
    with pytest.raises(
        InputError, match=r"shifts\.npz: damaged, or of another audit than .*robustness\.json"
    ):
        SavedAudit.read(one).arrays  # noqa: B018
    line = fails(capsys, "compare", f"--runs={one},{two}", f"--out={tmp_path / 'c'}")
    assert "of another audit" in line
    assert not (tmp_path / "c").exists()


def test_predictions_of_another_audit_are_not_believed(rng, tmp_path):
    codes = rng.integers(0, 4, (12, 16)).astype(np.uint8)
    examples = data.Examples(codes, rng.integers(0, 2, (12, 3)).astype(np.uint8), source="mine")
    for name in ("one", "two"):
        audit = audits.audit(functional(3, "sigmoid"), examples)
        reports.write_audit(audit, examples, tmp_path / name)
    assert SavedAudit.read(tmp_path / "one").scores("worst").shape == (12, 3)
    shutil.rmtree(tmp_path / "one" / "predictions")
    shutil.copytree(tmp_path / "two" / "predictions", tmp_path / "one" / "predictions")
    with pytest.raises(InputError, match="of another audit than"):
        SavedAudit.read(tmp_path / "one").scores("worst")


def test_an_audit_that_cannot_be_written_leaves_the_earlier_one(done, monkeypatch, tmp_path):
    words, out = copied(done, tmp_path)
    before = contents(out)
    monkeypatch.setattr("tfbs_shift.reports.writing.page", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        main(["evaluate", *words, "--strategies=none,random"])
    assert contents(out) == before


@pytest.mark.parametrize("how", ["removed", "emptied"])
def test_a_folder_that_goes_while_it_is_audited(how, done, monkeypatch, tmp_path, capsys):
    words, out = done[0][:-1], tmp_path / "audit"
    real = audits.audit

    def gone(*args, **kwargs):
        found = real(*args, **kwargs)
        shutil.rmtree(out)
        if how == "emptied":
            out.mkdir()
        return found

    monkeypatch.setattr(audits, "audit", gone)
    assert "was removed, or emptied" in fails(capsys, "evaluate", *words, f"--out={out}")
    assert not (out / "robustness.json").exists()


# ---- runs ----


def test_a_finished_run_is_known_again(trained, folder, capsys):  # noqa: F811
    words = [f"--data={folder}", "--window=36", "--strategy=worst_of_2", "--epochs=2"]
    state = trained / "checkpoints" / "state-000002-000000000.npz"
    state.touch()  # as one that was killed at its very end leaves
    before = (trained / "model.keras").read_bytes()
    assert main(["train", *words, "--learning_rate=1e-3", f"--out={trained}"]) == 0
    assert capsys.readouterr().out == f"{trained}: is done, with these flags\n"
    assert not state.exists()
    assert (trained / "model.keras").read_bytes() == before
    line = fails(capsys, "train", *words, "--learning_rate=2e-3", f"--out={trained}")
    assert "holds a finished run (model.keras) with other flags" in line


def test_a_state_knows_its_flags(folder, tmp_path, monkeypatch, capsys):  # noqa: F811
    """Also where flags.txt has been rewritten by another run."""
    out = tmp_path / "run"
    words = [f"--data={folder}", "--window=36", "--strategy=none", "--epochs=3", f"--out={out}"]
    from tfbs_shift.training.folders import RunFolder

    real = RunFolder.write_history

    def stop(self, rows):
        real(self, rows)
        if len(rows) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(RunFolder, "write_history", stop)
    assert main(["train", *words, "--seed=1"]) == 130
    monkeypatch.undo()
    flags = out / "flags.txt"
    flags.write_text(flags.read_text().replace("--seed=1", "--seed=2"))
    capsys.readouterr()
    line = fails(capsys, "train", *words, "--seed=2")
    assert "holds an unfinished run with seed 1, not 2" in line
    assert main(["train", *words, "--seed=1"]) == 0
    assert "--seed=1" in flags.read_text()


def test_a_run_whose_folder_goes_says_so(folder, tmp_path, monkeypatch, capsys):  # noqa: F811
    out = tmp_path / "run"
    from tfbs_shift.training.folders import RunFolder

    monkeypatch.setattr(RunFolder, "write_history", lambda self, rows: shutil.rmtree(self.path))
    words = [f"--data={folder}", "--window=36", "--strategy=none", "--epochs=3", f"--out={out}"]
    assert "was removed, or emptied, while the run wrote" in fails(capsys, "train", *words)
    assert not out.exists()


# ---- data ----


def test_every_row_in_a_file_counts(tmp_path, rng):
    codes, labels = rng.integers(0, 4, (5000, 40)).astype(np.uint8), np.ones((5000, 3), np.uint8)
    sums = []
    for row in (None, 0, 2500, 4999):
        path = tmp_path / f"{row}.mat"
        changed = codes.copy()
        if row is not None:
            changed[row, 7] = (changed[row, 7] + 1) % 4
        write_hdf5(path, changed, labels)
        examples = data.load(path, labels="all")
        assert examples.in_file
        in_memory = data.Examples(changed, labels)
        assert examples.checksum() == in_memory.checksum() == examples.fingerprint()
        sums.append(examples.checksum())
    assert len(set(sums)) == 4


def test_much_data_is_known_by_rows_that_are_spread_and_by_its_file(tmp_path, rng, monkeypatch):
    monkeypatch.setattr("tfbs_shift.data.columns.MUCH", 1000)
    codes, labels = rng.integers(0, 4, (5000, 40)).astype(np.uint8), np.ones((5000, 3), np.uint8)
    path = tmp_path / "a.mat"
    write_hdf5(path, codes, labels)
    first = data.load(path, labels="all").fingerprint()
    assert first.startswith("sha256 of some rows, size and time ")
    assert data.load(path, labels="all").fingerprint() == first
    codes[2501, 3] = (codes[2501, 3] + 1) % 4
    write_hdf5(path, codes, labels)
    assert data.load(path, labels="all").fingerprint() != first


@pytest.mark.parametrize("seed", range(8))
def test_figures_that_were_changed_are_not_believed(seed, done, tmp_path):
    """A number of them, at any place."""
    path = tmp_path / "robustness.json"
    text = (done[1] / "robustness.json").read_text()
    digits = [match.start() for match in re.finditer(r"\d", text)]
    at = np.random.default_rng(seed).choice(digits)
    path.write_text(f"{text[:at]}{'1' if text[at] != '1' else '2'}{text[at + 1 :]}")
    with pytest.raises(InputError, match=r"robustness\.json: (damaged|want schema)"):
        SavedAudit.read(tmp_path)


def test_the_id_of_figures_is_that_of_their_json():
    figures = {"b": [1.5, (None, float("nan"))], "a": {1: "x", 10: 2**60, 9: True}}
    assert json.loads(json.dumps(signed(figures))) == signed(figures)
    assert signed(json.loads(json.dumps(signed(figures)))) == signed(figures)
    text = '{"a": {"1": "x", "10": 1152921504606846976, "9": true}, "b": [1.5, [null, null]]}'
    assert signed(figures)["id"] == hashlib.sha256(text.encode()).hexdigest()[:16]


def test_names_that_could_do_harm(rng, tmp_path):
    """In CSV a formula, in BED a line of its own, in a plot a formula of another kind."""
    names = np.array(["=cmd|'/c calc'!A1", "a\tb\nchr9\t0\t9\tforged", r"$\frac{$", "-", "_x"])
    codes = rng.integers(0, 4, (5, 16)).astype(np.uint8)
    starts = np.arange(5)
    places = data.examples.Intervals(np.array(["chr1"] * 5), starts, starts + 16)
    examples = data.Examples(codes, np.eye(2, dtype=np.uint8)[[0, 1, 0, 1, 1]], places, names)
    audit = audits.audit(functional(), examples)
    reports.write_audit(audit, examples, tmp_path / "audit", title=r"_$\frac{$")
    bed = (tmp_path / "audit" / "certificates.bed").read_text().splitlines()[1:]
    assert [line.count("\t") for line in bed] == [5] * 5
    assert [line.split("\t")[3].rpartition("_r=")[0] for line in bed] == [
        names[0], r"a\tb\nchr9\t0\t9\tforged", *names[2:]
    ]  # fmt: skip
    with (tmp_path / "audit" / "examples.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["name"] for row in rows] == [
        f"'{names[0]}", r"a\tb\nchr9\t0\t9\tforged", *names[2:]
    ]  # fmt: skip
