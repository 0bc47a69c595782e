#!/usr/bin/env bash
# ultralytics 8.4.190: a model that torch.nn.utils.prune has masked neither predicts nor saves, until the masks are removed.
#
# Expected: `predict` of a masked model gives what its masked weights say; only what copies the model (`save`, `export`) would stop, as
# copy.deepcopy does (PyTorch issue: masked weights are no graph leaves).
# What happens: `predict` copies as well, before it fuses, and stops with PyTorch's error about graph leaves, which names neither a mask nor pruning.
# Why it matters when pruning: every tutorial masks first and looks at predictions next.
# What to do: `torch.nn.utils.prune.remove(layer, "weight")` for each layer first; then both go, with the zeros in plain weights.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
export YOLO_CONFIG_DIR="$folder/config" YOLO_AUTOINSTALL=false YOLO_OFFLINE=true
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
  torch==2.14.1 torchvision==0.29.1 numpy==2.4.6 opencv-python-headless==4.14.0.94 ultralytics==8.4.190
cat > "$folder/run.py" <<'PY'
import numpy as np
from torch import nn
from torch.nn.utils import prune
from ultralytics import YOLO

PICTURE = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
WAYS = {
    "predict": lambda yolo: yolo.predict(PICTURE, imgsz=64, verbose=False, save=False),
    "save": lambda yolo: yolo.save("net.pt"),
}


def masked(removed):
    yolo = YOLO("yolo11n.yaml")
    for layer in yolo.model.modules():
        if isinstance(layer, nn.Conv2d) and layer.weight.requires_grad:
            prune.l1_unstructured(layer, "weight", amount=0.5)
            if removed:
                prune.remove(layer, "weight")
    return yolo


for name, way in WAYS.items():
    for removed in (True, False):
        try:
            way(masked(removed))
            said = "goes"
        except RuntimeError as error:
            said = str(error).split(" at the moment")[0]
        print(f"seen: {name}, masks {'removed' if removed else 'live'}: {said}")
PY
(cd "$folder" && "$folder/venv/bin/python" -W ignore "$folder/run.py" 2> "$folder/said" | grep '^seen' | tee "$folder/seen")
diff "$folder/seen" - <<'SEEN'
seen: predict, masks removed: goes
seen: predict, masks live: Only Tensors created explicitly by the user (graph leaves) support the deepcopy protocol
seen: save, masks removed: goes
seen: save, masks live: Only Tensors created explicitly by the user (graph leaves) support the deepcopy protocol
SEEN
