"""What of a pruned network survives the frameworks around it: ``python benchmarks/round_trips.py``.

A tiny network of each framework loses half of its channels by ``sapwood.prune``, and goes through what users do next:
saved and loaded in a fresh process, trained by the framework's own loop, copied, averaged, compiled, exported, trained
by one and by two processes. Each cell is run and compared: with the pruned network's outputs, with its widths, or with
the sum of gradients of one process. Needs ``pip install ultralytics transformers timm lightning accelerate`` beside
Sapwood; nothing is downloaded. About four minutes on two cores.

``table`` (the default) runs every framework in a process of its own and prints the table; ``one NAME`` runs a
framework here; ``fresh NAME FOLDER WAY`` and ``worker NAME FOLDER`` are what those processes start.
"""

from __future__ import annotations

import argparse
import copy
import importlib.metadata
import io
import json
import os
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")  # no pool of processes for a few small kernels
HERE = Path(__file__).resolve()
Example = Any
"""What a network is called with: a tensor, or tensors by name."""


class Net(nn.Module):
    """A network of one's own, for the frameworks that bring only a loop."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 24, 3, 2), nn.ReLU()
        )
        self.head = nn.Linear(24, 5)

    def forward(self, pictures: Tensor) -> Tensor:
        scores: Tensor = self.head(self.body(pictures).mean((2, 3)))
        return scores


@dataclass(frozen=True)
class Subject:
    """A framework's network and the ways that only this framework has.

    Attributes:
        package: What is installed, for the version.
        dense: Makes the network, with the same random weights each time.
        example: What it is called with.
        loss: One number of what it returns, for the generic steps.
        store: Writes the framework's own file of a pruned network.
        restore: Reads it in a process that knows the framework alone.
        trained: A network after one step of the framework's own loop.
        average: The framework's own average of weights, or None where it has none.
    """

    package: str
    dense: Callable[[], nn.Module]
    example: Callable[[], Example]
    loss: Callable[[Any], Tensor]
    store: Callable[[nn.Module, Path], None]
    restore: Callable[[Path], nn.Module]
    trained: Callable[[nn.Module, Path], nn.Module]
    average: Callable[[nn.Module], nn.Module] | None


def called(model: nn.Module, example: Example) -> Any:
    return model(**example) if isinstance(example, dict) else model(example)


def tensors(output: Any) -> list[Tensor]:
    """Every tensor of an output, in order."""
    if isinstance(output, Tensor):
        return [output]
    parts = output.values() if isinstance(output, dict) else output if isinstance(output, list | tuple) else ()
    return [tensor for part in parts for tensor in tensors(part)]


def outputs(model: nn.Module, example: Example) -> list[Tensor]:
    with torch.no_grad():
        return [tensor.float() for tensor in tensors(called(model.eval(), example))]


def off(found: list[Tensor], wanted: list[Tensor]) -> str:
    """How far two outputs are apart, relative to the largest one."""
    if len(found) != len(wanted) or any(a.shape != b.shape for a, b in zip(found, wanted, strict=True)):
        return "OTHER SHAPES"
    largest = max(float(tensor.abs().max()) for tensor in wanted)
    apart = max(float((a - b).abs().max()) for a, b in zip(found, wanted, strict=True)) / largest
    return "same bits" if apart == 0 else f"{apart:.0e}"


def widths(model: nn.Module) -> list[tuple[int, ...]]:
    return [tuple(parameter.shape) for parameter in model.parameters()]


# Ultralytics


def yolo() -> nn.Module:
    from ultralytics.nn import tasks

    content = tasks.yaml_model_load("yolo11n.yaml")
    content["scales"] = {content["scale"]: [0.33, 0.125, 256]}
    torch.manual_seed(0)
    network = tasks.DetectionModel(content, nc=2, verbose=False)
    network.names = {0: "round", 1: "square"}
    network.args = {"imgsz": 64, "task": "detect"}
    network.task = "detect"
    return alive(network)


def alive(network: nn.Module) -> nn.Module:
    """BatchNorms get the statistics of a batch: with their first ones signals fade, and outputs show nothing."""
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 1.0
    with torch.no_grad():
        network.train()(torch.randn(8, 3, 64, 64))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    return network.eval()


def yolo_store(model: nn.Module, folder: Path) -> None:
    torch.save({"model": copy.deepcopy(model).half(), "train_args": {"imgsz": 64, "task": "detect"}}, folder / "net.pt")


def yolo_restore(folder: Path) -> nn.Module:
    from ultralytics import YOLO

    loaded: nn.Module = YOLO(folder / "net.pt").model
    return loaded.float()


def yolo_trained(model: nn.Module, folder: Path) -> nn.Module:
    import numpy as np
    import yaml
    from PIL import Image
    from ultralytics import YOLO

    random = np.random.default_rng(0)
    for split in ("train", "val"):
        for kind in ("images", "labels"):
            (folder / kind / split).mkdir(parents=True)
        for index in range(4):
            picture = Image.fromarray(random.integers(0, 255, (64, 64, 3), dtype=np.uint8))
            picture.save(folder / "images" / split / f"{index}.png")
            (folder / "labels" / split / f"{index}.txt").write_text("0 0.5 0.5 0.4 0.4\n")
    names = {0: "round", 1: "square"}
    content = {"path": str(folder), "train": "images/train", "val": "images/val", "names": names}
    (folder / "data.yaml").write_text(yaml.safe_dump(content))
    yolo_store(model, folder)
    options = {"epochs": 1, "imgsz": 64, "batch": 4, "workers": 0, "plots": False, "verbose": False, "val": False}
    whole = YOLO(folder / "net.pt")
    whole.train(data=folder / "data.yaml", project=str(folder), name="run", device="cpu", amp=False, **options)
    return whole.trainer.model  # type: ignore[no-any-return]


def yolo_average(model: nn.Module) -> nn.Module:
    from ultralytics.utils.torch_utils import ModelEMA

    average = ModelEMA(model)
    average.update(model)
    kept: nn.Module = average.ema
    return kept


# transformers


def bert() -> nn.Module:
    from transformers import BertConfig, BertForSequenceClassification

    torch.manual_seed(0)
    return BertForSequenceClassification(  # type: ignore[no-any-return]
        BertConfig(
            vocab_size=50,
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=4,
            intermediate_size=48,
            max_position_embeddings=32,
            num_labels=3,
        )
    ).eval()


def words() -> Example:
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(0, 50, (2, 16), generator=generator)
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def bert_restore(folder: Path) -> nn.Module:
    from transformers import BertForSequenceClassification

    return BertForSequenceClassification.from_pretrained(folder).eval()  # type: ignore[no-any-return]


def bert_trained(model: nn.Module, folder: Path) -> nn.Module:
    from transformers import Trainer, TrainingArguments

    rows = [{**{k: v[0] for k, v in words().items()}, "labels": torch.tensor(i % 3)} for i in range(4)]
    options = {"report_to": [], "max_steps": 1, "use_cpu": True, "disable_tqdm": True, "save_strategy": "no"}
    trainer = Trainer(model, TrainingArguments(output_dir=str(folder), **options), train_dataset=rows)
    trainer.train()
    return trainer.model  # type: ignore[no-any-return]


# timm


def timm_resnet() -> nn.Module:
    import timm

    torch.manual_seed(0)
    return timm.create_model("resnet10t", num_classes=5).eval()  # type: ignore[no-any-return]


def timm_store(model: nn.Module, folder: Path) -> None:
    torch.save({"state_dict": model.state_dict()}, folder / "model_best.pth.tar")


def timm_restore(folder: Path) -> nn.Module:
    import timm

    model: nn.Module = timm.create_model("resnet10t", num_classes=5, checkpoint_path=str(folder / "model_best.pth.tar"))
    return model.eval()


def timm_trained(model: nn.Module, folder: Path) -> nn.Module:
    """A step as timm's train.py makes it."""
    from timm.loss import LabelSmoothingCrossEntropy
    from timm.optim import create_optimizer_v2
    from timm.utils import NativeScaler

    optimizer = create_optimizer_v2(model.train(), opt="adamw", lr=1e-3)
    loss = LabelSmoothingCrossEntropy()(model(pictures()), torch.arange(4) % 5)
    NativeScaler(device="cpu")(loss, optimizer, clip_grad=1.0, parameters=model.parameters())
    return model


