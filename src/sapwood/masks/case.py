"""What a masking is asked to do: one frozen, checked row of options, and the table of methods it may name."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal, get_args

from torch import Tensor

from sapwood.errors import ConfigError, MaskError
from sapwood.masks.budgets import BUDGETS
from sapwood.masks.patterns import Pattern, parse_pattern
from sapwood.masks.slots import Slot
from sapwood.meant import meant_name
from sapwood.registry import Registry

Scope = Literal["local", "global"]
LayerKind = Literal["conv", "bn", "linear", "all"]
LAYER_KINDS: tuple[LayerKind, ...] = get_args(LayerKind)

_SAME_SPARSITY = 1e-3
"""How far a given sparsity may be from the pattern's own: 0.667 is meant for 1:3."""


class MaskMethod:
    """How a masking method puts masks on parameters, always through :mod:`torch.nn.utils.prune`.

    A method is one subclass, registered in :data:`METHODS` under the name that users write.

    Args:
        case: What was asked for.
        scores: Of methods with ``takes_scores``: parameter name -> one score a weight, larger = keep.
        kept: Of the same methods: parameter name -> units that stay, in place of sparsity and budget.
        uses: Of the same methods: parameter name -> products that each of its weights is in.

    Attributes:
        structured: Whether whole slices of a parameter go, which needs two dimensions.
        from_file: Whether the masks come from ``case.mask_file`` instead of from a sparsity.
        takes_scores: Whether it reads ``scores``, ``case.criterion``, ``case.budget`` and ``case.blocks``.
        scopes: The scopes it knows.
        why_local: Why it knows no global scope, for messages.
    """

    structured: ClassVar[bool] = False
    from_file: ClassVar[bool] = False
    takes_scores: ClassVar[bool] = False
    scopes: ClassVar[tuple[Scope, ...]] = ("local",)
    why_local: ClassVar[str] = "its masks are given"

    def __init__(
        self,
        case: MaskCase,
        scores: Mapping[str, Tensor] | None = None,
        kept: Mapping[str, int] | None = None,
        uses: Mapping[str, float] | None = None,
    ) -> None:
        self.case = case
        self.scores = scores
        self.kept = kept
        self.uses = uses

    def refusal(self, slot: Slot) -> str | None:
        """Returns why the method cannot mask this parameter, or ``None`` where it can."""
        del slot
        return None

    def mask_(self, slots: Sequence[Slot]) -> tuple[str, ...]:
        """Puts a mask on the parameter of each slot; no two slots hold the same one. Returns notes for the record."""
        raise NotImplementedError(f"{type(self).__name__} masks nothing")


METHODS: Registry[type[MaskMethod]] = Registry(
    "mask method",
    entry_points="sapwood.mask_methods",
    others={
        "globalunstructured": "l1_unstructured", "l1": "l1_unstructured",
        "l1structured": "ln_structured", "l2": "ln_structured", "l2structured": "ln_structured",
        "magnitude": "l1_unstructured", "random": "random_unstructured", "sparsegpt": "scored",
        "structured": "ln_structured", "unstructured": "l1_unstructured", "wanda": "scored",
    },
)  # fmt: skip
"""Every masking method by its name."""


