#!/usr/bin/env bash
# faster-coco-eval 1.7.2: a detector that finds nothing has no mAP.
#
# Expected: a list of no detections loads like any other, and mAP is 0.0, as every box is missed.
# What happens: COCO.loadRes([]) raises IndexError before anything is evaluated; 1.8.0 loads it, and mAP is 0.0.
# Why it matters when pruning: masks of whole filters, or of BatchNorm alone, often leave a network that finds nothing at
# all; in a sweep over sparsities that is the row that one wants to see as 0, and it ends the sweep.
# What to do: for an empty list build an empty COCO of the same pictures and categories, or ask for 1.8.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat > "$folder/run.py" <<'PY'
from faster_coco_eval import COCO, COCOeval_faster

truth = COCO({
    "images": [{"id": 1, "width": 10, "height": 10}],
    "categories": [{"id": 1, "name": "a"}],
    "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 5, 5], "area": 25, "iscrowd": 0}],
})
try:
    found = truth.loadRes([])
except Exception as error:
    print("raises", type(error).__name__)
else:
    evaluation = COCOeval_faster(truth, found, iouType="bbox", print_function=lambda *_: None)
    evaluation.run()
    print("mAP", float(evaluation.stats[0]))
PY
for version in 1.7.2 1.8.0; do
    python3 -m venv "$folder/$version"
    "$folder/$version/bin/python" -m pip install --quiet --disable-pip-version-check "faster-coco-eval==$version"
    "$folder/$version/bin/python" "$folder/run.py" | tail -1 | sed "s/^/$version: /" | tee -a "$folder/seen"
done
diff "$folder/seen" - <<'SEEN'
1.7.2: raises IndexError
1.8.0: mAP 0.0
SEEN
