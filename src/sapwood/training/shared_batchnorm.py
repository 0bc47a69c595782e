"""BatchNorms whose statistics are those of the whole batch, though each process sees a part of it."""

from __future__ import annotations

import torch
from torch import Tensor, distributed, nn
from torch.distributed.nn.functional import all_reduce
from torch.nn.modules.batchnorm import _BatchNorm


def share_batchnorms(model: nn.Module) -> nn.Module:
    """Replaces the BatchNorms of a model; parameters, buffers and their names stay the same.

    On CUDA they become PyTorch's ``SyncBatchNorm``, which is for CUDA only; elsewhere :class:`SharedBatchNorm`.

    Args:
        model: Changed in place, unless it is a BatchNorm itself.
    """
    parameter = next(model.parameters(), None)
    if parameter is not None and parameter.device.type == "cuda":
        shared: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(model)  # type: ignore[no-untyped-call]
        return shared
    if isinstance(model, _BatchNorm):
        return SharedBatchNorm.of(model)
    for name, child in list(model.named_children()):
        setattr(model, name, share_batchnorms(child))
    return model


class SharedBatchNorm(_BatchNorm):
    r"""A BatchNorm over the batches of all processes, each with as many elements, on any device.

    .. math:: y = \gamma \frac{x - \mu}{\sqrt{\sigma^2 + \epsilon}} + \beta

    with mean and variance over all processes. The running variance is unbiased, as ``torch.nn.BatchNorm2d`` keeps it.
    """

    @classmethod
    def of(cls, norm: _BatchNorm) -> SharedBatchNorm:
        """Returns one with the parameters and buffers of ``norm``, not copies."""
        shared = cls(
            norm.num_features,
            eps=norm.eps,
            momentum=norm.momentum,
            affine=norm.affine,
            track_running_stats=norm.track_running_stats,
        )
        for name in ("weight", "bias"):
            setattr(shared, name, getattr(norm, name))
        for name in ("running_mean", "running_var", "num_batches_tracked"):
            setattr(shared, name, getattr(norm, name))
        shared.training = norm.training
        return shared

    def forward(self, inputs: Tensor) -> Tensor:
        """Normalises over the whole batch while training, as any BatchNorm otherwise."""
        if not self.training:
            return super().forward(inputs)
        values = inputs.float() if inputs.dtype in (torch.bfloat16, torch.float16) else inputs
        dims = [dim for dim in range(values.dim()) if dim != 1]
        shape = [1, -1] + [1] * (values.dim() - 2)
        count = values.numel() // values.shape[1] * distributed.get_world_size()
        mean = _summed(values.sum(dims)) / count
        centred = values - mean.reshape(shape)
        variance = _summed(centred.square().sum(dims)) / count
        self._track(mean.detach(), variance.detach(), count)
        found: Tensor = centred * (variance + self.eps).rsqrt().reshape(shape)
        if self.affine:
            found = found * self.weight.reshape(shape) + self.bias.reshape(shape)
        return found.to(inputs.dtype)

    def _check_input_dim(self, inputs: Tensor) -> None:
        """Any number of dimensions: the norm this one stands for has looked at them."""

    @torch.no_grad()
    def _track(self, mean: Tensor, variance: Tensor, count: int) -> None:
        if not self.track_running_stats or self.running_mean is None or self.running_var is None:
            return
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        share = 1.0 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean.to(self.running_mean), share)
        self.running_var.lerp_((variance * count / max(1, count - 1)).to(self.running_var), share)


def _summed(values: Tensor) -> Tensor:
    """The sum over all processes, which gradients pass through."""
    total: Tensor = all_reduce(values)  # type: ignore[no-untyped-call]
    return total