@dataclass(frozen=True)
class MaskCase:
    """One masking: which method, how much, and where. Checked when it is made; its ``asdict`` is plain JSON.

    Attributes:
        method: A name in :data:`METHODS`.
        sparsity: Fraction removed, in [0, 1). Not used by ``custom_from_mask``, which stores ``None``.
        scope: ``"local"``: each parameter loses the fraction; ``"global"``: all of them together, unstructured only.
        layers: Any of ``"conv"``, ``"bn"``, ``"linear"``, ``"all"``. Empty needs a ``pattern``, and then means any
            parameter.
        pattern: Of the parameters that ``layers`` selects only those whose name fits, as ``"layers.1*.weight"``
            (:mod:`fnmatch`). Without ``layers`` it reaches any parameter, biases too.
        n: Of ``ln_structured``: the order of the norm. Infinity is stored as ``"inf"``, for JSON has no word for it.
        dim: Of structured methods: the dimension whose slices go; 0 is a layer's output channels.
        seed: Of random methods.
        mask_file: Of ``custom_from_mask``: ``.safetensors`` or ``.npz`` with one mask of 0 and 1 a parameter.
        criterion: Of ``scored``: what the scores are; ``"magnitude"`` is computed, scores of any other are given to
            :func:`apply_masks_`.
        budget: Of ``scored``: how parameters share the sparsity, a name in :data:`sapwood.masks.BUDGETS`.
        blocks: Of ``scored``: which weights go together: ``"unstructured"``, ``"2:4"`` (2 of every 4 stay; the sparsity
            is then 0.5), ``"2x1"`` (blocks of rows x columns). See :class:`sapwood.masks.Pattern`.

    Raises:
        ConfigError: If a field is outside what it may be, or two fields do not go together.
        MaskError: If ``mask_file`` does not exist.

    Examples:
        >>> MaskCase("l1_unstructured", 0.5, scope="global", layers=("conv", "bn")).sparsity
        0.5
        >>> MaskCase("ln_structured", 0.5, scope="global", layers=("conv",))
        Traceback (most recent call last):
        ...
        sapwood.errors.ConfigError: scope 'global' with ln_structured: torch.nn.utils.prune has no global structured \
pruning; expected scope 'local', or one of: l1_unstructured, random_unstructured
    """

    method: str
    sparsity: float | None = None
    scope: Scope = "local"
    layers: tuple[str, ...] = ()
    pattern: str | None = None
    n: float | Literal["inf", "-inf"] = 2.0
    dim: int = 0
    seed: int = 0
    mask_file: str | None = None
    criterion: str = "magnitude"
    budget: str = "uniform"
    blocks: str = "unstructured"

    def __post_init__(self) -> None:
        method = METHODS[self.method]
        self._check_scoring(method)
        self._set("layers", _checked_layers(self.layers, self.pattern))
        self._set("sparsity", None if method.from_file else self._pattern_sparsity())
        self._set("n", _checked_order(self.n))
        self._set("dim", _checked_int("dim", self.dim))
        self._set("seed", _checked_int("seed", self.seed, smallest=0))
        self._set("mask_file", _checked_mask_file(self.mask_file, self.method, needed=method.from_file))
        self._check_scope(method)
        if method.structured and "bn" in self.layers:
            raise ConfigError(
                f"layers 'bn' with {self.method}: a BatchNorm's weight and bias have 1 dimension, and structured "
                "methods remove slices of at least 2; expected conv or linear, or an unstructured method"
            )

    @property
    def norm_order(self) -> float:
        """``n`` as a number."""
        return float(self.n)

    @property
    def amount(self) -> float:
        """``sparsity`` as torch's ``amount``, always a float: torch reads the integer 1 as one weight.

        Raises:
            ConfigError: If the masks come from a file.
        """
        if self.sparsity is None:
            raise ConfigError(f"{self.method} has no sparsity: its masks come from a file")
        return self.sparsity

    @property
    def unit_pattern(self) -> Pattern:
        """``blocks`` as a pattern."""
        return parse_pattern(self.blocks)

    def _set(self, field: str, value: object) -> None:
        object.__setattr__(self, field, value)

    def _check_scope(self, method: type[MaskMethod]) -> None:
        if self.scope not in get_args(Scope):
            raise ConfigError(f"scope: got {self.scope!r}; expected 'local' or 'global'")
        if self.scope in method.scopes:
            return
        able = ", ".join(name for name in METHODS if self.scope in METHODS[name].scopes)
        why = method.why_local
        raise ConfigError(f"scope 'global' with {self.method}: {why}; expected scope 'local', or one of: {able}")

    def _pattern_sparsity(self) -> float:
        """The sparsity that was given, or the one that ``blocks`` fixes."""
        fixed = self.unit_pattern.sparsity
        if fixed is None:
            return _checked_sparsity(self.sparsity)
        if self.sparsity is not None and abs(_checked_sparsity(self.sparsity) - fixed) > _SAME_SPARSITY:
            raise ConfigError(
                f"sparsity: got {self.sparsity} with {self.blocks}, which removes {fixed:g}; leave it out"
            )
        return fixed

    def _check_scoring(self, method: type[MaskMethod]) -> None:
        """Refuses options of scored methods with others, and those that contradict the pattern."""
        for field, default in (("criterion", "magnitude"), ("budget", "uniform"), ("blocks", "unstructured")):
            value = getattr(self, field)
            if value != default and not method.takes_scores:
                raise ConfigError(f"{field}: got {value!r} with {self.method}; expected it with scored only")
        if not isinstance(self.criterion, str) or not self.criterion:
            raise ConfigError(f"criterion: got {self.criterion!r}; expected the name of a score, as 'magnitude'")
        _ = BUDGETS[self.budget]
        fixed = self.unit_pattern.sparsity
        if fixed is not None and self.budget != "uniform":
            raise ConfigError(
                f"budget {self.budget!r} with {self.blocks}: all windows keep as many; expected 'uniform'"
            )


