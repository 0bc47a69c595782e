#!/usr/bin/env bash
# opencv-python-headless 5.0.0.93: a BatchNorm behind an activation behind a convolution is computed wrongly.
#
# Expected: convolution -> SiLU -> BatchNorm from an ONNX file gives what onnxruntime 1.32.0 gives, to about 1e-6.
# What happens: with the new engine, which `readNetFromONNX` takes by default, the largest difference is 0.15 to 0.16 of the
# largest output for SiLU, Mish and Hardswish, 0.63 for Sigmoid, without a word; ReLU and LeakyReLU are right, and so is the
# older engine (`cv2.dnn.ENGINE_CLASSIC`) for all, where the model comes as a file. 4.14.0.94 is right, too.
# Why it matters when pruning: a network whose BatchNorm stands behind the activation (the gains of such layers are what
# sparse training shrinks) looks as if pruning had destroyed it. Checking the file in onnxruntime tells the two apart.
# What to do: `readNetFromONNX(path, cv2.dnn.ENGINE_CLASSIC)`, or 4.14.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    opencv-python-headless==5.0.0.93 numpy==2.4.6 onnx==1.23.2 onnxruntime==1.32.0
cat > "$folder/run.py" <<'PY'
import sys
from pathlib import Path

import cv2
import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

draw = np.random.default_rng(0)
picture = draw.normal(size=(1, 3, 17, 19)).astype(np.float32)
values = {
    "kernel": draw.normal(size=(6, 3, 3, 3)) / 5,
    "bias": draw.normal(size=6),
    "gain": draw.uniform(0.5, 2, 6),
    "shift": draw.normal(size=6),
    "mean": draw.normal(size=6),
    "variance": draw.uniform(0.5, 2, 6),
}
ACTIVATIONS = {
    "ReLU": [helper.make_node("Relu", ["c"], ["a"])],
    "LeakyReLU": [helper.make_node("LeakyRelu", ["c"], ["a"], alpha=0.1)],
    "SiLU": [helper.make_node("Sigmoid", ["c"], ["s"]), helper.make_node("Mul", ["c", "s"], ["a"])],
    "Mish": [helper.make_node("Mish", ["c"], ["a"])],
    "Hardswish": [helper.make_node("HardSwish", ["c"], ["a"])],
    "Sigmoid": [helper.make_node("Sigmoid", ["c"], ["a"])],
}


def model_of(activation):
    nodes = [
        helper.make_node("Conv", ["x", "kernel", "bias"], ["c"], pads=[1, 1, 1, 1]),
        *activation,
        helper.make_node("BatchNormalization", ["a", "gain", "shift", "mean", "variance"], ["y"]),
    ]
    held = [numpy_helper.from_array(value.astype(np.float32), name) for name, value in values.items()]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, n, 17, 19]) for name, n in (("x", 3), ("y", 6))]
    graph = helper.make_graph(nodes, "net", ends[:1], ends[1:], held)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10).SerializeToString()


def run(path, *engine):
    net = cv2.dnn.readNetFromONNX(str(path), *engine)
    net.setInput(picture)
    return net.forward()


print(cv2.__version__)
for name, activation in ACTIVATIONS.items():
    model = model_of(activation)
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    wanted = session.run(None, {"x": picture})[0]
    path = Path(sys.argv[1]) / "net.onnx"
    path.write_bytes(model)
    errors = [np.abs(run(path, *engine) - wanted).max() / np.abs(wanted).max() for engine in ((), (cv2.dnn.ENGINE_CLASSIC,))]
    words = ["right" if error < 1e-4 else "WRONG" if error > 0.1 else f"{error:.0e}" for error in errors]
    print(f"{name}: by default {words[0]}, ENGINE_CLASSIC {words[1]}")
PY
"$folder/venv/bin/python" "$folder/run.py" "$folder" | tee "$folder/seen"
diff "$folder/seen" - <<'SEEN'
5.0.0
ReLU: by default right, ENGINE_CLASSIC right
LeakyReLU: by default right, ENGINE_CLASSIC right
SiLU: by default WRONG, ENGINE_CLASSIC right
Mish: by default WRONG, ENGINE_CLASSIC right
Hardswish: by default WRONG, ENGINE_CLASSIC right
Sigmoid: by default WRONG, ENGINE_CLASSIC right
SEEN
