"""Texts and pictures for models of transformers: read by the folder's own tokenizer, measured, recovered, exported."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

import sapwood
from sapwood.cli import main
from sapwood.data import read_image, to_input
from sapwood.errors import ConfigError, DataError, SapwoodError
from sapwood.graph import call_model
from sapwood.models import FRAMEWORKS, load_saved, save_model
from sapwood.pipeline import recover
from sapwood.recovery import DistillConfig
from sapwood.tasks import calibration_batches, divergence_from, evaluate, open_data, open_pictures, task_loss
from sapwood.types import ClassificationDataset, TextDataset
from support.hub_folders import LENGTH, load, make_tokenizer

transformers = pytest.importorskip("transformers", reason="needs pip install sapwood[transformers]")

pytestmark = pytest.mark.filterwarnings("default")  # of packages that transformers imports

ROWS = [
    {"text": "a very good film", "label": 1},
    {"text": "the plot is awful", "label": 0},
    {"text": "great actor", "text_pair": "dull story", "label": "LABEL_1"},
    {"text": "not bright", "label": 0},
]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder of JSON lines, and one file of plain text."""
    folder = tmp_path / "texts"
    folder.mkdir()
    for split in ("train", "validation"):
        (folder / f"{split}.jsonl").write_text("\n".join(map(json.dumps, ROWS)) + "\n")
    (folder / "book.txt").write_text("the film is good\n\nthe plot was not bad and the actor great\n" * 20)
    return folder


def test_texts_are_what_the_tokenizer_of_transformers_makes_of_them(folders: Callable[[str], Path], data: Path) -> None:
    bundle = load(folders("bert"))
    dataset = open_data(bundle, data)
    assert isinstance(dataset, TextDataset)
    wanted = make_tokenizer()(
        [row["text"] for row in ROWS], padding="max_length", truncation=True, max_length=LENGTH, return_tensors="pt"
    )
    for number in (0, 1, 3):
        tokens = dataset.samples[number].load()
        assert tokens.inputs["input_ids"].tolist() == wanted["input_ids"][number].tolist()
        assert tokens.inputs["attention_mask"].tolist() == wanted["attention_mask"][number].tolist()
    assert [sample.label for sample in dataset.samples] == [1, 0, 1, 0]
    pair = dataset.samples[2].load().inputs
    assert pair["token_type_ids"].tolist()[:8] == [0, 0, 0, 0, 1, 1, 1, 0]


def test_a_classifier_is_measured_as_by_hand(folders: Callable[[str], Path], data: Path) -> None:
    bundle = load(folders("bert"))
    dataset = open_data(bundle, data)
    inputs = [sample.load().inputs for sample in dataset.samples]
    given = {name: torch.stack([one[name] for one in inputs]) for name in inputs[0]}
    with torch.no_grad():
        logits = transformers.BertForSequenceClassification.from_pretrained(folders("bert"))(**given).logits
    labels = torch.tensor([1, 0, 1, 0])
    assert evaluate(bundle, dataset, batch_size=3).value == float((logits.argmax(1) == labels).double().mean())
    (batch,) = calibration_batches(bundle, dataset, batch_size=4)
    order = torch.tensor([sample.label for sample in batch.samples])
    loss = task_loss(bundle)(bundle.model, batch)
    assert loss.item() == pytest.approx(F.cross_entropy(call_model(bundle.model, batch.inputs), order).item())
    assert task_loss(bundle, "own")(bundle.model, batch).item() <= loss.item()
    assert divergence_from(bundle, [batch])(bundle.model) == pytest.approx(0.0, abs=1e-6)


def test_a_causal_model_is_measured_as_transformers_does(folders: Callable[[str], Path], data: Path) -> None:
    bundle = load(folders("qwen2"))
    dataset = open_data(bundle, data / "book.txt")
    network = transformers.Qwen2ForCausalLM.from_pretrained(folders("qwen2"))
    ids = torch.stack([sample.load().inputs["input_ids"] for sample in dataset.samples])
    assert ids.shape[1] == LENGTH
    with torch.no_grad():
        loss = float(network(input_ids=ids, labels=ids).loss)
    found = evaluate(bundle, dataset).metrics
    assert found["loss"] == pytest.approx(loss, rel=1e-5)
    assert found["perplexity"] == pytest.approx(math.exp(loss), rel=1e-5)
    assert 0.0 <= found["top-1"] <= 1.0


