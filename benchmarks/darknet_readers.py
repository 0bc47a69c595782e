"""What readers of Darknet's files make of their keys: ``python benchmarks/darknet_readers.py --work FOLDER``.

One small ``.cfg`` a key, with random weights that Sapwood writes, and the configurations that Debian's package of
Darknet ships. Each is computed by Sapwood, by Darknet itself (the library of that package, 2018:
``apt-get install darknet``), by OpenCV 4.14 and by darknet2any 0.7.6, each in a process of its own. A cell of the table
is the largest difference from Darknet, or from Sapwood for the keys of a fork that Darknet does not know, relative to
the largest output; or the error that came.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

import numpy as np

LIBRARY = "/usr/lib/darknet/libdarknet.so"
CONFIGURATIONS = Path("/usr/share/darknet/cfg")
PACKAGES = {
    "opencv": ["opencv-python-headless==4.14.0.94", "numpy"],
    "darknet2any": ["darknet2any==0.7.6", "torch==2.14.1", "onnxruntime==1.32.0", "opencv-python-headless==4.14.0.94"],
}
READERS = ("sapwood", "darknet", *PACKAGES)
SIZE = 24
SHIPPED = ("darknet19", "resnet18", "resnet50", "resnext50", "densenet201", "vgg-conv", "tiny", "yolov3-tiny")
"""Of the package; a detector is compared by its last head's map, before its activations."""


def conv(filters: int = 8, size: int = 3, activation: str | None = "leaky", **keys: Any) -> str:
    """A section; None leaves the key out."""
    known = {"batch_normalize": 1, "filters": filters, "size": size, "stride": 1, "pad": 1, "activation": activation}
    return section("convolutional", **{**known, **keys})


def section(name: str, **keys: Any) -> str:
    written = (f"{key.rstrip('_')}={value}\n" for key, value in keys.items() if value is not None)
    return f"[{name}]\n{''.join(written)}\n"


HEAD = conv(5, 1, "linear", batch_normalize=0)
TRUNK = conv() + conv(12, stride=2)
BRANCHES = conv() + conv(8) + conv(8)
NETWORKS = {
    "convolutional, stride 2, batch_normalize": TRUNK + HEAD,
    "size 1, pad 0": conv(pad=0) + conv(size=1, pad=0) + HEAD,
    "padding 2 for pad": conv(pad=None, padding=2) + HEAD,
    "even size, stride 2": conv(size=2, stride=2) + HEAD,
    "groups": conv(12) + conv(12, groups=4) + HEAD,
    "groups, depthwise": conv(12) + conv(12, groups=12) + HEAD,
    "without activation": conv(activation=None) + HEAD,
    "activation relu": conv(activation="relu") + HEAD,
    "activation logistic": conv(activation="logistic") + HEAD,
    "activation elu": conv(activation="elu") + HEAD,
    "activation ramp": conv(activation="ramp") + HEAD,
    "activation tanh": conv(activation="tanh") + HEAD,
    **{f"activation {name}": conv(activation=name) + HEAD for name in ("loggy", "relie", "hardtan", "lhtan", "plse")},
    "activation stair": conv(activation="stair") + HEAD,
    "activation selu": conv(activation="selu") + HEAD,
    "activation gelu (fork)": conv(activation="gelu") + HEAD,
    "activation hard_mish (fork)": conv(activation="hard_mish") + HEAD,
    "activation swish (fork)": conv(activation="swish") + HEAD,
    "activation mish (fork)": conv(activation="mish") + HEAD,
    "dilation 2 (fork)": conv() + conv(dilation=2) + HEAD,
    "stride_x 2, stride_y 1 (fork)": conv() + conv(stride=1, stride_x=2, stride_y=1) + HEAD,
    "xnor": conv() + conv(xnor=1) + HEAD,
    "maxpool 2, stride 2": conv() + section("maxpool", size=2, stride=2) + HEAD,
    "maxpool 2, stride 1": conv() + section("maxpool", size=2, stride=1) + HEAD,
    "maxpool 3, stride 2": conv() + section("maxpool", size=3, stride=2) + HEAD,
    "maxpool 5, stride 1": conv() + section("maxpool", size=5, stride=1) + HEAD,
    "maxpool 2, stride 2, padding 0": conv() + section("maxpool", size=2, stride=2, padding=0) + HEAD,
    "maxpool 3 of an odd map": conv(stride=2) + conv(size=2, pad=0) + section("maxpool", size=3, stride=2) + HEAD,
    "shortcut": BRANCHES + section("shortcut", from_=-2, activation="linear") + HEAD,
    "shortcut, activation leaky": BRANCHES + section("shortcut", from_=-2, activation="leaky") + HEAD,
    "shortcut of more channels": conv(12) + conv() + section("shortcut", from_=-2, activation="linear") + HEAD,
    "shortcut of fewer channels": conv(4) + conv() + section("shortcut", from_=-2, activation="linear") + HEAD,
    "shortcut of a larger map": conv() + conv(stride=2) + section("shortcut", from_=-2, activation="linear") + HEAD,
    "shortcut of two layers (fork)": BRANCHES + section("shortcut", from_="-2,-3", activation="linear") + HEAD,
    "shortcut, weights_type per_channel (fork)": BRANCHES
    + section("shortcut", from_=-2, activation="linear", weights_type="per_channel", weights_normalization="softmax")
    + HEAD,
    "route of one": BRANCHES + section("route", layers=-3) + HEAD,
    "route of two, counted from the start": BRANCHES + section("route", layers="0,-1") + HEAD,
    "route with groups (fork)": BRANCHES + section("route", layers=-1, groups=2, group_id=1) + HEAD,
    "upsample": conv(stride=2) + section("upsample", stride=2) + HEAD,
    "upsample, scale 0.5": conv(stride=2) + section("upsample", stride=2, scale=0.5) + HEAD,
    "reorg, stride 2": conv() + section("reorg", stride=2) + HEAD,
    "scale_channels (fork)": conv()
    + section("avgpool")
    + conv(8, 1, "logistic", batch_normalize=0)
    + section("scale_channels", from_=-3, activation="linear")
    + HEAD,
    "sam (fork)": conv() + conv(8, 1, "logistic") + section("sam", from_=-2, activation="linear") + HEAD,
    "avgpool": TRUNK + HEAD + section("avgpool"),
    "connected": TRUNK + section("connected", output=6, activation="relu"),
    "connected without activation": TRUNK + section("connected", output=6),
    "connected, batch_normalize": TRUNK + section("connected", output=6, activation="linear", batch_normalize=1),
    "softmax": TRUNK + HEAD + section("avgpool") + section("softmax", groups=1),
    "softmax, temperature 2": TRUNK + HEAD + section("avgpool") + section("softmax", groups=1, temperature=2),
    "softmax, groups 2": TRUNK + conv(6, 1, "linear") + section("avgpool") + section("softmax", groups=2),
    "softmax of a map": TRUNK + HEAD + section("softmax", groups=1),
    "dropout": conv() + section("dropout", probability=0.5) + HEAD,
}
"""Key to sections, in the order of the table."""


