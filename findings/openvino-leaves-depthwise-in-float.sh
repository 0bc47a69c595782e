#!/usr/bin/env bash
# nncf 3.4.0, openvino 2026.4.1: in an int8 network read from ONNX by `Core.read_model`, grouped convolutions compute in float32.
#
# Expected: `nncf.quantize` quantises all three layers, and the CPU plugin computes all three in int8, however the file was opened.
# What happens: opened by `Core.read_model`, the depthwise layer computes in float32, without a word, though its weights and its input are
# quantised in the file; opened by `openvino.convert_model` it is int8. The reader writes its weights as a constant behind a Reshape,
# whose shape a few operations work out; convert_model works that out, read_model does not, and NNCF puts its range behind it.
# Why it matters when pruning: depthwise layers are where a MobileNet's time is after pruning; int8 gains nothing there, and the widths
# that are chosen by what int8 layers cost are wrong.
# What to do: open the file with convert_model, or run the pass ConstantFolding on the model before NNCF (Sapwood does), and look at the
# precision of what was compiled.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check nncf==3.4.0 openvino==2026.4.1 onnx==1.23.2 numpy==2.4.6
cat > "$folder/run.py" <<'PY'
import contextlib
import io
import logging
import os
import sys

os.environ["NNCF_CI"] = "1"
import nncf
import numpy as np
import onnx
import openvino
from onnx import TensorProto, helper, numpy_helper

nncf.set_log_level(logging.ERROR)
draw = np.random.default_rng(0)
path = f"{sys.argv[1]}/net.onnx"
nodes, kept = [], []
for name, before, shape, groups in (("dense", "x", (16, 3, 3, 3), 1), ("depthwise", "a", (16, 1, 3, 3), 16), ("last", "b", (8, 16, 1, 1), 1)):
    kept.append(numpy_helper.from_array(draw.normal(size=shape).astype(np.float32), name))
    after = {"dense": "a", "depthwise": "b", "last": "y"}[name]
    nodes.append(helper.make_node("Conv", [before, name], [after], name=name, group=groups))
ends = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 16, 16]), helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 8, 12, 12])]
onnx.save(helper.make_model(helper.make_graph(nodes, "net", ends[:1], ends[1:], kept), opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
inputs = [draw.normal(size=(1, 3, 16, 16)).astype(np.float32) for _ in range(8)]
for way, model in (("read_model", openvino.Core().read_model(path)), ("convert_model", openvino.convert_model(path))):
    with contextlib.redirect_stdout(io.StringIO()):
        quantised = nncf.quantize(model, nncf.Dataset(inputs))
    compiled = openvino.Core().compile_model(quantised, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    found = []
    for node in compiled.get_runtime_model().get_ordered_ops():
        told = node.get_rt_info()
        if str(told["layerType"].astype(str)) == "Convolution":
            found.append("float32" if str(told["runtimePrecision"].astype(str)) == "f32" else "int8")
    print(f"{way}:", *found)
PY
"$folder/venv/bin/python" "$folder/run.py" "$folder" 2>/dev/null | tee "$folder/seen"
diff "$folder/seen" - <<'SEEN'
read_model: int8 float32 int8
convert_model: int8 int8 int8
SEEN
