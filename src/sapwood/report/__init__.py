"""JSON records -> one self-contained HTML page, and tables for the console; never sees a model."""

from sapwood.report.console import compare_table, evaluation_table, masking_table
from sapwood.report.latency import inspect_latency_table, latency_table
from sapwood.report.record import Comparison, dump_record, read_record
from sapwood.report.recovery import recovery_table
from sapwood.report.render import render_compare, render_inspect, render_prune, render_run
from sapwood.report.run_record import read_run
from sapwood.report.run_view import run_tables
from sapwood.report.sensitivity import sensitivity_table
from sapwood.report.sparsity import sparsity_table

__all__ = [
    "Comparison",
    "compare_table",
    "dump_record",
    "evaluation_table",
    "inspect_latency_table",
    "latency_table",
    "masking_table",
    "read_record",
    "read_run",
    "recovery_table",
    "render_compare",
    "render_inspect",
    "render_prune",
    "render_run",
    "run_tables",
    "sensitivity_table",
    "sparsity_table",
]