def timm_average(model: nn.Module) -> nn.Module:
    from timm.utils import ModelEmaV3

    average = ModelEmaV3(model, decay=0.9)
    average.update(model)
    kept: nn.Module = average.module
    return kept


# lightning


def lit() -> nn.Module:
    from round_trips_lightning import Lit

    torch.manual_seed(0)
    return Lit(Net()).eval()


def lit_fitted(model: nn.Module, folder: Path, *callbacks: Any) -> Any:
    """A trainer after one step with the module in ``model`` (which ``training_step`` goes with)."""
    import lightning

    data = torch.utils.data.TensorDataset(pictures(), torch.arange(4) % 5)
    options: dict[str, Any] = {"accelerator": "cpu", "logger": False, "enable_checkpointing": False}
    quiet = {"enable_progress_bar": False, "enable_model_summary": False}
    trainer = lightning.Trainer(
        max_steps=1, default_root_dir=folder, callbacks=list(callbacks), **options, **quiet, barebones=False
    )
    trainer.fit(model, torch.utils.data.DataLoader(data, 4))
    return trainer


def lit_store(model: nn.Module, folder: Path) -> None:
    lit_fitted(model, folder).save_checkpoint(folder / "last.ckpt")


def lit_restore(folder: Path) -> nn.Module:
    from round_trips_lightning import Lit

    return Lit.load_from_checkpoint(folder / "last.ckpt", body=Net()).eval()  # type: ignore[no-any-return]


