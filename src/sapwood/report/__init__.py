"""Typed records -> one self-contained HTML page, and tables for the console; never sees a model."""

from sapwood.report import records
from sapwood.report.agreement import agreement_table, case_agreement_table
from sapwood.report.bench import bench_table, reasons
from sapwood.report.compiled import compiled_noise
from sapwood.report.console import compare_table, evaluation_table, mask_tables, masking_table
from sapwood.report.detected import NUM_PHOTOS
from sapwood.report.formats import megabytes
from sapwood.report.latency import inspect_latency_table, latency_table
from sapwood.report.proof import apart_text, difference, moved_text, proof_text
from sapwood.report.records import *  # noqa: F403 - the records are part of the face
from sapwood.report.recovery import recovery_table
from sapwood.report.render import (
    render_agreement,
    render_bench,
    render_compare,
    render_compile,
    render_detect,
    render_evaluation,
    render_export,
    render_inspect,
    render_mask,
    render_prune,
    render_run,
    render_train,
)
from sapwood.report.run_view import run_tables
from sapwood.report.sensitivity import sensitivity_table
from sapwood.report.shrinking import inspect_tables, prune_tables
from sapwood.report.sparsity import sparsity_table
from sapwood.report.story import story_deployed, story_end, story_table
from sapwood.report.table import TextTable

__all__ = [
    "NUM_PHOTOS",
    "TextTable",
    "agreement_table",
    "apart_text",
    "bench_table",
    "case_agreement_table",
    "compare_table",
    "compiled_noise",
    "difference",
    "evaluation_table",
    "inspect_latency_table",
    "inspect_tables",
    "latency_table",
    "mask_tables",
    "masking_table",
    "megabytes",
    "moved_text",
    "proof_text",
    "prune_tables",
    "reasons",
    "records",
    "recovery_table",
    "render_agreement",
    "render_bench",
    "render_compare",
    "render_compile",
    "render_detect",
    "render_evaluation",
    "render_export",
    "render_inspect",
    "render_mask",
    "render_prune",
    "render_run",
    "render_train",
    "run_tables",
    "sensitivity_table",
    "sparsity_table",
    "story_deployed",
    "story_end",
    "story_table",
]
__all__ += records.__all__
