"""Losses: two tensors are compared element by element, and the differences are averaged or added up, or not."""

from __future__ import annotations

from sapwood.ops.call import Call, TensorRef
from sapwood.ops.context import Context, bound, rule


def _pooled(call: Call) -> range:
    """All dimensions, unless every difference is returned."""
    return range(len(call.args[0].shape) if bound(call)["reduction"] else 0)


@rule(
    "mse_loss", "smooth_l1_loss", "huber_loss", "binary_cross_entropy", "binary_cross_entropy_with_logits",
    "soft_margin_loss", pools=_pooled, on_kept=True, statistics=True,
)  # fmt: skip
def _differences(context: Context, call: Call) -> None:
    joined = context.broadcast(call.tensor_inputs(), call)
    context.set(call.outputs[0], joined if call.outputs[0].shape else [])


@rule(
    "nll_loss_forward", "nll_loss2d_forward", "multi_margin_loss", "multilabel_margin_loss_forward", pools=_pooled,
)  # fmt: skip
def _of_classes(context: Context, call: Call) -> None:
    """Classes are numbers: which of them there are may not change."""
    for tensor in call.tensor_inputs():
        context.fix(context.axes(tensor), call)
    for output in call.outputs:
        if isinstance(output, TensorRef):
            context.set_fixed(output)


def _everything(call: Call) -> range:
    return range(len(call.args[0].shape))


rule("_ctc_loss", pools=_everything)(_of_classes)
