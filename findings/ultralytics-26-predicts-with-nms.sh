#!/usr/bin/env bash
# ultralytics 8.4.190: YOLO26 is predicted and validated with NMS unless one asks for `nms=False`.
#
# Expected: a network whose .yaml says `end2end: True` is run with its head for one box an object, which needs no NMS.
# What happens: by default the other head runs, with NMS behind it, and fusing for inference deletes the one that the .yaml
# asks for; only `nms=False` keeps it. The same holds for `val`, and so for the mAP that a pruned network is compared by.
# Why it matters when pruning: the two heads share a backbone and nothing else. Scores, sensitivities, distillation and accuracy
# that look at one of them say nothing of the other, and a latency that was measured with one is not that of the other.
# What to do: say `nms=` in every call, and measure the head that will be deployed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    ultralytics==8.4.190 torch==2.14.1 torchvision==0.29.1 numpy==2.4.6
cat > "$folder/run.py" <<'PY'
import numpy as np
from ultralytics import YOLO

for asked in ({}, {"nms": False}):
    yolo = YOLO("yolo26n.yaml")
    yolo.predict(np.zeros((64, 64, 3), np.uint8), imgsz=64, verbose=False, **asked)
    run = yolo.predictor.model
    parts = sorted(name for name, part in run.model.model[-1]._modules.items() if part is not None)
    print(f"asked {asked}: the .yaml says {yolo.model.yaml['end2end']}, it runs {run.end2end}, its head holds {parts}")
PY
cd "$folder"
YOLO_CONFIG_DIR="$folder" YOLO_OFFLINE=True "$folder/venv/bin/python" -W ignore "$folder/run.py" | grep '^asked' | tee "$folder/seen"
diff "$folder/seen" - <<'SEEN'
asked {}: the .yaml says True, it runs False, its head holds ['cv2', 'cv3', 'dfl']
asked {'nms': False}: the .yaml says True, it runs True, its head holds ['dfl', 'one2one_cv2', 'one2one_cv3']
SEEN
