"""Where a network looks: maps of attention, which networks of different widths can share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd
from torch.nn.parallel import DistributedDataParallel

from sapwood.errors import TrainingError


class AttentionMatch:
    r"""How far a student's maps of attention are from a teacher's,

    .. math:: \frac{1}{L} \sum_l \Big\lVert \frac{q_l}{\lVert q_l \rVert} - \frac{t_l}{\lVert t_l \rVert} \Big\rVert^2

    with :math:`q_l, t_l` the sums of squares over the channels of a layer's output, a picture at a time. Compared are
    the BatchNorms that both networks have by the same name (the convolutions, where they share none): a pruned network
    has those of the network it came from, with fewer channels.

    Args:
        teacher: One network.
        student: The other.

    Raises:
        TrainingError: If they share no such layer.

    References:
        Zagoruyko and Komodakis, Paying More Attention to Attention, 2017, arXiv:1612.03928.
    """

    def __init__(self, teacher: nn.Module, student: nn.Module) -> None:
        for kind in (_BatchNorm, _ConvNd):
            found = [{name for name, one in net.named_modules() if isinstance(one, kind)} for net in (teacher, student)]
            self.names = sorted(found[0] & found[1])
            if self.names:
                return
        raise TrainingError(
            "the teacher and the model share no convolution or BatchNorm by name; expected the network that the model "
            "was pruned from, or feature_weight: 0"
        )

    @contextmanager
    def watching(self, model: nn.Module) -> Iterator[dict[str, Tensor]]:
        """Yields a dict that calls of ``model`` inside fill: the attention of each layer, shape (B, places)."""
        inner = model.module if isinstance(model, DistributedDataParallel) else model
        modules, found = dict(inner.named_modules()), dict[str, Tensor]()

        def hook(name: str, output: Tensor) -> None:
            if output.dim() > 2:
                found[name] = F.normalize(output.float().square().sum(dim=1).flatten(1), dim=1)

        handles = [
            modules[name].register_forward_hook(lambda module, inputs, output, name=name: hook(name, output))
            for name in self.names
        ]
        try:
            yield found
        finally:
            for handle in handles:
                handle.remove()

    @staticmethod
    def distance(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> Tensor:  # shape: ()
        """The mean over layers whose maps are of the same size.

        Raises:
            TrainingError: If no maps are.
        """
        pairs = [(found[name], wanted[name]) for name in found if name in wanted]
        apart = [(one - other).square().sum(dim=1).mean() for one, other in pairs if one.shape == other.shape]
        if not apart:
            raise TrainingError(
                "no layer's map is of the same size in the teacher and the model; expected the network that the model "
                "was pruned from, or feature_weight: 0"
            )
        return torch.stack(apart).mean()
