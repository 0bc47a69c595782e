"""Pictures and their annotations: COCO json, YOLO txt, VOC xml, image folders, the built-in digits; and texts."""

from sapwood.data import coco_json as coco_json
from sapwood.data import voc_xml as voc_xml
from sapwood.data import yolo_txt as yolo_txt
from sapwood.data.anchors import box_sizes, fit_anchors
from sapwood.data.augment import LabelledPicture, augment, example_generator, shrink
from sapwood.data.checks import PICTURE_SUFFIXES, Findings, OnBad, check_same_classes, order_note, ordered_names
from sapwood.data.digits import digits_dataset
from sapwood.data.drawing import class_color, draw_detections
from sapwood.data.formats import BUILT_IN, FORMATS, FileForm, FolderForm, Format
from sapwood.data.image_folder import open_classification
from sapwood.data.images import Placement, as_batch, picture_size, read_image, to_input
from sapwood.data.open import open_detection
from sapwood.data.several import data_parts
from sapwood.data.texts import Text, Texts, read_texts, text_labels
from sapwood.data.unlabelled import open_unlabelled, picture_files

__all__ = [
    "BUILT_IN",
    "FORMATS",
    "PICTURE_SUFFIXES",
    "FileForm",
    "Findings",
    "FolderForm",
    "Format",
    "LabelledPicture",
    "OnBad",
    "Placement",
    "Text",
    "Texts",
    "as_batch",
    "augment",
    "box_sizes",
    "check_same_classes",
    "class_color",
    "data_parts",
    "digits_dataset",
    "draw_detections",
    "example_generator",
    "fit_anchors",
    "open_classification",
    "open_detection",
    "open_unlabelled",
    "order_note",
    "ordered_names",
    "picture_files",
    "picture_size",
    "read_image",
    "read_texts",
    "shrink",
    "text_labels",
    "to_input",
]
