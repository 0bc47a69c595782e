"""The 69 models of the zoo: how each is made, with random weights and randomised norms, and what it is fed."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

SEED = 0
DETECTORS = {
    "ssd300_vgg16": 300,
    "ssdlite320_mobilenet_v3_large": 320,
    "fasterrcnn_resnet50_fpn": 320,
    "fasterrcnn_mobilenet_v3_large_320_fpn": 320,
    "retinanet_resnet50_fpn": 320,
}
SEGMENTERS = {"fcn_resnet50", "deeplabv3_resnet50", "deeplabv3_mobilenet_v3_large", "lraspp_mobilenet_v3_large"}
SIZES = {"inception_v3": 299, "mobilevit_xxs": 256, "edgenext_xx_small": 256, "fastvit_t8": 256}


def make(name: str) -> tuple[nn.Module, Any]:
    """Returns a model in evaluation mode and its example inputs; the same values in every process.

    Args:
        name: As the zoo's table has it: ``tv:resnet18``, ``timm:vit_tiny_patch16_224``, ``hf:bert``.
    """
    torch.manual_seed(SEED)
    family, _, rest = name.partition(":")
    model, inputs = MAKERS[family](rest)
    randomise_norms_(model)
    return model.eval(), inputs


def randomise_norms_(model: nn.Module) -> None:
    """Gives every norm scales, shifts and statistics that differ from channel to channel."""
    for module in model.modules():
        if not any(word in type(module).__name__ for word in ("Norm", "BatchNorm")):
            continue
        for parameter, low in ((getattr(module, "weight", None), 0.5), (getattr(module, "bias", None), -0.5)):
            if isinstance(parameter, Tensor):
                nn.init.uniform_(parameter, low, low + 1.0)
        if isinstance(getattr(module, "running_mean", None), Tensor):
            module.running_mean.uniform_(-0.2, 0.2)  # type: ignore[union-attr, operator]
            module.running_var.uniform_(0.5, 1.5)  # type: ignore[union-attr, operator]


def _torchvision(name: str) -> tuple[nn.Module, Any]:
    from torchvision import models

    options: dict[str, Any] = {"weights": None}
    builder = models.get_model_builder(name)
    if "weights_backbone" in inspect.signature(builder).parameters:
        options["weights_backbone"] = None
    if name in DETECTORS and "ssd" not in name:
        options |= {"min_size": DETECTORS[name], "max_size": DETECTORS[name]}
    if name in {"googlenet", "inception_v3"}:
        options |= {"init_weights": False, "aux_logits": True}
    model = models.get_model(name, **options)
    if name in DETECTORS:
        size = DETECTORS[name]
        return model, ([torch.rand(3, size, size)],)
    if name == "r3d_18":
        return model, torch.randn(1, 3, 8, 112, 112)
    size = SIZES.get(name, 224)
    return model, torch.randn(1, 3, size, size)


def _timm(name: str) -> tuple[nn.Module, Any]:
    import timm

    size = SIZES.get(name, 224)
    return timm.create_model(name, pretrained=False), torch.randn(1, 3, size, size)


def _transformers(name: str) -> tuple[nn.Module, Any]:
    import transformers as hf

    tokens = torch.randint(0, 1000, (1, 16))
    text: dict[str, Any] = {"vocab_size": 1000}
    sized = {"hidden_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 256}
    if name == "bert":
        return hf.BertForSequenceClassification(hf.BertConfig(**text, **sized)), {"input_ids": tokens}
    if name == "gpt2":
        gpt2 = hf.GPT2Config(**text, n_embd=128, n_layer=2, n_head=4, use_cache=False)
        return hf.GPT2LMHeadModel(gpt2), {"input_ids": tokens}
    if name == "llama":
        llama = hf.LlamaConfig(**text, **sized, num_key_value_heads=2, use_cache=False)
        return hf.LlamaForCausalLM(llama), {"input_ids": tokens}
    if name == "vit":
        vit = hf.ViTConfig(**sized, image_size=64, patch_size=16)
        return hf.ViTForImageClassification(vit), {"pixel_values": torch.randn(1, 3, 64, 64)}
    if name == "distilbert":
        distil = hf.DistilBertConfig(**text, dim=128, n_layers=2, n_heads=4, hidden_dim=256)
        return hf.DistilBertForSequenceClassification(distil), {"input_ids": tokens}
    if name != "t5enc":
        raise KeyError(name)
    t5 = hf.T5Config(**text, d_model=128, d_kv=32, d_ff=256, num_layers=2, num_heads=4)
    return hf.T5ForTokenClassification(t5), {"input_ids": tokens}


MAKERS: dict[str, Callable[[str], tuple[nn.Module, Any]]] = {
    "tv": _torchvision,
    "timm": _timm,
    "hf": _transformers,
}


LAYERS = (nn.Linear, nn.modules.conv._ConvNd)
"""The layers whose multiply-accumulates count; a transformer's `Conv1D` is added by :func:`weights_of`."""

