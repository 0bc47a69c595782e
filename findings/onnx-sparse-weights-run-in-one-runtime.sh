#!/usr/bin/env bash
# onnx 1.23.2, onnxruntime 1.32.0, openvino 2026.4.1: a weight in ONNX's own sparse form runs in ONNX Runtime and nowhere else.
#
# Expected: `sparse_initializer` is part of ONNX since version 1.6; what ONNX Runtime computes right, ONNX's own full check takes, its
# reference evaluator computes, and OpenVINO reads, or says that it knows no sparse weights.
# What happens: the full check says that the operator takes no sparse tensor (a Conv), or has inputs of the wrong rank (a MatMul). The
# reference evaluator stops with `SparseTensorProto has no "data_location" field`. OpenVINO refuses the file. ONNX Runtime is right, and
# makes a dense weight of it: nothing is faster for it.
# Why it matters when pruning: it is the only word that the format has for zeros, and saves their room in the file.
# What to do: write dense weights, and let the file be compressed by whatever stores or sends it.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check numpy==2.4.6 onnx==1.23.2 onnxruntime==1.32.0 openvino==2026.4.1
cat > "$folder/run.py" <<'PY'
import sys

import numpy as np
import onnx
import onnxruntime
import openvino
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

FOLDER = sys.argv[1]
SHAPES = {
    "Conv": ((16, 3, 3, 3), [1, 3, 8, 8], [1, 16, 6, 6]),
    "MatMul": ((3, 16), [1, 3, 8, 3], [1, 3, 8, 16]),
}


def made(kind, weight, sparse):
    places = np.nonzero(weight.ravel())[0].astype(np.int64)
    values = numpy_helper.from_array(weight.ravel()[places], "w")
    given = helper.make_sparse_tensor(values, numpy_helper.from_array(places, "w_places"), weight.shape)
    _, read, written = SHAPES[kind]
    graph = helper.make_graph(
        [helper.make_node(kind, ["x", "w"], ["y"])],
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, read)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, written)],
        [] if sparse else [numpy_helper.from_array(weight, "w")],
        sparse_initializer=[given] if sparse else [],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def by_onnxruntime(model, x):
    return onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]


def by_openvino(model, x):
    onnx.save(model, f"{FOLDER}/net.onnx")
    return openvino.Core().compile_model(f"{FOLDER}/net.onnx", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})([x])[0]


def by_reference(model, x):
    return ReferenceEvaluator(model).run(None, {"x": x})[0]


def checked(model, x):
    onnx.checker.check_model(model, full_check=True)
    return by_onnxruntime(model, x)


random = np.random.default_rng(0)
for kind, (shape, read, _) in SHAPES.items():
    weight = random.normal(size=shape).astype(np.float32)
    weight[np.abs(weight) < 1.2] = 0
    x = random.normal(size=read).astype(np.float32)
    wanted = by_onnxruntime(made(kind, weight, sparse=False), x)
    for run in (by_onnxruntime, checked, by_reference, by_openvino):
        for sparse in (False, True):
            try:
                off = float(np.abs(run(made(kind, weight, sparse), x) - wanted).max() / np.abs(wanted).max())
                said = "right" if off < 1e-5 else "wrong"
            except Exception as error:
                said = type(error).__name__
            print("seen:", kind, run.__name__, "sparse" if sparse else "dense", said)
PY
"$folder/venv/bin/python" -W ignore "$folder/run.py" "$folder" 2> /dev/null | grep '^seen' | tee "$folder/seen"
diff "$folder/seen" - <<'SEEN'
seen: Conv by_onnxruntime dense right
seen: Conv by_onnxruntime sparse right
seen: Conv checked dense right
seen: Conv checked sparse InferenceError
seen: Conv by_reference dense right
seen: Conv by_reference sparse ValueError
seen: Conv by_openvino dense right
seen: Conv by_openvino sparse RuntimeError
seen: MatMul by_onnxruntime dense right
seen: MatMul by_onnxruntime sparse right
seen: MatMul checked dense right
seen: MatMul checked sparse InferenceError
seen: MatMul by_reference dense right
seen: MatMul by_reference sparse ValueError
seen: MatMul by_openvino dense right
seen: MatMul by_openvino sparse RuntimeError
SEEN