def test_a_masked_model_is_asked_for_the_hidden_tokens(folders: Callable[[str], Path], data: Path) -> None:
    bundle = load(folders("bert-mlm"))
    dataset = open_data(bundle, data / "book.txt")
    tokens = dataset.samples[0].load()
    targets = tokens.targets
    assert targets is not None
    places = targets >= 0
    assert int(places.sum()) == round(0.15 * (LENGTH - 2))
    assert tokens.inputs["input_ids"][places].unique().tolist() == [4]  # [MASK]
    assert [int(tokens.inputs["input_ids"][place]) for place in (0, -1)] == [2, 3]
    loss = evaluate(bundle, dataset).metrics["loss"]
    rows = [sample.load() for sample in dataset.samples]
    given = {name: torch.stack([row.inputs[name] for row in rows]) for name in rows[0].inputs}
    network = transformers.BertForMaskedLM.from_pretrained(folders("bert-mlm"))
    with torch.no_grad():
        wanted = network(**given, labels=torch.stack([row.targets for row in rows])).loss
    assert loss == pytest.approx(float(wanted), rel=1e-5)


@pytest.mark.parametrize("name", ["bert", "bert-mlm", "qwen2", "qwen2-classifier", "gpt2", "roberta"])
def test_a_pruned_model_is_recovered_without_labels(name: str, folders: Callable[[str], Path], data: Path) -> None:
    bundle = load(folders(name))
    source = data / "book.txt" if bundle.task.kind.endswith("_lm") else data
    batches = [batch.inputs for batch in calibration_batches(bundle, open_pictures(bundle, source), batch_size=2)]
    pruned = sapwood.prune(bundle.model, bundle.example_inputs, target=sapwood.Target(sparsity=0.3))
    config = DistillConfig(steps=4, batch_size=2, lr=1e-3)
    found = recover(bundle, pruned, batches, "distill", config=config)
    assert found.recovery is not None
    checks = found.recovery.checks
    assert min(check.divergence for check in checks) <= checks[0].divergence
    evaluation = evaluate(replace(bundle, model=found.model), open_data(bundle, source))
    assert all(math.isfinite(value) for value in evaluation.metrics.values())


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    return int(ended.value.code or 0)