def lit_trained(model: nn.Module, folder: Path) -> nn.Module:
    lit_fitted(model, folder)
    return model


def lit_average(model: nn.Module) -> nn.Module:
    from lightning.pytorch.callbacks import EMAWeightAveraging

    callback = EMAWeightAveraging(decay=0.9)
    with tempfile.TemporaryDirectory() as folder:
        lit_fitted(model, Path(folder), callback)
    # At the end of training the callback gives the averaged weights to the module.
    return model


# accelerate


def accelerate_trained(model: nn.Module, folder: Path) -> nn.Module:
    from accelerate import Accelerator

    accelerator = Accelerator(cpu=True)
    wrapped, optimizer = accelerator.prepare(model.train(), torch.optim.SGD(model.parameters(), lr=0.1))
    accelerator.backward(nn.functional.cross_entropy(wrapped(pictures()), torch.arange(4) % 5))
    optimizer.step()
    return accelerator.unwrap_model(wrapped)  # type: ignore[no-any-return]


def accelerate_store(model: nn.Module, folder: Path) -> None:
    from accelerate import Accelerator

    Accelerator(cpu=True).save_model(model, folder)


def accelerate_restore(folder: Path) -> nn.Module:
    from accelerate import load_checkpoint_in_model

    model = net()
    load_checkpoint_in_model(model, folder)
    return model.eval()


def net() -> nn.Module:
    torch.manual_seed(0)
    return Net().eval()


def pictures(count: int = 4) -> Tensor:
    return torch.randn(count, 3, 64, 64, generator=torch.Generator().manual_seed(1))


def sum_of(output: Any) -> Tensor:
    """A loss that every output has a part in."""
    return torch.stack([tensor.float().square().mean() for tensor in tensors(output)]).sum()


