"""Least-squares reconstruction: the layers that are left take over the work of the channels that went."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from sapwood.arguments import check_kind, check_model, checked_batches
from sapwood.errors import CheckFailedError, ConfigError
from sapwood.graph import explaining_batches, output_tensors, trace
from sapwood.models import Plan, copy_model, named_as_left, same_modes_
from sapwood.ops import Call, Graph
from sapwood.recovery.batchnorm_settled import settle_batchnorm
from sapwood.recovery.kept_outputs import KeptOutputs
from sapwood.recovery.reconstruction.layer_sums import WEIGHTS, LayerSums
from sapwood.recovery.reconstruction.masked import Rule
from sapwood.recovery.reconstruction.results import LayerReconstruction, Reconstruction
from sapwood.recovery.reconstruction.resuming import Restart, Start, find_restarts
from sapwood.recovery.reconstruction.sampling import SamplePlaces, take
from sapwood.recovery.reconstruction.sites import Site, find_sites
from sapwood.recovery.reconstruction.solved_layer import SolvedLayer
from sapwood.recovery.reconstruction.waves import waves
from sapwood.recovery.views import Looks
from sapwood.types import ExampleInputs

NUM_PATCHES = 32768
"""Rows of each layer that are looked at, unless asked otherwise."""

TARGET_MEMORY = 1 << 30
"""Bytes of the dense network's outputs that are kept at once; the layers of one wave are always."""

HELD_OUT = 5
"""Every so many-th picture is held out to choose the ridge."""

FEW_PICTURES = 10
"""With fewer, rows are held out instead of pictures."""

SAME = 1e-10
"""Relative squared error below which a layer is as it was."""


