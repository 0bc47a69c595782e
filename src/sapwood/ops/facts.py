"""What is known of an operator beside how it ties indices: declared with its rule, asked for by everything behind.

A stage that wants to know what a call sums over, pools, moves or chooses asks here; none has a list of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeVar

if TYPE_CHECKING:
    from sapwood.ops.call import Call

Dims: TypeAlias = "Callable[[Call], Sequence[int]]"
"""From a call to dimensions of its first tensor."""

Spread: TypeAlias = Literal["each", "moved", "along", "reduced", "all"]
"""How dependence on an index spreads; see :class:`Facts`."""

Size = TypeVar("Size")
"""A number, or an expression in widths."""


@dataclass(frozen=True)
class Sum:
    """A weighted sum over channels, and where its operands stand among the arguments.

    Attributes:
        kind: A convolution, one whose kernels are deformed by other tensors, a matrix product, or attention, which sums
            over the width of queries and keys and then over the tokens of values.
        source: The first factor; its last dimension, or that of its channels, is summed over.
        weight: The second factor.
        bias: What is added, where the operator can add something.
        turned: Whether the second factor is (outputs, inputs), as a linear layer's weight is.
    """

    kind: Literal["convolution", "deformed", "product", "attention"]
    source: int = 0
    weight: int = 1
    bias: int | None = None
    turned: bool = False

    @property
    def silenced(self) -> tuple[int, ...]:
        """The operands in which zeros at removed indices take these out of the sum."""
        return (0, 1, 2) if self.kind == "attention" else (self.source,)

    def products(self, shapes: Sequence[Sequence[Size]]) -> list[tuple[Size, ...]]:
        """The work of a matrix product or of attention, as sizes to multiply: a multiply-accumulate each.

        Args:
            shapes: The sizes of each argument; those of arguments that are no factors may be anything.

        Examples:
            >>> Sum("product", source=1, weight=2).products([(), (7, 3), (3, 5)])
            [(7, 3, 5)]
            >>> Sum("attention").products([(2, 6, 3), (2, 4, 3), (2, 4, 8)])
            [(2, 6, 3, 4), (2, 6, 4, 8)]
        """
        first, second = tuple(shapes[self.source]), tuple(shapes[self.weight])
        if self.kind == "attention":
            return [(*first, second[-2]), (*first[:-1], second[-2], shapes[2][-1])]
        outputs = second[:1] if self.turned else second[-1:]
        return [(*first, *outputs) if len(second) > 1 else first]


@dataclass(frozen=True)
class Norm:
    """A normalisation with a scale and a shift for each channel.

    Attributes:
        kind: Over everything but the channel, over the last dimensions, or over groups of channels.
        weight: Where the scale stands among the arguments; the shift comes next.
    """

    kind: Literal["batch", "layer", "group"]
    weight: int


@dataclass(frozen=True)
class Facts:
    """What is known of one operator.

    Attributes:
        spreads: What of its result depends on an index of its input: the elements over which it stands (``"each"``),
            what the same move of values makes of it (``"moved"``), all along the dimensions that are pooled
            (``"along"``), what is left without these (``"reduced"``), or everything (``"all"``).
        sum: The weighted sum over channels that it is.
        norm: The normalisation that it is.
        gain: Where the gain stands of a weight that is divided by its norm; the weight comes first.
        pools: The dimensions along which it combines indices other than by a weighted sum.
        on_kept: Whether a reference for a pruned model runs it on the kept indices only, as it pools values.
        adds_up: Whether what it makes of the indices that it pools is their sum.
        statistics: Whether zeros count along what it pools, as in norms, so that it changes when channels go.
        groups_at: Where the number of groups stands into which it cuts channels.
        shuffles_at: Where the number of groups stands into which it cuts channels to shuffle them.
        windows: Spatial dimensions, the last ones, that it reads by position.
        moves: Whether it only moves values.
        in_place: Whether every value stands where it stood, scaled, shifted or converted at most.
        turns: Whether it permutes dimensions.
        reshapes: Whether it only cuts and merges dimensions.
        scales: Whether it multiplies by its second argument, or divides by it.
        adds: Whether it adds two tensors.
        rectifies: Whether it puts zero in the place of what is negative, and leaves the rest.
        homogeneous: What has to be scaled for its result to be scaled by the same (positive) factor: its first tensor,
            either of its two factors, or all of its tensors.
        zeros: Whether it makes zeros.
        chooses: Whether its result jumps where its input moves a little.
        reads_values: Whether the size of its result, or what the code does next, follows from values.
        thins: Whether it keeps some of what it is given, best first.
        random: Whether it draws random numbers.
        constant: Whether its result follows from the shape of its input, not from its values.
        copies: Whether its result is its second argument.
        joins: Whether it puts tensors together along a dimension.
        slices: Whether it takes the indices of a dimension from one to another.
        picks: Whether it takes one index of a dimension.
        pads: Whether it adds indices that hold a constant.
        gates: Whether it multiplies the halves of its input, one of them squashed.
        looks_up: Whether its result is rows of its first argument, a table, at the places that the second one says.
        positions: Whether its second result, where it has one, tells where its first was.
        recasts: Whether it looks at the same memory as at numbers of another kind: complex ones, or their two parts.
        makes_nothing: Whether no number is computed: memory is taken, or looked at.
        uncounted: Whether it multiplies as much as layers do without a weighted sum, so that no formula counts it.
    """

    spreads: Spread = "all"
    sum: Sum | None = None
    norm: Norm | None = None
    gain: int | None = None
    pools: Dims | None = None
    on_kept: bool = False
    adds_up: bool = False
    statistics: bool = False
    groups_at: int | None = None
    shuffles_at: int | None = None
    windows: int = 0
    moves: bool = False
    in_place: bool = False
    turns: bool = False
    reshapes: bool = False
    scales: Literal["times", "over"] | None = None
    adds: bool = False
    rectifies: bool = False
    homogeneous: Literal["first", "either", "all"] | None = None
    zeros: bool = False
    chooses: bool = False
    reads_values: bool = False
    thins: bool = False
    random: bool = False
    constant: bool = False
    copies: bool = False
    joins: bool = False
    slices: bool = False
    picks: bool = False
    pads: bool = False
    gates: bool = False
    looks_up: bool = False
    positions: bool = False
    recasts: bool = False
    makes_nothing: bool = False
    uncounted: bool = False

    @property
    def is_convolution(self) -> bool:
        """Whether it is a convolution, transposed or not."""
        return self.sum is not None and self.sum.kind == "convolution"

    @property
    def is_deformed(self) -> bool:
        """Whether it is a convolution that follows offsets."""
        return self.sum is not None and self.sum.kind == "deformed"

    @property
    def is_product(self) -> bool:
        """Whether it is a matrix product."""
        return self.sum is not None and self.sum.kind == "product"

    @property
    def is_attention(self) -> bool:
        """Whether it is attention in one call."""
        return self.sum is not None and self.sum.kind == "attention"

    @property
    def has_numbers(self) -> bool:
        """Whether numbers of its arguments follow widths though no shape shows it: groups, slices, padding."""
        return self.groups_at is not None or self.slices or self.pads

    @property
    def passes(self) -> bool:
        """Whether every channel keeps to itself."""
        return self.spreads in {"each", "moved"}

    def pooled_dims(self, call: Call) -> tuple[int, ...]:
        """The dimensions of the call's first tensor that it pools, counted from the front."""
        if self.pools is None:
            return ()
        rank = len(call.tensor_inputs()[0].shape)
        return tuple(dim % rank for dim in self.pools(call)) if rank else ()


UNKNOWN = Facts()
"""The facts of an operator without a rule: whatever it reads may be anywhere in what it makes."""

FACTS: dict[str, Facts] = {}
"""The facts of every operator that has a rule, by its name without the overload."""


def full_name(name: str) -> str:
    """An operator's name as calls have it: ``aten.`` where no library is named."""
    return name if "." in name else f"aten.{name}"


def note(*names: str, **found: Any) -> None:
    """Adds facts to operators; fields of :class:`Facts` by name."""
    for name in map(full_name, names):
        FACTS[name] = replace(FACTS.get(name, UNKNOWN), **found)
