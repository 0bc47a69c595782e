#!/usr/bin/env bash
# opencv-python-headless 4.14.0.94: its reader of Darknet files computes a dilated convolution without the dilation.
#
# Expected: `dilation=2` in a [convolutional] section is honoured, or refused as an unknown key.
# What happens: the network loads without a word, and gives to the last bit what it gives without the key; the size of the
# map is that of no dilation as well (18 x 18 where 16 x 16 is due).
# Why it matters when pruning: OpenCV is where many Darknet networks end up, and the usual check of a pruned file is to run it
# there. A wrong answer then looks as if pruning had made it.
# What to do: run such a network in another runtime (an ONNX export), or write the wider kernel out, with zeros in between.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check opencv-python-headless==4.14.0.94 numpy==2.4.6
cat > "$folder/run.py" <<'PY'
import sys
from pathlib import Path

import cv2
import numpy as np

folder = Path(sys.argv[1])
draw = np.random.default_rng(0)
bias, kernel = draw.normal(size=4).astype("<f4"), draw.normal(size=(4, 3, 3, 3)).astype("<f4")
picture = draw.normal(size=(1, 3, 16, 16)).astype(np.float32)
head = np.array([0, 2, 5], "<i4").tobytes() + np.array([0], "<i8").tobytes()
(folder / "net.weights").write_bytes(head + bias.tobytes() + kernel.tobytes())


def run(key):
    layer = f"[convolutional]\nfilters=4\nsize=3\nstride=1\npadding=2\n{key}activation=linear\n"
    (folder / "net.cfg").write_text(f"[net]\nwidth=16\nheight=16\nchannels=3\n{layer}")
    net = cv2.dnn.readNetFromDarknet(str(folder / "net.cfg"), str(folder / "net.weights"))
    net.setInput(picture)
    return net.forward()


plain, dilated = run(""), run("dilation=2\n")
print(cv2.__version__, dilated.shape, "equal" if np.array_equal(plain, dilated) else "different")
PY
"$folder/venv/bin/python" "$folder/run.py" "$folder" | tee "$folder/seen"
diff "$folder/seen" - <<'SEEN'
4.14.0 (1, 4, 18, 18) equal
SEEN
