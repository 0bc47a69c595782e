#!/usr/bin/env bash
# supervision 0.31.2 beside globox 2.9.0, datumaro 1.13.12 and pylabel 0.1.55: one box of one Pascal VOC file is 20 or 19 pixels wide.
#
# Expected: one reading. VOC counts pixels from 1 and includes the last, so that <xmin>11</xmin> to <xmax>30</xmax> is 20 pixels, 10 to 30 from 0.
# What happens: supervision reads that. globox, datumaro and pylabel take the numbers as they stand, 11 to 30; what globox and datumaro write as COCO is
# a box of 19 pixels by 39, one to the right and one down.
# Why it matters when pruning: the two readings of a box of 20 x 40 have an IoU of 0.926, of one of 8 x 8 0.77, so that mAP@[.5:.95] of the very
# same detections depends on who converted the labels, and by more than what a careful cut loses.
# What to do: evaluate the dense and the pruned network on one conversion; Sapwood reads VOC as it was meant (docs/data.md).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check supervision==0.31.2 globox==2.9.0 datumaro==1.13.12 pylabel==0.1.55
cat > "$folder/run.py" <<'PY'
import contextlib
import io
import json
import sys
from pathlib import Path

from PIL import Image

root = Path(sys.argv[1]) / "voc"
for name in ("JPEGImages", "Annotations", "ImageSets/Main"):
    (root / name).mkdir(parents=True)
Image.new("RGB", (100, 80)).save(root / "JPEGImages/a.jpg")
(root / "ImageSets/Main/train.txt").write_text("a\n")
(root / "Annotations/a.xml").write_text("""<annotation><folder>JPEGImages</folder><filename>a.jpg</filename>
<size><width>100</width><height>80</height><depth>3</depth></size>
<object><name>cat</name><pose>Unspecified</pose><truncated>0</truncated><difficult>0</difficult>
<bndbox><xmin>11</xmin><ymin>21</ymin><xmax>30</xmax><ymax>60</ymax></bndbox></object></annotation>""")

with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
    import supervision
    from datumaro import Dataset
    from globox import AnnotationSet
    from pylabel import importer

    read = {}
    data = supervision.DetectionDataset.from_pascal_voc(str(root / "JPEGImages"), str(root / "Annotations"))
    read["supervision"] = next(iter(data))[2].xyxy[0].tolist()
    boxes = AnnotationSet.from_pascal_voc(root / "Annotations")
    (box,) = next(iter(boxes)).boxes
    read["globox"] = [box.xmin, box.ymin, box.xmax, box.ymax]
    boxes.save_coco(root / "globox.json", auto_ids=True)
    data = Dataset.import_from(str(root), "voc_detection")
    x, y, width, height = next(iter(data)).annotations[0].get_bbox()
    read["datumaro"] = [x, y, x + width, y + height]
    data.export(str(root / "coco"), "coco_instances", save_media=False)
    table = importer.ImportVOC(path=str(root / "Annotations")).df
    read["pylabel"] = [float(table[f"ann_bbox_{key}"].iloc[0]) for key in ("xmin", "ymin", "xmax", "ymax")]
for reader, edges in read.items():
    print(reader, edges)
written = {"globox": root / "globox.json", "datumaro": root / "coco/annotations/instances_train.json"}
for writer, path in written.items():
    print(writer, "writes as COCO", json.loads(path.read_text())["annotations"][0]["bbox"])
PY
"$folder/venv/bin/python" -W ignore "$folder/run.py" "$folder" | tee "$folder/seen"
diff "$folder/seen" - <<'SEEN'
supervision [10.0, 20.0, 30.0, 60.0]
globox [11.0, 21.0, 30.0, 60.0]
datumaro [11.0, 21.0, 30.0, 60.0]
pylabel [11.0, 21.0, 30.0, 60.0]
globox writes as COCO [11.0, 21.0, 19.0, 39.0]
datumaro writes as COCO [11.0, 21.0, 19.0, 39.0]
SEEN