SUBJECTS = {
    "ultralytics": Subject(
        "ultralytics", yolo, pictures, sum_of, yolo_store, yolo_restore, yolo_trained, yolo_average
    ),
    "transformers": Subject(
        "transformers", bert, words, sum_of, lambda model, folder: model.save_pretrained(folder), bert_restore,
        bert_trained, None,
    ),
    "timm": Subject("timm", timm_resnet, pictures, sum_of, timm_store, timm_restore, timm_trained, timm_average),
    "lightning": Subject(
        "lightning", lit, pictures, sum_of, lit_store, lit_restore, lit_trained, lit_average
    ),
    "accelerate": Subject(
        "accelerate", net, pictures, sum_of, accelerate_store, accelerate_restore, accelerate_trained, None
    ),
}  # fmt: skip


# The trips


@dataclass(frozen=True)
class Trip:
    """A pruned network on its way.

    Attributes:
        subject: Its framework.
        name: The key in ``SUBJECTS``.
        pruned: What ``sapwood.prune`` returned.
        example: What it is called with.
        wanted: What it says.
        folder: For files.
    """

    subject: Subject
    name: str
    pruned: Any
    example: Example
    wanted: list[Tensor]
    folder: Path

    @property
    def model(self) -> nn.Module:
        """A copy of the pruned network to work on."""
        return copy.deepcopy(self.pruned.model)

    def place(self, name: str) -> Path:
        made = self.folder / name
        made.mkdir()
        return made


def fresh(trip: Trip, way: str, folder: Path) -> str:
    """What a process of its own reads from ``folder``."""
    line = subprocess.run(
        [sys.executable, HERE, "fresh", trip.name, folder, way], capture_output=True, text=True, check=False
    )
    if line.returncode:
        return short(line.stderr)
    return off(torch.load(folder / "found.pt"), trip.wanted)


def short(text: str) -> str:
    """The last line of an error that says what it is."""
    lines = [line.strip() for line in text.strip().splitlines() if line.strip()]
    named = [line for line in lines if "Error" in line.split(":")[0]]
    return (named or lines or ["?"])[-1][:160]


def saved(trip: Trip) -> str:
    import sapwood

    folder = trip.place("saved")
    sapwood.save(trip.pruned, folder / "small", model=trip.subject.dense, example_inputs=trip.example)
    return fresh(trip, "saved", folder)


def state_and_plan(trip: Trip) -> str:
    import sapwood

    folder = trip.place("plan")
    sapwood.save(trip.pruned, folder / "small", model=trip.subject.dense, example_inputs=trip.example)
    torch.save(trip.pruned.model.state_dict(), folder / "state.pt")
    return fresh(trip, "plan", folder)


def state_into_dense(trip: Trip) -> str:
    dense = trip.subject.dense()
    try:
        dense.load_state_dict(trip.pruned.model.state_dict(), strict=False)
    except RuntimeError as error:
        return f"refused: {str(error).splitlines()[1].strip()[:60]}"
    return off(outputs(dense, trip.example), trip.wanted)


def own_file(trip: Trip) -> str:
    folder = trip.place("own")
    model = trip.model
    trip.subject.store(model, folder)
    wanted = outputs(model, trip.example)  # storing may train a step
    return fresh(Trip(trip.subject, trip.name, trip.pruned, trip.example, wanted, trip.folder), "own", folder)


def trained(trip: Trip) -> str:
    model = trip.subject.trained(trip.model, trip.place("trained"))
    kept = widths(model) == widths(trip.pruned.model)
    pairs = zip(model.parameters(), trip.pruned.model.parameters(), strict=False)
    changed = any(a.shape != b.shape or not torch.equal(a.float(), b.float()) for a, b in pairs)
    return ("widths kept" if kept else "OTHER WIDTHS") + ("" if changed else ", NOTHING LEARNED")


def copied(trip: Trip) -> str:
    return off(outputs(copy.deepcopy(trip.pruned.model), trip.example), trip.wanted)


