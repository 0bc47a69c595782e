#!/usr/bin/env bash
# torch 2.14.1: a bilinear layer that reads another layer does not run under autocast on a CPU.
#
# Expected: a network that runs in float32 runs under torch.autocast("cpu", torch.bfloat16) as well; an operator that
# knows no bfloat16 is given float32, which is what autocast is for.
# What happens: the linear layer in front gives bfloat16, nn.Bilinear is on no list of autocast's, so that its weight
# stays float32, and the call is refused for having several types.
# Why it matters when pruning: accuracy is brought back by training the pruned network, which is done in bfloat16 where
# the processor has it. There it ends with an error in a layer that pruned, ran and exported without one.
# What to do: train such a network in float32, or cast the layer's inputs to its weight's type in forward.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check torch==2.14.1 numpy==2.4.6
cat > "$folder/run.py" <<'PY'
import torch
from torch import nn

first, pair, x = nn.Linear(4, 4), nn.Bilinear(4, 4, 3), torch.ones(2, 4)
print("float32", pair(first(x), first(x)).dtype)
with torch.autocast("cpu", torch.bfloat16):
    print("autocast, linear", first(x).dtype)
    try:
        print("autocast, bilinear", pair(first(x), first(x)).dtype)
    except RuntimeError as error:
        print("autocast, bilinear", error)
PY
"$folder/venv/bin/python" -W ignore "$folder/run.py" | tee "$folder/seen"
diff "$folder/seen" - <<'SEEN'
float32 torch.float32
autocast, linear torch.bfloat16
autocast, bilinear All tensors must have the same dtype, got input1: c10::BFloat16, input2: c10::BFloat16, weight: float, bias: float
SEEN
