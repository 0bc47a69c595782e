#!/usr/bin/env bash
# transformers 5.24.0: `prune_heads` is gone, and a config that says which heads were pruned builds all of them.
#
# Expected: `model.prune_heads({0: [0, 1]})` takes heads away, and the `pruned_heads` that older releases wrote into config.json
# builds a model without them, as in 4.x.
# What happens: no model has `prune_heads`. The config keeps `pruned_heads` as it would keep any word that it does not know, and
# the layer is as wide as before; nothing is said.
# Why it matters when pruning: a folder of a model whose heads were pruned has weights that no longer fit what its own config
# builds, and recipes that end with `prune_heads` stop. `prune_linear_layer` is still there, which makes it look as if the rest were.
# What to do: load such a folder with the release that wrote it; prune heads by removing them from all four layers (Sapwood does).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check torch==2.14.1 numpy==2.4.6 transformers==5.24.0
cat > "$folder/run.py" <<'PY'
from transformers import BertConfig, BertModel, pytorch_utils

sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48, "vocab_size": 50}
print("seen: prune_heads", hasattr(BertModel, "prune_heads"))
print("seen: prune_linear_layer", hasattr(pytorch_utils, "prune_linear_layer"))
config = BertConfig(**sizes, pruned_heads={0: [0, 1]})
print("seen: the config says", config.pruned_heads)
for layer in BertModel(config).encoder.layer:
    print("seen: query", tuple(layer.attention.self.query.weight.shape))
PY
"$folder/venv/bin/python" -W ignore "$folder/run.py" 2> /dev/null | grep '^seen' | tee "$folder/seen"
diff "$folder/seen" - <<'SEEN'
seen: prune_heads False
seen: prune_linear_layer True
seen: the config says {0: [0, 1]}
seen: query (32, 32)
seen: query (32, 32)
SEEN
