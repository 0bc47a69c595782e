"""A BERT-mini that Trainer trained on real text, pruned to widths that its config says, and trained on.

    python benchmarks/transformers_text.py all DIR         # the steps below, one after the other

    python benchmarks/transformers_text.py data DIR        # paragraphs of docstrings, and of which package each is
    python benchmarks/transformers_text.py train DIR       # DIR/dense, a folder of transformers
    python benchmarks/transformers_text.py prune DIR       # DIR/small: half of ONNX Runtime's latency, no labels
    python benchmarks/transformers_text.py tune DIR        # DIR/tuned, by transformers' Trainer without Sapwood
    python benchmarks/transformers_text.py peer DIR        # Torch-Pruning's, of the same latency, trained as long
    python benchmarks/transformers_text.py figures DIR     # top-1 without Sapwood; latencies beside each other

The text is that of the docstrings of NumPy, SciPy, scikit-learn and PyTorch, which Sapwood needs anyway; the class is
the package that a paragraph is from. What names the package is taken out. Every split has files of its own. Needs
`pip install sapwood[onnx,transformers]` and, for `peer`, torch-pruning; nothing is downloaded.
"""

from __future__ import annotations

import argparse
import ast
import importlib.util
import json
import re
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parent))
import roads
import roads_transformers

PACKAGES = ("numpy", "scipy", "sklearn", "torch")
NAMES = re.compile(r"\b(np|numpy|scipy|sklearn|scikit|torch|pytorch|ndarrays?|tensors?|estimators?)\b", re.IGNORECASE)
"""What gives a package away is taken out."""

LENGTH = 24
VOCABULARY = 4096
PER_CLASS = {"train": 2000, "val": 300, "test": 300}
TOKENIZER = "tokenizer"
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def paragraphs(package: str) -> dict[str, list[str]]:
    """The paragraphs of a package's docstrings, by split: every tenth file is for val, every tenth for test."""
    spec = importlib.util.find_spec(package)
    assert spec is not None
    assert spec.origin is not None
    found: dict[str, dict[str, None]] = {split: {} for split in PER_CLASS}
    files = [file for file in sorted(Path(spec.origin).parent.rglob("*.py")) if "tests" not in file.parts]
    for number, file in enumerate(files):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                tree = ast.parse(file.read_text("utf-8", "replace"))
            except SyntaxError:  # of a later Python
                continue
        split = {0: "val", 5: "test"}.get(number % 10, "train")
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Module):
                for part in (ast.get_docstring(node) or "").split("\n\n"):
                    text = " ".join(NAMES.sub(" ", part).split())
                    if len(text.split()) >= 8 and ">>>" not in text and "---" not in text:
                        found[split][text] = None
    return {split: list(texts) for split, texts in found.items()}


def write_data(directory: Path) -> None:
    """Writes a ``.jsonl`` file a split, with as many paragraphs of each package."""
    directory.mkdir(parents=True, exist_ok=True)
    known = {package: paragraphs(package) for package in PACKAGES}
    random = np.random.default_rng(0)
    for split, count in PER_CLASS.items():
        rows = []
        for label, package in enumerate(PACKAGES):
            texts = known[package][split]
            rows += [(texts[one], label) for one in random.permutation(len(texts))[:count].tolist()]
        order = random.permutation(len(rows)).tolist()
        lines = [json.dumps({"text": rows[one][0], "label": rows[one][1]}) for one in order]
        (directory / f"{split}.jsonl").write_text("\n".join(lines) + "\n")
        print(f"{split}: {len(lines)} paragraphs")


def read_rows(directory: Path, split: str) -> tuple[list[str], torch.Tensor]:
    rows = [json.loads(line) for line in (directory / f"{split}.jsonl").read_text().splitlines()]
    return [row["text"] for row in rows], torch.tensor([row["label"] for row in rows])


def make_tokenizer(directory: Path) -> Any:
    """A WordPiece tokenizer of the training text, as BERT has one."""
    import transformers
    from tokenizers import BertWordPieceTokenizer

    pieces = BertWordPieceTokenizer(lowercase=True)
    pieces.train_from_iterator(
        read_rows(directory, "train")[0], vocab_size=VOCABULARY, special_tokens=list(SPECIAL), show_progress=False
    )
    named = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token", "mask_token"), SPECIAL, strict=True))
    return transformers.PreTrainedTokenizerFast(tokenizer_object=pieces._tokenizer, model_max_length=LENGTH, **named)


def make_dense(directory: Path, given: argparse.Namespace) -> nn.Module:
    """BERT-mini: 4 layers of 256, 4 heads; its tokenizer goes into the directory."""
    import transformers

    torch.manual_seed(0)
    tokenizer = make_tokenizer(directory)
    tokenizer.save_pretrained(directory / TOKENIZER)
    config = transformers.BertConfig(
        vocab_size=len(tokenizer), hidden_size=256, num_hidden_layers=4, num_attention_heads=4, intermediate_size=1024,
        max_position_embeddings=LENGTH, num_labels=len(PACKAGES), id2label=dict(enumerate(PACKAGES)),
    )  # fmt: skip
    made: nn.Module = transformers.BertForSequenceClassification(config)
    return made


def keep(model: Any, folder: Path, directory: Path) -> None:
    """An ordinary folder, its tokenizer beside it."""
    import transformers

    model.save_pretrained(folder)
    transformers.AutoTokenizer.from_pretrained(directory / TOKENIZER).save_pretrained(folder)


def tokens(directory: Path, split: str) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    import transformers

    texts, labels = read_rows(directory, split)
    tokenizer = transformers.AutoTokenizer.from_pretrained(directory / TOKENIZER)
    found = tokenizer(texts, truncation=True, padding="max_length", max_length=LENGTH, return_tensors="pt")
    return {name: found[name] for name in ("input_ids", "attention_mask")}, labels


def train_set(directory: Path) -> list[dict[str, torch.Tensor]]:
    inputs, labels = tokens(directory, "train")
    return [
        {"labels": label, **{name: value[number] for name, value in inputs.items()}}
        for number, label in enumerate(labels)
    ]


def example() -> dict[str, torch.Tensor]:
    numbers = torch.randint(VOCABULARY, (1, LENGTH), generator=torch.Generator().manual_seed(0))
    return {"input_ids": numbers, "attention_mask": torch.ones_like(numbers)}


ROAD = roads_transformers.Road(
    file=__file__,
    auto="AutoModelForSequenceClassification",
    write_data=write_data,
    make_dense=make_dense,
    keep=keep,
    train_set=train_set,
    test_set=lambda directory: tokens(directory, "test"),
    inputs=example,
    recover=lambda directory: (
        "--data", str(directory), "--recover", "distill", "--recover-pictures", "512", "--recover-steps", "100",
    ),
    batch=32,
    rates=(1e-3, 3e-4),
)  # fmt: skip


def main() -> None:
    roads_transformers.go(ROAD, roads.parser(__doc__, epochs=3, tune_epochs=1))


if __name__ == "__main__":
    main()
