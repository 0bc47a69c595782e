"""``sapwood eval --against``: how far networks agree with the one that they were made from."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sapwood.cli.commanded import made
from sapwood.cli.common import OnBad, ResizeChoice, load_bundle, make_console, print_json, progress_bar
from sapwood.cli.devices import on_device
from sapwood.cli.next_steps import after_measuring, next_step
from sapwood.cli.record_files import write_record
from sapwood.errors import ConfigError

if TYPE_CHECKING:
    from sapwood.types import ModelBundle

AgainstOption = Annotated[
    str | None,
    typer.Option(
        "--against",
        metavar="DENSE",
        help="Instead of labels, which are not needed then, what this network finds: that of a detector with a score "
        "above 0.3, the best class of a classifier.",
    ),
]
AgainstWeightsOption = Annotated[Path | None, typer.Option("--against-weights", help="Weights of --against.")]
BesideOption = Annotated[
    list[str] | None,
    typer.Option(
        "--beside",
        metavar="OTHER",
        help="With --against: another network, for the difference on the same pictures; may be repeated.",
    ),
]


@dataclass(frozen=True)
class AgainstOptions:
    """What a network is compared with."""

    against: AgainstOption = None
    against_weights: AgainstWeightsOption = None
    beside: BesideOption = None

    def check(self) -> None:
        """Refuses options that say nothing without the network to compare with.

        Raises:
            ConfigError: If there are any.
        """
        if self.against is None:
            for name, given in (("--against-weights", self.against_weights), ("--beside", self.beside)):
                if given:
                    raise ConfigError(f"{name} is of --against; expected --against DENSE")

    def show(
        self,
        name: str,
        bundle: ModelBundle,
        data: str,
        split: str,
        *,
        factory: str | None,
        resize: ResizeChoice | None,
        on_bad: OnBad,
        device: str,
        out: Path | None,
        as_json: bool,
        **options: Any,
    ) -> None:
        """Measures and prints.

        Args:
            name: How the user called the network.
            bundle: It.
            data: Pictures, labelled or not.
            split: Which part.
            factory: What makes the dense model of a saved one.
            resize: How pictures become inputs.
            on_bad: What a broken picture does.
            device: Where the networks compute.
            out: A file for the record.
            as_json: Whether to print the record.
            options: Of :func:`sapwood.tasks.agreement`.

        Raises:
            ConfigError: If a network is named twice.
        """
        from sapwood import tasks
        from sapwood.data import data_parts
        from sapwood.report import agreement_table, records, render_agreement

        assert self.against is not None
        networks = {name: bundle}
        for other in self.beside or ():
            if other in networks:
                raise ConfigError(f"--beside {other}: is there twice; expected networks that differ")
            made_by = factory if Path(other).is_dir() else None
            networks[other] = on_device(load_bundle(other, None, resize=resize, factory=made_by), device)
        made_by = factory if Path(self.against).is_dir() else None
        dense = on_device(load_bundle(self.against, self.against_weights, resize=resize, factory=made_by), device)
        dataset = tasks.open_pictures(dense, data_parts(data)[0], split=split, on_bad=on_bad.value)
        with progress_bar("comparing") as progress:
            found = tasks.agreement(dense, networks, dataset, on_bad=on_bad.value, progress=progress, **options)
        named = {"against": self.against, "data": dataset.name, "split": split}
        then = after_measuring(name, bundle, data, self.against)
        record = records.make_part(records.AgreementRecord, {**named, **asdict(found), "made": made(then)})
        write_record(out, record.plain(), lambda: render_agreement(record, record.made, then))
        if as_json:
            print_json(record.plain())
        else:
            make_console().print(agreement_table(record))
            next_step(*then)
