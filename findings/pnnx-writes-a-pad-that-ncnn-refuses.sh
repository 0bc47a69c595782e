#!/usr/bin/env bash
# pnnx 20261020 and ncnn 1.0.20261020: the converter writes a padding of minus infinity, which the reader refuses.
#
# Expected: ncnn loads what the pnnx of the same day wrote, and gives PyTorch's numbers to about 1e-6.
# What happens: a padding with -inf in front of a pooling becomes `5=-inf` in the .param file; pnnx ends with exit code 0, and
# ncnn's load_param gives -1 ("invalid numeric value"). With -3e38 instead the same network loads.
# Why it matters when pruning: Darknet's pooling of size 2 and stride 1 (yolov3-tiny has one) is written in PyTorch as just such a
# padding, so that a pruned network converts and then does not load; the width of a layer is suspected first.
# What to do: a finite value, far below what the map holds, for the copy that is converted.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    torch==2.14.1 numpy==2.4.6 pnnx==20261020 ncnn==1.0.20261020 requests
cat > "$folder/run.py" <<'PY'
import subprocess
import sys
from pathlib import Path

import ncnn
import torch
from torch import nn


class Pooled(nn.Module):
    def __init__(self, value):
        super().__init__()
        self.convolution, self.value = nn.Conv2d(3, 13, 3, padding=1), value

    def forward(self, picture):
        padded = nn.functional.pad(self.convolution(picture), (0, 1, 0, 1), value=self.value)
        return nn.functional.max_pool2d(padded, 2, 1)


folder = Path(sys.argv[1])
pnnx = Path(sys.executable).with_name("pnnx")
for name, value in (("infinite", float("-inf")), ("finite", -3e38)):
    picture = torch.randn(1, 3, 16, 16)
    torch.jit.trace(Pooled(value).eval(), picture).save(str(folder / f"{name}.pt"))
    done = subprocess.run([pnnx, f"{name}.pt", "inputshape=[1,3,16,16]"], cwd=folder, capture_output=True, check=False)
    code = ncnn.Net().load_param(str(folder / f"{name}.ncnn.param"))
    print(name, "converted:", done.returncode, "loaded:", code)
PY
"$folder/venv/bin/python" "$folder/run.py" "$folder" 2>/dev/null | tee "$folder/seen"
diff "$folder/seen" - <<'SEEN'
infinite converted: 0 loaded: -1
finite converted: 0 loaded: 0
SEEN
