#!/usr/bin/env bash
# onnxruntime 1.31.1 (1.20.0 to 1.31.1; right in 1.18.0 and 1.32.0): zeros padded in front of a MaxPool are lost.
#
# Expected: a Pad of zeros and a MaxPool behind it give the same numbers at every level of graph optimisation: a padded zero is the
# largest of a window whose other numbers are negative.
# What happens: the fusion of paddings, on by default, makes the padded zeros the pool's own padding, which never is the largest.
# At the border the result is the largest negative number instead of 0.
# Why it matters when pruning: the common PyTorch ports of yolov3-tiny pad like this (ZeroPad2d before the pool of stride 1), and behind
# LeakyReLU most numbers are negative. A pruned network is exported, its accuracy is lower than in PyTorch, and the pruning is blamed.
# What to do: run with 1.32.0, or leave Pad_Fusion out (disabled_optimizers), and compare the file with the model before it is shipped.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check onnxruntime==1.31.1 onnx==1.23.2 numpy==2.4.6
cat > "$folder/run.py" <<'PY'
import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

pads = numpy_helper.from_array(np.array([0, 0, 0, 0, 0, 0, 1, 1]), "pads")
nodes = [
    helper.make_node("Pad", ["x", "pads"], ["padded"], mode="constant"),
    helper.make_node("MaxPool", ["padded"], ["y"], kernel_shape=[2, 2], strides=[1, 1]),
]
ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 1, 3, 3]) for name in "xy"]
graph = helper.make_graph(nodes, "pool", ends[:1], ends[1:], [pads])
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10).SerializeToString()
x = -np.arange(1, 10, dtype=np.float32).reshape(1, 1, 3, 3)
for name, left_out in (("as it is:", None), ("without Pad_Fusion:", ["Pad_Fusion"])):
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"], disabled_optimizers=left_out)
    print(name, *session.run(None, {"x": x})[0].ravel().astype(int))
PY
"$folder/venv/bin/python" "$folder/run.py" 2>/dev/null | tee "$folder/seen"
diff "$folder/seen" - <<'SEEN'
as it is: -1 -2 -3 -4 -5 -6 -7 -8 -9
without Pad_Fusion: -1 -2 0 -4 -5 0 0 0 0
SEEN
