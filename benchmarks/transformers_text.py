"""A BERT-mini trained here on real text, pruned to half of its latency in one command, and recovered without labels.

    python benchmarks/transformers_text.py data DIR       # paragraphs of docstrings, and of which package each is
    python benchmarks/transformers_text.py train DIR      # DIR/dense, a folder of transformers
    python benchmarks/transformers_text.py prune DIR      # DIR/small: half of ONNX Runtime's latency, no labels
    python benchmarks/transformers_text.py figures DIR    # accuracy and latency of both

The text is that of the docstrings of NumPy, SciPy, scikit-learn and PyTorch, which Sapwood needs anyway; the class is
the package that a paragraph is from. What names the package is taken out. Val has the paragraphs of other files than
train. Needs `pip install sapwood[onnx,transformers]`; nothing is downloaded.
"""

from __future__ import annotations

import argparse
import ast
import importlib.util
import json
import re
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import torch

PACKAGES = ("numpy", "scipy", "sklearn", "torch")
NAMES = re.compile(r"\b(np|numpy|scipy|sklearn|scikit|torch|pytorch|ndarrays?|tensors?|estimators?)\b", re.IGNORECASE)
"""What gives a package away is taken out."""

LENGTH = 24
VOCABULARY = 4096
PER_CLASS = {"train": 1000, "val": 200}
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def paragraphs(package: str) -> dict[str, list[str]]:
    """The paragraphs of a package's docstrings, by split: those of every fifth file are for val."""
    spec = importlib.util.find_spec(package)
    assert spec is not None
    assert spec.origin is not None
    found: dict[str, dict[str, None]] = {"train": {}, "val": {}}
    files = [file for file in sorted(Path(spec.origin).parent.rglob("*.py")) if "tests" not in file.parts]
    for number, file in enumerate(files):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                tree = ast.parse(file.read_text("utf-8", "replace"))
            except SyntaxError:  # of a later Python
                continue
        split = "val" if number % 5 == 0 else "train"
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Module):
                for part in (ast.get_docstring(node) or "").split("\n\n"):
                    text = " ".join(NAMES.sub(" ", part).split())
                    if len(text.split()) >= 8 and ">>>" not in text and "---" not in text:
                        found[split][text] = None
    return {split: list(texts) for split, texts in found.items()}


def write_data(directory: Path) -> None:
    """Writes ``train.jsonl`` and ``val.jsonl``, as many paragraphs of each package."""
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


def make_tokenizer(directory: Path):
    """A WordPiece tokenizer of the training text, as BERT has one."""
    import transformers
    from tokenizers import BertWordPieceTokenizer

    texts = [json.loads(line)["text"] for line in (directory / "train.jsonl").read_text().splitlines()]
    pieces = BertWordPieceTokenizer(lowercase=True)
    pieces.train_from_iterator(texts, vocab_size=VOCABULARY, special_tokens=list(SPECIAL), show_progress=False)
    named = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token", "mask_token"), SPECIAL, strict=True))
    return transformers.PreTrainedTokenizerFast(tokenizer_object=pieces._tokenizer, model_max_length=LENGTH, **named)


def train(directory: Path, epochs: int) -> None:
    """Trains a BERT-mini (4 layers of 256, 4 heads) from random weights."""
    import transformers

    torch.manual_seed(0)
    tokenizer = make_tokenizer(directory)
    rows = [json.loads(line) for line in (directory / "train.jsonl").read_text().splitlines()]
    read = tokenizer([row["text"] for row in rows], truncation=True, padding="max_length", max_length=LENGTH,
                     return_tensors="pt")  # fmt: skip
    labels = torch.tensor([row["label"] for row in rows])
    config = transformers.BertConfig(
        vocab_size=len(tokenizer), hidden_size=256, num_hidden_layers=4, num_attention_heads=4, intermediate_size=1024,
        max_position_embeddings=LENGTH, num_labels=len(PACKAGES), id2label=dict(enumerate(PACKAGES)),
    )  # fmt: skip
    model = transformers.BertForSequenceClassification(config).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.01)
    steps = epochs * (len(rows) // 32)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-3, total_steps=steps + 1, pct_start=0.1)
    start, total = time.perf_counter(), 0.0
    for epoch in range(epochs):
        for chosen in torch.randperm(len(rows))[: len(rows) // 32 * 32].split(32):
            inputs = {name: read[name][chosen] for name in ("input_ids", "attention_mask")}
            loss = model(**inputs, labels=labels[chosen]).loss
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            total += float(loss.detach())
        print(
            f"epoch {epoch + 1}: loss {total / (len(rows) // 32):.3f}, {time.perf_counter() - start:.0f} s", flush=True
        )
        total = 0.0
    model.eval().save_pretrained(directory / "dense")
    tokenizer.save_pretrained(directory / "dense")


def command(*arguments: str) -> None:
    """Runs a command of Sapwood's, and says which."""
    print("sapwood", *arguments, flush=True)
    code = "import sys; from sapwood.cli import main; main(sys.argv[1:])"
    subprocess.run([sys.executable, "-c", code, *arguments], check=True)


def prune(directory: Path) -> None:
    """One command."""
    command(
        "prune", f"transformers:{directory / 'dense'}", "--data", str(directory), "--latency", "0.5",
        "--runtime", "onnxruntime", "--threads", "1", "--recover", "distill", "--recover-pictures", "512",
        "--recover-steps", "150", "-o", str(directory / "small"),
    )  # fmt: skip


def figures(directory: Path) -> None:
    """Accuracy of both on val, and their latency beside each other."""
    dense, small = f"transformers:{directory / 'dense'}", str(directory / "small")
    for model in (dense, small):
        command("eval", model, "--data", str(directory))
    command("bench", dense, small, "--runtime", "onnxruntime", "--threads", "1")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("data", "train", "prune", "figures"))
    parser.add_argument("directory", type=Path)
    parser.add_argument("--epochs", type=int, default=2)
    given = parser.parse_args()
    if given.what == "data":
        write_data(given.directory)
    elif given.what == "train":
        train(given.directory, given.epochs)
    else:
        {"prune": prune, "figures": figures}[given.what](given.directory)


if __name__ == "__main__":
    main()
