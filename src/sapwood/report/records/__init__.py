"""One typed record a verb: made where the figures are, read by the console and by the page; none holds a model."""

from sapwood.report.records.agreement import (
    AgreementRecord,
    Estimated,
    EstimatedDifference,
    MeasuredAgreement,
    estimated,
    middle,
)
from sapwood.report.records.bench import BenchRecord, BenchRow
from sapwood.report.records.compare import (
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
from sapwood.report.records.inspect import (
    INSPECT_SCHEMA,
    Group,
    InspectedLayer,
    Inspection,
    ResidualBlock,
    Size,
    Whole,
    read_inspection,
)
from sapwood.report.records.latency import LayerLatency, LayerTime, TargetLatency, TimedTarget, ZerosLatency
from sapwood.report.records.made import MadeBy
from sapwood.report.records.mask import MASK_SCHEMA, Masking, ModelZeros, TensorZeros, read_masking
from sapwood.report.records.parts import make_part
from sapwood.report.records.prune import PRUNE_SCHEMA, LayerState, LayerWidths, Pruning, read_pruning
from sapwood.report.records.recovery import RecoveryRecord
from sapwood.report.records.run import RUN_SCHEMA, RunRecord, RunStep, read_run
from sapwood.report.records.sensitivity import GroupLosses, Losses
from sapwood.report.records.widths import GroupWidths, LayerStepTimes, WidthTimes
from sapwood.report.records.work import EvaluationRecord, ExportRecord, ReadBack, TrainingRecord, WrittenFile

__all__ = [
    "INSPECT_SCHEMA",
    "MASK_SCHEMA",
    "PRUNE_SCHEMA",
    "RUN_SCHEMA",
    "SCHEMA",
    "Accuracy",
    "AgreementRecord",
    "BenchRecord",
    "BenchRow",
    "CaseResult",
    "Comparison",
    "DataInfo",
    "Estimated",
    "EstimatedDifference",
    "EvaluationRecord",
    "ExportRecord",
    "Found",
    "Group",
    "GroupLosses",
    "GroupWidths",
    "InspectedLayer",
    "Inspection",
    "Latency",
    "Layer",
    "LayerLatency",
    "LayerState",
    "LayerStepTimes",
    "LayerTime",
    "LayerWidths",
    "LiveMask",
    "Losses",
    "Macs",
    "MadeBy",
    "Masking",
    "MeasuredAgreement",
    "ModelInfo",
    "ModelZeros",
    "PictureResult",
    "Pruning",
    "ReadBack",
    "RecoveryRecord",
    "ResidualBlock",
    "RunRecord",
    "RunStep",
    "ShownPicture",
    "Size",
    "TargetLatency",
    "TensorZeros",
    "TimedTarget",
    "TrainingRecord",
    "Whole",
    "WidthTimes",
    "WrittenFile",
    "ZerosLatency",
    "dump_record",
    "estimated",
    "make_part",
    "middle",
    "read_inspection",
    "read_masking",
    "read_pruning",
    "read_record",
    "read_run",
]
