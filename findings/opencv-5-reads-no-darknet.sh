#!/usr/bin/env bash
# opencv-python-headless 5.0.0.93: the reader of Darknet files is gone.
#
# Expected: `cv2.dnn.readNetFromDarknet(cfg, weights)` as in 4.14.0.94, which reads the two files below.
# What happens: the function does not exist; `readNet` with the same files raises an error that speaks of the framework.
# Why it matters when pruning: many pruned Darknet networks end in OpenCV, and `pip install -U` takes the reader away. A
# service that ran the `.cfg` and `.weights` yesterday does not start today.
# What to do: `sapwood export --format onnx` and `readNetFromONNX`, or keep `opencv-python-headless<5`.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat > "$folder/run.py" <<'PY'
import sys
from pathlib import Path

import cv2
import numpy as np

folder = Path(sys.argv[1])
draw = np.random.default_rng(0)
head = np.array([0, 2, 5], "<i4").tobytes() + np.array([0], "<i8").tobytes()
values = [draw.normal(size=4), draw.normal(size=(4, 3, 3, 3))]
(folder / "net.weights").write_bytes(head + b"".join(one.astype("<f4").tobytes() for one in values))
(folder / "net.cfg").write_text(
    "[net]\nwidth=16\nheight=16\nchannels=3\n[convolutional]\nfilters=4\nsize=3\nstride=1\npad=1\nactivation=leaky\n"
)
files = str(folder / "net.cfg"), str(folder / "net.weights")
try:
    net = cv2.dnn.readNetFromDarknet(*files)
    net.setInput(draw.normal(size=(1, 3, 16, 16)).astype(np.float32))
    print(cv2.__version__, "reads it:", net.forward().shape)
except AttributeError:
    try:
        cv2.dnn.readNet(files[1], files[0])
        print(cv2.__version__, "readNet reads it")
    except cv2.error:
        print(cv2.__version__, "no reader, and readNet refuses")
PY
for version in 4.14.0.94 5.0.0.93; do
    python3 -m venv "$folder/$version"
    "$folder/$version/bin/python" -m pip install --quiet --disable-pip-version-check "opencv-python-headless==$version" numpy==2.4.6
    "$folder/$version/bin/python" "$folder/run.py" "$folder" 2>/dev/null | tee -a "$folder/seen"
done
diff "$folder/seen" - <<'SEEN'
4.14.0 reads it: (1, 4, 16, 16)
5.0.0 no reader, and readNet refuses
SEEN
