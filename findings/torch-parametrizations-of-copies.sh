#!/usr/bin/env bash
# torch 2.14.1: taking a parametrization off a copy breaks the module that was copied.
#
# Expected: after copy.deepcopy two modules have nothing in common; remove_parametrizations on one leaves the other alone.
# What happens: a parametrized module gets a class made for it, and the copy shares that class. Removing deletes the property
# from the shared class: the original, which was not touched, has no `weight` any more and cannot be called.
# Why it matters when pruning: weight_norm and spectral_norm are folded for deployment in a copy of the pruned network, or in the
# compact one while the dense one is kept for comparison: the network that was kept is the one that stops working.
# What to do: fold in a process of its own, or make the second network anew and load its state dict instead of copying.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check torch==2.14.1 numpy==2.4.6
cat > "$folder/run.py" <<'PY'
import copy

import torch
from torch import nn
from torch.nn.utils import parametrize
from torch.nn.utils.parametrizations import weight_norm

kept = weight_norm(nn.Linear(3, 4))
folded = copy.deepcopy(kept)
print("one class:", type(kept) is type(folded))
parametrize.remove_parametrizations(folded, "weight")
print("folded:", tuple(folded(torch.zeros(2, 3)).shape))
try:
    print("kept:", tuple(kept(torch.zeros(2, 3)).shape))
except AttributeError as error:
    print("kept:", error)
PY
"$folder/venv/bin/python" -W ignore "$folder/run.py" | tee "$folder/seen"
diff "$folder/seen" - <<'SEEN'
one class: True
folded: (2, 4)
kept: 'ParametrizedLinear' object has no attribute 'weight'
SEEN
