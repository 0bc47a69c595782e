"""One door to what a framework's models need beside being a ``torch.nn.Module``.

Every other package asks :func:`framework_of`, and names no framework. One is one file: a class with the answers that
differ from those for any module, put into :data:`FRAMEWORKS`. How its models are loaded is its
:class:`~sapwood.models.spec.Loader`, what they are trained and measured by its task, which files other programs read
its exporter: each an entry of a registry as well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeAlias, TypeVar

from torch import Tensor, nn

from sapwood.config import TrainConfig
from sapwood.errors import ConfigError, SapwoodError, TrainingError
from sapwood.models.copying import copy_model
from sapwood.models.low_rank import LAYERS, Basis, replace_by_two_
from sapwood.models.plan import Plan
from sapwood.models.walking import named_modules
from sapwood.registry import Registry
from sapwood.types import Dataset, Detections, DetectionSample, ModelBundle, ModelSource, TaskSpec

Anchors: TypeAlias = "Callable[[TaskSpec, int], list[tuple[float, float]]]"
"""So many anchors, ascending by area, that fit the boxes of the training data as a task shows them."""

Model_contra = TypeVar("Model_contra", bound=nn.Module, contravariant=True)


class Smaller(Protocol):
    """What pruning or compacting returns."""

    @property
    def model(self) -> nn.Module:
        """The smaller model."""
        ...


SmallerT = TypeVar("SmallerT", bound=Smaller)


@dataclass(frozen=True)
class InTwo:
    """A model of which some layers are two.

    Attributes:
        model: It.
        names: What modules that have other names than before are called now: a layer that is two by both.
    """

    model: nn.Module
    names: Mapping[str, tuple[str, ...]]

    def renamed(self, name: str) -> tuple[str, ...]:
        """What a module is called now; of a layer that is two, both.

        Examples:
            >>> InTwo(nn.Module(), {"conv": ("conv.0", "conv.1")}).renamed("norm")
            ('norm',)
        """
        return self.names.get(name, (name,))


_NEUTRAL: Mapping[str, tuple[object, ...]] = {
    "num_classes": ("cfg",),
    "anchors": ("cfg",),
    "input_size": (None,),
    "init": ("auto", "keep"),
}
"""Fields of a training configuration that ask for another structure or fresh weights, with the values that do not."""


class Tokenizer(Protocol):
    """What cuts texts into the tokens of a model.

    Attributes:
        mask: The token that stands for a hidden one; None where there is none.
        end: The token after a text; None where there is none.
    """

    mask: int | None
    end: int | None

    def encode(self, text: str, pair: str | None, length: int) -> dict[str, Tensor]:  # shape of each: (L,)
        """What a model reads of a text, or of two, by the name of the argument: cut and padded to ``length``."""

    def padded(self, ids: Sequence[int], length: int) -> dict[str, Tensor]:  # shape of each: (L,)
        """What a model reads of token numbers, at most ``length`` of them."""

    def ids(self, text: str) -> list[int]:
        """The token numbers of a text, nothing around them."""

    def frame(self) -> tuple[list[int], list[int]]:
        """The token numbers that stand before a text, and after it."""


class Framework(Protocol[Model_contra]):
    """What is asked about a framework's models; what stands here answers for any module.

    Attributes:
        title: How messages call its networks.
        fits_data: Whether :meth:`fit_to_data` can change structure and weights.
        describes: Whether the files of :meth:`describe` build the model with the widths that it has now.
        exporter: The name in :data:`sapwood.export.EXPORTERS` of what writes the framework's own files and checks them.
        own_files: Names of the files that Sapwood writes beside a saved model of it.
        clips_boxes: Whether boxes are measured as they end at the edges of a picture.
        traced: Whether ONNX files are made by tracing: torch.export does not take code that asks how many boxes there
            are.
    """

    title: ClassVar[str] = "PyTorch"
    fits_data: ClassVar[bool] = False
    describes: ClassVar[bool] = False
    exporter: ClassVar[str | None] = None
    own_files: ClassVar[tuple[str, ...]] = ()
    clips_boxes: ClassVar[bool] = True
    traced: ClassVar[bool] = False

    def owns(self, model: nn.Module) -> bool:
        """Whether a model is one of the framework's."""
        raise NotImplementedError

    def bundle(self, model: Model_contra) -> ModelBundle:
        """What is known of a model that came alone, without example inputs."""
        return ModelBundle(
            model, (), TaskSpec("none"), ModelSource(f"a {type(model).__name__} of a session", "session")
        )

    def routes(self, model: Model_contra) -> Mapping[str, int]:
        """The modules that take one of several equal parts of what they read, each with the number of parts.

        Only where the framework's files have no words for parts that differ.
        """
        del model
        return {}

    def own_widths(self, model: Model_contra) -> Mapping[str, int]:
        """Integer attributes that code beside ``forward`` reads, as the tensors of ``model`` say them: name -> width.

        Only where the framework knows what its own modules mean by them; all others are found by their values.
        """
        del model
        return {}

    def describe(self, model: Model_contra) -> Mapping[str, str]:
        """The text files, by name, that describe a model as it is now; they are saved beside its tensors.

        Raises:
            SapwoodError: If none can.
        """
        del model
        return {}

    def keep_whole(self, model: Model_contra, error: SapwoodError) -> Mapping[str, str]:
        """What must stay whole so that :meth:`describe` does not raise ``error`` again: dimension -> reason."""
        del model, error
        return {}

    def refit_(self, model: Model_contra, plan: Plan) -> None:
        """Makes what a model says of its widths follow its tensors, which ``plan`` has cut."""
        del model, plan

    def stays_one(self, model: Model_contra) -> Mapping[str, str]:
        """The convolutions and linear layers that cannot be two because the framework's files have no word for it.

        Each by its name, with the reason.
        """
        if not self.describes:
            return {}
        why = f"files of {self.title} have no word for a layer that is two"
        return {name: why for name, module in named_modules(model) if isinstance(module, LAYERS)}

    def in_two_layers(self, model: Model_contra, bases: Mapping[str, Basis]) -> InTwo:
        """Makes two layers of some, in the directions of a basis; ``model`` may be changed.

        Args:
            model: A copy.
            bases: Names of convolutions without groups and of linear layers.

        Raises:
            ConfigError: If the framework's files have no word for it.
        """
        if self.describes:
            raise ConfigError(f"files of {self.title} have no word for a layer that is two")
        return InTwo(model, replace_by_two_(model, bases))

    def average_precision(
        self, model: Model_contra, pairs: Iterable[tuple[Detections, DetectionSample]]
    ) -> Mapping[int, tuple[float, float]] | None:
        """How the framework itself measures a detector: average precision at 0.5, and over 0.5 to 0.95, by class.

        None where it measures as COCO does. ``pairs`` are what was found in a picture, best first, and its sample.
        """
        del model, pairs
        return None

    def has_loss(self, model: Model_contra) -> bool:
        """Whether :meth:`loss` measures it: a detector that the YOLO loss of Darknet's heads does not."""
        del model
        return False

    def loss(
        self, model: Model_contra, pictures: Tensor, targets: Sequence[tuple[Tensor, Tensor]]
    ) -> Tensor:  # shape: ()
        """The mean loss of a detector on a batch, as its own framework trains it.

        Args:
            model: The detector, in any mode.
            pictures: Shape (B, 3, H, W).
            targets: One (boxes, labels) pair a picture, boxes (N, 4) as x1, y1, x2, y2 in input pixels.
        """
        del pictures, targets
        raise TypeError(f"{self.title} has no loss for a {type(model).__name__}; ask has_loss first")

    def comparable(self, model: Any) -> nn.Module:
        """The same module, its tensors and names, with outputs that can be compared number by number.

        Only where what it returns cannot be: boxes that were chosen. It goes back by :meth:`plain`.
        """
        return model  # type: ignore[no-any-return]

    def plain(self, model: Any) -> nn.Module:
        """What :meth:`comparable` was given, of its result or of a copy of that."""
        return model  # type: ignore[no-any-return]

    def tokenizer(self, model: Model_contra) -> Tokenizer | None:
        """What cuts texts into the tokens of a model that reads them; None where it came without."""
        del model
        return None

    def notes(self, model: Model_contra) -> Mapping[str, Any]:
        """What else a saved model keeps, under ``framework`` in ``plan.json``: anything that JSON holds."""
        del model
        return {}

    def take_notes_(self, model: Model_contra, notes: Mapping[str, Any]) -> None:
        """Gives a model that was loaded what :meth:`notes` kept of it."""
        del model, notes

    def defaults(self, bundle: ModelBundle) -> Mapping[str, Any]:
        """The fields of a training configuration that the command line takes where nobody says otherwise."""
        del bundle
        return {}

    def fit_to_data(
        self,
        bundle: ModelBundle,
        dataset: Dataset,
        config: TrainConfig,
        anchors: Anchors,
    ) -> ModelBundle:
        """A copy of ``bundle`` to train: other classes, input size or anchors, fresh weights, as ``config`` says.

        Raises:
            TrainingError: If ``config`` asks for what the framework cannot do.
        """
        del dataset, anchors
        wanted = [name for name, neutral in _NEUTRAL.items() if getattr(config, name) not in neutral]
        if wanted:
            able = " or ".join(FRAMEWORKS[name].title for name in FRAMEWORKS if FRAMEWORKS[name].fits_data)
            raise TrainingError(
                f"{wanted[0]}: {getattr(config, wanted[0])} is for {able} networks; {bundle.source.spec} is none"
            )
        return replace(bundle, model=copy_model(bundle.model))

    def write_trained(
        self, best: Model_contra, last: Callable[[], nn.Module], directory: Path, *, num_pictures: int
    ) -> dict[str, Path]:
        """Writes the files of the framework that a finished run of training leaves.

        Args:
            best: The model with its best weights.
            last: Makes the model with its last weights.
            directory: Of the run.
            num_pictures: How many were seen.

        Returns:
            What was written, by name; ``"best"`` are the weights that the source of the trained model names then.
        """
        del best, last, directory, num_pictures
        return {}


