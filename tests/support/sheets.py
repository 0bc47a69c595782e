"""Records of `eval`, `mask`, `export`, `compile`, `train` and `detect`, made up."""

from __future__ import annotations

from typing import Any

EVALUATED: dict[str, Any] = {
    "model": "net.cfg",
    "data": "coco val",
    "split": "val",
    "runtime": "onnxruntime",
    "interval": {"value": 0.3, "low": 0.28, "high": 0.34},
    "primary": "mAP@0.5",
    "metrics": {"mAP@0.5": 0.3, "mAP@[.5:.95]": 0.15},
    "per_class": {"cat": 0.3, "cup": 0.05, "zebra": 0.7, "dog": 0.4},
    "num_images": 50,
    "seconds": {"read": 1.0, "network": 3.0},
    "skipped": ("a.jpg: is empty",),
}
AGREED: dict[str, Any] = {
    "against": "dense",
    "data": "coco val",
    "split": "val",
    "figure": "top-1",
    "networks": {
        "small": {"value": 0.6, "low": 0.5, "high": 0.7},
        "big": {"value": 0.9, "low": 0.85, "high": 0.95},
    },
    "num_images": 64,
    "num_found": 64,
}
EXPORTED: dict[str, Any] = {
    "model": "net.cfg",
    "format": "onnx",
    "files": [{"path": "net.onnx", "size_bytes": 2_500_000}],
    "size_bytes": 2_500_000,
    "inputs": ("image",),
    "outputs": ("boxes",),
    "check": {"max_relative_error": 2e-7, "tolerance": 1e-5},
    "details": {"opset": 18},
}


def _tensor(name: str, kind: str, num_params: int, num_zeros: int, *, live: bool) -> dict[str, Any]:
    shares = {"num_params": num_params, "num_zeros": num_zeros, "sparsity": num_zeros / num_params}
    keys = [f"{name}_orig", f"{name}_mask"] if live else [name]
    return {"name": name, "kind": kind, "shape": [num_params], **shares, "live": live, "keys": keys, "hook": ""}


def _state(num_zeros: int, *, live: bool) -> dict[str, Any]:
    tensors = [
        _tensor("conv.weight", "conv", 80, num_zeros, live=live),
        _tensor("bn.weight", "bn", 20, 0, live=False),
    ]
    own = {"num_live": int(live), "live_params": 80 * live, "live_zeros": num_zeros * live, "live_sparsity": 0.5 * live}
    return {"tensors": tensors, "num_params": 100, "num_zeros": num_zeros, "sparsity": num_zeros / 100, **own}


MASKED: dict[str, Any] = {
    "schema": "sapwood.mask/1",
    "model": "net.cfg",
    "case": {"method": "l1_unstructured", "sparsity": 0.5},
    "before": _state(0, live=False),
    "masked": _state(40, live=True),
    "after_remove": _state(40, live=False),
    "saved": "masked",
    "remarks": ["not masked: bn.weight: is no convolution"],
}
COMPILED: dict[str, Any] = {
    "schema": "sapwood.compile/1",
    "model": "masked",
    "out": "fast",
    "size_bytes": 1_250_000,
    "zeros": 0.9,
    "threads": 1,
    "compile_s": 3.2,
    "median_ms": 4.0,
    "run_by": "the engine",
    "tried_ms": {"the engine": 4.0, "PyTorch": 9.5},
    "in_pytorch": [{"op": "aten.cumsum", "module": "head", "location": "net.py:7", "reason": "no such operation"}],
    "beside": {
        "pytorch_ms": 10.0, "compiled_ms": 4.0, "ratio": 0.4, "ratio_q1": 0.38, "ratio_q3": 0.5, "rounds": 20,
    },
    "max_relative_error": 3e-7,
    "steps": [
        {"module": "conv1", "operation": "convolution", "weights": 80, "zeros": 0.95, "ms": 1.0},
        {"module": "conv1", "operation": "relu", "weights": 0, "zeros": 0.0, "ms": 0.5},
        {"module": "fc", "operation": "linear, dense", "weights": 20, "zeros": 0.5, "ms": 2.5},
    ],
}  # fmt: skip
TRAINED: dict[str, Any] = {
    "schema": "sapwood.train/1",
    "metrics": {"mAP@0.5": 0.3, "mAP@[.5:.95]": 0.15},
    "epochs": 4,
    "files": {"metrics": "run/metrics.jsonl", "model": "run/model"},
    "skipped": ["a.jpg: is empty"],
    "model": "net.cfg",
    "data": "coco",
    "train_split": "train",
    "split": "val",
    "primary": "mAP@0.5",
    "num_images": 50,
    "interval": {"value": 0.3, "low": 0.28, "high": 0.34},
    "per_class": {"cat": 0.3, "cup": 0.05},
    "history": [
        {"epoch": 1, "lr": 0.01, "total": 8.0, "seconds": 60.0, "images_per_second": 2.0},
        {"epoch": 2, "lr": 0.01, "total": 4.0, "seconds": 60.0, "images_per_second": 4.0, "mAP@0.5": 0.2},
        {"epoch": 3, "lr": 0.001, "total": 3.0, "seconds": 60.0, "mAP@0.5": 0.3, "eval_seconds": 20.0},
        {"epoch": 4, "lr": 0.001, "total": 2.5, "seconds": 60.0, "mAP@0.5": 0.25},
    ],
    "config": {"epochs": 4},
}
DETECTED: dict[str, Any] = {
    "schema": "sapwood.detect/1",
    "model": "net.cfg",
    "score_threshold": 0.25,
    "iou_threshold": 0.45,
    "images": [
        {
            "image": "dog.jpg",
            "drawn": "found/dog.jpg",
            "detections": [
                {"class": "dog", "score": 0.81, "box": [130.0, 220.0, 310.0, 540.0]},
                {"class": "dog", "score": 0.3, "box": [0.0, 2.0, 30.0, 54.4]},
                {"class": "truck", "score": 0.55, "box": [470.0, 80.0, 690.0, 170.0]},
            ],
        },
        {"image": "sky.jpg", "drawn": "found/sky.jpg", "detections": []},
    ],
    "seconds": 0.5,
    "input_size": [192, 416],
}
