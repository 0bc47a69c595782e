#!/usr/bin/env bash
# model-compression-toolkit 2.6.1 with torch 2.14.1: pytorch_pruning_experimental gives every BatchNorm behind a pruned convolution the values of a new one.
#
# Expected: of the BatchNorm, as of the convolution before it, the numbers of the channels that stay: the pruned model is then the dense one without the
# channels that its own masks name.
# What happens: weights of the convolutions are right to the bit, whichever channels stayed; scale, shift, mean and variance of the BatchNorm
# between two of them are 1, 0, 0 and 1. Behind a layer that lost nothing they are the dense network's. No error, no warning.
# Why it matters when pruning: accuracy behind pruning is expected to fall, and the pages of the tool say to train on, so that nobody
# looks; yet most of this fall is the norms', and what training spends its epochs on is learning again what was there.
# What to do: after pruning, copy the four tensors of each norm by the masks in `info.pruning_masks`.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check torch==2.14.1 torchvision==0.29.1 model-compression-toolkit==2.6.1 setuptools==80.9.0
cat > "$folder/run.py" <<'PY'
import logging

import model_compression_toolkit as mct
import torch
from torch import nn

logging.disable(logging.WARNING)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.norm = nn.Conv2d(3, 96, 3, padding=1), nn.BatchNorm2d(96)
        self.second, self.last_norm = nn.Conv2d(96, 64, 3, padding=1), nn.BatchNorm2d(64)
        self.head = nn.Linear(64, 10)

    def forward(self, x):
        x = torch.relu(self.norm(self.first(x)))
        return self.head(torch.relu(self.last_norm(self.second(x))).mean((2, 3)))


torch.manual_seed(0)
dense = Net().eval()
for norm in (dense.norm, dense.last_norm):
    for values in (norm.weight.data, norm.bias.data, norm.running_mean, norm.running_var):
        values.uniform_(0.5, 1.5)
memory = 4 * sum(parameter.numel() for parameter in dense.parameters())
small, info = mct.pruning.pytorch_pruning_experimental(
    dense,
    mct.core.ResourceUtilization(weights_memory=0.6 * memory),
    lambda: iter([[torch.randn(4, 3, 16, 16)]]),
    mct.pruning.PruningConfig(num_score_approximations=1),
)
kept = torch.tensor({node.name: mask for node, mask in info.pruning_masks.items()}["first"] > 0)
was, now = dense.state_dict(), small.state_dict()
print("channels:", small.first.out_channels, "of", dense.first.out_channels)
print("weights of first kept:", now["first.weight"].equal(was["first.weight"][kept]))
print("weights of second kept:", now["second.weight"].equal(was["second.weight"][:, kept]))
for key in ("weight", "bias", "running_mean", "running_var"):
    value = now[f"norm.{key}"]
    print("norm", key, "kept:", value.equal(was[f"norm.{key}"][kept]), "| all of them", *value.unique().tolist())
print("last_norm kept:", all(now[f"last_norm.{key}"].equal(was[f"last_norm.{key}"]) for key in ("weight", "bias", "running_mean", "running_var")))
PY
"$folder/venv/bin/python" -W ignore "$folder/run.py" 2> "$folder/said" | tee "$folder/seen"
diff "$folder/seen" - <<'SEEN'
channels: 32 of 96
weights of first kept: True
weights of second kept: True
norm weight kept: False | all of them 1.0
norm bias kept: False | all of them 0.0
norm running_mean kept: False | all of them 0.0
norm running_var kept: False | all of them 1.0
last_norm kept: True
SEEN
