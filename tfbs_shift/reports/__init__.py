"""Tables, plots and the page that show what an audit found."""

from tfbs_shift.reports.comparing import comparison_tables, write_differences
from tfbs_shift.reports.page import Table
from tfbs_shift.reports.paper import paper_cell
from tfbs_shift.reports.tables import text_table
from tfbs_shift.reports.writing import write_audit, write_comparison, write_json
from tfbs_shift.text import aligned

__all__ = [
    "Table",
    "aligned",
    "comparison_tables",
    "paper_cell",
    "text_table",
    "write_audit",
    "write_comparison",
    "write_differences",
    "write_json",
]