def texts() -> dict[str, str]:
    """Name to the whole ``.cfg``, small ones first; of a shipped detector what stands before its first head."""
    net = section("net", batch=1, subdivisions=1, width=SIZE, height=SIZE, channels=3)
    small = {name: net + sections for name, sections in NETWORKS.items()}
    shipped = {}
    for name in SHIPPED:
        text = (CONFIGURATIONS / f"{name}.cfg").read_text()
        shipped[f"{name}.cfg"] = text.split("[yolo]")[0].split("[region]")[0]
    return small | shipped


def make(folder: Path) -> None:
    """Writes ``.cfg``, ``.weights``, a picture and Sapwood's result for every network."""
    import torch

    from sapwood.models.darknet.cfg import parse_cfg
    from sapwood.models.darknet.network import DarknetNetwork
    from sapwood.models.darknet.weights import write_weights

    for number, text in enumerate(texts().values()):
        torch.manual_seed(number)
        cfg = folder / f"{number}.cfg"
        cfg.write_text(text)
        network = DarknetNetwork(parse_cfg(cfg)).eval()
        for name, value in network.named_parameters():
            if value.dim() == 1:  # biases, and scales of BatchNorm
                torch.nn.init.uniform_(value, *((0.5, 1.5) if name.endswith("weight") else (-0.5, 0.5)))
        picture = torch.rand(1, *network.input_shape)
        for norm in network.modules():  # statistics of a batch, or signals fade out in deep networks
            if isinstance(norm, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d):
                norm.momentum = 1.0
                norm.register_forward_pre_hook(measure_)
        with torch.no_grad():
            network(picture)
        for norm in network.modules():
            norm._forward_pre_hooks.clear()
        write_weights(cfg.with_suffix(".weights"), network)
        np.save(folder / f"{number}.picture.npy", picture.numpy())
        with torch.no_grad():
            np.save(folder / f"{number}.sapwood.npy", network(picture).numpy())


def measure_(norm: Any, inputs: tuple[Any, ...]) -> None:
    """Sets a BatchNorm's statistics to those of its input, a variance of nothing to one."""
    (x,) = inputs
    axes = [axis for axis in range(x.dim()) if axis != 1]
    variance = x.var(axes, unbiased=False) if x.numel() > x.shape[1] else x.new_ones(x.shape[1])
    norm.running_mean.copy_(x.mean(axes))
    norm.running_var.copy_(variance + 0.01)


