#!/usr/bin/env bash
# onnxruntime 1.32.0: a layer that was excluded from quantisation is quantised when the file is loaded.
#
# Expected: `nodes_to_exclude` keeps a layer in float32. In the file it does.
# What happens: if both maps of the layer are int8, ONNX Runtime's optimizer WeightBiasQuantization quantises its weights as it
# loads the file, with one scale for the whole tensor instead of one a channel.
# Why it matters when pruning: layers are excluded because int8 harms them, and this harms them more; nobody is told.
# What to do: put something that is not removed between DequantizeLinear and the layer (a Max of one value; Sapwood does), or load
# with `disabled_optimizers=["WeightBiasQuantization"]`.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check onnxruntime==1.32.0 onnx==1.23.2 sympy==1.14.0
cat > "$folder/run.py" <<'PY'
import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static

eye = np.eye(4, dtype=np.float32).reshape(4, 4, 1, 1)
uneven = eye * 0.5
uneven[0, 1] = 300.0  # of a channel that is 0: one step of int8 is then larger than all other weights
weights = {"w0": eye, "w1": uneven, "w2": eye}
nodes = [helper.make_node("Conv", [f"x{i}", f"w{i}"], [f"x{i + 1}"], name=f"conv{i}") for i in range(3)]
value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4, 2, 2]) for name in ("x0", "x3")]
stored = [numpy_helper.from_array(array, name) for name, array in weights.items()]
graph = helper.make_graph(nodes, "net", value[:1], value[1:], stored)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
x = np.ones((1, 4, 2, 2), dtype=np.float32)
x[:, 1] = 0


class Reader(CalibrationDataReader):
    feeds = iter([{"x0": x}])

    def get_next(self):
        return next(self.feeds, None)


kinds = {"activation_type": QuantType.QUInt8, "weight_type": QuantType.QInt8}
quantize_static(model, "net.onnx", Reader(), per_channel=True, nodes_to_exclude=["conv1"], **kinds)
for off in ([], ["WeightBiasQuantization"]):
    session = onnxruntime.InferenceSession("net.onnx", providers=["CPUExecutionProvider"], disabled_optimizers=off)
    print("seen:", off, session.run(None, {"x0": x})[0][0, :, 0, 0].round(1).tolist())
PY
cd "$folder"
"$folder/venv/bin/python" -W ignore "$folder/run.py" 2> /dev/null | grep '^seen' | tee "$folder/seen"
diff "$folder/seen" - <<'SEEN'
seen: [] [0.0, 0.0, 0.0, 0.0]
seen: ['WeightBiasQuantization'] [0.5, 0.0, 0.5, 0.5]
SEEN