def _checked_sparsity(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0.0 <= value < 1.0:
        raise ConfigError(f"sparsity: got {value!r}; expected the fraction removed, a number in [0, 1)")
    return float(value)


def _checked_order(value: object) -> float | str:
    """A norm's order as a finite float, ``"inf"`` or ``"-inf"``."""
    if value in ("inf", "-inf"):
        return str(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or math.isnan(value):
        raise ConfigError(f"n: got {value!r}; expected the order of a norm: a number, 'inf' or '-inf'")
    return float(value) if math.isfinite(value) else str(float(value))


def _checked_int(field: str, value: object, *, smallest: int | None = None) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or (smallest is not None and value < smallest):
        least = "" if smallest is None else f" of at least {smallest}"
        raise ConfigError(f"{field}: got {value!r}; expected a whole number{least}")
    return value


def _checked_layers(layers: object, pattern: str | None) -> tuple[str, ...]:
    if isinstance(layers, str) or not isinstance(layers, Sequence):
        raise ConfigError(f"layers: got {layers!r}; expected a tuple of: {', '.join(LAYER_KINDS)}")
    unknown = [kind for kind in layers if kind not in LAYER_KINDS]
    if unknown:
        meant = meant_name(
            unknown[0], LAYER_KINDS, {"batchnorm": "bn", "conv2d": "conv", "dense": "linear", "fc": "linear"}
        )
        raise ConfigError(f"layers: got {unknown[0]!r}; expected any of: {', '.join(LAYER_KINDS)}{meant}")
    if pattern is not None and (not isinstance(pattern, str) or not pattern):
        raise ConfigError(f"pattern: got {pattern!r}; expected the names of parameters, as 'layers.1*.weight'")
    if not layers and pattern is None:
        raise ConfigError(f"layers: got none and no pattern; expected any of: {', '.join(LAYER_KINDS)}")
    return tuple(layers)


def _checked_mask_file(value: object, method: str, *, needed: bool) -> str | None:
    if not needed:
        if value is not None:
            raise ConfigError(f"mask_file: got {str(value)!r} with {method}; expected it with custom_from_mask only")
        return None
    if not isinstance(value, (str, Path)):
        raise ConfigError(f"mask_file: got {value!r}; {method} needs a .safetensors or .npz file of masks")
    if not Path(value).is_file():
        found = "a folder" if Path(value).is_dir() else "nothing there"
        raise MaskError(f"{value}: {found}; expected a .safetensors or .npz file of masks")
    return str(value)
