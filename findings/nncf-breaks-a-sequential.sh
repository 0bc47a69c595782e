#!/usr/bin/env bash
# nncf 3.4.0: compressing the weights of an nn.Sequential stops with NotImplementedError; the same layers in a class of one's own go.
#
# Expected: `nncf.compress_weights` takes any nn.Module with a data set, a torch.nn.Sequential as well.
# What happens: NNCF hangs its hooks into the model as one more child, `__nncf_hooks`. An nn.Sequential calls its children in turn,
# and so the hooks as its last layer: "Module [HookStorage] is missing the required "forward" function". `quantize` and `prune` hang in
# the same child; after `nncf.prune` it is torch.onnx.export that meets it.
# Why it matters when pruning: small networks, and what is left of a pruned one, are often one nn.Sequential; the message names
# neither it nor the way out.
# What to do: wrap it in a module whose forward calls it.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check torch==2.14.1 numpy==2.4.6 nncf==3.4.0
cat > "$folder/run.py" <<'PY'
import nncf
import torch
from torch import nn


class Wrapped(nn.Module):
    def __init__(self, body):
        super().__init__()
        self.body = body

    def forward(self, x):
        return self.body(x)


def body():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(100, 64), nn.ReLU(), nn.Linear(64, 8)).eval()


x = torch.randn(4, 100)
for name, model in (("nn.Sequential", body()), ("the same, wrapped", Wrapped(body()))):
    try:
        small = nncf.compress_weights(model, dataset=nncf.Dataset([x]))
        wanted = body()(x)
        print(f"seen: {name}: within 2 %:", bool((small(x) - wanted).abs().max() < 0.02 * wanted.abs().max()))
    except NotImplementedError as error:
        print(f"seen: {name}: NotImplementedError: {error}")
    print(f"seen: {name}: the last child is", list(model._modules)[-1])
PY
NNCF_CI=1 "$folder/venv/bin/python" -W ignore "$folder/run.py" 2> "$folder/said" | grep '^seen' | tee "$folder/seen" || { tail -5 "$folder/said"; exit 1; }
diff "$folder/seen" - <<'SEEN'
seen: nn.Sequential: NotImplementedError: Module [HookStorage] is missing the required "forward" function
seen: nn.Sequential: the last child is __nncf_hooks
seen: the same, wrapped: within 2 %: True
seen: the same, wrapped: the last child is __nncf_hooks
SEEN
