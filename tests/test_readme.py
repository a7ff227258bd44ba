import re
from pathlib import Path

import pytest

from tfbs_shift import data, models

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
