#!/usr/bin/env bash
# torchinfo 1.8.0: a network masked by torch.nn.utils.prune has fewer multiply-adds in its table than the dense one.
#
# Expected: the mask changes no operation, so multiply-adds and parameters are the dense network's.
# What happens: zeros of masks are left out of both: at 50 % of one convolution it says 44,640 multiply-adds instead of 65,808
# and 284 parameters instead of 392. fvcore 0.1.5.post20221221 counts 66,208 for both, PyTorch's own FlopCounterMode 63,072.
# Why it matters when pruning: the table promises half of the work for a network that PyTorch runs at the dense network's speed,
# and that has more in memory than before (weights and masks). Such figures stand in reports as a speed-up.
# What to do: count what runs (FlopCounterMode), or remove the channels, or measure the time.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check torch==2.14.1 numpy==2.4.6 torchinfo==1.8.0 fvcore==0.1.5.post20221221
cat > "$folder/run.py" <<'PY'
import torch
import torchinfo
from fvcore.nn import FlopCountAnalysis
from torch import nn
from torch.nn.utils import prune
from torch.utils.flop_counter import FlopCounterMode

network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3, groups=4)).eval()
picture = torch.randn(1, 3, 16, 16)


def counted(name):
    table = torchinfo.summary(network, input_data=[picture], verbose=0)
    with FlopCounterMode(display=False) as counter:
        network(picture)
    traced = FlopCountAnalysis(network, picture).unsupported_ops_warnings(False).total()
    print(name, table.total_mult_adds, table.total_params, traced, counter.get_total_flops() // 2)


counted("dense")
prune.l1_unstructured(network[0], "weight", 0.5)
counted("masked")
PY
"$folder/venv/bin/python" "$folder/run.py" 2>/dev/null | tee "$folder/seen"
diff "$folder/seen" - <<'SEEN'
dense 65808 392 66208 63072
masked 44640 284 66208 63072
SEEN
