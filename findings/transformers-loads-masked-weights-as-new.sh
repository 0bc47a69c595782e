#!/usr/bin/env bash
# transformers 5.24.0: a model masked by torch.nn.utils.prune, saved and loaded, has random weights in the masked layers.
#
# Expected: `from_pretrained` of what `save_pretrained` wrote gives the model that was saved, or raises.
# What happens: the file holds `weight_orig` and `weight_mask`; the model that is built wants `weight`, finds none, and keeps the
# random numbers that it was made with. A report among the log lines calls them newly initialised; nothing is raised, and the
# masks, which are all that pruning did, are gone.
# Why it matters when pruning: the evaluation after it measures a network that nobody made, and fine-tuning repairs it quietly,
# as a dense one.
# What to do: `torch.nn.utils.prune.remove` before saving, or ask for `output_loading_info=True` and stop where keys are missing.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check torch==2.14.1 numpy==2.4.6 transformers==5.24.0
cat > "$folder/run.py" <<'PY'
import sys

import torch
from torch.nn.utils import prune
from transformers import BertConfig, BertModel

torch.manual_seed(0)
sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "intermediate_size": 48, "vocab_size": 50}
tokens = torch.arange(8)[None]


def again(model):
    model.eval().save_pretrained(sys.argv[1])
    loaded, told = BertModel.from_pretrained(sys.argv[1], add_pooling_layer=False, output_loading_info=True)
    same = torch.equal(loaded.eval()(tokens).last_hidden_state, model(tokens).last_hidden_state)
    zeros = float((loaded.encoder.layer[0].intermediate.dense.weight == 0).float().mean())
    return f"same {same}, zeros {zeros:.2f}, missing {sorted(told['missing_keys'])}"


model = BertModel(BertConfig(**sizes), add_pooling_layer=False)
prune.l1_unstructured(model.encoder.layer[0].intermediate.dense, "weight", 0.5)
print("seen: masked:", again(model))
prune.remove(model.encoder.layer[0].intermediate.dense, "weight")
print("seen: after remove:", again(model))
PY
"$folder/venv/bin/python" -W ignore "$folder/run.py" "$folder/saved" 2> /dev/null | grep '^seen' | tee "$folder/seen"
diff "$folder/seen" - <<'SEEN'
seen: masked: same False, zeros 0.00, missing ['encoder.layer.0.intermediate.dense.weight']
seen: after remove: same True, zeros 0.50, missing []
SEEN
