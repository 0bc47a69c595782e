"""Cycles over channels on Arm's Ethos-U, as its compiler estimates them: ``python benchmarks/vela_widths.py``.

The chains of ``isa_widths.py`` in int8, through Vela, whose estimate knows the device's blocks and its memory and
is the same in every run; cycles at equal work, relative to 64 channels. It needs neither PyTorch nor Sapwood, but
``pip install tensorflow-cpu==2.21.0 ethos-u-vela==5.2.0`` in an environment of its own. Two minutes.
"""

from __future__ import annotations

import csv
import os
import subprocess
import sys
import tempfile
from pathlib import Path

os.environ.update(TF_CPP_MIN_LOG_LEVEL="3", CUDA_VISIBLE_DEVICES="")
import numpy as np
import tensorflow as tf

WIDTHS = (48, 52, 56, 60, 62, 63, 64, 65, 66, 68, 72)
DEVICES = ("ethos-u55-64", "ethos-u55-128", "ethos-u55-256", "ethos-u65-256", "ethos-u85-256")
LAYERS = 4
SIDE = 26


def write(path: Path, width: int, kernel: int) -> None:
    """An int8 chain of layers of one width, each read by the next, as a TFLite file."""
    draw = np.random.default_rng(0)
    first = x = tf.keras.Input((SIDE, SIDE, width))
    for _ in range(LAYERS):
        x = tf.keras.layers.Conv2D(width, kernel, padding="same", activation="relu")(x)
    converter = tf.lite.TFLiteConverter.from_keras_model(tf.keras.Model(first, x))
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: (
        [draw.normal(size=(1, SIDE, SIDE, width)).astype(np.float32)] for _ in range(4)
    )
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    path.write_bytes(converter.convert())


def cycles(path: Path, device: str) -> float:
    """What Vela says of all cycles, memory included."""
    out = path.parent / device
    command = [sys.executable, "-m", "ethosu.vela", str(path), "--accelerator-config", device, "--output-dir", str(out)]
    subprocess.run(command, check=True, capture_output=True)
    (summary,) = out.glob(f"{path.stem}_summary*.csv")
    return float(list(csv.DictReader(summary.open()))[-1]["cycles_total"])


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        paths = {}
        for kernel in (3, 1):
            for width in WIDTHS:
                paths[width, kernel] = Path(name) / f"k{kernel}c{width}.tflite"
                write(paths[width, kernel], width, kernel)
        print("| device | layers | " + " | ".join(map(str, WIDTHS)) + " |")
        print("|---|---|" + "--:|" * len(WIDTHS))
        for device in DEVICES:
            for kernel in (3, 1):
                seen = {width: cycles(paths[width, kernel], device) / width**2 for width in WIDTHS}
                cells = " | ".join(f"{seen[width] / seen[64]:.2f}" for width in WIDTHS)
                print(f"| {device} | {kernel} x {kernel} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
