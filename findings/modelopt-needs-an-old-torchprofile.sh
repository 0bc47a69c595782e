#!/usr/bin/env bash
# nvidia-modelopt 0.47.0 with torchprofile 0.1.0: FastNAS prunes nothing, whatever the budget.
#
# Expected: `mtp.prune(..., mode="fastnas")` searches widths. It says `pip install torchprofile` where that is missing; with what that
# installs today it runs.
# What happens: it stops with AttributeError: torchprofile.profile has no attribute 'handlers'. A budget of parameters stops there, too, for FLOPs are always
# counted. torchprofile 0.0.4 works, which the package's metadata ask for in the extra of its own tests alone.
# Why it matters when pruning: it is the one other tool that takes a budget of FLOPs or parameters for a CNN, and a comparison ends before it begins.
# What to do: pip install torchprofile==0.0.4
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
pip=("$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check)
"${pip[@]}" torch==2.14.1 torchvision==0.29.1 nvidia-modelopt==0.47.0 numpy==2.4.6 torchprofile==0.1.0 \
    requests==2.34.2 huggingface_hub==2.4.0  # which it imports, and does not install
cat > "$folder/run.py" <<'PY'
import contextlib
import io
import sys

import modelopt.torch.prune as mtp
import torch
from torch import nn

FOLDER, BUDGET = sys.argv[1:]


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.norm = nn.Conv2d(3, 64, 3, padding=1), nn.BatchNorm2d(64)
        self.second, self.last = nn.Conv2d(64, 64, 3, padding=1), nn.Linear(64, 10)

    def forward(self, x):
        return self.last(torch.relu(self.second(torch.relu(self.norm(self.first(x))))).mean((2, 3)))


torch.manual_seed(0)
pictures = [torch.randn(2, 3, 16, 16) for _ in range(2)]
words = {
    "score_func": lambda model: float(model(pictures[0]).abs().mean()),
    "data_loader": pictures,
    "collect_func": lambda batch: batch,
    "checkpoint": f"{FOLDER}/{BUDGET}.pt",
    "max_iter_data_loader": 2,
}
try:
    with contextlib.redirect_stdout(io.StringIO()):
        mtp.prune(Net(), mode="fastnas", constraints={BUDGET: "60%"}, dummy_input=pictures[0][:1], config=words)
    print(BUDGET, "ends with a network")
except AttributeError as error:
    print(BUDGET, error)
PY
{
    "$folder/venv/bin/python" -W ignore "$folder/run.py" "$folder" flops
    "$folder/venv/bin/python" -W ignore "$folder/run.py" "$folder" params
    "${pip[@]}" torchprofile==0.0.4
    "$folder/venv/bin/python" -W ignore "$folder/run.py" "$folder" flops
} 2> /dev/null | tee "$folder/seen"
diff "$folder/seen" - <<'SEEN'
flops module 'torchprofile.profile' has no attribute 'handlers'
params module 'torchprofile.profile' has no attribute 'handlers'
flops ends with a network
SEEN
