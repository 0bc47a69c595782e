"""Every verb of Sapwood under faults: killed at random moments, on full and read-only disks, two at the same place.

``python faults/run.py [--kills N] [--seed S] [--verbs export,run] [-o results.json]``; exit code 1 if anything was
lost, half written or unexplained. On Linux; as root it mounts file systems, which nobody else sees.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))  # small networks are in its `support`

import children
from cases import FAULTS, NEED_MOUNTS, Case, Subject
from children import Ended
from states import state_of
from verbs import Verb, command, make_inputs, make_verbs

Count = Counter[tuple[str, str]]


def main() -> int:
    """Does what the command line says; the exit code."""
    options = _options()
    reason = children.own_mounts()
    faults = [name for name in FAULTS if not (name in NEED_MOUNTS and reason)]
    folder = Path(tempfile.mkdtemp(prefix="sapwood-faults-"))
    folder.chmod(0o755)
    try:
        (folder / "tmp").mkdir(mode=0o777)
        (folder / "tmp").chmod(0o777)
        os.environ["TMPDIR"] = str(folder / "tmp")
        subjects = _subjects(folder, options.verbs)
        counts, problems = _run_all(subjects, faults, folder, options)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    _print_table(counts, problems, faults)
    for name in FAULTS.keys() - set(faults):
        print(f"left out: {name}: {reason}")
    if options.out is not None:
        rows = [{"verb": verb, "fault": fault, "count": count} for (verb, fault), count in counts.items()]
        record = {"kills": options.kills, "seed": options.seed, "counts": rows, "problems": problems}
        options.out.write_text(json.dumps(record, indent=2) + "\n")
    return 1 if problems else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=240, help="in all")
    parser.add_argument("--others", type=int, default=2, help="of every other fault, for each verb")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--verbs", help="with commas between; all if not given")
    parser.add_argument("-o", dest="out", type=Path, help="a JSON file for the results")
    return parser.parse_args()


def _subjects(folder: Path, wanted: str | None) -> list[Subject]:
    """Runs each verb as it should be, once for what stands there before and once for what comes."""
    _import_all()
    inputs = make_inputs(folder)
    _save_networks(inputs)
    chosen = make_verbs(inputs)
    if wanted is not None:
        names = wanted.split(",")
        chosen = [verb for verb in chosen if verb.name in names or verb.name.split()[0] in names]
        unknown = set(names) - {part for verb in chosen for part in (verb.name, verb.name.split()[0])}
        if unknown:
            raise SystemExit(f"unknown verbs {sorted(unknown)}")
    return [_subject(verb, folder / "clean" / str(number)) for number, verb in enumerate(chosen)]


def _subject(verb: Verb, folder: Path) -> Subject:
    old = None
    before: dict[str, str] = {}
    if verb.old and verb.place is not None:
        old = folder / "old"
        old.mkdir(parents=True)
        _run_well(verb.old, old / verb.place)
        before = state_of(old / verb.place)
    new = folder / "new"
    shutil.copytree(old, new) if old is not None and verb.name == "report" else new.mkdir(parents=True)
    place = None if verb.place is None else new / verb.place
    ended = _run_well(verb.new, place)
    after = {} if place is None else state_of(place)
    damaged = {name: what for name, what in (before | after).items() if what.startswith("damaged")}
    if damaged or (verb.at_once and verb.place is not None and before == after):
        raise SystemExit(f"{verb.name}: of no use for a test: {damaged or after}")
    sizes = [one.stat().st_size for one in new.rglob("*") if one.is_file()]
    print(f"{verb.name}: {ended.seconds:.1f} s, {len(after)} files, {sum(sizes)} bytes", flush=True)
    return Subject(verb, old, before, after, sizes, ended.seconds)


def _run_well(arguments: tuple[str, ...], place: Path | None) -> Ended:
    ended = children.start(command(arguments, place), {"XDG_CACHE_HOME": os.environ["TMPDIR"]}).wait()
    if ended.code != 0:
        raise SystemExit(f"sapwood {' '.join(arguments)} failed with {ended.code}: {ended.err}{ended.out}")
    return ended


def _save_networks(inputs: dict[str, Path]) -> None:
    def save() -> None:
        import torch

        from sapwood.models import load_model, save_model

        torch.manual_seed(0)
        save_model(load_model(str(inputs["cfg"])), inputs["folder"] / "net")

    process = children.FORK.Process(target=save)
    process.start()
    process.join()
    net, masked = (str(inputs["folder"] / name) for name in ("net", "masked"))
    _run_well(("mask", net, "--method", "ln_structured", "--sparsity", "0.5"), Path(masked))


def _import_all() -> None:
    """What every run needs is read once; nothing is computed here, for threads do not survive a fork."""
    import importlib.readers  # noqa: F401

    import onnx  # noqa: F401
    import onnxruntime  # noqa: F401
    import onnxscript  # noqa: F401
    import torch.onnx  # noqa: F401

    import sapwood.cases
    import sapwood.cli.app
    import sapwood.export
    import sapwood.pipeline
    import sapwood.recovery
    import sapwood.report
    import sapwood.runtime

    all_cases = sapwood.cases.default_cases
    sapwood.cases.default_cases = lambda *which: all_cases(*which)[:1]  # all rows of `sapwood demo` take minutes


def _run_all(
    subjects: list[Subject], faults: list[str], folder: Path, options: argparse.Namespace
) -> tuple[Count, list[str]]:
    """Every fault on every verb, as often as asked."""
    counts: Count = Counter()
    problems: list[str] = []
    dice = random.Random(options.seed)
    plan = [(subject, fault) for subject in subjects for fault in faults if fault != "kill"] * options.others
    shares = [subject for subject in subjects for _ in range(subject.verb.share)]
    plan += [(shares[number % len(shares)], "kill") for number in range(options.kills)]
    began = time.perf_counter()
    for number, (subject, fault) in enumerate(plan):
        case = Case(subject, folder / "cases" / str(number), random.Random(dice.random()), number % 4 != 3)
        case.folder.mkdir(parents=True)
        if fault != "full disk":
            case.lay_out()
        FAULTS[fault](case)
        shutil.rmtree(case.folder, ignore_errors=True)
        counts[subject.verb.name, fault] += 1
        problems += (found := [f"{subject.verb.name}, {fault} (number {number}): {one}" for one in case.problems])
        for one in found:
            print(f"VIOLATION: {one}", flush=True)
        if number % 20 == 19:
            print(f"{number + 1} of {len(plan)} after {time.perf_counter() - began:.0f} s", flush=True)
    return counts, problems


def _print_table(counts: Count, problems: list[str], faults: list[str]) -> None:
    """A row a verb, as Markdown."""
    print(f"\n| verb | {' | '.join(faults)} | violations |\n|---{'|--:' * (len(faults) + 1)}|")
    for verb in dict.fromkeys(verb for verb, _ in counts):
        wrong = sum(one.startswith(f"{verb}, ") for one in problems)
        print(f"| {verb} | {' | '.join(str(counts[verb, fault]) for fault in faults)} | {wrong} |")
    sums = [sum(count for (_, fault), count in counts.items() if fault == one) for one in faults]
    print(f"| all | {' | '.join(map(str, sums))} | {len(problems)} |")


if __name__ == "__main__":
    sys.exit(main())
