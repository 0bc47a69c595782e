#!/usr/bin/env bash
# opencv-python-headless 4.14.0.94, and the older engine of 5.0.0.93: average pooling depends on the name of who wrote the file.
#
# Expected: ONNX's AveragePool with count_include_pad=0 divides by the values under the window that are not padding.
# What happens: so it does, unless the file's producer_name is "pytorch": then the padding is counted whatever the attribute says.
# On a map of ones the edge becomes 0.67 and the corner 0.44; with another producer_name all is 1. With the default engine of
# 5.0.0.93 all is 1 as well.
# Why it matters when pruning: torch.onnx.export writes that name. The edges of each such map differ from PyTorch's by a third, so
# the comparison of a pruned network with the dense one fails for a reason that pruning did not make; and a tool that writes
# the file anew (a simplifier, an exporter of its own) changes the network's results in OpenCV without changing a number.
# What to do: 5.0's default engine, or another producer_name where nothing counts its padding.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat > "$folder/run.py" <<'PY'
import sys
from pathlib import Path

import cv2
import numpy as np
from onnx import TensorProto, helper

path = Path(sys.argv[1]) / "pool.onnx"
node = helper.make_node("AveragePool", ["x"], ["y"], kernel_shape=[3, 3], strides=[1, 1], pads=[1] * 4, count_include_pad=0)
ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3, 5, 5]) for name in "xy"]
graph = helper.make_graph([node], "net", ends[:1], ends[1:])
engines = {"": ()}
if hasattr(cv2.dnn, "ENGINE_NEW"):
    engines["ENGINE_CLASSIC"] = (cv2.dnn.ENGINE_CLASSIC,)
for producer in ("pytorch", "another"):
    model = helper.make_model(graph, producer_name=producer, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    path.write_bytes(model.SerializeToString())
    for name, engine in engines.items():
        net = cv2.dnn.readNetFromONNX(str(path), *engine)
        net.setInput(np.ones((1, 3, 5, 5), np.float32))
        print(cv2.__version__, name, producer, *(f"{value:.2f}" for value in net.forward()[0, 0, 0, :2]))
PY
for version in 4.14.0.94 5.0.0.93; do
    python3 -m venv "$folder/$version"
    "$folder/$version/bin/python" -m pip install --quiet --disable-pip-version-check \
        "opencv-python-headless==$version" numpy==2.4.6 onnx==1.23.2
    "$folder/$version/bin/python" "$folder/run.py" "$folder" 2>/dev/null | tee -a "$folder/seen"
done
diff "$folder/seen" - <<'SEEN'
4.14.0  pytorch 0.44 0.67
4.14.0  another 1.00 1.00
5.0.0  pytorch 1.00 1.00
5.0.0 ENGINE_CLASSIC pytorch 0.44 0.67
5.0.0  another 1.00 1.00
5.0.0 ENGINE_CLASSIC another 1.00 1.00
SEEN
