#!/usr/bin/env bash
# torch.ao.pruning (PyTorch 2.14.1): WeightNormSparsifier masks no convolution, and 2:4 only widths that 4 divides.
#
# Expected: a layer that `prepare` takes is masked by `step`, whatever its shape; blocks at the edge are smaller.
# What happens: `prepare` takes a Conv2d, and `step` stops within its own reshapes, for single weights, blocks of 1 x 4 and 2 of 4
# alike, also with kernels of 1 x 1. A Linear that reads 13 values is masked by single weights and by blocks; for 2 of 4 the mask
# comes out 16 wide, and the network cannot be run any more.
# Why it matters when pruning: networks that lost channels have widths that 4 does not divide, and most layers of detectors are
# convolutions. The errors name neither the layer nor what was expected of it.
# What to do: keep multiples of 4 in what is read, and mask convolutions as matrices (`weight.flatten(1)`), by other means.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check torch==2.14.1 numpy==2.4.6
cat > "$folder/run.py" <<'PY'
import torch
from torch import nn
from torch.ao.pruning import WeightNormSparsifier

KINDS = {
    "single": {"sparsity_level": 0.5, "sparse_block_shape": (1, 1), "zeros_per_block": 1},
    "1 x 4": {"sparsity_level": 0.5, "sparse_block_shape": (1, 4), "zeros_per_block": 4},
    "2 of 4": {"sparsity_level": 1.0, "sparse_block_shape": (1, 4), "zeros_per_block": 2},
}
LAYERS = {
    "Linear(16, 8)": lambda: nn.Linear(16, 8),
    "Linear(13, 8)": lambda: nn.Linear(13, 8),
    "Conv2d(16, 8, 3)": lambda: nn.Conv2d(16, 8, 3),
    "Conv2d(16, 8, 1)": lambda: nn.Conv2d(16, 8, 1),
}


def masked(make, options):
    torch.manual_seed(0)
    network = nn.Sequential(make())
    sparsifier = WeightNormSparsifier(**options)
    sparsifier.prepare(network, [{"tensor_fqn": "0.weight"}])
    try:
        sparsifier.step()
    except RuntimeError:
        return "step: RuntimeError"
    try:
        return f"{float((network[0].weight == 0).float().mean()):.2f} zeros"
    except AssertionError:
        return "use: AssertionError"


for name, make in LAYERS.items():
    for kind, options in KINDS.items():
        print(f"{name}, {kind}: {masked(make, options)}")
PY
"$folder/venv/bin/python" -W ignore "$folder/run.py" 2> /dev/null | tee "$folder/seen"
diff "$folder/seen" - <<'SEEN'
Linear(16, 8), single: 0.50 zeros
Linear(16, 8), 1 x 4: 0.50 zeros
Linear(16, 8), 2 of 4: 0.50 zeros
Linear(13, 8), single: 0.50 zeros
Linear(13, 8), 1 x 4: 0.47 zeros
Linear(13, 8), 2 of 4: use: AssertionError
Conv2d(16, 8, 3), single: step: RuntimeError
Conv2d(16, 8, 3), 1 x 4: step: RuntimeError
Conv2d(16, 8, 3), 2 of 4: step: RuntimeError
Conv2d(16, 8, 1), single: step: RuntimeError
Conv2d(16, 8, 1), 1 x 4: step: RuntimeError
Conv2d(16, 8, 1), 2 of 4: step: RuntimeError
SEEN
