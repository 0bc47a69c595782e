#!/usr/bin/env bash
# Torch-Pruning 1.6.1 with torch 2.14.1: frozen layers (requires_grad=False) come out trainable where they are cut, or are not cut because they are frozen.
#
# Expected: pruning makes a frozen layer narrower and leaves it frozen, wherever it is in the network.
# What happens: of a ResNet-18 whose first stage is frozen, all twelve of its parameters ask for gradients after one step of the pruner; so does the
# weight of a frozen layer of which only the channels read went. Where the frozen part begins at the input, it stays frozen, and whole: the graph is
# followed backwards along gradients, which end there. No warning in either case.
# Why it matters when pruning: fine-tuning behind a frozen backbone is a usual recipe. An optimizer over "all that asks for gradients" now trains
# the backbone, which changes what was to stay; or half of the network is not pruned, and only its widths show it.
# What to do: note the names that are frozen, set requires_grad on everything, prune, freeze again.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check torch==2.14.1 torchvision==0.29.1 torch-pruning==1.6.1 numpy==2.4.6
cat > "$folder/run.py" <<'PY'
import torch
import torch_pruning
from torchvision.models import resnet18

importance = torch_pruning.importance.MagnitudeImportance(p=2)


def pruned(model, x, frozen, ignored):
    names = [f"{layer}.{name}" for layer in frozen for name, _ in model.get_submodule(layer).named_parameters()]
    for layer in frozen:
        model.get_submodule(layer).requires_grad_(False)
    torch_pruning.pruner.MagnitudePruner(model, x, importance, pruning_ratio=0.5, ignored_layers=ignored).step()
    parameters = dict(model.named_parameters())
    return f"{sum(parameters[name].requires_grad for name in names)} of {len(names)} frozen parameters can be trained"


torch.manual_seed(0)
for frozen in ([], ["layer1"], ["conv1", "bn1", "layer1"]):
    model = resnet18().eval()
    thawed = pruned(model, torch.randn(1, 3, 64, 64), frozen, [model.fc])
    print(frozen, "| channels of layer1:", model.layer1[0].conv1.out_channels, model.layer1[0].conv2.out_channels, "|", thawed)

model = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.ReLU(), torch.nn.Linear(16, 4))
thawed = pruned(model, torch.randn(1, 8), ["2"], [model[2]])
print("reads less:", tuple(model[2].weight.shape), "|", thawed)
PY
"$folder/venv/bin/python" -W ignore "$folder/run.py" | tee "$folder/seen"
diff "$folder/seen" - <<'SEEN'
[] | channels of layer1: 32 32 | 0 of 0 frozen parameters can be trained
['layer1'] | channels of layer1: 32 32 | 12 of 12 frozen parameters can be trained
['conv1', 'bn1', 'layer1'] | channels of layer1: 64 64 | 0 of 15 frozen parameters can be trained
reads less: (4, 8) | 1 of 2 frozen parameters can be trained
SEEN
