#!/usr/bin/env bash
# torch 2.14.1, torch.ao.pruning's SaliencyPruner: what `prune()` returns is not always the network that the masks made.
#
# Expected: its masks set whole channels to zero; `prune()` takes them out, and the outputs stay those of the masked network. It knows
# convolution, activation, convolution; where it cannot do it, it says so.
# What happens, with the second layer behind a padded first one: with ReLU it is exact. With a Sigmoid, which makes 0.5 of a channel of zeros, the
# channels go and their 0.5 with them: the outputs are off by a third and more, without a word. With a bias in both layers no channel goes, without
# a word. With a BatchNorm between them it raises an error that says of a parametrisation that it is still there.
# Why it matters when pruning: it is PyTorch's own way to remove channels; most networks have a BatchNorm, a bias, or an activation that
# is not zero at zero.
# What to do: compare the outputs before and after, and count the channels.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check torch==2.14.1 numpy==2.4.6
cat > "$folder/run.py" <<'PY'
import torch
from torch import nn
from torch.ao.pruning._experimental.pruner import SaliencyPruner


def tried(name, *between, bias=False):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1, bias=bias), *between, nn.Conv2d(8, 5, 3, padding=1, bias=bias)).eval()
    pruner, x = SaliencyPruner({}), torch.randn(1, 3, 9, 9)
    pruner.prepare(model, [{"tensor_fqn": "0.weight", "sparsity_level": 0.5}])
    pruner.enable_mask_update = True
    pruner.step()
    with torch.no_grad():
        masked = model(x)
        try:
            after = pruner.prune()
        except Exception as error:
            print(name, "raises:", str(error).split()[-1])
            return
        error = float((after(x) - masked).abs().max() / masked.abs().max())
    channels = next(layer.out_channels for layer in after.modules() if isinstance(layer, nn.Conv2d))
    print(name, f"{channels} of 8 channels,", "same" if error < 1e-5 else "off by a third and more" if error > 1 / 3 else error)


tried("ReLU:", nn.ReLU())
tried("Sigmoid:", nn.Sigmoid())
tried("ReLU, biases:", nn.ReLU(), bias=True)
tried("BatchNorm, ReLU:", nn.BatchNorm2d(8), nn.ReLU())
PY
"$folder/venv/bin/python" -W ignore "$folder/run.py" 2> /dev/null | tee "$folder/seen"
diff "$folder/seen" - <<'SEEN'
ReLU: 4 of 8 channels, same
Sigmoid: 4 of 8 channels, off by a third and more
ReLU, biases: 8 of 8 channels, same
BatchNorm, ReLU: raises: parametrizations!
SEEN
