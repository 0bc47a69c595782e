"""How well each criterion foretells what a channel is worth, and what its statistics cost.

    python benchmarks/criteria.py
    python benchmarks/criteria.py --cost torchvision:resnet18

The first trains a small network on scikit-learn's digits from a fixed seed, silences each channel alone at everything
that reads it, and prints Spearman's rank correlation of the criterion's scores with the true rise of the loss: over the
channels of all groups together, and the mean over the groups. Groups that a criterion does not apply to are left out of
its figures; their number is printed. The second collects every statistic on 256 random pictures, and prints its time
over that of plain forward and backward passes over the same batches, one run just before and one just after.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from contextlib import suppress
from statistics import median
from typing import Any

import torch
from scipy.stats import spearmanr
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F

from sapwood.calibration import STATISTICS, collect
from sapwood.criteria import CRITERIA, Criterion, ModelView, make_criterion
from sapwood.errors import CriterionError
from sapwood.graph import ChannelGroup, build_groups, output_tensors, trace
from sapwood.models import copy_model, load_model

Batch = tuple[Tensor, Tensor]

VARIANTS: list[tuple[str, dict[str, Any]]] = [
    *[("taylor", {"variant": v, "members": m}) for v in ("signed", "squared_sum", "sum_of_squares", "abs")
      for m in ("all", "producers", "consumers")],
    *[(name, {"members": m}) for name in ("l2", "fisher", "movement") for m in ("all", "producers", "consumers")],
    *[(name, {"reduction": r}) for name in ("activation_mean", "wanda", "fisher_activation") for r in ("mean", "max")],
]  # fmt: skip


class Small(nn.Module):
    """A residual block, a depthwise convolution and a flattened map, for pictures of 8 x 8 pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU())
        self.inside = nn.Sequential(nn.Conv2d(16, 24, 3, padding=1), nn.BatchNorm2d(24), nn.ReLU())
        self.back = nn.Sequential(nn.Conv2d(24, 16, 3, padding=1), nn.BatchNorm2d(16))
        self.depthwise = nn.Sequential(nn.Conv2d(16, 16, 3, 2, 1, groups=16), nn.BatchNorm2d(16), nn.ReLU())
        self.pointwise = nn.Sequential(nn.Conv2d(16, 32, 1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2))
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(128, 32), nn.ReLU(), nn.Linear(32, 10))

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = F.relu(x + self.back(self.inside(x)))
        return self.head(self.pointwise(self.depthwise(x)))


def loss(model: nn.Module, batch: Batch) -> Tensor:
    return F.cross_entropy(model(batch[0]), batch[1])


def trained(seed: int, epochs: int) -> tuple[nn.Module, Batch, Batch]:
    """The network, trained on 1,000 digits, 256 digits to collect statistics on, and 512 to measure the loss on."""
    torch.manual_seed(seed)
    values, labels = load_digits(return_X_y=True)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    pictures, classes = torch.tensor(values, dtype=torch.float32).reshape(-1, 1, 8, 8)[order] / 16, labels[order]
    targets = torch.tensor(classes)
    model = Small()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    for _ in range(epochs):
        for chosen in torch.randperm(1000).split(50):
            optimizer.zero_grad()
            loss(model, (pictures[chosen], targets[chosen])).backward()
            optimizer.step()
        schedule.step()
    known, others = slice(1000, 1256), slice(1256, 1768)
    return model.eval(), (pictures[known], targets[known]), (pictures[others], targets[others])


@torch.no_grad()
def true_rise(model: nn.Module, batch: Batch, group: ChannelGroup, view: ModelView) -> Tensor:  # shape: (C,)
    """How much the loss rises when each channel alone is zero for all that reads it."""
    members = view.members(group, "consumers")
    before = loss(model, batch)
    rises = []
    for channel in range(group.num_channels):
        silenced = copy_model(model)
        for member in members:
            index = torch.from_numpy(member.column == channel).nonzero()[:, 0]
            silenced.get_parameter(member.tensor).index_fill_(member.dim, index, 0.0)
        rises.append(loss(silenced, batch) - before)
    return torch.stack(rises)


