"""A made-up record with the shape of a real one: a small detector, the practitioner's table."""

from __future__ import annotations

import base64
import io
import random
from collections.abc import Callable
from typing import Any

import pytest
from PIL import Image, ImageDraw

LAYERS = [(f"layers.{index}.conv.weight", "conv", 3**2 * 2 ** (index + 5)) for index in range(10)] + [
    (f"layers.{index}.bn.weight", "bn", 2**index * 8) for index in range(10)
]
PARAMS = sum(numel for *_, numel in LAYERS)

# family, level, mAP@0.5, layer kinds that lose
TABLE = [
    *[("global L1 · conv", s, v, {"conv"}) for s, v in ((0.2, 0.284), (0.5, 0.277), (0.7, 0.167), (0.95, 0.001))],
    *[("global L1 · conv + BatchNorm", s, v, {"conv", "bn"}) for s, v in ((0.2, 0.285), (0.5, 0.270))],
    *[("global L1 · BatchNorm", s, v, {"bn"}) for s, v in ((0.2, 0.115), (0.5, 0.0))],
    *[("structured L2 · conv", s, v, {"conv"}) for s, v in ((0.1, 0.013), (0.2, 0.001), (0.4, 0.0), (0.5, 0.0))],
]
OBJECTS = [
    ("dog", 0.81, [130, 220, 310, 540]),
    ("bicycle", 0.62, [115, 120, 560, 425]),
    ("truck", 0.55, [470, 80, 690, 170]),
]


def jpeg_uri(width: int, height: int) -> str:
    picture = Image.new("RGB", (width, height), (205, 214, 196))
    draw = ImageDraw.Draw(picture)
    draw.rectangle((0, int(height * 0.6), width, height), fill=(146, 138, 116))
    for _, _, box in OBJECTS:
        draw.ellipse(box, fill=(94, 102, 110))
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def accuracy(value: float) -> dict[str, Any]:
    classes = {
        name: round(min(1.0, value * weight), 4) for name, weight in (("dog", 1.6), ("bicycle", 0.9), ("truck", 0.5))
    }
    return {
        "primary": "mAP@0.5",
        "metrics": {"mAP@0.5": value, "mAP@[.5:.95]": round(value * 0.53, 4)},
        "per_class": classes,
        "num_images": 64,
        "seconds": {"read": 0.9, "network": 3.1, "postprocess": 0.4, "score": 0.3},
        "skipped": [],
    }


def make_case(
    name: str, kind: str, family: str, level: float | None, *, value: float, zeroed: set[str]
) -> dict[str, Any]:
    rng = random.Random(name)
    layers = []
    for layer, layer_kind, numel in LAYERS:
        part = (level or 0.0) * rng.uniform(0.6, 1.05) if layer_kind in zeroed else 0.0
        layers.append({"name": layer, "kind": layer_kind, "numel": numel, "zeros": int(min(part, 0.999) * numel)})
    nonzeros = PARAMS - sum(layer["zeros"] for layer in layers)
    ratio = 1.0 if kind == "baseline" else round(rng.uniform(0.97, 1.03), 4)
    spread = 0.0 if kind == "baseline" else 0.02
    kept = 3 if value > 0.25 else 1 if value > 0.1 else 0
    found = [{"class": c, "score": round(s * (0.9 + 0.1 * value), 3), "box": box} for c, s, box in OBJECTS[:kept]]
    return {
        "name": name,
        "kind": kind,
        "family": family,
        "level": level,
        "settings": {} if level is None else {"kind": kind, "sparsity": level},
        "error": None,
        "accuracy": accuracy(value),
        "pictures": [{"id": "dog.jpg", "found": found}],
        "params": PARAMS,
        "nonzeros": nonzeros,
        "file_bytes": 4 * PARAMS + 200,
        "macs": {"total": 2_780_000_000, "nonzero": int(2_780_000_000 * nonzeros / PARAMS), "uncounted": []},
        "latency": {
            "median_ms": 41.0 * ratio,
            "q25_ms": 40.1 * ratio,
            "q75_ms": 42.7 * ratio,
            "min_ms": 39.2 * ratio,
            "ratio": ratio,
            "ratio_q25": ratio - spread,
            "ratio_q75": ratio + spread,
        },
        "engine": None,
        "runtimes": {},
        "peak_memory_bytes": 91_000_000,
        "layers": layers,
        "notes": [],
    }


def make_record() -> dict[str, Any]:
    cases = [make_case("baseline", "baseline", "baseline", None, value=0.284, zeroed=set())]
    cases += [
        make_case(f"{family} · {level:g}", "mask", family, level, value=value, zeroed=zeroed)
        for family, level, value, zeroed in TABLE
    ]
    return {
        "schema": "sapwood.compare/1",
        "sapwood": "0.1.0",
        "command": "sapwood compare yolov3-tiny.cfg --weights yolov3-tiny.weights --data coco --picture dog.jpg",
        "date": "2026-11-23T14:05:00+00:00",
        "model": {
            "spec": "yolov3-tiny.cfg",
            "weights": "yolov3-tiny.weights",
            "task": "detection",
            "input_size": [416, 416],
            "num_classes": 3,
        },
        "data": {"name": "coco val", "num_images": 64, "skipped": []},
        "settings": {
            "score_threshold": 0.005,
            "iou_threshold": 0.45,
            "shown_score_threshold": 0.25,
            "latency_rounds": 30,
        },
        "conditions": {"cpu": "A CPU with a long name @ 2.60GHz", "threads": 2, "torch": "2.15.0", "python": "3.11.9"},
        "pictures": [{"id": "dog.jpg", "width": 768, "height": 576, "jpeg": jpeg_uri(768, 576)}],
        "cases": cases,
        "live_mask": {"case": "global L1 · conv · 0.5", "ratio": 1.31, "ratio_q25": 1.27, "ratio_q75": 1.36},
        "agreement": None,
    }


@pytest.fixture
def record() -> dict[str, Any]:
    return make_record()


@pytest.fixture
def make() -> Callable[..., dict[str, Any]]:
    return make_case
