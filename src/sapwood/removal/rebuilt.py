"""The proof that the config of a compact model says all of it."""

from __future__ import annotations

import torch
from torch import nn

from sapwood.errors import CheckFailedError, ConfigError
from sapwood.graph import output_tensors, run_model
from sapwood.models import rebuilt, wide_copy
from sapwood.removal.dense import as_float64
from sapwood.removal.difference import relative_error
from sapwood.removal.proof import PROOF_TOLERANCE
from sapwood.types import ExampleInputs


def check_described(model: nn.Module, inputs: ExampleInputs) -> None:
    """Checks that the config of a compact model builds it: what it builds, with its tensors, computes the same.

    Args:
        model: The compact model. Read only.
        inputs: Its example inputs.

    Raises:
        CheckFailedError: If the config builds other tensors, or what it builds returns something else in float64.
    """
    own = wide_copy(model).eval()
    try:
        again = rebuilt(own)
    except ConfigError as error:
        raise CheckFailedError(f"{error}. The model given is unchanged.") from error
    with torch.no_grad():
        wanted, found = (output_tensors(run_model(one, as_float64(inputs))) for one in (own, again))
    far = relative_error(found, wanted)
    if not far <= PROOF_TOLERANCE:
        raise CheckFailedError(
            f"what the config builds differs from the compact model by {far:.1e} of the largest output; expected at "
            f"most {PROOF_TOLERANCE:.0e}. The model given is unchanged."
        )