FRAMEWORKS: Registry[Framework[Any]] = Registry("framework")
"""The frameworks by name; the folder or file of each registers it."""

PLAIN = "torch"
"""The framework of models that no other owns."""


class PlainTorch(Framework[nn.Module]):
    """Any module at all."""

    def owns(self, model: nn.Module) -> bool:
        """Whether it is a module."""
        return isinstance(model, nn.Module)


FRAMEWORKS.register(PLAIN)(PlainTorch())


def framework_of(model: nn.Module) -> Framework[Any]:
    """Returns the framework that a model is of; that of any module where none of the others owns it.

    Examples:
        >>> framework_of(nn.Linear(2, 2)).title
        'PyTorch'
    """
    others = (FRAMEWORKS[name] for name in FRAMEWORKS if name != PLAIN)
    return next((framework for framework in others if framework.owns(model)), FRAMEWORKS[PLAIN])


def shrink_describable(
    model: nn.Module, ignore: Mapping[str, str], shrink: Callable[[dict[str, str]], SmallerT]
) -> SmallerT:
    """Removes channels so that the files of the model's framework can describe the result.

    Where none do (no ``.cfg`` of Darknet has words for some routes and shortcuts), what the layer in question reads is
    kept whole, and it is done again.

    Args:
        model: What ``shrink`` works on.
        ignore: What stays whole anyway, with the reason.
        shrink: Prunes or compacts, given all that stays whole.

    Returns:
        What ``shrink`` returned.

    Raises:
        SapwoodError: If keeping more whole does not help: what the framework says, of Darknet a CfgError.
    """
    framework, held = framework_of(model), dict(ignore)
    while True:
        result = shrink(held)
        try:
            framework.describe(result.model)
        except SapwoodError as error:
            more = {name: why for name, why in framework.keep_whole(model, error).items() if name not in held}
            if not more:
                raise
            held |= more
        else:
            return result
