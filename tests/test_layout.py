"""The house: each room knows only the rooms below it, and stays small enough to be read."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "tfbs_shift"
# From the bottom up; CONTRIBUTING.md says what each is for.
ROOMS = (
    "errors", "text", "files", "locks", "sequences", "windows", "backend", "data", "models",
    "tasks", "strategies", "scanning", "evaluation", "training", "reports", "commands",
)  # fmt: skip
MODULES = sorted(PACKAGE.rglob("*.py"))
PRIVATE = re.compile(
    r"\._(nodes_by_depth|functional|flatten_layers|keras_history|inbound_nodes|symbolic_build|"
    r"layers)\b"
)


def room(path: Path) -> str:
    """ "" for the package itself, which knows all."""
    first = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    return first if first in ROOMS else ""


def imported(path: Path) -> Iterator[str]:
    """The modules that a module imports, those inside functions and under TYPE_CHECKING, too."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module == "tfbs_shift":
            yield from (f"tfbs_shift.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


def name(path: Path) -> str:
    return str(path.relative_to(PACKAGE))


def test_every_room_is_known():
    there = {path.stem if path.is_file() else path.name for path in PACKAGE.iterdir()}
    assert there - {"__init__", "__main__", "__pycache__", "py"} == set(ROOMS)


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_a_room_knows_only_the_rooms_below_it(path):
    here = room(path)
    known = {m.split(".")[1] for m in imported(path) if m.startswith("tfbs_shift.")} & set(ROOMS)
    below = ROOMS if not here else ROOMS[: ROOMS.index(here) + 1]
    assert known <= set(below)


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_what_a_backend_forces_is_in_one_place(path):
    if room(path) == "backend":
        return
    typing = {"tensorflow"} if path.name == "examples.py" else set()  # a type hint
    assert {m.split(".")[0] for m in imported(path)} & {"tensorflow", "jax", "torch"} <= typing
    assert not PRIVATE.search(path.read_text())


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_functions_can_be_read_at_once(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef):
            given = node.args
            count = len([*given.posonlyargs, *given.args, *given.kwonlyargs])
            assert count <= 12, f"{node.name}: {count} parameters"
            lines = node.end_lineno - node.lineno + 1
            assert lines <= 90, f"{node.name}: {lines} lines"


def test_contributing_lists_the_rooms_in_order():
    text = (PACKAGE.parent / "CONTRIBUTING.md").read_text()
    listed = [word for row in re.findall(r"^\| (`.*?) \|", text, re.M)
              for word in re.findall(r"`(\w+)/?`", row)]  # fmt: skip
    assert tuple(listed) == ROOMS
