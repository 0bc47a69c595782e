#!/usr/bin/env bash
# MNN 3.6.1: to convert a model with its command `mnnconvert` installs a logging client with pip.
#
# Expected: a converter reads one file and writes another.
# What happens: without asking, it runs pip for aliyun-log-python-sdk (the module MNN/tools/utils/log.py, which is there to report
# what was converted), with whichever pip comes first on the path, even one of another environment. The newest version of
# that client takes protobuf 5, so that onnx 1.23.2 no longer imports afterwards.
# Why it matters when pruning: who compares runtimes converts with one tool after the other. The first conversion works, and then
# all exports of the same environment end in "incompatible Protobuf versions", which looks like a fault of the exporter.
# What to do: convert in an environment that holds nothing else, with no other pip on the path.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check MNN==3.6.1 numpy==2.4.6 onnx==1.23.2
cat > "$folder/make.py" <<'PY'
import sys

from onnx import TensorProto, helper

ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3, 8, 8]) for name in "xy"]
graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "net", ends[:1], ends[1:])
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
open(sys.argv[1], "wb").write(model.SerializeToString())
PY
export PATH="$folder/venv/bin:$PATH"
state() {
    python -m pip list --format freeze --disable-pip-version-check 2>/dev/null | grep -c '^aliyun-log-python-sdk' || true
    python -c "import onnx" 2>/dev/null && echo "onnx imports" || echo "onnx does not import"
}
python "$folder/make.py" "$folder/net.onnx"
{
    state
    mnnconvert -f ONNX --modelFile "$folder/net.onnx" --MNNModel "$folder/net.mnn" --bizCode x > "$folder/log" 2>&1
    test -s "$folder/net.mnn" && echo converted
    state
} | tee "$folder/seen"
diff "$folder/seen" - <<'SEEN'
0
onnx imports
converted
1
onnx does not import
SEEN
