"""Typed records -> one self-contained HTML page, and tables for the console; never sees a model."""

from sapwood.report import records
from sapwood.report.bench import bench_table, reasons
from sapwood.report.console import compare_table, evaluation_table, mask_tables, masking_table
from sapwood.report.formats import megabytes
from sapwood.report.latency import inspect_latency_table, latency_table
from sapwood.report.records import (
    RUN_SCHEMA,
    SCHEMA,
    Accuracy,
    BenchRecord,
    BenchRow,
    CaseResult,
    Comparison,
    DataInfo,
    Found,
    Inspection,
    Latency,
    Layer,
    LiveMask,
    Macs,
    Masking,
    ModelInfo,
    PictureResult,
    Pruning,
    ShownPicture,
    dump_record,
    read_record,
    read_run,
)
from sapwood.report.recovery import recovery_table
from sapwood.report.render import render_compare, render_inspect, render_prune, render_run
from sapwood.report.run_view import run_tables
from sapwood.report.sensitivity import sensitivity_table
from sapwood.report.shrinking import inspect_tables, prune_tables
from sapwood.report.sparsity import sparsity_table
from sapwood.report.table import TextTable

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
    "Inspection",
    "Latency",
    "Layer",
    "LiveMask",
    "Macs",
    "Masking",
    "ModelInfo",
    "PictureResult",
    "Pruning",
    "ShownPicture",
    "TextTable",
    "bench_table",
    "compare_table",
    "dump_record",
    "evaluation_table",
    "inspect_latency_table",
    "inspect_tables",
    "latency_table",
    "mask_tables",
    "masking_table",
    "megabytes",
    "prune_tables",
    "read_record",
    "read_run",
    "reasons",
    "records",
    "recovery_table",
    "render_compare",
    "render_inspect",
    "render_prune",
    "render_run",
    "run_tables",
    "sensitivity_table",
    "sparsity_table",
]
