"""What runtimes make of the structures of pruned networks: ``python benchmarks/ground.py all --work FOLDER``.

One small network a structure (odd widths, zeros, a live mask, BatchNorm that cannot be folded, paddings of poolings),
written by PyTorch as ONNX, TorchScript and torch.export, and run by each runtime in a virtual environment of its own,
with the versions of ``ENVIRONMENTS``. Each cell of the table is the largest difference from PyTorch, relative to the
largest output, or why there is none. The last rows are the digits network as Sapwood prunes it, written by
torch.export in the Python that calls this; nothing else of Sapwood runs. Below the table: what a runtime calls the
outputs of a file whose two are named ``fine`` and ``coarse``, in this order.

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
from ground_networks import DIGITS, digits, structures, two_outputs, write_digits

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


def make(folder: Path) -> None:
    """Writes each network in each format, its input and its output."""
    import torch

    structure = torch.randn(1, 3, 17, 19, generator=torch.Generator().manual_seed(1))
    digit = torch.from_numpy(np.load(folder / "digits.npy"))
    held = {}
    named = {"input_names": ["picture"], "output_names": ["fine", "coarse"], "opset_version": 18}
    torch.onnx.export(two_outputs(), (structure,), folder / "two.onnx", external_data=False, verbose=False, **named)
    torch.jit.trace(two_outputs(), structure).save(str(folder / "two.pt"))
    for number, (name, network) in enumerate((structures() | digits(folder)).items()):
        network.eval()
        picture = digit if name in DIGITS else structure
        with torch.no_grad():
            held |= {f"picture of {name}": picture.numpy(), name: network(picture).numpy()}
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


def convert(folder: Path, name: str) -> Path:
    """Has MNN's converter write its own format."""
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
    tool = [sys.executable, "-c", "import sys, MNN, _tools; _tools.mnnconvert(sys.argv[1:])"]
    subprocess.run([*tool, *words], check=True, capture_output=True)
    return made


def mnn(folder: Path, name: str, picture: Any) -> Any:
    from MNN import expr, nn

    made = convert(folder, name)
    manager = nn.create_runtime_manager(({"precision": "high", "backend": "CPU", "numThread": 1},))
    network = nn.load_module_from_file(str(made), ["picture"], ["result"], runtime_manager=manager)
    result = network.forward([expr.const(picture.flatten().tolist(), list(picture.shape), expr.NCHW)])[0]
    return expr.convert(result, expr.NCHW).read()


def torchscript_to_ncnn(folder: Path, name: str, shape: str) -> None:
    """Has pnnx write ncnn's format."""
    tool = Path(sys.executable).with_name("pnnx")
    subprocess.run([tool, f"{name}.pt", f"inputshape={shape}", "fp16=0"], cwd=folder, check=True, capture_output=True)


def ncnn(folder: Path, name: str, picture: Any) -> Any:
    import ncnn

    torchscript_to_ncnn(folder, name, str(list(picture.shape)).replace(" ", ""))
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


def names_onnxruntime(folder: Path) -> Any:
    import onnxruntime

    session = onnxruntime.InferenceSession(folder / "two.onnx", providers=["CPUExecutionProvider"])
    return [output.name for output in session.get_outputs()]


def names_openvino(folder: Path) -> Any:
    import openvino

    return [sorted(output.names) for output in openvino.Core().read_model(folder / "two.onnx").outputs]


def names_opencv(folder: Path) -> Any:
    import cv2

    return list(cv2.dnn.readNetFromONNX(str(folder / "two.onnx")).getUnconnectedOutLayersNames())


def names_tract(folder: Path) -> Any:
    import tract

    model = tract.onnx().load(folder / "two.onnx")
    return [model.output_name(number) for number in range(model.output_count())]


def names_mnn(folder: Path) -> Any:
    from MNN import expr

    convert(folder, "two")
    return [name for name, value in expr.load_as_dict(str(folder / "two.mnn")).items() if name in ("fine", "coarse")]


def names_ncnn(folder: Path) -> Any:
    import ncnn

    torchscript_to_ncnn(folder, "two", "[1,3,17,19]")
    network = ncnn.Net()
    network.load_param(str(folder / "two.ncnn.param"))
    return list(network.output_names())


NAMES: dict[str, Callable[[Path], Any]] = {
    "onnxruntime": names_onnxruntime,
    "openvino": names_openvino,
    "opencv4": names_opencv,
    "opencv5": names_opencv,
    "tract": names_tract,
    "mnn": names_mnn,
    "ncnn": names_ncnn,
}
"""What gives a file's outputs names, by runtime; the others count them."""


def write_names(runtime: str, folder: Path) -> None:
    """Keeps what a runtime calls the two outputs."""
    try:
        found = NAMES[runtime](folder)
    except Exception as error:  # whatever a runtime says
        found = f"refused: {type(error).__name__}: {error}"
    (folder / f"{runtime}.names.json").write_text(json.dumps(found))


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
    picture, wanted = (held[name] for name in held.files[2 * number : 2 * number + 2])
    found = cell(runtime, folder, number, wanted, picture)
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
        write_digits(folder)
        subprocess.run([prepared(folder, "torch"), *here, "make", "--work", folder], check=True)
    count = len(np.load(folder / "networks.npz").files) // 2
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    for name in runtimes:
        python = prepared(folder, RUNTIMES[name][0])
        for number in range(count):
            words = [python, *here, "run", name, "--number", str(number), "--work", folder]
            done = subprocess.run(words, capture_output=True, check=False, env=environment)
            if done.returncode:
                (folder / f"{name}.{number}.json").write_text(json.dumps("the process ended"))
        if name in NAMES:
            words = [python, *here, "names", name, "--work", folder]
            subprocess.run(words, capture_output=True, check=False, env=environment)


def table(folder: Path) -> str:
    """Markdown: a row a structure, a column a runtime."""
    networks = np.load(folder / "networks.npz").files[1::2]
    runtimes = [name for name in RUNTIMES if (folder / f"{name}.0.json").exists()]
    rows = [["structure", *runtimes], ["---"] * (len(runtimes) + 1)]
    for number, name in enumerate(networks):
        cells = [json.loads((folder / f"{runtime}.{number}.json").read_text()) for runtime in runtimes]
        rows.append([name, *cells])
    names = {path.name.split(".")[0]: path.read_text() for path in sorted(folder.glob("*.names.json"))}
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([*lines, *(f"{runtime} calls the outputs {found}" for runtime, found in names.items())])


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("all", "make", "run", "names", "table"))
    parser.add_argument("runtimes", nargs="*", help=f"of {', '.join(RUNTIMES)}; all otherwise")
    parser.add_argument("--number", type=int, default=0, help="of the network that `run` takes")
    parser.add_argument("--work", type=Path, required=True, help="a folder for environments, networks and results")
    given = parser.parse_args()
    folder = given.work.resolve()
    if given.what == "make":
        make(folder)
    elif given.what == "run":
        run(given.runtimes[0], folder, given.number)
    elif given.what == "names":
        write_names(given.runtimes[0], folder)
    else:
        if given.what == "all":
            run_all(folder, given.runtimes or list(RUNTIMES))
        print(table(folder))


if __name__ == "__main__":
    main()
