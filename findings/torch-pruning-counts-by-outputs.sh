#!/usr/bin/env bash
# Torch-Pruning 1.6.1 with torch 2.14.1: count_ops_and_params counts transposed convolutions several times over, recurrent layers at a fraction.
#
# Expected: the multiply-adds of a layer, as for a convolution or a Linear: products that the formula of the layer needs, for one picture.
# What happens: a transposed convolution is counted as weights times places *written*, though each weight meets each place *read* once:
# with stride 2 and kernel 3 on a map of 8 x 8 it is 749,088 for 165,888. An LSTM of 8 to 16 over five steps is 2,918.4 for 7,680. Grouped,
# 1-d and 3-d convolutions and a Linear over tokens are right.
# Why it matters when pruning: MACs are the usual target and the usual figure. In a decoder (DCGAN, U-Net, autoencoder) most of the count
# is such layers, so that half of the counted work is not half of the work, and ratios of two tools for one network differ.
# What to do: count with fvcore, which has 165,888, or by hand, before figures of two tools are compared.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check torch==2.14.1 torch-pruning==1.6.1 fvcore==0.1.5.post20221221 numpy==2.4.6
cat > "$folder/run.py" <<'PY'
import logging

import torch
import torch_pruning
from fvcore.nn import FlopCountAnalysis
from torch import nn

logging.disable(logging.WARNING)
picture = torch.zeros(1, 12, 8, 8)
cases = (
    ("grouped", nn.Conv2d(12, 24, 3, padding=1, groups=4, bias=False), picture, 24 * 3 * 9 * 64),
    ("3-d", nn.Conv3d(2, 4, 3, padding=1, bias=False), torch.zeros(1, 2, 4, 4, 4), 2 * 4 * 27 * 64),
    ("tokens", nn.Linear(16, 32, bias=False), torch.zeros(1, 10, 16), 16 * 32 * 10),
    ("transposed", nn.ConvTranspose2d(12, 24, 3, stride=2, bias=False), picture, 12 * 24 * 9 * 64),
    ("LSTM", nn.LSTM(8, 16), torch.zeros(5, 1, 8), 5 * 4 * 16 * (8 + 16)),
)
for name, layer, x, products in cases:
    counted, _ = torch_pruning.utils.count_ops_and_params(layer, x)
    line = f"{name}: {products} products, counted {counted:.1f}"
    if name == "transposed":
        line += f", by fvcore {FlopCountAnalysis(layer, x).total()}"
    print(line)
PY
"$folder/venv/bin/python" -W ignore "$folder/run.py" | tee "$folder/seen"
diff "$folder/seen" - <<'SEEN'
grouped: 41472 products, counted 41472.0
3-d: 13824 products, counted 13824.0
tokens: 5120 products, counted 5120.0
transposed: 165888 products, counted 749088.0, by fvcore 165888
LSTM: 7680 products, counted 2918.4
SEEN
