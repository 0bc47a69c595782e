"""The two networks of a distillation, as they run while one of them learns."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from sapwood.errors import ConfigError
from sapwood.models import Plan, copy_model, named_as_left
from sapwood.tasks import Inputs, called, inputs_for
from sapwood.training import Precision, mixed


@dataclass(frozen=True)
class Networks:
    """Copies of both networks as they run while one learns: in evaluation mode, half precision made float32.

    Attributes:
        dense: What gives the answers.
        pruned: What learns.
        given: The pruned network as it came.
    """

    dense: nn.Module
    pruned: nn.Module
    given: nn.Module

    @staticmethod
    def of(dense: nn.Module, pruned: nn.Module, plan: Plan) -> Networks:
        """Copies them."""
        copied = (named_as_left(dense, plan), copy_model(pruned).eval())
        teacher, learner = (_laid_out(_widened(one)) for one in copied)
        return Networks(teacher, learner, pruned)

    def takes(self, inputs: Inputs) -> bool:
        """Whether the dense network runs on a batch."""
        try:
            with torch.no_grad():
                called(self.dense, inputs_for(self.dense, inputs))
        except Exception:  # whatever a model of one's own raises
            return False
        return True

    def precision(self, wanted: Precision, inputs: Inputs) -> Precision:
        """What they run in.

        Args:
            wanted: ``"auto"`` is float32 where operators have no bfloat16.
            inputs: A batch.

        Raises:
            ConfigError: If bfloat16 is wanted and the dense network does not run in it.
        """
        if wanted == "float32":
            return wanted
        try:
            with torch.no_grad(), mixed(wanted):
                called(self.dense, inputs)
        except RuntimeError as error:
            if wanted == "bfloat16":
                text = " ".join(str(error).split())
                raise ConfigError(
                    f"precision: {type(self.dense).__name__} does not run in bfloat16 ({text}); "
                    "expected auto or float32"
                ) from error
            return "float32"
        return wanted


def _widened(model: nn.Module) -> nn.Module:
    """The model, with what was in 16 bits in float32: steps at small rates are lost in 16."""
    for tensor in (*model.parameters(), *model.buffers()):
        if tensor.dtype in {torch.float16, torch.bfloat16}:
            tensor.data = tensor.data.float()
    return model


def _laid_out(model: nn.Module) -> nn.Module:
    """The model, with the channels of convolutions over maps last in memory."""
    for tensor in model.parameters():
        if tensor.dim() == 4:
            tensor.data = tensor.data.contiguous(memory_format=torch.channels_last)
    return model