def reconstruct(
    dense: nn.Module,
    pruned: nn.Module,
    plan: Plan,
    batches: Iterable[ExampleInputs],
    *,
    others: Iterable[ExampleInputs] = (),
    others_weights: Sequence[float] = WEIGHTS,
    rules: Mapping[str, Rule] | None = None,
    views: int = 1,
    num_patches: int = NUM_PATCHES,
    seed: int = 0,
    settle: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> Reconstruction:
    r"""Gives a pruned network new weights so that its layers' outputs are those of the dense one; needs no labels.

    Layer by layer, in the order of execution, with inputs :math:`X'` of the network reconstructed so far and
    targets :math:`Y` that the dense network has at the same places:

    .. math:: \min_{W, b} \lVert X' W + b - Y \rVert^2 + \lambda \lVert W - W_0 \rVert^2

    A BatchNorm right behind a layer is solved with it. Where the result is added to a value that is there already (a
    shortcut), what that value lost is part of :math:`Y`. The ridge is chosen layer by layer on held-out pictures, where
    no layer may become worse. At the end BatchNorms get the statistics of what they read now, and no output changes
    (:func:`sapwood.recovery.settle_batchnorm`): what trains the result starts from it.

    With ``rules``, single weights go in the same pass: those of the layers before are zero when a layer's turn comes,
    and what stays of it takes over the work of what goes. ``pruned`` has all of its weights then; the result has zeros.

    Memory: beside the networks and the pictures, at most 1 GiB of the dense network's outputs, less with every layer
    that is solved, 1 GiB of what layers read, so that not every layer needs a run from the beginning, and two float64
    matrices of the size of the largest layer's unknowns squared (1 GiB where several small layers are summed at once),
    five while it is solved: 0.85 GB for a 3x3 convolution of 512 channels. With ``others``, three and six; with
    ``rules``, one more while weights are chosen.

    Args:
        dense: The network before pruning.
        pruned: What ``plan`` makes of it; not touched.
        plan: Which channels stay.
        batches: Inputs, as the model takes them; gone through once, then kept.
        others: More inputs, of another kind than those that count: nothing is held out of them, and each is looked at
            once.
        others_weights: What a row of theirs may count, one's own counting 1; which one it is, is chosen layer by layer
            on held-out rows of one's own.
        rules: By the name of a weight of ``pruned``: which of its elements may differ from zero. Where
            that is a bias or a BatchNorm's, the layer before is solved without it.
        views: Looks at every picture: with 2 its mirror image counts, too, with more, it is moved, scaled and mirrored
            at random. Of few pictures, deep layers see few places.
        num_patches: Places (pixels of a feature map, tokens) of each layer that are looked at, in all; of the others,
            as many of each picture as of one's own.
        seed: Of the draw of these places.
        settle: False leaves BatchNorms with the statistics that they had, for :func:`sapwood.distill`, which settles
            them at its end.
        progress: Called with (done, total) layers.

    Raises:
        ConfigError: If there is no batch, ``num_patches``, ``views`` or a weight is out of range, a rule does not fit
            the model, or what is to be looked at again are no pictures.
        CheckFailedError: If the pruned network makes other calls than the dense one.

    Source: He, Zhang, Sun, "Channel Pruning for Accelerating Very Deep Neural Networks", ICCV 2017, for one layer.
    """
    for name, network in (("dense", dense), ("pruned", pruned)):
        check_model(network, name)
    check_kind("plan", plan, Plan, "the plan that made pruned of dense")
    start = time.perf_counter()
    kept, more = checked_batches(batches), checked_batches(others, "others")
    if not kept:
        raise ConfigError("no batch to reconstruct on; expected at least one")
    if num_patches < 1:
        raise ConfigError(f"num_patches: got {num_patches}; expected at least 1")
    model = copy_model(pruned).eval()
    checked = _checked_rules(rules or {}, model)
    if not others_weights or not all(0.0 <= weight < math.inf for weight in others_weights):
        raise ConfigError(f"others_weights: got {others_weights!r}; expected numbers of at least 0")
    sizes = [len(output_tensors(batch)[0]) for batch in kept]
    offsets = [sum(sizes[:number]) for number in range(len(sizes))] * views
    with explaining_batches(dense, [*kept, *more]):
        work = _TwoNetworks(
            named_as_left(dense, plan),
            model,
            plan,
            _with_views(kept, views, seed),
            more,
            sizes=[*sizes * views, *(len(output_tensors(batch)[0]) for batch in more)],
            offsets=[*offsets, *(None for _ in more)],
            others_weights=others_weights,
            rules=checked,
            num_patches=num_patches,
            seed=seed,
        )
        rows = work.run(progress)
    num_pictures = sum(sizes) + sum(len(output_tensors(batch)[0]) for batch in more)
    found = settle_batchnorm(work.model, kept, keep=checked).model if settle and rows else work.model
    same_modes_(pruned, found)
    return Reconstruction(found, rows, work.left_alone, num_pictures, time.perf_counter() - start, work.masks)


class _TwoNetworks:
    """Both networks, and what is known of them."""

    def __init__(
        self,
        dense: nn.Module,
        model: nn.Module,
        plan: Plan,
        batches: Sequence[ExampleInputs],
        others: Sequence[ExampleInputs],
        *,
        sizes: Sequence[int],
        offsets: Sequence[int | None],
        others_weights: Sequence[float],
        rules: Mapping[str, Rule],
        num_patches: int,
        seed: int,
    ) -> None:
        self._dense, self.model, self._seed = dense, model, seed
        self._own, self._others, self.sizes = batches, others, sizes
        self._offsets, self._others_weights = offsets, others_weights
        self._rules = rules
        self.masks = {name: rule.mask for name, rule in rules.items()}
        self._num_own = sum(size for size, offset in zip(self.sizes, offsets, strict=True) if offset is not None)
        self._per_picture = max(1, -(-num_patches // self._num_own))
        self._starts = [Start() for _ in sizes]
        self._graph, self._dense_graph = trace(model, batches[0]), trace(dense, batches[0])
        sites, self.left_alone = find_sites(self._graph)
        self._sites = [site.alone(rules) for site in sites]
        self._numbers = _numbers(self._dense_graph, self._graph, plan)
        for site in [site for site in self._sites if not self._is_in_dense(site)]:
            self._sites.remove(site)
            self.left_alone[site.weight] = "the dense network has no such call"
        self._tensors = _tensors(model)
        solvable = {site.weight for site in self._sites}
        for name, rule in rules.items():
            if name not in solvable:
                self._tensors[name].mul_(rule.mask)
        self._shapes = {site.weight: _shape(self._tensors[site.weight], site.groups) for site in self._sites}
        dense_weights = dict(dense.named_parameters(remove_duplicate=False))
        self._targets = {
            site.weight: KeptOutputs(
                plan, site.weight, len(dense_weights[site.weight]), len(self._tensors[site.weight])
            )
            for site in self._sites
        }

    def _is_in_dense(self, site: Site) -> bool:
        """Whether the dense network makes the calls of a layer."""
        if self._numbers is None:
            return True
        known = set(self._numbers.values())
        return all({use.call.index, use.branch, use.last} <= known for use in site.uses)

    def run(self, progress: Callable[[int, int], None] | None) -> tuple[LayerReconstruction, ...]:
        """Solves layer by layer."""
        rows: list[LayerReconstruction] = []
        done = 0
        runs = waves(self._graph, self._sites, self._num_bytes())
        restarts = iter(find_restarts(self._graph, runs, sum(self.sizes)))
        for chunk in self._chunks(runs):
            for found, num_sites in self._solved(chunk, restarts):
                rows += found
                done += num_sites
                if progress is not None:
                    progress(done, len(self._sites))
        return tuple(rows)

    def _solved(
        self, chunk: Sequence[Sequence[Site]], restarts: Iterator[Restart | None]
    ) -> Iterator[tuple[list[LayerReconstruction], int]]:
        """What became of the layers of each wave, and how many there are; targets end with the chunk."""
        wanted = self._dense_samples([site for wave in chunk for site in wave])
        for wave in chunk:
            yield self._solve_wave(wave, wanted, next(restarts)), len(wave)

    def _solve_wave(
        self,
        wave: Sequence[Site],
        wanted: Sequence[dict[int, tuple[Tensor, Tensor | None]]],
        restart: Restart | None,
    ) -> list[LayerReconstruction]:
        """The layers that changed; sums end with each."""
        sums = self._collect(wave, wanted, restart)
        rows = []
        for site in wave:
            rule = self._rules.get(site.weight)
            row, mask = _solve(site, sums.pop(site.weight), self._tensors, rule, self._others_weights)
            if row is not None:
                rows.append(row)
            if mask is not None:
                self.masks[site.weight] = mask
        return rows

    def _num_bytes(self) -> dict[str, int]:
        """Of the sums of each layer: fitted, held out, and the others'."""
        each = 16 if None not in self._offsets else 24
        return {
            name: each * groups * (unknowns * (unknowns + outputs))
            for name, (groups, unknowns, outputs) in self._shapes.items()
        }

    def _chunks(self, runs: Sequence[Sequence[Site]]) -> Iterator[list[Sequence[Site]]]:
        """Waves whose targets are kept at once, so that the dense network runs once for all of them."""
        chunk: list[Sequence[Site]] = []
        used = 0
        for wave in runs:
            size = sum(4 * len(self._tensors[site.weight]) * self._num_rows() * _num_values(site) for site in wave)
            if chunk and used + size > TARGET_MEMORY:
                yield chunk
                chunk, used = [], 0
            chunk.append(wave)
            used += size
        if chunk:
            yield chunk

    def _num_rows(self) -> int:
        return self._per_picture * sum(self.sizes)

    def _places(self, number: int) -> SamplePlaces:
        return SamplePlaces(self._per_picture, self.sizes[number], (self._seed, number))

    def _dense_samples(self, sites: Sequence[Site]) -> list[dict[int, tuple[Tensor, Tensor | None]]]:
        """For each batch, by the call that uses a weight: the dense network's output and what is added, float32."""
        uses = [(site, use) for site in sites for use in site.uses]
        found = []
        for number, batch in enumerate(chain(self._own, self._others)):
            samples, _ = take(
                self._dense,
                batch,
                self._dense_graph.calls,
                [use for _, use in uses],
                self._places(number),
                patches=False,
                numbers=self._numbers,
            )
            own: dict[int, tuple[Tensor, Tensor | None]] = {}
            for (site, use), sample in zip(uses, samples, strict=True):
                assert sample.branch is not None
                target = self._targets[site.weight]
                other = None if sample.other is None else target.of_sum(sample.other).float()
                own[use.call.index] = (target(sample.branch, 1).float(), other)
            found.append(own)
        return found

    def _collect(
        self,
        wave: Sequence[Site],
        wanted: Sequence[dict[int, tuple[Tensor, Tensor | None]]],
        restart: Restart | None,
    ) -> dict[str, LayerSums]:
        """The sums of some layers over all batches; their targets are not needed again."""
        uses = [(site, use) for site in wave for use in site.uses]
        shapes, has_others = self._shapes, None in self._offsets
        sums = {site.weight: LayerSums.zeros(shapes[site.weight], others=has_others) for site in wave}
        batches = zip(chain(self._own, self._others), self._offsets, strict=True)
        for number, (batch, before) in enumerate(batches):
            places = self._places(number)
            samples, start = take(
                self.model,
                batch,
                self._graph.calls,
                [use for _, use in uses],
                places,
                patches=True,
                start=self._starts[number],
                restart=restart,
            )
            self._starts[number] = start or self._starts[number]
            for (site, use), sample in zip(uses, samples, strict=True):
                assert sample.patches is not None
                branch, other = wanted[number].pop(use.call.index)
                target = branch.double()
                if site.constant is not None:
                    target -= self._tensors[site.constant].double()
                if other is not None and sample.other is not None:
                    target += other - sample.other
                target = target.reshape(len(target), shapes[site.weight][0], -1)
                own = sums[site.weight]
                if before is None:
                    assert own.others is not None
                    own.others.add(sample.patches, target)
                    continue
                held = self._held_out(before, places.pictures(use.call), len(target))
                own.fit.add(sample.patches[~held], target[~held])
                own.held.add(sample.patches[held], target[held])
        return sums

    def _held_out(self, before: int, pictures: Tensor, num_rows: int) -> Tensor:
        """Which rows of a batch are held out: those of every so many-th picture, or so many-th rows of few pictures."""
        return (before + (pictures if self._num_own >= FEW_PICTURES else torch.arange(num_rows))) % HELD_OUT == 0


def _solve(
    site: Site, sums: LayerSums, tensors: Mapping[str, Tensor], rule: Rule | None, others_weights: Sequence[float]
) -> tuple[LayerReconstruction | None, Tensor | None]:
    """Solves one layer and writes its weights: what became of it, None where it is as it was; and its mask."""
    layer = SolvedLayer(site, tensors)
    weight, bias = layer.folded()
    mask = None
    how: dict[str, Any] = {"intercept": layer.has_intercept, "weights": others_weights}
    if rule is None:
        solved, counted = sums.solve(weight, bias, **how)
        if solved.before < SAME:
            return None, None
    else:
        solved, mask, counted = sums.solve_by_rule(weight, bias, rule, **how)
    if rule is not None or solved.after < solved.before:
        layer.write(solved.weight, solved.bias)
    row = LayerReconstruction(
        layer=site.layer,
        error_before=solved.before,
        error_after=solved.after,
        damping=solved.damping,
        num_rows=sums.num_rows,
        num_unknowns=weight.shape[1],
        others_weight=counted,
    )
    return row, mask


def _with_views(batches: list[ExampleInputs], views: int, seed: int) -> Sequence[ExampleInputs]:
    if views < 1:
        raise ConfigError(f"views: got {views}; expected at least 1")
    if views == 1:
        return batches
    pictures = [batch for batch in batches if isinstance(batch, Tensor) and batch.dim() == 4]
    if len(pictures) < len(batches):
        raise ConfigError("views: the inputs are no pictures; expected tensors of shape (B, C, H, W)")
    return Looks(pictures, views, seed)


def _checked_rules(rules: Mapping[str, Rule], model: nn.Module) -> Mapping[str, Rule]:
    parameters = dict(model.named_parameters(remove_duplicate=False))
    for name, rule in rules.items():
        if name not in parameters:
            raise ConfigError(f"rules: {name!r} is no parameter of the model")
        if rule.mask.shape != parameters[name].shape or rule.mask.dtype != torch.bool:
            raise ConfigError(
                f"rules: the mask of {name} is {rule.mask.dtype}, {tuple(rule.mask.shape)}; expected torch.bool, "
                f"{tuple(parameters[name].shape)}"
            )
    return rules


def _num_values(site: Site) -> int:
    """Values of the dense network that are kept a row and channel: outputs, and what is added to them."""
    return sum(1 if use.sum is None else 2 for use in site.uses)


def _shape(weight: Tensor, groups: int) -> tuple[int, int, int]:
    """Groups, unknowns of one output, outputs of one group."""
    return groups, weight[0].numel(), len(weight) // groups


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    found: dict[str, Any] = {name: one.data for name, one in model.named_parameters(remove_duplicate=False)}
    return found | dict(model.named_buffers(remove_duplicate=False))


def _numbers(dense: Graph, pruned: Graph, plan: Plan) -> dict[int, int] | None:
    """The numbers that the dense network's calls have in the pruned one; None where that makes the same."""
    if not (plan.removed or plan.shortened):
        _check_same_calls(dense, pruned)
        return None
    there = pruned.sites()
    return {call.index: there[place].index for place, call in dense.sites().items() if place in there}


def _check_same_calls(dense: Graph, pruned: Graph) -> None:
    calls: list[tuple[Call, Call]] = list(zip(dense.calls, pruned.calls, strict=False))
    for one, other in calls:
        if one.op is not other.op:
            raise CheckFailedError(f"the pruned network does {other} where the dense one does {one}")
    if len(dense.calls) != len(pruned.calls):
        raise CheckFailedError(
            f"the pruned network makes {len(pruned.calls)} calls; the dense one makes {len(dense.calls)}"
        )
