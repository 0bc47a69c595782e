#!/usr/bin/env bash
# peft 0.21.2 with torch 2.14.1: merging a LoRA into a layer masked by torch.nn.utils.prune is lost at the next forward pass, without a word.
#
# Expected: an error, or a merged layer that computes what the masked layer and its LoRA computed beside each other.
# What happens: merge_and_unload adds the product of the LoRA to `weight`, which under a mask is no parameter: before each forward pass PyTorch makes it anew
# from `weight_orig` times `weight_mask`. The merged model has the outputs of the model before any training, bit for bit. Of a layer
# without a mask the merge is right.
# Why it matters when pruning: "prune, then recover with LoRA, then merge" is a common order for language models; the figures before the merge are
# the recovered ones, the model that is saved and deployed is the one that was never recovered.
# What to do: `prune.remove(layer, "weight")` before `get_peft_model`. (The merge then fills zeros; merge into `weight` times the mask to keep them.)
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check torch==2.14.1 peft==0.21.2 transformers==5.24.0 accelerate==1.15.0 numpy==2.4.6
cat > "$folder/run.py" <<'PY'
import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from torch.nn.utils import prune

for masked in (False, True):
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 4)), torch.randn(3, 16)
    if masked:
        prune.l1_unstructured(model[0], "weight", 0.5)
    with torch.no_grad():
        before = model(x)
        tuned = get_peft_model(model, LoraConfig(target_modules=["0"], r=4))
        for name, parameter in tuned.named_parameters():
            if "lora_B" in name:
                nn.init.normal_(parameter)
        recovered = tuned(x)
        merged = tuned.merge_and_unload()(x)
    moved = float((recovered - before).abs().max()) > 0.1
    like = "the tuned one" if torch.allclose(merged, recovered, atol=1e-5) else "the untuned one, bit for bit" if merged.equal(before) else "neither"
    print("masked" if masked else "dense", "| tuning moved the outputs:", moved, "| merged is", like)
PY
"$folder/venv/bin/python" -W ignore "$folder/run.py" | tee "$folder/seen"
diff "$folder/seen" - <<'SEEN'
dense | tuning moved the outputs: True | merged is the tuned one
masked | tuning moved the outputs: True | merged is the untuned one, bit for bit
SEEN
