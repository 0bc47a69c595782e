#!/usr/bin/env bash
# torchao 0.18.0: int4 weights of a layer whose inputs the group size does not divide stay float32, without a word.
#
# Expected: `quantize_(model, Int4WeightOnlyConfig(group_size=128))` quantises every Linear, or says which it leaves, as
# `IntxWeightOnlyConfig` with the same groups does: an error that names the width.
# What happens: a Linear of 100 inputs keeps its float32 weight. No warning; a line at the level INFO of a logger, which is off by default.
# Why it matters when pruning: pruned widths are hardly ever multiples of 128 (or 32), so that a pruned network comes back as large as
# before, and its accuracy "survives int4" because nothing was quantised.
# What to do: round widths to the group size (`--round-to 32` in Sapwood), or count the layers whose weight is a plain tensor afterwards.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check torch==2.14.1 numpy==2.4.6 torchao==0.18.0
cat > "$folder/run.py" <<'PY'
import warnings

import torch
from torch import nn
from torchao.quantization import Int4WeightOnlyConfig, IntxWeightOnlyConfig, quantize_
from torchao.quantization.granularity import PerGroup

CONFIGS = {
    "Int4WeightOnlyConfig": lambda: Int4WeightOnlyConfig(group_size=128),
    "IntxWeightOnlyConfig": lambda: IntxWeightOnlyConfig(weight_dtype=torch.int4, granularity=PerGroup(128)),
}
for name, config in CONFIGS.items():
    model = nn.Sequential(nn.Linear(100, 64)).requires_grad_(False)
    before = model[0].weight.clone()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        asked = config()
        caught.clear()
        try:
            quantize_(model, asked)
            weight = model[0].weight
            same = type(weight.data) is torch.Tensor and weight.dtype == torch.float32 and torch.equal(weight, before)
            print(f"seen: {name}: a plain float32 tensor, unchanged: {same}; warnings: {len(caught)}")
        except AssertionError as error:
            print(f"seen: {name}: {error}")
PY
"$folder/venv/bin/python" "$folder/run.py" 2> /dev/null | grep '^seen' | tee "$folder/seen"
diff "$folder/seen" - <<'SEEN'
seen: Int4WeightOnlyConfig: a plain float32 tensor, unchanged: True; warnings: 0
seen: IntxWeightOnlyConfig: Expecting input size at 1 dimension: 100 to be divisible by block_size at 1 dimension: 128
SEEN
