#!/usr/bin/env bash
# torch 2.14.1: copy.deepcopy of a TorchScript module gives one that no optimizer takes.
#
# Expected: a copy of a scripted module has parameters of its own, as a copy of any module has, and trains.
# What happens: the copy's parameters ask for gradients but are no leaves (and no nn.Parameter): SGD refuses them with
# "can't optimize a non-leaf Tensor". The module that was copied still trains.
# Why it matters when pruning: whoever prunes copies first, to keep the dense network, and trains afterwards; a network in
# which one block is scripted runs, saves and exports after that, and fails at the first step of fine-tuning.
# What to do: script after fine-tuning, or detach the copy's parameters and ask for gradients again.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check torch==2.14.1 numpy==2.4.6
cat > "$folder/run.py" <<'PY'
import copy

import torch
from torch import nn

scripted = torch.jit.script(nn.Conv2d(3, 4, 3))
for name, module in (("scripted", scripted), ("copied", copy.deepcopy(scripted))):
    leaves = {one.is_leaf for one in module.parameters()}
    try:
        torch.optim.SGD(module.parameters(), lr=0.1)
        ended = "taken"
    except ValueError as error:
        ended = str(error)
    print(name, leaves, ended)
PY
"$folder/venv/bin/python" -W ignore "$folder/run.py" | tee "$folder/seen"
diff "$folder/seen" - <<'SEEN'
scripted {True} taken
copied {False} can't optimize a non-leaf Tensor
SEEN
