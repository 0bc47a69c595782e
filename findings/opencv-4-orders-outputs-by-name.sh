#!/usr/bin/env bash
# opencv-python-headless 4.14.0.94 and 5.0.0.93: the outputs of an ONNX file come in another order, and forward() alone gives another one.
#
# Expected: `getUnconnectedOutLayersNames()` lists the outputs as the file does, as ONNX Runtime and OpenVINO do, and `forward()` without
# a name gives the same output in both versions.
# What happens: 4.14.0 sorts them by name (head10 before head2), whatever their order in the file; 5.0.0 keeps the file's. `forward()`
# gives the file's last output in 4.14.0, its first one in 5.0.0. Nothing is said.
# Why it matters when pruning: a detector's heads are outputs of one kind. Where two have one number of channels, boxes decoded with the
# other head's strides and anchors are wrong without an error, and it looks as if pruning had lost them.
# What to do: ask for outputs by name, `forward(["fine", "coarse"])`; or give them names that sort as they stand in the file.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat > "$folder/run.py" <<'PY'
import sys

import cv2
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

NAMES = ["head3", "head10", "head2"]
draw = np.random.default_rng(0)
weights = [numpy_helper.from_array(draw.normal(size=(2 + n, 3, 1, 1)).astype("f"), f"w{n}") for n in range(3)]
graph = helper.make_graph(
    [helper.make_node("Conv", ["picture", f"w{n}"], [name]) for n, name in enumerate(NAMES)],
    "net",
    [helper.make_tensor_value_info("picture", TensorProto.FLOAT, [1, 3, 4, 4])],
    [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 2 + n, 4, 4]) for n, name in enumerate(NAMES)],
    weights,
)
path = f"{sys.argv[1]}/net.onnx"
onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
net = cv2.dnn.readNetFromONNX(path)
net.setInput(draw.normal(size=(1, 3, 4, 4)).astype("f"))
alone = net.forward().shape[1] - 2
print(cv2.__version__, *net.getUnconnectedOutLayersNames(), "alone:", NAMES[alone])
PY
for version in 4.14.0.94 5.0.0.93; do
    python3 -m venv "$folder/$version"
    "$folder/$version/bin/python" -m pip install --quiet --disable-pip-version-check numpy==2.4.6 onnx==1.23.2 "opencv-python-headless==$version"
    "$folder/$version/bin/python" "$folder/run.py" "$folder"
done | tee "$folder/seen"
diff "$folder/seen" - <<'SEEN'
4.14.0 head10 head2 head3 alone: head2
5.0.0 head3 head10 head2 alone: head3
SEEN