def darknet(cfg: Path, picture: Any) -> Any:
    library = ctypes.CDLL(LIBRARY)
    library.load_network.restype = ctypes.c_void_p
    library.load_network.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_int]
    library.network_predict.restype = ctypes.POINTER(ctypes.c_float)
    library.network_predict.argtypes = [ctypes.c_void_p, ctypes.c_void_p]
    network = library.load_network(str(cfg).encode(), str(cfg.with_suffix(".weights")).encode(), 0)
    library.set_batch_network.argtypes = [ctypes.c_void_p, ctypes.c_int]
    library.set_batch_network(network, 1)
    values = np.ascontiguousarray(picture)
    size = np.load(cfg.with_suffix(".sapwood.npy")).size
    return np.ctypeslib.as_array(library.network_predict(network, values.ctypes.data), (size,)).copy()


def opencv(cfg: Path, picture: Any) -> Any:
    import cv2

    network = cv2.dnn.readNetFromDarknet(str(cfg), str(cfg.with_suffix(".weights")))
    network.setInput(picture)
    return network.forward()


def darknet2any(cfg: Path, picture: Any) -> Any:
    import torch
    from darknet2any.tool.darknet2pytorch import Darknet

    network = Darknet(str(cfg))
    network.load_weights(str(cfg.with_suffix(".weights")))
    network.eval()
    results: list[Any] = []
    network.models[-1].register_forward_hook(lambda module, inputs, result: results.append(result))
    with torch.no_grad(), contextlib.suppress(ValueError):  # behind the last layer it joins the boxes of all heads
        network(torch.from_numpy(picture))
    return results[0].numpy()


COMPUTE = {"darknet": darknet, "opencv": opencv, "darknet2any": darknet2any}


def run(reader: str, cfg: Path) -> None:
    """Computes one network and keeps what came, or the error's first line."""
    picture = np.load(cfg.with_suffix(".picture.npy"))
    try:
        np.save(cfg.with_suffix(f".{reader}.npy"), COMPUTE[reader](cfg, picture))
    except Exception as error:
        cfg.with_suffix(f".{reader}.txt").write_text(f"{type(error).__name__}: {str(error).strip()}")


def run_all(folder: Path) -> None:
    """Sets the environments up where they are not, and has each reader compute each network."""
    pythons = {"darknet": sys.executable}
    for name, packages in PACKAGES.items():
        place = folder / f"venv-{name}"
        pythons[name] = str(place / "bin" / "python")
        if not place.exists():
            venv.create(place, with_pip=True)
            subprocess.run([pythons[name], "-m", "pip", "install", "--quiet", *packages], check=True)
    make(folder)
    for reader, python in pythons.items():
        for number, name in enumerate(texts()):
            if reader == "darknet" and "(fork)" in name:
                continue
            cfg = folder / f"{number}.cfg"
            for ending in ("npy", "txt"):
                cfg.with_suffix(f".{reader}.{ending}").unlink(missing_ok=True)
            command = [python, __file__, "--work", str(folder), "--run", reader, str(number)]
            ended = subprocess.run(command, check=False, capture_output=True, text=True)
            if ended.returncode:
                said = (ended.stderr.strip() or "nothing").splitlines()[-1]
                cfg.with_suffix(f".{reader}.txt").write_text(f"ended by itself ({ended.returncode}): {said}")


def cell(cfg: Path, reader: str, wanted: Any) -> str:
    if not any(cfg.with_suffix(f".{reader}.{ending}").exists() for ending in ("npy", "txt")):
        return ""
    refused = cfg.with_suffix(f".{reader}.txt")
    if refused.exists():
        return refused.read_text().splitlines()[0][:70]
    found = np.load(cfg.with_suffix(f".{reader}.npy"))
    if found.size != wanted.size:
        return f"**{found.size} values for {wanted.size}**"
    difference = np.abs(found.reshape(-1) - wanted.reshape(-1)).max() / np.abs(wanted).max()
    return f"{difference:.0e}" if difference < 1e-4 else f"**{difference:.1g}**"


def table(folder: Path) -> str:
    lines = ["| key | " + " | ".join(READERS) + " |", "|---|" + "---|" * len(READERS)]
    for number, name in enumerate(texts()):
        cfg = folder / f"{number}.cfg"
        known = cfg.with_suffix(".darknet.npy")
        reference = known if known.exists() and "(fork)" not in name else cfg.with_suffix(".sapwood.npy")
        wanted = np.load(reference)
        lines.append(f"| {name} | " + " | ".join(cell(cfg, reader, wanted) for reader in READERS) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="Keeps environments and networks here.")
    parser.add_argument("--run", nargs=2, metavar=("READER", "NUMBER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    folder = options.work.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    if options.run:
        reader, number = options.run
        run(reader, folder / f"{number}.cfg")
    else:
        run_all(folder)
        print(table(folder))


if __name__ == "__main__":
    main()
