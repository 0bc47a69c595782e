"""What `--recover` does, with a bar a stage, and what it brought."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from sapwood.cli.common import progress_bar
from sapwood.cli.progress import doing
from sapwood.errors import ConfigError, DataError

if TYPE_CHECKING:
    from torch import nn

    from sapwood.cli.budget import PictureOptions, RecoveryOptions
    from sapwood.masks import Pattern
    from sapwood.pipeline import Pruned
    from sapwood.recovery import Recovered
    from sapwood.report import MeasuredAgreement
    from sapwood.types import ModelBundle


@dataclass(frozen=True)
class Recovery:
    """Recovers models as the options say, with a bar a stage.

    Raises:
        ConfigError: If that needs pictures and there are none.
    """

    how: RecoveryOptions
    pictures: PictureOptions
    seed: int
    scored: bool = True
    """Whether the criterion looks at pictures, too."""

    def __post_init__(self) -> None:
        if self.how.wanted and self.pictures.data is None:
            raise ConfigError(
                f"--recover {self.how.recover.value} looks at pictures (labels are not needed); expected --data"
            )

        if self.how.recover_mirrored and self.how.recover.value != "distill":
            raise ConfigError(
                f"--recover-mirrored says what distillation follows; expected --recover distill, got "
                f"{self.how.recover.value}"
            )

    def pruned(self, bundle: ModelBundle, result: Pruned) -> Pruned:
        """Recovers what was pruned of ``bundle``."""
        if not self.how.wanted:
            return result
        from sapwood.pipeline import recover

        with self._options(bundle) as options:
            return recover(bundle, result, **options)

    def judged(self, bundle: ModelBundle, result: Pruned) -> tuple[Pruned, MeasuredAgreement | None]:
        """Recovers what was pruned of ``bundle``, and measures what that brought, on pictures that nobody saw."""
        recovered = self.pruned(bundle, result)
        if not self.how.wanted:
            return recovered, None
        from sapwood.goals import unseen_pictures
        from sapwood.pipeline import measured_agreement
        from sapwood.tasks import has_agreement

        data, split = str(self.pictures.data), self.pictures.split
        num_seen = max(self.how.recover_pictures, self.pictures.num_pictures if self.scored else 0)
        with doing("reading pictures that nobody saw"):
            dataset = unseen_pictures(bundle, data, train_split=split, num_seen=num_seen, seed=self.seed)
        if dataset is None:
            why = f"all pictures of {data} were looked at; --recover-pictures below their number leaves some"
            return _unmeasured(recovered, why), None
        if not has_agreement(bundle, dataset):
            return recovered, None
        networks = {"pruned": result.model, "recovered": recovered.model}
        try:
            with progress_bar("comparing with the dense network") as progress:
                bundles = {name: replace(bundle, model=model) for name, model in networks.items()}
                return recovered, measured_agreement(bundle, bundles, dataset, progress=progress)
        except DataError as error:  # it finds nothing, so that there is nothing to agree with
            return _unmeasured(recovered, str(error)), None

    def masked_(self, bundle: ModelBundle, dense: nn.Module, pattern: Pattern | None) -> Recovered | None:
        """Recovers a masked model in place; with ``pattern`` it is also chosen anew which weights stay."""
        if not self.how.wanted:
            return None
        from sapwood.pipeline import recover_masked_

        with self._options(bundle) as options:
            return recover_masked_(bundle, dense, pattern=pattern, **options)

    @contextmanager
    def _options(self, bundle: ModelBundle) -> Iterator[dict[str, Any]]:
        """The pictures, whose labels are not looked at, and the rest."""
        from sapwood.goals import recovery_pictures
        from sapwood.recovery import DistillConfig

        with doing("reading pictures"):
            batches = recovery_pictures(
                bundle,
                str(self.pictures.data),
                split=self.pictures.split,
                num_pictures=self.how.recover_pictures,
                seed=self.seed,
            )
        with ExitStack() as bars:
            yield {
                "batches": batches.own,
                "others": batches.others,
                "method": self.how.recover.value,
                "config": DistillConfig(
                    steps=self.how.recover_steps, seed=self.seed, mirrored=self.how.recover_mirrored
                ),
                "seed": self.seed,
                "progress": lambda stage: bars.enter_context(progress_bar(stage)),
            }


def _unmeasured(recovered: Pruned, why: str) -> Pruned:
    note = f"agreement with the dense network was not measured: {why}"
    return replace(recovered, notes=(*recovered.notes, note))
