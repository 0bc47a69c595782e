"""How fast `sapwood train` trains, beside a bare loop over random tensors.

    python benchmarks/training_speed.py yolov4-tiny.cfg --data bccd --steps 25 --rounds 19

The bare loop calls the same network on one batch of random numbers that is always the same, with the mean square of
its maps as the loss, backward, clipping and the same optimizer, in the same precision and memory order: no pictures are
read, varied, or compared with boxes, no weights averaged, nothing logged. Epochs of `sapwood train` and rounds of the
bare loop take turns; the ratio is a median over them.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from dataclasses import replace

import torch
from torch import nn

import sapwood
from sapwood.config import TrainConfig
from sapwood.data import open_detection
from sapwood.training import train
from sapwood.training.precision import as_float32, mixed
from sapwood.training.preparation import prepare
from sapwood.training.run import make_optimizer


def main() -> None:
    options = parsed()
    bundle = sapwood.load_model(options.cfg)
    pictures = open_detection(options.data, split="train")
    pictures = replace(pictures, samples=pictures.samples[: options.steps * options.batch_size])
    config = TrainConfig(
        epochs=options.rounds + 1,
        batch_size=options.batch_size,
        num_classes="data",
        input_size=options.input_size,
        optimizer="adamw",
        lr=1e-3,
        precision=options.precision,
        loader_threads=options.loader_threads,
    )
    turns = Turns(Bare(prepare(bundle, pictures, config).model, config, options), options)
    with tempfile.TemporaryDirectory() as folder:
        result = train(bundle, pictures, config=config, run_dir=folder, progress=turns)
    ratios = [own / bare for own, bare in zip(turns.own[1:], turns.bare[1:], strict=True)]
    waits = [record["loader_wait_share"] for record in result.history[1:]]
    print(
        f"bare {statistics.median(turns.bare):.1f}, sapwood train {statistics.median(turns.own):.1f} pictures a second"
    )
    quartiles = statistics.quantiles(ratios, n=4)
    print(
        f"ratio {statistics.median(ratios):.3f} (half of {len(ratios)} rounds {quartiles[0]:.3f} to {quartiles[2]:.3f})"
    )
    print(f"waiting for pictures: {statistics.median(waits):.1%} of the time; {torch.get_num_threads()} threads")


class Turns:
    """After each epoch, a round of the bare loop; an epoch includes what is saved before the next one."""

    def __init__(self, bare: Bare, options: argparse.Namespace) -> None:
        self.own: list[float] = []
        self.bare: list[float] = []
        self._bare, self._steps, self._size = bare, options.steps, options.steps * options.batch_size
        self._bare.images_per_second(2)
        self._start = time.perf_counter()

    def __call__(self, done: int, total: int) -> None:
        if done % self._steps:
            return
        self.own.append(self._size / (time.perf_counter() - self._start))
        self.bare.append(self._bare.images_per_second(self._steps))
        self._start = time.perf_counter()


class Bare:
    """Forward, backward, step."""

    def __init__(self, model: nn.Module, config: TrainConfig, options: argparse.Namespace) -> None:
        self._model = model.to(memory_format=torch.channels_last).train()
        self._optimizer = make_optimizer(self._model, config)
        self._config = config
        shape = options.batch_size, 3, options.input_size, options.input_size
        self._inputs = torch.rand(shape).to(memory_format=torch.channels_last)

    def images_per_second(self, steps: int) -> float:
        start = time.perf_counter()
        for _ in range(steps):
            with mixed(self._config.precision):
                outputs = self._model(self._inputs)
            loss = sum(one.square().mean() for one in as_float32(outputs))
            self._optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[union-attr]
            torch.nn.utils.clip_grad_norm_(self._model.parameters(), 10.0)
            self._optimizer.step()
        return steps * len(self._inputs) / (time.perf_counter() - start)


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cfg")
    parser.add_argument("--data", required=True)
    parser.add_argument("--input-size", type=int, default=416)
    parser.add_argument("--precision", choices=["auto", "float32", "bfloat16"], default="auto")
    parser.add_argument(
        "--loader-threads",
        type=lambda text: text if text == "auto" else int(text),
        default="auto",
        help="A number or auto",
    )
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--steps", type=int, default=20, help="Of a round")
    parser.add_argument("--rounds", type=int, default=6)
    return parser.parse_args()


if __name__ == "__main__":
    main()
