"""Does the steps of a recipe, one command after the other, and remembers what is done."""

from __future__ import annotations

import contextlib
import io
import json
import shlex
import time
from collections.abc import Collection
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sapwood.cli.commanded import as_step, made
from sapwood.cli.common import make_console
from sapwood.cli.renamed import renamed
from sapwood.cli.steps import Command
from sapwood.errors import CheckFailedError, ConfigError, DataError, SapwoodError
from sapwood.reading import read_json, reading

if TYPE_CHECKING:
    from sapwood.recipe import Recipe
    from sapwood.report import records
    from sapwood.training import Processes

RECORD = "run.json"
INTERRUPTED = 130
FACTORIES = "teacher", "model_factory", "teacher_factory"
"""Options of steps that may name one."""

BEGUN: Final = "begun"
DONE: Final = "done"
MISSED: Final = "missed"


@dataclass
class Runner:
    """A recipe under way.

    Attributes:
        recipe: What is done.
        out: Where.
        commands: Its steps.
        group: The command line.
        processes: That do it together; all of them train, the first does the rest.
        quiet: Whether nothing is printed.
        entries: One record a step that was begun.
        before: The same of the run that stood there.
        made: By what command the last step was run that was not done before, and where.
    """

    recipe: Recipe
    out: Path
    commands: list[Command]
    group: Any
    processes: Processes
    quiet: bool
    entries: list[records.RunStep] = field(default_factory=list)
    before: list[records.RunStep] = field(default_factory=list)
    made: records.MadeBy | None = None

    def run_all(self) -> None:
        """Runs every step that is not done."""
        earlier = self.processes.from_first(lambda: _read(self.out / RECORD))
        self.before = before = [] if earlier is None else [*earlier.steps, *earlier.earlier]
        self.made = None if earlier is None else earlier.made
        prints: dict[str, str] = {}
        for number, command in enumerate(self.commands, start=1):
            own = self.processes.from_first(partial(_fingerprint, command, prints))
            for place in (command.made, str(command.directory)):
                if place is not None:
                    prints[place] = own
            old = next((entry for entry in before if entry.directory == command.directory.name), None)
            same = old is not None and old.fingerprint == own
            self._say(f"[{number}/{len(self.commands)}] sapwood {shlex.join(command.arguments)}")
            if same and old is not None and self._is_done(old, command):
                self.entries.append(old)
                self._say("    done before")
                continue
            if not same:
                self.processes.from_first(partial(_set_aside, command.directory))
            self._run_step(number, command, own, resume=same)
        self.processes.from_first(self._write)

    def record(self) -> records.RunRecord:
        """What was done, as run.json has it."""
        import sapwood
        from sapwood.report import records

        seen = {entry.directory for entry in self.entries}
        return records.RunRecord(
            sapwood=sapwood.__version__,
            model=self.recipe.model,
            num_steps=len(self.commands),
            steps=tuple(self.entries),
            earlier=tuple(entry for entry in self.before if entry.directory not in seen),
            made=self.made,
        )

    def _run_step(self, number: int, command: Command, fingerprint: str, *, resume: bool) -> None:
        from sapwood.report import records

        begun = records.RunStep(
            name=command.step.name,
            verb=command.step.verb,
            command=shlex.join(["sapwood", *command.arguments]),
            directory=command.directory.name,
            fingerprint=fingerprint,
            state=BEGUN,
        )
        self.entries.append(begun)
        self.made = made()
        self.processes.from_first(lambda: self._begin(command))
        start = time.perf_counter()
        try:
            text, missed = self._output(command, resume=resume)
        except SapwoodError as error:
            error.args = (f"step {number} ({command.step.name}): {error}",)
            raise
        seconds = time.perf_counter() - start
        self._told(
            state=DONE if missed is None else MISSED,
            missed=None if missed is None else str(missed),
            seconds=seconds,
            result=json.loads(text) if text else None,
        )
        self._told(size=self.processes.from_first(lambda: self._finish(command)))
        self._say(f"    {seconds:.0f} s{'' if missed is None else f'; missed: {missed}'}")
        if missed is not None and self.recipe.on_missed == "stop":
            raise missed

    def _output(self, command: Command, *, resume: bool) -> tuple[str, CheckFailedError | None]:
        """Runs a command in this process; returns what it printed, and which check it missed, if it did."""
        arguments = list(command.arguments)
        if resume and command.step.verb == "train" and self._holds_run(command.directory):
            arguments.append("--resume")

        def main() -> tuple[str, CheckFailedError | None]:
            import torch

            threads, missed, code = torch.get_num_threads(), None, 0
            with as_step(arguments), contextlib.redirect_stdout(io.StringIO()) as printed:
                try:
                    code = self.group.main(args=renamed(arguments), prog_name="sapwood", standalone_mode=False)
                except CheckFailedError as error:
                    missed = error
                finally:
                    torch.set_num_threads(threads)
            if code == INTERRUPTED:
                raise KeyboardInterrupt
            if code == CheckFailedError.exit_code:
                missed = CheckFailedError("a check failed; see its rows")
            elif code:
                raise ConfigError(f"exit code {code}; `sapwood {shlex.join(arguments)}` says why")
            return printed.getvalue(), missed

        return main() if command.step.verb == "train" else self.processes.from_first(main)

    def _holds_run(self, directory: Path) -> bool:
        """Whether a step's training got as far as its first checkpoint; else it begins anew."""
        from sapwood.training import holds_run

        return self.processes.from_first(lambda: holds_run(directory))

    def where(self) -> str:
        """At which step it is."""
        number = len(self.entries)
        return (
            f"in step {number} of {len(self.commands)} ({self.entries[-1].name})" if number else "before the first step"
        )

    def _begin(self, command: Command) -> None:
        from sapwood.files import write_text

        for path, text in command.files.items():
            write_text(path, text)
        self._write()

    def _finish(self, command: Command) -> dict[str, int] | None:
        size = None if command.made is None else _size(command.made)
        self._told(size=size)
        self._write()
        return size

    def _told(self, **more: Any) -> None:
        """Adds to what is known of the step under way."""
        step = self.entries[-1]
        self.entries[-1] = type(step).model_validate({**step.model_dump(), **more})

    def _write(self) -> None:
        from sapwood.files import write_json

        self.out.mkdir(parents=True, exist_ok=True)
        write_json(self.out / RECORD, self.record().plain())

    def _is_done(self, entry: records.RunStep, command: Command) -> bool:
        """Whether a step need not be done again; a missed target is tried again unless the recipe goes on."""
        if entry.state == BEGUN or (entry.state == MISSED and self.recipe.on_missed == "stop"):
            return False
        made = command.made
        return self.processes.from_first(lambda: made is None or Path(made).exists())

    def _say(self, text: str) -> None:
        if not self.quiet:
            make_console().print(text, highlight=False, markup=False, soft_wrap=True)


