"""JSON records -> one self-contained HTML page, and tables for the console; never sees a model."""

from sapwood.report.bench import BenchRecord, BenchRow, bench_table, reasons
from sapwood.report.console import compare_table, evaluation_table, masking_table
from sapwood.report.formats import megabytes
from sapwood.report.latency import inspect_latency_table, latency_table
from sapwood.report.record import (
    SCHEMA,
    Accuracy,
    CaseResult,
    Comparison,
    DataInfo,
    Found,
    Latency,
    Layer,
    LiveMask,
    Macs,
    ModelInfo,
    PictureResult,
    ShownPicture,
    dump_record,
    read_record,
)
from sapwood.report.recovery import recovery_table
from sapwood.report.render import render_compare, render_inspect, render_prune, render_run
from sapwood.report.run_record import RUN_SCHEMA, read_run
from sapwood.report.run_view import run_tables
from sapwood.report.sensitivity import sensitivity_table
from sapwood.report.sparsity import sparsity_table

__all__ = [
    "RUN_SCHEMA",
    "SCHEMA",
    "Accuracy",
    "BenchRecord",
    "BenchRow",
    "CaseResult",
    "Comparison",
    "DataInfo",
    "Found",
    "Latency",
    "Layer",
    "LiveMask",
    "Macs",
    "ModelInfo",
    "PictureResult",
    "ShownPicture",
    "bench_table",
    "compare_table",
    "dump_record",
    "evaluation_table",
    "inspect_latency_table",
    "latency_table",
    "masking_table",
    "megabytes",
    "read_record",
    "read_run",
    "reasons",
    "recovery_table",
    "render_compare",
    "render_inspect",
    "render_prune",
    "render_run",
    "run_tables",
    "sensitivity_table",
    "sparsity_table",
]