PREDICTORS = {"classifier", "lm_head"}
"""Of the ``hf:`` models: the layers whose outputs are the model's."""


def weights_of(model: nn.Module) -> dict[str, Tensor]:
    """The weight of each layer that counts."""
    return {
        name: module.weight
        for name, module in model.named_modules()
        if isinstance(module, LAYERS) or type(module).__name__ == "Conv1D"
    }


def positions(model: nn.Module, inputs: Any) -> dict[str, float]:
    """How often each weight of a layer is multiplied in one run of the dense model."""
    from sapwood.graph import call_model

    counts: dict[str, float] = {}

    def hook(name: str) -> Callable[..., None]:
        def count(module: Any, args: Any, output: Tensor) -> None:
            if isinstance(module, nn.modules.conv._ConvTransposeNd):
                times = args[0].numel() / module.in_channels
            elif isinstance(module, nn.modules.conv._ConvNd):
                times = output.numel() / module.out_channels
            else:
                times = output.numel() / output.shape[-1]
            counts[name] = counts.get(name, 0.0) + times

        return count

    names = weights_of(model)
    handles = [module.register_forward_hook(hook(name)) for name, module in model.named_modules() if name in names]
    with torch.no_grad():
        call_model(model, inputs)
    for handle in handles:
        handle.remove()
    return counts


def macs(model: nn.Module, times: dict[str, float]) -> float:
    """Multiply-accumulates of the layers that count, at the dense model's numbers of positions.

    A detector's second stage works on as many regions as the first proposes, so counts of two runs do not compare.
    """
    return sum(times.get(name, 0.0) * weight.numel() for name, weight in weights_of(model).items())


def expected_transformer(model: nn.Module, times: dict[str, float]) -> float:
    """The fraction of the MACs that is left when every width but the model's inputs and outputs is halved.

    For the ``hf:`` models, whose sizes the zoo's table does not give.
    """
    left = 0.0
    for name, weight in weights_of(model).items():
        fixed = name in PREDICTORS or weight.dim() == 4  # the predictor's outputs; the patches' colours
        left += times.get(name, 0.0) * weight.numel() * (0.5 if fixed else 0.25)
    return left / macs(model, times)


def prune_with_torch_pruning_(model: nn.Module, inputs: Any, dense: nn.Module) -> tuple[float, int]:
    """Halves the widths of ``model`` with Torch-Pruning, in place; layers that make outputs are left out, as it needs.

    Args:
        model: The model.
        inputs: Its example inputs.
        dense: The same model, on which Sapwood finds what makes outputs.

    Returns:
        The seconds of the processor that Torch-Pruning took, and how many layers were left out.
    """
    import torch_pruning as tp

    import sapwood

    groups = sapwood.build_groups(sapwood.trace(dense, inputs))
    heads = {entry.tensor.rpartition(".")[0] for entry in groups.unpruned if "output of the model" in entry.reason}
    ignored = [module for key, module in model.named_modules() if key in heads]
    began = time.process_time()
    pruner = tp.pruner.MetaPruner(
        model,
        inputs,
        importance=tp.importance.GroupMagnitudeImportance(p=2),
        pruning_ratio=0.5,
        ignored_layers=ignored,
    )
    pruner.step()
    return time.process_time() - began, len(ignored)