def pickled(trip: Trip) -> str:
    stream = io.BytesIO()
    torch.save(trip.pruned.model, stream)
    stream.seek(0)
    return off(outputs(torch.load(stream, weights_only=False), trip.example), trip.wanted)


def onnx(trip: Trip) -> str:
    import onnxruntime

    class Named(nn.Module):
        def __init__(self, model: nn.Module) -> None:
            super().__init__()
            self.model = model

        def forward(self, *given: Tensor) -> list[Tensor]:
            called_with = dict(zip(trip.example, given, strict=True)) if isinstance(trip.example, dict) else given[0]
            return tensors(called(self.model, called_with))

    given = tuple(trip.example.values()) if isinstance(trip.example, dict) else (trip.example,)
    path = trip.place("onnx") / "net.onnx"
    torch.onnx.export(Named(trip.model).eval(), given, path, dynamo=True, verbose=False, external_data=False)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    feeds = {one.name: value.numpy() for one, value in zip(session.get_inputs(), given, strict=True)}
    return off([torch.from_numpy(value).float() for value in session.run(None, feeds)], trip.wanted)


def exported(trip: Trip) -> str:
    words = trip.example if isinstance(trip.example, dict) else {}
    given = () if words else (trip.example,)
    program = torch.export.export(trip.model.eval(), given, words)
    return off([tensor.float() for tensor in tensors(program.module()(*given, **words))], trip.wanted)


def compiled(trip: Trip) -> str:
    model = torch.compile(trip.model.eval())
    with torch.no_grad():
        return off([tensor.float() for tensor in tensors(called(model, trip.example))], trip.wanted)


def averaged(trip: Trip) -> str:
    average = torch.optim.swa_utils.AveragedModel(trip.model)
    average.update_parameters(trip.model)
    return off(outputs(average.module, trip.example), trip.wanted)


def own_average(trip: Trip) -> str:
    if trip.subject.average is None:
        return "has none"
    model = trip.model
    average = trip.subject.average(model)
    found, wanted = outputs(average, trip.example), outputs(model, trip.example)
    return "widths kept, " + off(found, wanted)


