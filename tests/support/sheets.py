"""Records of `eval`, `mask` and `export`, made up."""

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
