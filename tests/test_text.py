"""Tables for a terminal, to the character."""

import io
import os
from xml.etree import ElementTree

import pytest
from matplotlib.figure import Figure

from tfbs_shift.text import aligned, cell, drawn, one_line


def test_a_second_line_of_a_cell_stands_below():
    table = [["network", "none", "worst"], ["a", "0.9\n0.8-1.0", "0.5"], ["longer one", "1", ""]]
    assert aligned(table).split("\n") == [
        "network        none  worst",
        "----------  -------  -----",
        "a               0.9    0.5",
        "            0.8-1.0",
        "longer one        1",
    ]


def test_columns_at_the_left_and_remarks():
    table = [["layer", "class", "FLOPs", "run"], ["x", "Flatten", "", "each time, as it is"]]
    table += [["dense_1", "Dense", "12", ""]]
    assert aligned(table, left=2, remarks=True).split("\n") == [
        "layer    class    FLOPs  run",
        "-------  -------  -----",
        "x        Flatten         each time, as it is",
        "dense_1  Dense       12",
    ]


@pytest.mark.parametrize(
    ("text", "line", "shown", "of_csv"),
    [
        ("chr1:5-15(-)", "chr1:5-15(-)", "chr1:5-15(-)", "chr1:5-15(-)"),
        ("a\tb\nc", r"a\tb\nc", r"a\tb\nc", r"a\tb\nc"),
        ("\x1b[2J\x00\x85", r"\x1b[2J\x00\x85", r"\x1b[2J\x00\x85", r"\x1b[2J\x00\x85"),
        (os.fsdecode(b"a\xff"), r"a\udcff", r"a\udcff", r"a\udcff"),
        ("naïve 日本", "naïve 日本", "naïve 日本", "naïve 日本"),
        (r"$\frac{$", r"$\frac{$", r"\$\frac{\$", r"$\frac{$"),
        ("_hidden", "_hidden", " _hidden", "_hidden"),
        ("=cmd|'/c calc'!A1", "=cmd|'/c calc'!A1", "=cmd|'/c calc'!A1", "'=cmd|'/c calc'!A1"),
        ("@SUM(1)", "@SUM(1)", "@SUM(1)", "'@SUM(1)"),
        ("+1+cmd", "+1+cmd", "+1+cmd", "'+1+cmd"),
        ("-a", "-a", "-a", "'-a"),
        ("-", "-", "-", "-"),
        ("-1.5", "-1.5", "-1.5", "-1.5"),
        ("", "", "", ""),
    ],
)
def test_texts_are_safe_in_what_they_are_written_into(text, line, shown, of_csv):
    assert (one_line(text), drawn(text), cell(text)) == (line, shown, of_csv)


def test_other_cells_stay_as_they_are():
    assert [cell(value) for value in (-1.5, 3, None, True)] == [-1.5, 3, None, True]


@pytest.mark.parametrize("name", [r"$\frac{$", "_name", "a\x00b", r"\alpha $x$"])
def test_any_name_is_drawn(name):
    figure = Figure()
    axes = figure.add_subplot()
    axes.plot([0, 1], label=drawn(name))
    axes.set_title(drawn(name))
    (text,) = axes.legend().get_texts()
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg")
    assert text.get_text() == drawn(name)
    ElementTree.fromstring(buffer.getvalue())
