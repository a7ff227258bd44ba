import configparser
import os
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
if not NOTEBOOKS:  # an installed wheel has none
    pytest.skip("no notebooks beside the tests", allow_module_level=True)


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def path(request):
    return request.param


@pytest.mark.slow
def test_runs_in_a_clean_kernel(path, tmp_path, monkeypatch):
    """From top to bottom in an empty folder, within the five minutes that were promised."""
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    notebook = nbformat.read(path, 4)
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    if path.stem == "audit":
        assert (tmp_path / "audit" / "report.html").is_file()
    if path.stem == "train_robust":
        assert (tmp_path / "comparison" / "report.html").is_file()
    if path.stem == "deepsea_tbinet":
        assert (tmp_path / "d1200" / "test.h5").is_file()


def test_is_committed_as_it_ran(path):
    cells = [cell for cell in nbformat.read(path, 4).cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell.outputs]
    assert not any(output.output_type == "error" for output in outputs)
    pictures = [output for output in outputs if "image/png" in output.get("data", {})]
    assert len(pictures) >= 2
    text = "".join(output.get("text", "") for output in outputs)
    assert "/tmp/" not in text and "/home/" not in text and "/root/" not in text


def test_opens_in_colab_from_the_repository(path):
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    url = setup["metadata"]["url"]
    first, install = nbformat.read(path, 4).cells[:2]
    page = f"{url.removeprefix('https://github.com')}/blob/main/notebooks/{path.name}"
    assert f"https://colab.research.google.com/github{page}" in first.source
    assert f'%pip install -q "git+{url}"' in install.source
