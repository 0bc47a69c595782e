#!/usr/bin/env bash
# ethos-u-vela 5.2.0 (Arm's compiler for Ethos-U, with its own estimate of cycles): 65 channels for 64 cost 1.8 to 1.9 times as much, and 68 less than 65.
#
# Expected: time in steps of 8 channels, as the registers of such a device suggest: 65 to 72 channels cost 1.13 times what 64 do, squared at most,
# and one channel more is never cheaper.
# What happens: four int8 convolutions 3 x 3 in a row, 24 x 24, cycles relative to 64 channels. On Ethos-U55 and U65 48 channels cost 0.74 to 0.79, 60 to
# 63 exactly what 64 do, 65 and 72 1.77 to 1.88: what is read counts in steps of 32. And 68 cost 0.90 of 65. With 90 % zeros in the weights the file is a
# fifth, and the cycles are the same to 4 %.
# Why it matters when pruning: a network that is cut from 80 channels to 66 gains nothing of what one at 64 does; and zeros, which this device stores
# compressed, save flash and no time.
# What to do: 32, 64 and 96 channels for this target; measure with `vela --verbose-performance` before choosing a rate.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check tensorflow-cpu==2.21.0 ethos-u-vela==5.2.0 numpy==2.4.6
cat > "$folder/run.py" <<'PY'
import csv
import os
import subprocess
import sys
from pathlib import Path

os.environ.update(TF_CPP_MIN_LOG_LEVEL="3", CUDA_VISIBLE_DEVICES="")
import numpy as np
import tensorflow as tf

folder = Path(sys.argv[1])


def write(name, channels, zeros=0.0):
    draw = np.random.default_rng(0)
    x = first = tf.keras.Input((24, 24, channels))
    for _ in range(4):
        layer = tf.keras.layers.Conv2D(channels, 3, padding="same", activation="relu")
        x = layer(x)
        weight = draw.normal(0, 0.1, (3, 3, channels, channels)).astype(np.float32)
        weight[draw.random(weight.shape) < zeros] = 0
        layer.set_weights([weight, np.zeros(channels, np.float32)])
    converter = tf.lite.TFLiteConverter.from_keras_model(tf.keras.Model(first, x))
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([draw.normal(size=(1, 24, 24, channels)).astype(np.float32)] for _ in range(4))
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    (folder / f"{name}.tflite").write_bytes(converter.convert())


def cycles(name, device):
    out = folder / device
    command = [sys.executable, "-m", "ethosu.vela", str(folder / f"{name}.tflite"), "--accelerator-config", device, "--output-dir", str(out)]
    subprocess.run(command, check=True, capture_output=True)
    (summary,) = out.glob(f"{name}_summary*.csv")
    return float(list(csv.DictReader(summary.open()))[-1]["cycles_npu"]), (out / f"{name}_vela.tflite").stat().st_size


for channels in (48, 60, 63, 64, 65, 68, 72):
    write(f"c{channels}", channels)
write("zeros", 64, 0.9)
for device in ("ethos-u55-64", "ethos-u55-128", "ethos-u55-256", "ethos-u65-256"):
    full, size = cycles("c64", device)
    ratios = {channels: cycles(f"c{channels}", device)[0] / full for channels in (48, 60, 63, 65, 68, 72)}
    sparse, smaller = cycles("zeros", device)
    print(
        device,
        "| 48: three quarters" if 0.7 < ratios[48] < 0.8 else ratios[48],
        "| 60, 63: as 64" if all(abs(ratios[n] - 1) < 0.01 for n in (60, 63)) else ratios,
        "| 65, 72: over 1.75" if min(ratios[65], ratios[72]) > 1.75 else ratios,
        "| 68 cheaper than 65" if ratios[68] < 0.92 * ratios[65] else ratios,
        "| 90 % zeros: the same cycles" if abs(sparse / full - 1) < 0.04 else sparse / full,
        "| a fifth of the file" if smaller < 0.22 * size else smaller / size,
    )
PY
"$folder/venv/bin/python" -W ignore "$folder/run.py" "$folder" 2> "$folder/said" | grep '^ethos' | tee "$folder/seen"
diff "$folder/seen" - <<'SEEN'
ethos-u55-64 | 48: three quarters | 60, 63: as 64 | 65, 72: over 1.75 | 68 cheaper than 65 | 90 % zeros: the same cycles | a fifth of the file
ethos-u55-128 | 48: three quarters | 60, 63: as 64 | 65, 72: over 1.75 | 68 cheaper than 65 | 90 % zeros: the same cycles | a fifth of the file
ethos-u55-256 | 48: three quarters | 60, 63: as 64 | 65, 72: over 1.75 | 68 cheaper than 65 | 90 % zeros: the same cycles | a fifth of the file
ethos-u65-256 | 48: three quarters | 60, 63: as 64 | 65, 72: over 1.75 | 68 cheaper than 65 | 90 % zeros: the same cycles | a fifth of the file
SEEN
