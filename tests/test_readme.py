import importlib.util
import os
import re
from pathlib import Path

import keras
import numpy as np
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


def _head(units, activation=None):
    return lambda x: layers.Dense(units, activation)(layers.GlobalMaxPooling1D()(x))


def _model(*heads, length=60):
    sequence = keras.Input((length, 4))
    x = layers.Conv1D(8, 5, padding="same", activation="relu")(sequence)
    outputs = [head(x) for head in heads]
    return keras.Model(sequence, outputs[0] if len(outputs) == 1 else outputs)


def _bpnet():
    sequence = keras.Input((60, 4))
    x = layers.Conv1D(8, 5, padding="same", activation="relu")(sequence)
    profile = layers.Cropping1D(10)(layers.Conv1D(2, 5, padding="same")(x))
    model = keras.Model(sequence, {"profile": profile, "counts": _head(1)(x)})
    model.compile("adam", {"profile": "mse", "counts": "mse"}, loss_weights={"counts": 0.1})
    return model


def _conditioned():
    sequence, cell = keras.Input((60, 4), name="dna"), keras.Input((2,), name="cell_type")
    x = layers.Concatenate()([layers.GlobalMaxPooling1D()(layers.Conv1D(8, 5)(sequence)), cell])
    return keras.Model([sequence, cell], layers.Dense(1, "sigmoid")(x))


def _bins(x):
    return layers.Dense(3, "softplus")(layers.AveragePooling1D(5)(x))


def _yours(rng):
    """What the page's examples call by name."""
    test = data.synthetic(20, seed=0, length=70)
    turned = layers.Permute((2, 1))(swapped := keras.Input((4, 60)))
    count = len(test)
    names = {"x": test.x, "windows": test.x[:, 5:65], "y": test.y[:, 1:]}
    names |= {"activities": rng.normal(size=(count, 2)), "activity": rng.normal(size=count)}
    names |= {"profiles": rng.normal(size=(count, 50, 2)), "log_counts": rng.random((count, 1))}
    names |= {"deepstarr": _model(_head(2)), "bpnet": _bpnet(), "coverage": rng.random((count, 3))}
    names["deepstarr"].compile("adam", "mse")
    names["tracks"] = _model(_bins)
    names["theirs"] = keras.Model(swapped, _model(_head(1, "sigmoid"))(turned))
    names["conditioned"] = _conditioned()
    members = [_model(_head(1)) for _ in range(2)]
    names["ensemble"] = [lambda w, m=m: np.asarray(m(w)) for m in members]
    return names, test


def test_python_for_your_own_model_runs(tmp_path, monkeypatch, capsys, rng):
    """In the order of the page, in one namespace; that of PyTorch where it is installed."""
    names, examples = _yours(rng)
    monkeypatch.chdir(tmp_path)
    model = _model(_head(1, "sigmoid"))
    model.compile("adam", "binary_crossentropy")
    model.save("mine.keras")
    rows = zip(sequences.decode(examples.codes), examples.y[:, 1], strict=True)
    text = "sequence,label\n" + "".join(f"{bases},{label}\n" for bases, label in rows)
    Path("my_sequences.csv").write_text(text)
    for code in python_in((ROOT / "docs" / "own_model.md").read_text()):
        if "import torch" in code:
            if not importlib.util.find_spec("torch"):
                continue
            import torch

            names["module"] = torch.nn.Sequential(
                torch.nn.Conv1d(4, 8, 5), torch.nn.AdaptiveMaxPool1d(1), torch.nn.Flatten(),
                torch.nn.Linear(8, 1),
            )  # fmt: skip
        exec(compile(code.replace("epochs=10", "epochs=1"), "own_model.md", "exec"), names)
    printed = capsys.readouterr().out
    assert "'worst': {'accuracy'" in printed
    assert "nothing is shared: it is a function" in printed
    assert Path("audit/report.html").is_file()
    assert "shift_worst_accuracy" in Path("audit.csv").read_text().splitlines()[0]
    assert models.load("robust.keras").input_shape == (None, 60, 4)


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
