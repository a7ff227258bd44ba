"""Tables, plots and the page that show what an audit found."""

from tfbs_shift.reports.comparing import write_comparison
from tfbs_shift.reports.page import Table
from tfbs_shift.reports.tables import text_table
from tfbs_shift.reports.writing import write_audit, write_json, write_side_by_side

__all__ = [
    "Table",
    "text_table",
    "write_audit",
    "write_comparison",
    "write_json",
    "write_side_by_side",
]
