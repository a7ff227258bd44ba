"""The page: one HTML file that needs nothing else."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from html import escape

import matplotlib
from matplotlib.figure import Figure

_STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --paper: #fff; --line: #d0d7de; --soft: #57606a }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6edf3; --paper: #0d1117; --line: #30363d; --soft: #8d96a0 }
}
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper);
       max-width: 46rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.5rem; line-height: 1.25 } h2 { font-size: 1.1rem; margin-top: 2rem }
.wide { overflow-x: auto }
table { border-collapse: collapse; font-variant-numeric: tabular-nums }
th, td { padding: .3rem .8rem .3rem 0; text-align: right; border-bottom: 1px solid var(--line) }
th:first-child, td:first-child { text-align: left }
figure { margin: 1rem 0 } figcaption, .soft { color: var(--soft); font-size: .9rem }
figure svg { background: #fff; border-radius: 6px; width: 100%; height: auto }
pre { white-space: pre-wrap; overflow-wrap: anywhere; font-size: .8rem; color: var(--soft) }
@media print { body { max-width: none; margin: 0 } figure { break-inside: avoid } }
"""


def page(
    title: str,
    lead: str,
    table: Sequence[Sequence[str]],
    figures: Mapping[str, Figure],
    about: Sequence[str],
) -> str:
    """The HTML of a report.

    Args:
        title: its heading.
        lead: the finding, in a sentence or two.
        table: header and rows.
        figures: a plot for each caption; the caption is its text alternative, too.
        about: lines that say what was run.
    """
    plots = "\n".join(
        f"<figure>{svg(figure, caption)}<figcaption>{escape(caption)}</figcaption></figure>"
        for caption, figure in figures.items()
    )
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<style>{_STYLE}</style>
</head>
<body>
<h1>{escape(title)}</h1>
<p>{escape(lead)}</p>
<div class="wide">{_table(table)}</div>
{plots}
<h2>What the columns mean</h2>
<p class="soft"><b>none</b>: the centre window. <b>random</b>: a uniform start for each example.
<b>worst</b>: for each example the window of highest loss; every start was tried, so nothing worse
exists. <b>worst_of_n</b>: the highest loss among n starts drawn for each example. (With
--protocol=paper, both as the paper's code chooses them: its loss is clamped, its starts are drawn
once for all.) <b>right at every shift</b>: the fraction of examples that are classified right
wherever the window lies.
<b>averaged over shifts</b>: the prediction averaged over all windows, a cheap defence.</p>
<h2>What was run</h2>
<pre>{escape(chr(10).join(about))}</pre>
</body>
</html>
"""


def svg(figure: Figure, label: str) -> str:
    """A figure as inline SVG with a text alternative."""
    buffer = io.StringIO()
    # Text stays text, and the same figure gives the same bytes.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": label}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    body = text[text.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    return body.replace("<svg", f'<svg role="img" aria-label="{escape(label, quote=True)}"', 1)


def _table(rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in rows[0])
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows[1:]
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
