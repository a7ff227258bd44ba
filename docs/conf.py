"""Sphinx: `pip install -e '.[docs]' && sphinx-build -W docs build/docs`."""

import shutil
from pathlib import Path

import tfbs_shift
from tfbs_shift.commands import COMMANDS, command_and_flags, flag_texts

project = "tfbs_shift"
author = "The tfbs_shift authors"
version = release = tfbs_shift.__version__
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
exclude_patterns = ["_*"]
html_theme = "furo"
html_title = f"tfbs_shift {version}"

myst_heading_anchors = 3
nb_execution_mode = "off"  # the tests execute them; here are the outputs that were committed
autodoc_typehints = "none"  # the signature has them
autodoc_member_order = "bysource"
napoleon_use_ivar = True

HERE = Path(__file__).parent


def notebooks() -> None:
    """Sphinx reads below its folder only: copies, which git ignores."""
    copies = HERE / "notebooks"
    shutil.rmtree(copies, ignore_errors=True)
    shutil.copytree(HERE.parent / "notebooks", copies, ignore=shutil.ignore_patterns(".*"))


def commands(_app, page: str, source: list[str]) -> None:
    """Appends every command's help, from its docstring and flags, to the page of that name."""
    if page != "commands":
        return
    for name in COMMANDS:
        module, flags = command_and_flags(name)
        source[0] += f"\n## {name}\n\n"
        for paragraph in module.__doc__.strip().split("\n\n"):
            example = paragraph.startswith("  ")
            source[0] += f"```\n{paragraph}\n```\n\n" if example else f"{paragraph}\n\n"
        for flag, text in flag_texts(flags):
            source[0] += f"`{flag}`\n: {text.replace('<', '&lt;').replace('*', '&#42;')}\n\n"


def setup(app) -> None:
    """Called by Sphinx."""
    notebooks()
    app.connect("source-read", commands)


myst_enable_extensions = ["deflist"]
