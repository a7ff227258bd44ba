import re
from pathlib import Path

import pytest

import tfbs_shift
from tfbs_shift import data, models
from tfbs_shift.commands import COMMANDS, command_and_flags, flag_texts

README = (Path(__file__).parents[1] / "README.md").read_text()


def test_the_ten_lines_run(tmp_path, monkeypatch, capsys):
    (tmp_path / "my_folder").mkdir()
    for split, count, seed in (("train", 40, 0), ("test", 10, 1)):
        data.write_zeng(data.synthetic(count, seed=seed), tmp_path / "my_folder" / f"{split}.data")
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    assert "epochs=10" in code
    exec(compile(code.replace("epochs=10", "epochs=1"), "README.md", "exec"), {})
    assert "'worst': {'accuracy'" in capsys.readouterr().out
    assert models.load(tmp_path / "robust.keras").input_shape == (None, 90, 4)


@pytest.mark.parametrize("path", sorted(set(re.findall(r"(?:configs|benchmarks)/[\w./]+", README))))
def test_files_it_names_exist(path):
    """Or files whose names begin so: the README has names with braces."""
    assert list(Path(__file__).parents[1].glob(path.rstrip(".") + "*"))


def test_versions_agree():
    root = Path(__file__).parents[1]
    version = tfbs_shift.__version__
    assert f"\nversion: {version}\n" in (root / "CITATION.cff").read_text()
    assert f"version = {version}\n" in (root / "setup.cfg").read_text()
    newest = re.search(r"^## (\S+),", (root / "CHANGELOG.md").read_text(), flags=re.MULTILINE)
    assert newest is not None and newest[1] == version


@pytest.mark.parametrize("page", sorted((Path(__file__).parents[1] / "docs").glob("*.md")))
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
