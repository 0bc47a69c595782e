"""Writes a Darknet network, pruned or not, as the ``.cfg`` and ``.weights`` that Darknet and OpenCV load."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from sapwood.arguments import check_model
from sapwood.errors import CheckFailedError, SpecError
from sapwood.export.base import EXPORTERS, Exported, ExportOptions, checked_path
from sapwood.export.numeric import check_compared
from sapwood.files import check_pair, new_files, write_bytes
from sapwood.models import (
    DarknetNetwork,
    cfg_bytes,
    compact_cfg,
    copy_model,
    opencv_misreads,
    parse_cfg,
    read_weights,
    write_cfg,
    write_weights,
)
from sapwood.types import ExampleInputs

ROUNDING = 1e-5
"""The largest difference, in float32, as a fraction of the largest output.

The files hold the network's own float32 values, so that only two things round:
a bias that joins a BatchNorm's mean, and values that were not float32."""


@dataclass(frozen=True)
class DarknetFiles:
    """What was written, and how well it was read back.

    Attributes:
        cfg: The ``.cfg`` file.
        weights: The ``.weights`` file.
        max_abs_error: Of the files read back against the network, over the largest output, in float32.
    """

    cfg: Path
    weights: Path
    max_abs_error: float


def export_darknet(model: nn.Module, cfg: str | Path, weights: str | Path | None = None) -> DarknetFiles:
    """Writes a network as ``.cfg`` and ``.weights``, reads both back and compares, before they take their places.

    The ``.cfg`` is the network's own, comments and order included, with ``filters=``, ``groups=`` and ``output=`` as
    they are now. Weights under a live mask are written with their zeros; a bias that folding gave to a convolution
    in front of a BatchNorm goes into the rolling mean of that norm. Warns where OpenCV's reader of such files knows a
    key otherwise than Darknet does (docs/models.md has them all).

    Args:
        model: A :class:`~sapwood.models.darknet.DarknetNetwork`. Read only.
        cfg: Where the ``.cfg`` goes.
        weights: Where the ``.weights`` go; beside ``cfg``, with its stem, where None.

    Returns:
        The files, and the difference found.

    Raises:
        SpecError: If ``model`` is no Darknet network.
        CfgError: If no ``.cfg`` describes the network; the message names line, section and layer.
        CheckFailedError: If the files, read back, give another result than the network.
        ConfigError: If there is a ``.weights`` and no ``.cfg`` there: the user's own; or if ``model`` is no module.
        WriteError: If a file cannot be written.

    Examples:
        >>> from tempfile import mkdtemp
        >>> text = "[net]\\nchannels=3\\nheight=8\\nwidth=8\\n[convolutional]\\nfilters=4\\nactivation=linear\\n"
        >>> files = export_darknet(DarknetNetwork(parse_cfg(text)).eval(), Path(mkdtemp()) / "net.cfg")
        >>> files.weights.name, files.max_abs_error
        ('net.weights', 0.0)
    """
    check_model(model)
    if not isinstance(model, DarknetNetwork):
        raise SpecError(f"a {type(model).__name__} cannot be written as .cfg and .weights; expected a Darknet network")
    text = write_cfg(compact_cfg(model))
    misread = [*opencv_misreads(model)]
    if misread:
        warnings.warn(f"OpenCV would make another network of these files: {'; '.join(misread)}", stacklevel=2)
    cfg = Path(cfg)
    weights = cfg.with_suffix(".weights") if weights is None else Path(weights)
    check_pair(cfg, weights)
    with new_files(weights, cfg) as (new_weights, new_cfg):
        write_bytes(new_cfg, cfg_bytes(text))
        write_weights(new_weights, model)
        error = _error_of_files(new_cfg, new_weights, model)
        if not error <= ROUNDING:
            raise CheckFailedError(
                f"{cfg} and {weights}, read back, differ from the network by {error:.1e} of the largest output; "
                f"expected at most {ROUNDING:.0e}"
            )
    return DarknetFiles(cfg, weights, error)


def _error_of_files(cfg: Path, weights: Path, model: DarknetNetwork) -> float:
    again = DarknetNetwork(parse_cfg(cfg, warn=False), initialize=False).eval()
    read_weights(weights, again)
    own = copy_model(model).eval().cpu().float()
    picture = torch.rand(1, *model.input_shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        found, wanted = _outputs(again(picture)), _outputs(own(picture))
    check_compared(f"{cfg} and {weights}, read back", wanted)
    largest = max(float(output.abs().max()) for output in wanted)
    worst = max(float((one - other).abs().max()) for one, other in zip(found, wanted, strict=True))
    return worst / largest if largest else worst


def _outputs(result: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return (result,) if isinstance(result, Tensor) else result


class DarknetExporter:
    """``.cfg`` and ``.weights``."""

    name = "darknet"
    suffix = ".cfg"
    has_batch = False

    def export(self, model: nn.Module, example_inputs: ExampleInputs, path: Path, options: ExportOptions) -> Exported:
        """Calls :func:`export_darknet`."""
        del example_inputs, options
        files = export_darknet(model, checked_path(path, self.suffix))
        return Exported(self.name, (files.cfg, files.weights), files.max_abs_error, ROUNDING)


EXPORTERS.register("darknet")(DarknetExporter())
