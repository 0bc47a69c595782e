"""What Darknet networks need beside being modules: their ``.cfg`` follows them, and their own files are written."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import Field, TypeAdapter, ValidationError
from torch import nn

from sapwood.config import TrainConfig
from sapwood.errors import CfgError, SapwoodError, SavedModelError
from sapwood.files import write_bytes
from sapwood.models.darknet.cfg import write_cfg
from sapwood.models.darknet.encoding import cfg_bytes
from sapwood.models.darknet.fit import fitted
from sapwood.models.darknet.header import Header
from sapwood.models.darknet.network import DarknetNetwork
from sapwood.models.darknet.two_layers import in_two_layers, stays_one
from sapwood.models.darknet.weights import write_weights
from sapwood.models.darknet.widths import compact_cfg, grouped_routes, producers, refit_
from sapwood.models.darknet_loader import CFG_NAME, darknet_source, darknet_task
from sapwood.models.framework import FRAMEWORKS, Anchors, Framework, InTwo
from sapwood.models.low_rank import Basis
from sapwood.models.plan import Plan
from sapwood.reading import shown
from sapwood.types import Dataset, ModelBundle

NAME = "darknet"
"""Of the framework, and of its kind of source and its exporter."""

_Version = Annotated[int, Field(ge=-(2**31), lt=2**31)]
NUMBERS = TypeAdapter(tuple[_Version, _Version, _Version, Annotated[int, Field(ge=0, lt=2**64)]])
"""The fields of a header, as they are saved."""


class Darknet(Framework[DarknetNetwork]):
    """``.cfg`` and ``.weights``."""

    title: ClassVar[str] = "Darknet"
    fits_data: ClassVar[bool] = True
    describes: ClassVar[bool] = True
    exporter: ClassVar[str | None] = NAME
    own_files: ClassVar[tuple[str, ...]] = (CFG_NAME, "model.weights")

    def owns(self, model: nn.Module) -> bool:
        """Whether it is a :class:`~sapwood.models.darknet.DarknetNetwork`."""
        return isinstance(model, DarknetNetwork)

    def bundle(self, model: DarknetNetwork) -> ModelBundle:
        """Its ``.cfg`` says task and source."""
        return ModelBundle(model, (), darknet_task(model), darknet_source(model))

    def routes(self, model: DarknetNetwork) -> Mapping[str, int]:
        """Each ``[route]`` with ``groups=``."""
        return grouped_routes(model)

    def describe(self, model: DarknetNetwork) -> Mapping[str, str]:
        """The ``.cfg`` with the widths that the layers have now; see :func:`~sapwood.models.darknet.compact_cfg`."""
        return {CFG_NAME: write_cfg(compact_cfg(model))}

    def keep_whole(self, model: DarknetNetwork, error: SapwoodError) -> Mapping[str, str]:
        """What the layer reads that no ``.cfg`` has words for."""
        if not isinstance(error, CfgError) or error.layer is None:
            return {}
        reason = f"layer {error.layer} could not be written in a .cfg otherwise"
        return dict.fromkeys(producers(model, error.layer), reason)

    def refit_(self, model: DarknetNetwork, plan: Plan) -> None:
        """Makes its ``cfg`` follow; see :func:`~sapwood.models.darknet.refit_`."""
        del plan
        refit_(model)

    def stays_one(self, model: DarknetNetwork) -> Mapping[str, str]:
        """All but convolutions of a ``[convolutional]``."""
        return stays_one(model)

    def in_two_layers(self, model: DarknetNetwork, bases: Mapping[str, Basis]) -> InTwo:
        """A network of a ``.cfg`` with a further ``[convolutional]`` for each; layers behind it have other numbers."""
        return in_two_layers(model, bases)

    def notes(self, model: DarknetNetwork) -> Mapping[str, Any]:
        """The header of the ``.weights`` file that it was read from."""
        return {"header": list(asdict(model.header).values())}

    def take_notes_(self, model: DarknetNetwork, notes: Mapping[str, Any]) -> None:
        """Gives it that header, which files of before 0.3 called ``darknet_header``."""
        kept = notes.get("header", notes.get("darknet_header"))
        if kept is not None:
            try:
                model.header = Header(*NUMBERS.validate_python(kept))
            except ValidationError:
                raise SavedModelError(
                    f"framework.header is {shown(kept)}; expected three numbers of a version and how many "
                    "pictures were seen"
                ) from None

    def defaults(self, bundle: ModelBundle) -> Mapping[str, Any]:
        """A detector that its ``.cfg`` alone says takes the classes of the data."""
        takes_classes = bundle.source.kind == NAME and bundle.task.kind == "detection"
        return {"num_classes": "data"} if takes_classes else {}

    def fit_to_data(
        self,
        bundle: ModelBundle,
        dataset: Dataset,
        config: TrainConfig,
        anchors: Anchors,
    ) -> ModelBundle:
        """Changes the ``.cfg``; see :func:`~sapwood.models.darknet.fit.fitted`."""
        return fitted(bundle, dataset, config, anchors)

    def write_trained(
        self, best: DarknetNetwork, last: Callable[[], nn.Module], directory: Path, *, num_pictures: int
    ) -> dict[str, Path]:
        """``model.cfg``, ``last.weights`` and ``best.weights``, whose headers count the pictures."""
        files = {"cfg": directory / CFG_NAME}
        write_bytes(files["cfg"], cfg_bytes(write_cfg(best.cfg)))
        for name, model in (("last", last()), ("best", best)):
            assert isinstance(model, DarknetNetwork)
            model.header = replace(model.header, seen=model.header.seen + num_pictures)
            files[name] = write_weights(directory / f"{name}.weights", model)
        return files


FRAMEWORKS.register(NAME)(Darknet())
