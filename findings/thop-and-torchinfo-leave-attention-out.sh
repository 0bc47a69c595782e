#!/usr/bin/env bash
# thop 0.1.1.post2209072238 and torchinfo 1.8.0: nn.MultiheadAttention counts as no work at all.
#
# Expected: of 64 channels, 4 heads and 32 tokens, about 655,360 multiply-adds (four projections and the two products).
# What happens: both say 0; thop says 0 parameters, too. fvcore 0.1.5.post20221221 and FlopCounterMode of PyTorch 2.14.1 have 655,360,
# ptflops 0.7.5 has 804,864.
# Why it matters when pruning: a budget in MACs taken from these tables leaves all that heads cost out, so that "half of the MACs"
# is another network for each tool, and a pruned head saves nothing on paper.
# What to do: FlopCounterMode, which counts what is computed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    torch==2.14.1 numpy==2.4.6 thop==0.1.1.post2209072238 torchinfo==1.8.0 fvcore==0.1.5.post20221221 ptflops==0.7.5
cat > "$folder/run.py" <<'PY'
import copy

import ptflops
import thop
import torch
import torchinfo
from fvcore.nn import FlopCountAnalysis
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(64, 4, batch_first=True)

    def forward(self, tokens):
        return self.attention(tokens, tokens, tokens)[0]


network, tokens = Attention().eval(), torch.randn(1, 32, 64)
print("thop", *thop.profile(copy.deepcopy(network), (tokens,), verbose=False))
table = torchinfo.summary(network, input_data=[tokens], verbose=0)
print("torchinfo", table.total_mult_adds, table.total_params)
print("fvcore", FlopCountAnalysis(network, tokens).unsupported_ops_warnings(False).total())
shape = tuple(tokens.shape[1:])
print("ptflops", *ptflops.get_model_complexity_info(copy.deepcopy(network), shape, as_strings=False, print_per_layer_stat=False))
with FlopCounterMode(display=False) as counter:
    network(tokens)
print("torch", counter.get_total_flops() // 2)
PY
"$folder/venv/bin/python" "$folder/run.py" 2>/dev/null | grep -E '^(thop|torchinfo|fvcore|ptflops|torch) ' | tee "$folder/seen"
diff "$folder/seen" - <<'SEEN'
thop 0.0 0
torchinfo 0 16640
fvcore 655360
ptflops 804864 16640
torch 655360
SEEN
