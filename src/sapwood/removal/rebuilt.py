"""The proof that the config of a compact model says all of it."""

from __future__ import annotations

import torch
from torch import nn

from sapwood.errors import ConfigError
from sapwood.graph import output_tensors, plain_kernels, run_model
from sapwood.models import ConfigFields, config_module, rebuilt, wide_copy
from sapwood.removal.dense import as_float64
from sapwood.removal.described import UnsaidError
from sapwood.removal.difference import relative_error
from sapwood.removal.proof import PROOF_TOLERANCE
from sapwood.types import ExampleInputs


def check_described(model: nn.Module, inputs: ExampleInputs, fields: ConfigFields | None = None) -> None:
    """Checks that the config of a compact model builds it: what it builds, with its tensors, computes the same.

    Args:
        model: The compact model. Read only.
        inputs: Its example inputs.
        fields: What the config of the dense model said, if widths were cut.

    Raises:
        UnsaidError: If the config builds other tensors, or what it builds returns something else in float64.
    """
    own = wide_copy(model).eval()
    changed = () if fields is None else fields.changed(own.get_submodule(config_module(own) or "").config)
    try:
        again = rebuilt(own)
    except ConfigError as error:
        raise UnsaidError(str(error), changed) from error
    wanted, found = (_run(one, inputs) for one in (own, again))
    far = relative_error(found, wanted)
    if not far <= PROOF_TOLERANCE:
        raise UnsaidError(
            f"what the config builds differs from the compact model by {far:.1e} of the largest output; expected at "
            f"most {PROOF_TOLERANCE:.0e}",
            changed,
        )


def _run(model: nn.Module, inputs: ExampleInputs) -> list[torch.Tensor]:
    """The outputs in float64, also where a kernel of the code's choice knows none."""
    with torch.no_grad(), plain_kernels(model):
        return output_tensors(run_model(model, as_float64(inputs)))
