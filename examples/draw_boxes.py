"""Draws boxes with numpy and ONNX Runtime alone: ``python draw_boxes.py model.onnx picture.ppm drawn.ppm``."""

import json
import sys

import numpy as np
import onnxruntime

session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
told = session.get_modelmeta().custom_metadata_map
names, given, outputs = (json.loads(told[key]) for key in ("names", "input", "outputs"))
with open(sys.argv[2], "rb") as file:
    data = file.read()  # P6: three numbers in text, then the pixels
width, height = map(int, data.split(maxsplit=4)[1:3])
picture = np.frombuffer(data[-3 * width * height :], np.uint8).reshape(height, width, 3).copy()
tall, wide = given["size"]
small = picture[np.arange(tall) * height // tall][
    :, np.arange(wide) * width // wide
]  # the nearest pixel is near enough
tensor = ((small * given["scale"] - given["mean"]) / given["std"]).astype(np.float32).transpose(2, 0, 1)[None]
rows = []
for one, values in zip(outputs, session.run([one["name"] for one in outputs], {given["name"]: tensor}), strict=True):
    anchors = np.array(one["anchors"]).T[:, :, None, None]
    t = values[0].reshape(anchors.shape[1], 5 + one["num_classes"], *values.shape[2:]).swapaxes(0, 1)
    logistic, cell = 1 / (1 + np.exp(-t)), np.indices(t.shape[2:])[::-1, None]
    stride = np.reshape(one["stride"][::-1], (2, 1, 1, 1))
    centre = (logistic[:2] * one["scale_x_y"] - (one["scale_x_y"] - 1) / 2 + cell) * stride
    half, scores = np.exp(t[2:4]) * anchors / 2, logistic[4] * logistic[5:]
    rows.append(np.concatenate([centre - half, centre + half, [scores.max(0), scores.argmax(0)]]).reshape(6, -1).T)
found = np.concatenate(rows)
found = found[found[:, 4] > 0.25]
while len(found):  # the best box, then the best of those that overlap none of its class before it by much, and so on
    best, found = found[found[:, 4].argmax()], np.delete(found, found[:, 4].argmax(), 0)
    sides = np.minimum(found[:, 2:4], best[2:4]) - np.maximum(found[:, :2], best[:2])
    shared, areas = sides.clip(0).prod(1), (found[:, 2:4] - found[:, :2]).prod(1)
    own = (best[2:4] - best[:2]).prod()
    found = found[(shared / (areas + own - shared) < 0.45) | (found[:, 5] != best[5])]
    corners = best[:4] * np.array([width / wide, height / tall] * 2)
    x1, y1, x2, y2 = corners.astype(int).clip(0, [width - 1, height - 1] * 2)
    picture[[y1, y2], x1:x2] = picture[y1:y2, [x1, x2]] = (255, 0, 0)
    print(names[int(best[5])], f"{best[4]:.2f}", x1, y1, x2, y2)
with open(sys.argv[3], "wb") as file:
    file.write(b"P6 %d %d 255\n" % (width, height) + picture.tobytes())
