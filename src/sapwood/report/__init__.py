"""JSON records -> one self-contained HTML page, and tables for the console; never sees a model."""

from sapwood.report.console import compare_table, evaluation_table, masking_table
from sapwood.report.record import Comparison, dump_record, read_record
from sapwood.report.render import render_compare

__all__ = [
    "Comparison",
    "compare_table",
    "dump_record",
    "evaluation_table",
    "masking_table",
    "read_record",
    "render_compare",
]
