"""What runtimes make of the structures of pruned networks: ``python benchmarks/ground.py all --work FOLDER``.

One small network a structure (odd widths, zeros, a live mask, BatchNorm that cannot be folded, paddings of poolings),
written by PyTorch as ONNX, TorchScript and torch.export, and run by each runtime in a virtual environment of its own,
with the versions of ``RUNTIMES``. Each cell of the table is the largest difference from PyTorch, relative to the
largest output, or why there is none. Nothing of Sapwood runs here.

``make`` writes the networks, ``run NAME`` runs one runtime in the Python that calls it, ``table`` prints what came.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import venv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

ENVIRONMENTS = {
    "torch": [
        "torch==2.14.1",
        "onnx==1.23.2",
        "onnxscript==0.7.2",
        "onnx2torch==1.5.15",
        "pnnx==20261020",
        "ncnn==1.0.20261020",
        "requests",
    ],
    "onnxruntime": ["onnxruntime==1.32.0"],
    "openvino": ["openvino==2026.4.1"],
    "opencv4": ["opencv-python-headless==4.14.0.94"],
    "opencv5": ["opencv-python-headless==5.0.0.93"],
    "tract": ["tract==0.23.9"],
    "mnn": ["MNN==3.6.1"],
    "executorch": ["torch==2.14.1", "executorch==1.5.1"],
    "litert": ["torch==2.14.1", "litert-torch==0.10.0"],
    "tvm": ["apache-tvm==0.27.0.post1", "onnx==1.23.2"],
}
"""Packages of each virtual environment; the first one (about 6 GB) writes the networks."""
Run = Callable[[Path, str, "np.ndarray[Any, Any]"], Any]


def networks() -> dict[str, Any]:
    """Structure to network; all read 3 x 17 x 19."""
    import torch
    from torch import nn

    torch.manual_seed(0)

    class Own(nn.Module):
        def __init__(self, function: Callable[[Any], Any]) -> None:
            super().__init__()
            self.function = function

        def forward(self, picture: Any) -> Any:
            return self.function(picture)

    class Masked(nn.Conv2d):
        def __init__(self) -> None:
            super().__init__(3, 14, 3, padding=1)
            self.register_buffer("mask", (torch.rand(14, 3, 3, 3) > 0.5).float())

        def forward(self, picture: Any) -> Any:
            return nn.functional.conv2d(picture, self.weight * self.mask, self.bias, padding=1)

    def norm(channels: int) -> nn.BatchNorm2d:
        made = nn.BatchNorm2d(channels)
        nn.init.uniform_(made.weight, 0.5, 2)
        nn.init.normal_(made.bias)
        nn.init.normal_(made.running_mean)
        nn.init.uniform_(made.running_var, 0.5, 2)
        return made

    def zeros(layer: nn.Conv2d) -> nn.Conv2d:
        layer.weight.data *= (torch.rand_like(layer.weight) > 0.9).float()
        return layer

    same = {"padding": 1}
    dead = nn.Conv2d(3, 13, 3, **same)
    dead.weight.data[::2] = 0
    pad = nn.functional.pad
    return {
        "13 channels of 3": nn.Conv2d(3, 13, 3, **same),
        "13 read, 11 written": nn.Sequential(nn.Conv2d(3, 13, 3, **same), nn.ReLU(), nn.Conv2d(13, 11, 3, **same)),
        "90 % zeros": zeros(nn.Conv2d(3, 16, 3, **same)),
        "channels of zeros": dead,
        "live mask": Masked(),
        "7 groups of 2": nn.Sequential(nn.Conv2d(3, 14, 1), nn.Conv2d(14, 14, 3, padding=1, groups=7)),
        "depthwise, 13": nn.Sequential(nn.Conv2d(3, 13, 1), nn.Conv2d(13, 13, 5, padding=2, stride=2, groups=13)),
        "BatchNorm first": nn.Sequential(norm(3), nn.Conv2d(3, 13, 3, **same)),
        "BatchNorm behind SiLU": nn.Sequential(nn.Conv2d(3, 13, 3, **same), nn.SiLU(), norm(13)),
        "BatchNorm behind LeakyReLU": nn.Sequential(nn.Conv2d(3, 13, 3, **same), nn.LeakyReLU(0.1), norm(13)),
        "Mish": nn.Sequential(nn.Conv2d(3, 13, 3, **same), nn.Mish()),
        "pooling padded with -inf": Own(lambda x: nn.functional.max_pool2d(pad(x, (0, 1, 0, 1), value=-np.inf), 2, 1)),
        "pooling that rounds up": nn.MaxPool2d(2, 2, ceil_mode=True),
        "pooling of 5, 9, 13": Own(
            lambda x: torch.cat([x, *(nn.functional.max_pool2d(x, k, 1, k // 2) for k in (5, 9, 13))], 1)
        ),
        "average of what is not padding": nn.AvgPool2d(3, 2, 1, count_include_pad=False),
        "dilation 2": nn.Conv2d(3, 13, 3, dilation=2, padding=2),
        "transposed, 3 to 5": nn.ConvTranspose2d(3, 5, 2, 2),
        "upsampling": nn.Sequential(nn.Conv2d(3, 13, 3, **same), nn.Upsample(scale_factor=2)),
        "shuffle of 14": nn.Sequential(nn.Conv2d(3, 14, 1), nn.ChannelShuffle(7), nn.Conv2d(14, 5, 1)),
        "chosen channels": nn.Sequential(nn.Conv2d(3, 13, 1), Own(lambda x: x[:, [0, 2, 3, 7, 11]])),
    }


def make(folder: Path) -> None:
    """Writes each network in each format, its input and its output."""
    import torch

    folder.mkdir(parents=True, exist_ok=True)
    picture = torch.randn(1, 3, 17, 19, generator=torch.Generator().manual_seed(1))
    held = {"input": picture.numpy()}
    for number, (name, network) in enumerate(networks().items()):
        network.eval()
        with torch.no_grad():
            held[name] = network(picture).numpy()
        names = {"input_names": ["picture"], "output_names": ["result"]}
        torch.onnx.export(
            network,
            (picture,),
            folder / f"{number}.onnx",
            opset_version=18,
            external_data=False,
            verbose=False,
            **names,
        )
        torch.jit.trace(network, picture).save(str(folder / f"{number}.pt"))
        torch.export.save(torch.export.export(network, (picture,)), folder / f"{number}.pt2")
    np.savez(folder / "networks.npz", **held)


def onnxruntime(folder: Path, name: str, picture: Any) -> Any:
    import onnxruntime

    session = onnxruntime.InferenceSession(folder / f"{name}.onnx", providers=["CPUExecutionProvider"])
    return session.run(["result"], {"picture": picture})[0]


def openvino(folder: Path, name: str, picture: Any) -> Any:
    import openvino

    core = openvino.Core()
    hint = {"INFERENCE_PRECISION_HINT": "f32"}
    return core.compile_model(core.read_model(folder / f"{name}.onnx"), "CPU", hint)({"picture": picture})["result"]


def opencv(folder: Path, name: str, picture: Any, *engine: int) -> Any:
    import cv2

    network = cv2.dnn.readNetFromONNX(str(folder / f"{name}.onnx"), *engine)
    network.setInput(picture, "picture")
    return network.forward("result")


def opencv_classic(folder: Path, name: str, picture: Any) -> Any:
    import cv2

    return opencv(folder, name, picture, cv2.dnn.ENGINE_CLASSIC)


def tract(folder: Path, name: str, picture: Any) -> Any:
    import tract

    model = tract.onnx().load(folder / f"{name}.onnx").into_model()
    return model.into_runnable().run([picture])[0].to_numpy()


def mnn(folder: Path, name: str, picture: Any) -> Any:
    from MNN import expr, nn

    made = folder / f"{name}.mnn"
    words = [
        "mnnconvert",
        "-f",
        "ONNX",
        "--modelFile",
        folder / f"{name}.onnx",
        "--MNNModel",
        made,
        "--bizCode",
        "ground",
    ]
    # Not the command `mnnconvert`: it installs packages wherever the first pip of the path installs.
    convert = [sys.executable, "-c", "import sys, MNN, _tools; _tools.mnnconvert(sys.argv[1:])"]
    subprocess.run([*convert, *words], check=True, capture_output=True)
    manager = nn.create_runtime_manager(({"precision": "high", "backend": "CPU", "numThread": 1},))
    network = nn.load_module_from_file(str(made), ["picture"], ["result"], runtime_manager=manager)
    result = network.forward([expr.const(picture.flatten().tolist(), list(picture.shape), expr.NCHW)])[0]
    return expr.convert(result, expr.NCHW).read()


def ncnn(folder: Path, name: str, picture: Any) -> Any:
    import ncnn

    tool = Path(sys.executable).with_name("pnnx")
    shape = str(list(picture.shape)).replace(" ", "")
    subprocess.run([tool, f"{name}.pt", f"inputshape={shape}", "fp16=0"], cwd=folder, check=True, capture_output=True)
    network, first = ncnn.Net(), np.ascontiguousarray(picture[0])
    if network.load_param(str(folder / f"{name}.ncnn.param")) or network.load_model(str(folder / f"{name}.ncnn.bin")):
        raise ValueError("ncnn does not load what pnnx wrote")
    extractor = network.create_extractor()
    extractor.input("in0", ncnn.Mat(first).clone())  # else its planes are not aligned
    return np.array(extractor.extract("out0")[1])[None]


def onnx2torch(folder: Path, name: str, picture: Any) -> Any:
    import onnx2torch
    import torch

    return onnx2torch.convert(folder / f"{name}.onnx").eval()(torch.from_numpy(picture)).detach().numpy()


def torch_export(folder: Path, name: str, picture: Any) -> Any:
    import torch

    return torch.export.load(folder / f"{name}.pt2").module()(torch.from_numpy(picture)).detach().numpy()


def executorch(folder: Path, name: str, picture: Any) -> Any:
    import torch
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower
    from executorch.runtime import Runtime

    program = torch.export.load(folder / f"{name}.pt2")
    lowered = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()]).to_executorch()
    method = Runtime.get().load_program(lowered.buffer).load_method("forward")
    return method.execute([torch.from_numpy(picture)])[0].numpy()


def litert(folder: Path, name: str, picture: Any) -> Any:
    import litert_torch
    import torch

    given = torch.from_numpy(picture)
    return litert_torch.convert(torch.export.load(folder / f"{name}.pt2").module(), (given,))(given)


def tvm(folder: Path, name: str, picture: Any) -> Any:
    import onnx
    import tvm
    from tvm import relax
    from tvm.relax.frontend.onnx import from_onnx

    module = relax.transform.LegalizeOps()(from_onnx(onnx.load(folder / f"{name}.onnx")))
    machine = relax.VirtualMachine(tvm.compile(module, target="llvm"), tvm.cpu())
    found = machine["main"](tvm.runtime.tensor(picture))
    return (found if hasattr(found, "numpy") else found[0]).numpy()


RUNTIMES: dict[str, tuple[str, Run]] = {
    "onnxruntime": ("onnxruntime", onnxruntime),
    "openvino": ("openvino", openvino),
    "opencv4": ("opencv4", opencv),
    "opencv5": ("opencv5", opencv),
    "opencv5-classic": ("opencv5", opencv_classic),
    "tract": ("tract", tract),
    "mnn": ("mnn", mnn),
    "ncnn": ("torch", ncnn),
    "onnx2torch": ("torch", onnx2torch),
    "torch-export": ("torch", torch_export),
    "executorch": ("executorch", executorch),
    "litert": ("litert", litert),
    "tvm": ("tvm", tvm),
}
"""Name to its environment and what runs it."""


def cell(runtime: str, folder: Path, number: int, wanted: Any, picture: Any) -> str:
    """The difference, or why there is none."""
    try:
        found = np.asarray(RUNTIMES[runtime][1](folder, str(number), picture))
    except Exception as error:  # whatever a runtime says
        return f"refused: {type(error).__name__}"
    if found.shape != wanted.shape:
        return f"shape {found.shape}, not {wanted.shape}"
    return f"{np.abs(found - wanted).max() / np.abs(wanted).max():.0e}"


def run(runtime: str, folder: Path, number: int) -> None:
    """Writes what this runtime makes of one network."""
    held = np.load(folder / "networks.npz")
    wanted = held[held.files[number + 1]]
    found = cell(runtime, folder, number, wanted, held["input"])
    (folder / f"{runtime}.{number}.json").write_text(json.dumps(found))


def prepared(folder: Path, name: str) -> Path:
    """The Python of an environment, which is made if it is not there."""
    where = folder / "venvs" / name
    python = where / "bin" / "python"
    if not (where / "done").exists():
        venv.create(where, with_pip=True)
        pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "numpy==2.4.6", *ENVIRONMENTS[name]], check=True)
        (where / "done").touch()
    return python


def run_all(folder: Path, runtimes: list[str]) -> None:
    """Makes the networks, and runs each in each runtime, a process a cell: one may end with the process."""
    here = ["-W", "ignore", Path(__file__).resolve()]
    if not (folder / "networks.npz").exists():
        subprocess.run([prepared(folder, "torch"), *here, "make", "--work", folder], check=True)
    count = len(np.load(folder / "networks.npz").files) - 1
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    for name in runtimes:
        python = prepared(folder, RUNTIMES[name][0])
        for number in range(count):
            words = [python, *here, "run", name, "--number", str(number), "--work", folder]
            done = subprocess.run(words, capture_output=True, check=False, env=environment)
            if done.returncode:
                (folder / f"{name}.{number}.json").write_text(json.dumps("the process ended"))


def table(folder: Path) -> str:
    """Markdown: a row a structure, a column a runtime."""
    names = np.load(folder / "networks.npz").files[1:]
    runtimes = [name for name in RUNTIMES if (folder / f"{name}.0.json").exists()]
    rows = [["structure", *runtimes], ["---"] * (len(runtimes) + 1)]
    for number, name in enumerate(names):
        cells = [json.loads((folder / f"{runtime}.{number}.json").read_text()) for runtime in runtimes]
        rows.append([name, *cells])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("all", "make", "run", "table"))
    parser.add_argument("runtimes", nargs="*", help=f"of {', '.join(RUNTIMES)}; all otherwise")
    parser.add_argument("--number", type=int, default=0, help="of the network that `run` takes")
    parser.add_argument("--work", type=Path, required=True, help="a folder for environments, networks and results")
    given = parser.parse_args()
    folder = given.work.resolve()
    if given.what == "make":
        make(folder)
    elif given.what == "run":
        run(given.runtimes[0], folder, given.number)
    else:
        if given.what == "all":
            run_all(folder, given.runtimes or list(RUNTIMES))
        print(table(folder))


if __name__ == "__main__":
    main()
