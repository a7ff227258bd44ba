"""`python notebooks/execute.py [FILE ...]`: in a clean kernel and an empty folder.

Writes them back with their outputs, without what TensorFlow says of the machine (standard error).
"""

import os
import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

HERE = Path(__file__).parent


def executed(path: Path, folder: Path) -> nbformat.NotebookNode:
    """The notebook with its outputs, run in a folder; raises if a cell fails or takes 5 minutes."""
    commands = Path(sys.executable).parent  # where tfbs-shift is installed
    os.environ["PATH"] = f"{commands}{os.pathsep}{os.environ['PATH']}"
    notebook = nbformat.read(path, 4)
    NotebookClient(
        notebook, timeout=300, record_timing=False, resources={"metadata": {"path": str(folder)}}
    ).execute()
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [each for each in cell.outputs if each.get("name") != "stderr"]
    return notebook


if __name__ == "__main__":
    for path in map(Path, sys.argv[1:]) if sys.argv[1:] else sorted(HERE.glob("*.ipynb")):
        with tempfile.TemporaryDirectory() as folder:
            notebook = executed(path, Path(folder))
        nbformat.write(notebook, path)
        print(path)
