import os
import re
import sys
from pathlib import Path

import keras
import pytest
from keras import layers

import tfbs_shift
from tfbs_shift import data, models, sequences
from tfbs_shift.commands import COMMANDS, command_and_flags, flag_texts

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def python_in(page: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)


def test_the_ten_lines_run(tmp_path, monkeypatch, capsys):
    (tmp_path / "my_folder").mkdir()
    for split, count, seed in (("train", 40, 0), ("test", 10, 1)):
        data.write_zeng(data.synthetic(count, seed=seed), tmp_path / "my_folder" / f"{split}.data")
    monkeypatch.chdir(tmp_path)
    (code,) = python_in(README)
    assert "epochs=10" in code
    exec(compile(code.replace("epochs=10", "epochs=1"), "README.md", "exec"), {})
    assert "'worst': {'accuracy'" in capsys.readouterr().out
    assert models.load(tmp_path / "robust.keras").input_shape == (None, 90, 4)


def test_python_for_your_own_model_runs(tmp_path, monkeypatch, capsys):
    """In the order of the page, in one namespace, with a layer of the user's own module."""
    layer, audit, callback, train = python_in((ROOT / "docs" / "own_model.md").read_text())
    layer = layer.replace("...", "\n    def call(self, x):\n        return 2 * x")
    (tmp_path / "my_layers.py").write_text(layer)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    import my_layers

    x = keras.Input((90, 4))
    h = my_layers.Attention()(layers.Conv1D(8, 5, activation="relu")(x))
    y = layers.Dense(1, "sigmoid")(layers.GlobalMaxPooling1D()(h))
    model = keras.Model(x, y)
    model.compile("adam", "binary_crossentropy")
    model.save("mine.keras")
    examples = data.synthetic(20, seed=0)
    rows = zip(sequences.decode(examples.codes), examples.y[:, 1], strict=True)
    text = "sequence,label\n" + "".join(f"{bases},{label}\n" for bases, label in rows)
    Path("my_sequences.csv").write_text(text)
    names = {"train": examples, "valid": examples, "y": examples.y[:, 1:]}
    names["x"] = examples.x[:, 5:95]
    try:
        for code in (audit, callback, train):
            exec(compile(code.replace("epochs=10", "epochs=1"), "own_model.md", "exec"), names)
    finally:
        sys.modules.pop("my_layers", None)
    assert "'worst': {'accuracy'" in capsys.readouterr().out
    assert Path("audit/report.html").is_file()
    assert "worst_accuracy" in Path("audit.csv").read_text().splitlines()[0]
    assert models.load("robust.keras").input_shape == (None, 90, 4)


@pytest.mark.parametrize("path", sorted(set(re.findall(r"(?:configs|benchmarks)/[\w./]+", README))))
def test_files_it_names_exist(path):
    """Or files whose names begin so: the README has names with braces."""
    assert list(ROOT.glob(path.rstrip(".") + "*"))


def test_versions_agree():
    version = tfbs_shift.__version__
    assert f"\nversion: {version}\n" in (ROOT / "CITATION.cff").read_text()
    assert f"version = {version}\n" in (ROOT / "setup.cfg").read_text()
    newest = re.search(r"^## (\S+),", (ROOT / "CHANGELOG.md").read_text(), flags=re.MULTILINE)
    assert newest is not None and newest[1] == version


def test_ci_runs_with_each_python_that_is_named():
    workflow = (ROOT / ".github" / "workflows" / "ci.yml").read_text()
    setup = (ROOT / "setup.cfg").read_text()
    named = re.findall(r":: Python :: (3\.\d+)\n", setup)
    oldest, newest = named[0], named[-1]
    quoted = ", ".join(f'"{version}"' for version in named)  # bare, 3.10 is YAML's number 3.1
    assert f"        python: [{quoted}]\n" in workflow
    assert re.findall(r'python-version: "(.*)"', workflow) == [newest]
    assert f"python_requires = >={oldest}\n" in setup
    target = "py" + oldest.replace(".", "")
    assert f'target-version = "{target}"\n' in (ROOT / "pyproject.toml").read_text()
    assert "- run: .ci/run\n" in workflow
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
    *jobs, gate = re.findall(r"^  (\w+):", workflow.partition("\njobs:\n")[2], flags=re.MULTILINE)
    assert gate == "passed"
    assert f"    needs: [{', '.join(jobs)}]\n" in workflow


@pytest.mark.parametrize("page", sorted((ROOT / "docs").glob("*.md")))
def test_flags_in_the_documentation_exist(page):
    """Each `tfbs-shift COMMAND --flag` of its examples, over continued lines."""
    text = page.read_text().replace("\\\n", " ")
    for name, rest in re.findall(r"tfbs-shift (\w+)([^\n`]*)", text):
        if name not in COMMANDS:
            continue
        _, flags = command_and_flags(name)
        known = {flag.strip("-").replace("[no]", "") for flag, _ in flag_texts(flags)}
        for flag in re.findall(r" --(\w+)", rest.split("#")[0]):
            assert flag.removeprefix("no") in known or flag in known | {"help"}, (page.name, flag)
