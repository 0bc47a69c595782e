#!/usr/bin/env bash
# openvino 2026.4.1: the profile of an inference request tells the mean of all runs of the compiled model so far, not of the last one.
#
# Expected: profiling_info behind an inference says what each layer took in it ("performance measured during the last inference").
# What happens: after one run on 4,096 rows, a run on 1 row is said to take half of what the first took, the next a third, the one
# after that a quarter, though each takes less than a tenth. A new request of the same compiled model goes on with the same mean.
# Why it matters when pruning: layer times decide which channels go for a latency target. The first run, which sets up memory, or one that other
# work interrupted, stays in every later figure: of a ResNet-20 one layer had 3.2 of 4.0 ms, and was cut for it.
# What to do: n times the mean of n runs less n - 1 times the mean before, or a model compiled anew.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check openvino==2026.4.1 numpy==2.4.6
cat > "$folder/run.py" <<'PY'
import time

import numpy as np
import openvino
from openvino import opset13

x = opset13.parameter([-1, 2048], np.float32)
weights = np.random.default_rng(0).standard_normal((2048, 2048)).astype(np.float32)
model = openvino.Model([opset13.matmul(x, opset13.constant(weights), False, True)], [x])
settings = {"PERF_COUNT": True, "INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
compiled = openvino.Core().compile_model(model, "CPU", settings)


def run(request, rows):
    began = time.perf_counter()
    request.infer([np.ones((rows, 2048), np.float32)])
    took = time.perf_counter() - began
    layer = max(request.profiling_info, key=lambda one: one.real_time)
    return took, layer.real_time.total_seconds()


request = compiled.create_infer_request()
_, large = run(request, 4096)
for number in (2, 3, 4):
    took, told = run(request, 1)
    share = round(large / told)
    print(f"run {number}, of one row: it took {'less than a tenth' if took < 0.1 * large else 'more'}, its layer is said to have taken 1/{share} of the large run's time")
other = compiled.create_infer_request()
took, told = run(other, 1)
print(f"a new request, of one row: its layer is said to have taken 1/{round(large / told)} of the large run's time")
PY
"$folder/venv/bin/python" "$folder/run.py" | tee "$folder/seen"
diff "$folder/seen" - <<'SEEN'
run 2, of one row: it took less than a tenth, its layer is said to have taken 1/2 of the large run's time
run 3, of one row: it took less than a tenth, its layer is said to have taken 1/3 of the large run's time
run 4, of one row: it took less than a tenth, its layer is said to have taken 1/4 of the large run's time
a new request, of one row: its layer is said to have taken 1/5 of the large run's time
SEEN
