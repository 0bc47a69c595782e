#!/usr/bin/env bash
# onnxruntime 1.32.0: quantize_static leaves a convolution in float32 whose bias comes through an Identity.
#
# Expected: of a QDQ file of two convolutions both run in int8, whether or not they share the initialiser of their bias.
# What happens: where the second bias is an Identity of the first (what PyTorch's TorchScript exporter writes for equal biases), it is
# not quantised, and the runtime loads that convolution as one of float32, without a word. Without the Identity both are int8.
# Why it matters when pruning: equal biases are common (zeros, in a network before BatchNorm is folded into it). 15 of yolov4-tiny's 21
# convolutions ran in float32 inside of an int8 file, which was slower than the float32 file; the widths are suspected first.
# What to do: give each layer a bias of its own before quantising (Sapwood does), and count what is int8 after loading.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check onnxruntime==1.32.0 onnx==1.23.2 numpy==2.4.6
cat > "$folder/run.py" <<'PY'
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static

draw = np.random.default_rng(0)
folder = Path(sys.argv[1])


class Pictures(CalibrationDataReader):
    def __init__(self):
        self.left = [draw.normal(size=(1, 4, 8, 8)).astype(np.float32) for _ in range(4)]

    def get_next(self):
        return {"x": self.left.pop()} if self.left else None


def model_of(through_identity):
    held = {name: draw.normal(size=(4, 4, 3, 3)).astype(np.float32) for name in ("first", "second")}
    held["bias"] = draw.normal(size=4).astype(np.float32)
    nodes = [helper.make_node("Conv", ["x", "first", "bias"], ["a"], name="one", pads=[1] * 4)]
    if through_identity:
        nodes.append(helper.make_node("Identity", ["bias"], ["same"]))
    nodes.append(helper.make_node("Conv", ["a", "second", "same" if through_identity else "bias"], ["y"], name="two", pads=[1] * 4))
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4, 8, 8]) for name in "xy"]
    kept = [numpy_helper.from_array(value, name) for name, value in held.items()]
    graph = helper.make_graph(nodes, "net", ends[:1], ends[1:], kept)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


for through_identity in (False, True):
    plain, quantised = folder / "plain.onnx", folder / "int8.onnx"
    onnx.save(model_of(through_identity), plain)
    quantize_static(plain, quantised, Pictures(), quant_format=QuantFormat.QDQ, per_channel=True)
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(folder / "loaded.onnx")
    onnxruntime.InferenceSession(quantised, options, providers=["CPUExecutionProvider"])
    kinds = sorted(node.op_type for node in onnx.load(folder / "loaded.onnx").graph.node if "Conv" in node.op_type)
    print("through Identity:" if through_identity else "shared:", *kinds)
PY
"$folder/venv/bin/python" "$folder/run.py" "$folder" 2>/dev/null | tee "$folder/seen"
diff "$folder/seen" - <<'SEEN'
shared: QLinearConv QLinearConv
through Identity: Conv QLinearConv
SEEN
