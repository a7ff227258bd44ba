"""Tables, plots and the page that show what an audit found."""

from tfbs_shift.reports.tables import text_table
from tfbs_shift.reports.writing import write_audit, write_comparison

__all__ = ["text_table", "write_audit", "write_comparison"]