def distributed(trip: Trip, processes: int) -> str:
    """Gradients of DDP over gloo, against those of one process that sees the whole batch in evaluation mode."""
    folder = trip.place(f"ddp{processes}")
    torch.save({"model": trip.pruned.model, "example": trip.example}, folder / "net.pt")
    port = str(29500 + os.getpid() % 2000 + processes)
    environment = {**os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": str(processes)}
    running = [
        subprocess.Popen(
            [sys.executable, HERE, "worker", trip.name, folder],
            env={**environment, "RANK": str(rank), "OMP_NUM_THREADS": "1"},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(processes)
    ]
    errors = [one.communicate(timeout=300)[1] for one in running]
    if any(one.returncode for one in running):
        return short(next(error for one, error in zip(running, errors, strict=True) if one.returncode))
    single = trip.model.eval()
    parts = halves(trip.example, processes)
    sum(trip.subject.loss(called(single, part)) / processes for part in parts).backward()  # type: ignore[union-attr]
    wanted = [parameter.grad for parameter in single.parameters() if parameter.grad is not None]
    return off(torch.load(folder / "gradients.pt"), wanted)


def halves(example: Example, processes: int) -> list[Example]:
    """The parts of a batch that each process sees."""
    if isinstance(example, dict):
        split = {key: value.chunk(processes) for key, value in example.items()}
        return [{key: parts[rank] for key, parts in split.items()} for rank in range(processes)]
    return list(example.chunk(processes))


def worker(name: str, folder: Path) -> None:
    """One process of several."""
    import torch.distributed as dist
    from torch.nn.parallel import DistributedDataParallel

    SUBJECTS[name].dense()  # imports what the pickle names
    held = torch.load(folder / "net.pt", weights_only=False)
    dist.init_process_group("gloo")
    model = DistributedDataParallel(held["model"].eval(), find_unused_parameters=name == "ultralytics")
    part = halves(held["example"], dist.get_world_size())[dist.get_rank()]
    SUBJECTS[name].loss(called(model, part)).backward()
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    if dist.get_rank() == 0:
        torch.save(gradients, folder / "gradients.pt")
    dist.barrier()
    dist.destroy_process_group()


def read_fresh(name: str, folder: Path, way: str) -> None:
    """Loads in this process, which knows nothing of the one that wrote, and writes what the network says."""
    subject = SUBJECTS[name]
    if way == "own":
        model = subject.restore(folder)
    else:
        import sapwood

        if way == "saved":
            model = sapwood.load(folder / "small", model=subject.dense)
        else:
            model = subject.dense()
            for plan in sapwood.load_plans(folder / "small"):
                model = sapwood.apply_plan(model, plan)
            model.load_state_dict(torch.load(folder / "state.pt", weights_only=True))
    torch.save(outputs(model, subject.example()), folder / "found.pt")


TRIPS: dict[str, Callable[[Trip], str]] = {
    "sapwood.save, sapwood.load in a fresh process": saved,
    "state dict, with apply_plan in a fresh process": state_and_plan,
    "state dict into the dense network, strict=False": state_into_dense,
    "the framework's own file in a fresh process": own_file,
    "one step of the framework's own training": trained,
    "copy.deepcopy": copied,
    "torch.save of the whole, torch.load": pickled,
    "ONNX, in ONNX Runtime": onnx,
    "torch.export": exported,
    "torch.compile": compiled,
    "AveragedModel of torch.optim.swa_utils": averaged,
    "the framework's own average": own_average,
    "gradients of DDP, gloo, 1 process": lambda trip: distributed(trip, 1),
    "gradients of DDP, gloo, 2 processes": lambda trip: distributed(trip, 2),
}


def one(name: str) -> dict[str, str]:
    """Every trip of a framework."""
    import sapwood

    subject = SUBJECTS[name]
    dense, example = subject.dense(), subject.example()
    pruned = sapwood.prune(dense, example, target=sapwood.Target(sparsity=0.5))
    if widths(pruned.model) == widths(dense):
        raise SystemExit(f"{name}: nothing was pruned")
    cells = {}
    with tempfile.TemporaryDirectory() as folder:
        trip = Trip(subject, name, pruned, example, outputs(pruned.model, example), Path(folder))
        for title, run in TRIPS.items():
            try:
                cells[title] = run(trip)
            except Exception as error:
                cells[title] = f"{type(error).__name__}: {str(error).splitlines()[0][:140] if str(error) else ''}"
            print(f"{name}: {title}: {cells[title]}", file=sys.stderr, flush=True)
    return cells


def table(names: list[str]) -> None:
    found = {}
    for name in names:
        ran = subprocess.run([sys.executable, HERE, "one", name], stdout=subprocess.PIPE, text=True, check=True)
        found[name] = json.loads(ran.stdout.strip().splitlines()[-1])
    version = importlib.metadata.version
    print("| | " + " | ".join(f"{name} {version(SUBJECTS[name].package)}" for name in names) + " |")
    print("|---|" + "---|" * len(names))
    for title in TRIPS:
        print(f"| {title} | " + " | ".join(found[name][title] for name in names) + " |")
    print(f"\nPyTorch {torch.__version__}, Sapwood {version('sapwood')}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verb", nargs="?", default="table", choices=["table", "one", "fresh", "worker"])
    parser.add_argument("rest", nargs="*")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    if options.verb == "table":
        table(options.rest or list(SUBJECTS))
    elif options.verb == "one":
        print(json.dumps(one(options.rest[0])))
    elif options.verb == "fresh":
        read_fresh(options.rest[0], Path(options.rest[1]), options.rest[2])
    else:
        worker(options.rest[0], Path(options.rest[1]))


if __name__ == "__main__":
    main()
