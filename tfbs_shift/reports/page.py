"""The page: one HTML file that needs nothing else."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from html import escape
from typing import NamedTuple

import matplotlib
from matplotlib.figure import Figure

_STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --paper: #fff; --line: #d0d7de; --soft: #57606a;
        --warn: #fff4e5; --edge: #d55e00 }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6edf3; --paper: #0d1117; --line: #30363d; --soft: #8d96a0; --warn: #2d1f0e }
}
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper);
       max-width: 48rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.5rem; line-height: 1.25 } h2 { font-size: 1.1rem; margin-top: 2.2rem }
.wide { overflow-x: auto }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .92rem }
th, td { padding: .3rem .9rem .3rem 0; text-align: right; border-bottom: 1px solid var(--line);
         vertical-align: top }
th { font-weight: 600 } th:first-child, td:first-child, .prose th, .prose td { text-align: left }
td small { display: block; color: var(--soft); white-space: nowrap } .prose td:first-child {
  white-space: nowrap }
figure { margin: 1rem 0 2rem } figcaption, .soft { color: var(--soft); font-size: .9rem }
figure svg { width: 100%; height: auto; color: var(--ink) } figure svg text { fill: currentColor }
.warning { background: var(--warn); border-left: 4px solid var(--edge); padding: .5rem 1rem;
           margin: 1rem 0 }
pre { white-space: pre-wrap; overflow-wrap: anywhere; font-size: .8rem; color: var(--soft) }
@media print {
  :root { --ink: #000; --paper: #fff; --line: #bbb; --soft: #444; --warn: #fff }
  body { max-width: none; margin: 0 } figure, table { break-inside: avoid }
  .wide { overflow: visible }
}
"""


class Table(NamedTuple):
    """A table of a page: the header, then rows. Lines of a cell after the first are small print."""

    heading: str
    rows: Sequence[Sequence[str]]
    note: str = ""
    prose: bool = False
    """cells are words, not numbers"""


def page(
    title: str,
    lead: Sequence[str],
    warnings: Sequence[str],
    tables: Sequence[Table],
    figures: Mapping[str, Mapping[str, Figure]],
    meanings: Mapping[str, str],
    about: Sequence[str],
) -> str:
    """The HTML of a report: the finding, what to beware of, tables, plots, what was run.

    Args:
        title: its heading.
        lead: the finding, a paragraph each.
        warnings: what makes the figures doubtful.
        tables: the first stands before the plots, the others after them.
        figures: for each heading plots by caption; the caption is the text alternative, too.
        meanings: what the words mean.
        about: lines that say what was run.
    """
    plots = "\n".join(
        f"<h2>{escape(heading)}</h2>\n"
        + "\n".join(
            f"<figure>{svg(one, caption)}<figcaption>{escape(caption)}</figcaption></figure>"
            for caption, one in drawn.items()
        )
        for heading, drawn in figures.items()
    )
    words = "\n".join(f"<b>{escape(w)}</b>: {escape(text)}<br>" for w, text in meanings.items())
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<link rel="icon" href="data:,">
<style>{_STYLE}</style>
</head>
<body>
<h1>{escape(title)}</h1>
{"".join(f"<p>{escape(text)}</p>" for text in lead)}
{"".join(f'<p class="warning" role="note">{escape(text)}</p>' for text in warnings)}
{_table(tables[0])}
{plots}
{"".join(map(_table, tables[1:]))}
<h2>What the words mean</h2>
<p class="soft">{words}</p>
<h2>What was run</h2>
<pre>{escape(chr(10).join(about))}</pre>
</body>
</html>
"""


def svg(figure: Figure, label: str) -> str:
    """A figure as inline SVG with a text alternative, in the colours of the page."""
    buffer = io.StringIO()
    # Text stays text, and the same figure gives the same bytes.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": label}):
        figure.savefig(buffer, format="svg", metadata={"Date": None}, transparent=True)
    text = buffer.getvalue()
    body = text[text.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    body = body.replace("#000000", "currentColor")
    for name in set(re.findall(r' id="([^"]+)"', body)):  # axes_1 and the like, in every figure
        if f"#{name}" not in body:
            body = body.replace(f' id="{name}"', "")
    return body.replace("<svg", f'<svg role="img" aria-label="{escape(label, quote=True)}"', 1)


def _table(table: Table) -> str:
    def cell(text: str) -> str:
        first, *more = text.split("\n")
        return escape(first) + "".join(f"<small>{escape(line)}</small>" for line in more)

    head = "".join(f'<th scope="col">{cell(text)}</th>' for text in table.rows[0])
    body = "".join(
        "<tr>" + "".join(f"<td>{cell(text)}</td>" for text in row) + "</tr>"
        for row in table.rows[1:]
    )
    heading = f"<h2>{escape(table.heading)}</h2>\n" if table.heading else ""
    note = f'<p class="soft">{escape(table.note)}</p>\n' if table.note else ""
    kind = ' class="prose"' if table.prose else ""
    return (
        f'{heading}<div class="wide"><table{kind}><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>\n{note}"
    )