def test_the_whole_road_on_the_command_line(
    folders: Callable[[str], Path], data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dense, small = f"transformers:{folders('bert')}", str(tmp_path / "small")
    assert run("inspect", dense) == 0
    assert run("eval", dense, "--data", str(data)) == 0
    options = ("--criterion", "taylor", "--data", str(data), "--recover", "reconstruct")
    assert run("prune", dense, "--sparsity", "0.5", *options, "-o", small) == 0
    assert "texts without labels" in capsys.readouterr().out
    assert run("mask", dense, "--layers", "linear", "--sparsity", "0.5", "-o", str(tmp_path / "masked")) == 0
    for model in (small, str(tmp_path / "masked")):
        assert run("eval", model, "--data", str(data)) == 0
    assert run("compile", small, "-o", str(tmp_path / "small.sapwood")) == 0
    assert run("bench", dense, small, "--rounds", "2") == 0
    assert run("export", small, "--format", "onnx", "-o", str(tmp_path / "small.onnx")) == 0
    assert "inputs input_ids, attention_mask, token_type_ids" in capsys.readouterr().out


def test_texts_without_a_tokenizer_are_named(folders: Callable[[str], Path], data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "mute"
    folder.mkdir()
    for name in ("config.json", "model.safetensors"):
        (folder / name).write_bytes((folders("bert") / name).read_bytes())
    with pytest.raises(DataError, match=r"came without a tokenizer \(no tokenizer\.json\), so no text can be read"):
        open_data(load(folder), data)
    assert run("eval", f"transformers:{folder}", "--data", str(data)) == 2
    assert run("inspect", f"transformers:{folder}") == 0


BAD: dict[str, tuple[str, str]] = {
    "no JSON": ("a film\n", r"val\.jsonl:1: is not JSON .*; expected a file of texts"),
    "no object": ("[1]\n", r"val\.jsonl:1: is a list; expected an object with text"),
    "no text": ('{"words": "a film"}\n', r"val\.jsonl:1: holds words; expected text, and text_pair for a pair"),
    "text is a number": ('{"text": 3}\n', r"val\.jsonl:1: holds text; expected text"),
    "another class": ('{"text": "a film", "label": 7}\n', r"label 7 is none of the 2 classes of the model \(LABEL_0, "),
    "half a class": (
        '{"text": "a film", "label": 0.5}\n',
        r"label is 0\.5; expected the number or the name",
    ),
    "nothing": ("\n", "holds no texts; expected a file of texts"),
    "no label": ('{"text": "a film"}\n', r"val\.jsonl:1 has no label; expected a class"),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_texts_are_named(what: str, folders: Callable[[str], Path], tmp_path: Path) -> None:
    content, message = BAD[what]
    (tmp_path / "val.jsonl").write_text(content)
    bundle = load(folders("bert"))
    with pytest.raises(SapwoodError, match=message):
        evaluate(bundle, open_data(bundle, tmp_path))


def test_bad_lines_are_left_out_where_asked(folders: Callable[[str], Path], tmp_path: Path) -> None:
    (tmp_path / "val.jsonl").write_text('{"text": "a film", "label": 1}\nfilm\n')
    dataset = open_data(load(folders("bert")), tmp_path, on_bad="skip")
    assert (len(dataset.samples), len(dataset.skipped)) == (1, 1)


def test_no_such_split_and_no_such_file_are_named(folders: Callable[[str], Path], tmp_path: Path) -> None:
    bundle = load(folders("bert"))
    with pytest.raises(DataError, match=r"holds no val\.jsonl and no val\.txt"):
        open_data(bundle, tmp_path)
    with pytest.raises(DataError, match=r"none\.jsonl"):
        open_data(bundle, tmp_path / "none.jsonl")


def test_texts_belong_to_a_model(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="texts are read by a model's own tokenizer"):
        sapwood.tasks.TASKS["causal_lm"].open_data(tmp_path, split="val", class_names=(), on_bad="error")


def test_a_mask_of_pairs_answers_as_one_of_tokens(folders: Callable[[str], Path]) -> None:
    wanted = {"bert": "all", "roberta": "all", "bart": "all", "t5": "all", "clip": "before", "gpt2": "before",
              "llama": "before", "qwen2": "before", "mistral": "as given", "vit": "as given"}  # fmt: skip
    assert {name: load(folders(name)).model.masking for name in wanted} == wanted
    bundle = load(folders("llama"))
    inputs = dict(bundle.example_inputs)
    inputs["attention_mask"] = inputs["attention_mask"].clone()
    inputs["attention_mask"][:, 20:] = 0
    network: Any = bundle.model.network
    with torch.no_grad():
        torch.testing.assert_close(bundle.model(**inputs)[:, :20], network(**inputs).logits[:, :20])


def test_what_says_how_masks_are_told_is_saved(folders: Callable[[str], Path], tmp_path: Path) -> None:
    bundle = load(folders("bert"))
    framework = FRAMEWORKS["transformers"]
    assert framework.notes(bundle.model) == {"masking": "all"}
    bundle.model.masking = "as given"
    save_model(bundle, tmp_path / "saved")
    assert load_saved(tmp_path / "saved").model.masking == "as given"
    framework.take_notes_(bundle.model, {"masking": "sideways"})
    assert bundle.model.masking == "as given"


PROCESSORS = {
    "stretched": (
        {"size": {"height": 32, "width": 32}, "resample": 2, "image_mean": [0.1, 0.2, 0.3]},
        "stretch_smooth",
    ),
    "cut out": (
        {
            "size": {"shortest_edge": 40},
            "crop_size": {"height": 32, "width": 32},
            "resample": 3,
            "do_center_crop": True,
        },
        "center_crop",
    ),
}


@pytest.mark.parametrize("how", PROCESSORS)
def test_pictures_are_brought_in_as_by_their_processor(
    how: str, folders: Callable[[str], Path], tmp_path: Path
) -> None:
    settings, resize = PROCESSORS[how]
    kind = "ViTImageProcessor" if how == "stretched" else "CLIPImageProcessor"
    for file in folders("vit").iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    processor = getattr(transformers, kind)(**settings)
    processor.save_pretrained(tmp_path)
    random = np.random.default_rng(0)
    smooth = random.integers(0, 256, (6, 7, 3), dtype=np.uint8)
    picture = tmp_path / "val" / "a" / "one.png"
    picture.parent.mkdir(parents=True)
    Image.fromarray(smooth).resize((60, 50), Image.Resampling.BICUBIC).save(picture)
    bundle = load(tmp_path)
    assert bundle.task.resize == resize
    values, _ = to_input(read_image(picture), bundle.task)
    wanted = processor(Image.open(picture), return_tensors="pt")["pixel_values"][0]
    assert values.shape == wanted.shape
    assert float((values - wanted).abs().max()) < 3 / 255 / min(
        bundle.task.std
    )  # whole numbers, after rows and columns
    dataset = open_data(bundle, tmp_path)
    assert isinstance(dataset, ClassificationDataset)


@pytest.mark.parametrize("name", ["vit", "deit"])
def test_a_classifier_of_pictures_is_recovered_and_measured(
    name: str, folders: Callable[[str], Path], tmp_path: Path
) -> None:
    random = np.random.default_rng(0)
    for label in ("a", "b", "c"):
        (tmp_path / "train" / label).mkdir(parents=True)
        Image.fromarray(random.integers(0, 256, (40, 36, 3), dtype=np.uint8)).save(tmp_path / "train" / label / "1.png")
    bundle = load(folders(name))
    dataset = open_data(bundle, tmp_path, split="train")
    batches = [batch.inputs for batch in calibration_batches(bundle, dataset, batch_size=2)]
    pruned = sapwood.prune(bundle.model, bundle.example_inputs, target=sapwood.Target(sparsity=0.3))
    found = recover(bundle, pruned, batches, "distill", config=DistillConfig(steps=3, batch_size=2))
    evaluation = evaluate(replace(bundle, model=found.model), dataset)
    assert evaluation.primary == "top-1"
    assert evaluation.num_images == 3