def allow_factories(recipe: Recipe, commands: list[Command], allowed: Collection[str]) -> None:
    """Lets a recipe's steps call functions that it names, if whoever started the run named them, too.

    Args:
        recipe: A file, which by itself may name what is called, and no more.
        commands: Its steps.
        allowed: What the command line named.

    Raises:
        ConfigError: If the recipe names another function; before anything is imported.
    """
    from sapwood.models import is_factory, remember_factory

    named = [recipe.model, recipe.model_factory]
    for command in commands:
        named += [*command.models, *(command.step.options.get(name) for name in FACTORIES)]
    asked = dict.fromkeys(spec for spec in named if isinstance(spec, str) and is_factory(spec))
    missing = [spec for spec in asked if spec not in allowed]
    if missing:
        options = " ".join(f"--model-factory {spec}" for spec in missing)
        raise ConfigError(f"names code to run; expected it from you as well: sapwood run ... {options}")
    for spec in asked:
        remember_factory(spec)


def _read(path: Path) -> records.RunRecord | None:
    """The run that stands in a directory, if one does."""
    from sapwood.report import read_run

    if not path.is_file():
        return None
    expected = "the record of a run, as `sapwood run` writes it"
    record = read_json(path, expected, ConfigError)
    with reading(path, expected, ConfigError):
        if not all(isinstance(step["fingerprint"], str) for step in [*record["steps"], *record["earlier"]]):
            raise ConfigError(f"{path}: a step's fingerprint is no text; expected {expected}")
        try:
            return read_run(record)
        except DataError as error:
            raise ConfigError(f"{path}: {error}; expected {expected}") from None


def _fingerprint(command: Command, prints: dict[str, str]) -> str:
    """What the result of a step depends on: its command, the files it names, and what those before made."""
    from sapwood.fingerprints import key_of

    own = {str(path): text for path, text in command.files.items()}
    read = [one for one in command.arguments if one not in own and not one.startswith(str(command.directory))]
    named = {one: prints.get(one) or _contents(Path(one)) for one in read}
    return key_of({"arguments": command.arguments, "named": named, "files": own})


def _contents(path: Path) -> str:
    """A hash of a file, or of the files that stand in a folder, as those of a saved network do; empty if it is none."""
    from sapwood.fingerprints import file_fingerprint, key_of

    if not path.is_dir():
        return file_fingerprint(path)
    return key_of({file.name: file_fingerprint(file) for file in sorted(path.iterdir()) if file.is_file()})


def _set_aside(directory: Path) -> None:
    """Keeps what another version of a step made, under another name."""
    if not directory.exists():
        return
    number = 1
    while (aside := directory.with_name(f"{directory.name}.before-{number}")).exists():
        number += 1
    directory.rename(aside)


def _size(made: str) -> dict[str, int]:
    """The size of a network that a step made."""
    from sapwood.measure import count_macs, count_nonzeros, count_params
    from sapwood.models import load_model

    bundle = load_model(made)
    macs = count_macs(bundle.model, bundle.example_inputs)
    return {
        "params": count_params(bundle.model),
        "nonzeros": count_nonzeros(bundle.model),
        "macs": macs.total,
        "nonzero_macs": macs.nonzero_macs,
    }
