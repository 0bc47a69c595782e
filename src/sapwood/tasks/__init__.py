"""What accuracy and loss mean for a model.

Detection (decode, NMS, mAP, YOLO loss), classification of pictures and texts (top-1, top-5), language (perplexity).
"""

from sapwood.tasks import classifier as classifier
from sapwood.tasks import detector as detector
from sapwood.tasks import language as language
from sapwood.tasks.agreeing import Agreement, Difference, Estimate, agreement, has_agreement
from sapwood.tasks.decode import decode, yolo_heads
from sapwood.tasks.detection import detect
from sapwood.tasks.divergence import divergence, divergence_from, mean_of_views
from sapwood.tasks.evaluation import evaluate
from sapwood.tasks.listed import listed_head
from sapwood.tasks.mean_ap import AveragePrecision, mean_average_precision
from sapwood.tasks.objective import CalibrationBatches, calibration_batches, class_loss, task_loss
from sapwood.tasks.opening import can_measure, open_data, open_pictures
from sapwood.tasks.postprocess import postprocess
from sapwood.tasks.running import Inputs, Progress, called, inputs_for, num_samples
from sapwood.tasks.task import TASKS, Labels, Measuring, Sighting, Task, any_task, labels_of
from sapwood.tasks.texts import TokenBatch
from sapwood.tasks.yolo_loss import YoloLoss

__all__ = [
    "TASKS",
    "Agreement",
    "AveragePrecision",
    "CalibrationBatches",
    "Difference",
    "Estimate",
    "Inputs",
    "Labels",
    "Measuring",
    "Progress",
    "Sighting",
    "Task",
    "TokenBatch",
    "YoloLoss",
    "agreement",
    "any_task",
    "calibration_batches",
    "called",
    "can_measure",
    "class_loss",
    "decode",
    "detect",
    "divergence",
    "divergence_from",
    "evaluate",
    "has_agreement",
    "inputs_for",
    "labels_of",
    "listed_head",
    "mean_average_precision",
    "mean_of_views",
    "num_samples",
    "open_data",
    "open_pictures",
    "postprocess",
    "task_loss",
    "yolo_heads",
]
