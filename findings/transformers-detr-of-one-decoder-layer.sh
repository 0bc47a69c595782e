#!/usr/bin/env bash
# transformers 5.24.0: a Deformable DETR whose decoder has one layer cannot be built.
#
# Expected: `decoder_layers=1` builds as 2 does.
# What happens: ValueError about tied weights. Heads of the layers after the first are said to be the first one's; with one layer there are
# none, the pattern finds nothing, and that is an error.
# Why it matters when pruning: taking whole layers out of a detector's decoder has to stop at two. A folder of which the config says one
# is not loaded by `from_pretrained`, either, whose error speaks of tied weights and of no layer.
# What to do: keep two layers, or remove what is in the last one and leave its place (as `sapwood prune --remove-blocks` does).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check transformers==5.24.0 torch==2.14.1 torchvision==0.29.1
cat > "$folder/run.py" <<'PY'
import json
import sys
from pathlib import Path

import torch
from transformers import DeformableDetrConfig, DeformableDetrForObjectDetection, ResNetConfig


def built(layers):
    backbone = ResNetConfig(
        embedding_size=8, hidden_sizes=[8] * 4, depths=[1] * 4, out_features=["stage2", "stage3", "stage4"]
    )
    sizes = {"d_model": 32, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16, "encoder_layers": 1, "num_queries": 5}
    heads = {"encoder_attention_heads": 4, "decoder_attention_heads": 4, "num_labels": 3}
    config = DeformableDetrConfig(
        use_timm_backbone=False, backbone_config=backbone, decoder_layers=layers, **sizes, **heads
    )
    return DeformableDetrForObjectDetection(config).eval()


two = built(2)
with torch.no_grad():
    print("2 layers:", tuple(two(torch.zeros(1, 3, 128, 128)).logits.shape))
saved = Path(sys.argv[1]) / "saved"
two.save_pretrained(saved)
config = json.loads((saved / "config.json").read_text())
(saved / "config.json").write_text(json.dumps({**config, "decoder_layers": 1}))
for what, make in (("1 layer:", lambda: built(1)), ("loaded:", lambda: DeformableDetrForObjectDetection.from_pretrained(saved))):
    try:
        make()
    except ValueError as error:
        print(what, str(error)[:80])
        assert "tie_weights" in str(error)
    else:
        raise SystemExit(f"{what} it is built now")
PY
"$folder/venv/bin/python" -W ignore "$folder/run.py" "$folder"
# Seen on 2026-11-29:
#   2 layers: (1, 5, 3)
#   1 layer: There is an issue with your definition of `tie_weights_keys` for ^bbox_embed.0:^
#   loaded: There is an issue with your definition of `tie_weights_keys` for ^bbox_embed.0:^