def correlations(criterion: Criterion, view: ModelView, truths: list[Tensor]) -> tuple[float, float, int]:
    """Spearman's correlation over all channels, the mean over groups, and the groups it does not apply to."""
    found, held = [], []
    for group, truth in zip(view.analysis.groups, truths, strict=True):
        with suppress(CriterionError):
            found.append(criterion.group_scores(group, view))
            held.append(truth)
    inside = [correlation(one, other) for one, other in zip(found, held, strict=True)]
    overall = correlation(torch.cat(found), torch.cat(held))
    return overall, sum(inside) / len(inside), len(truths) - len(held)


def correlation(scores: Tensor, truth: Tensor) -> float:
    """Spearman's; 0 for scores that do not tell channels apart."""
    return float(spearmanr(scores, truth).statistic) if len(scores.unique()) > 1 else 0.0


def quality(options: argparse.Namespace) -> None:
    runs = []
    for seed in range(options.seeds):
        model, (pictures, classes), others = trained(seed, options.epochs)
        analysis = build_groups(trace(model, pictures[:1]))
        batches = list(zip(pictures.split(options.batch_size), classes.split(options.batch_size), strict=True))
        view = ModelView.of(model, analysis, collect(model, batches, loss, set(STATISTICS)))
        truths = [true_rise(model, others, group, view) for group in analysis.groups]
        accuracy = float((model(others[0]).argmax(1) == others[1]).float().mean())
        print(f"seed {seed}: loss {float(loss(model, others).detach()):.3f}, top-1 {accuracy:.3f}, groups "
              f"{[group.num_channels for group in analysis.groups]}, rise by a channel: median "
              f"{float(torch.cat(truths).median()):.4f}, largest {float(torch.cat(truths).max()):.3f}")  # fmt: skip
        runs.append((view, truths))
    print(f"\n{'criterion':58s} {'all':>6s} {'inside':>6s}  groups left out")
    variants = VARIANTS if options.variants else []
    for name, parameters in [*[(name, {}) for name in CRITERIA], *variants]:
        figures = [correlations(make_criterion(name, **parameters), view, truths) for view, truths in runs]
        overall, inside, left_out = (sum(column) / len(figures) for column in zip(*figures, strict=True))
        text = ", ".join([name, *[f"{key} {value}" for key, value in parameters.items()]])
        print(f"{text:58s} {overall:6.2f} {inside:6.2f}  {left_out:.0f}")


def cost(options: argparse.Namespace) -> None:
    bundle = load_model(options.cost)
    example = bundle.example_inputs
    assert isinstance(example, Tensor)
    count = -(-256 // options.batch_size)
    batches = [torch.randn(options.batch_size, *example.shape[1:]) for _ in range(count)]
    model = copy_model(bundle.model).eval().requires_grad_(True)

    def value(model: nn.Module, batch: Tensor) -> Tensor:
        return torch.stack([output.float().square().mean() for output in output_tensors(model(batch))]).sum()

    def plain() -> None:
        for batch in batches:
            value(model, batch).backward()
            model.zero_grad(set_to_none=True)

    ways: dict[str, Callable[[], Any]] = {
        "all statistics": lambda: collect(bundle.model, batches, value, set(STATISTICS), learning_rate=1e-9),
        "all but movement": lambda: collect(bundle.model, batches, value, set(STATISTICS) - {"movement"}),
    }
    ratios: dict[str, list[float]] = {name: [] for name in ways}
    plain()  # the first pass pays for memory that later ones find
    for _ in range(options.rounds):
        for name, way in ways.items():
            before, taken, after = seconds(plain), seconds(way), seconds(plain)
            ratios[name].append(2 * taken / (before + after))
    print(f"{options.cost}, {count * options.batch_size} pictures, batches of {options.batch_size}, "
          f"{torch.get_num_threads()} threads, {options.rounds} rounds")  # fmt: skip
    for name, found in ratios.items():
        print(f"{name}: {median(found):.2f} plain forward and backward passes ({min(found):.2f} to {max(found):.2f})")


def seconds(run: Callable[[], Any]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--variants", action="store_true", help="Print parameters other than the default, too")
    parser.add_argument("--cost", help="A model: print what statistics cost instead")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    if options.cost:
        cost(options)
    else:
        quality(options)


if __name__ == "__main__":
    main()
