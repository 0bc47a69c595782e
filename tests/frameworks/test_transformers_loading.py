"""Folders of transformers: read without a download and without anyone's code, or refused by name."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import sapwood
from sapwood.cli import main
from sapwood.errors import MissingDependencyError, SapwoodError, SavedModelError, SpecError, WeightsError
from sapwood.graph import call_model, output_tensors
from sapwood.models import TransformersNetwork, framework_of, load_model
from sapwood.models.transformers import package
from support.hub_folders import MODELS, load, make_folder, make_model

pytest.importorskip("transformers", reason="needs pip install sapwood[transformers]")

pytestmark = pytest.mark.filterwarnings("default")  # of packages that transformers imports


def first(value: Any) -> torch.Tensor:
    return output_tensors(value)[0]


def in_memory_of_its_own(model: torch.nn.Module) -> torch.nn.Module:
    """Parameters of a file lie where the file has them, and products of other addresses are summed in another order."""
    for parameter in model.parameters():
        parameter.data = parameter.data.clone()
    return model


@pytest.mark.parametrize("name", MODELS)
def test_a_folder_computes_what_transformers_does(name: str, folders: Callable[[str], Path]) -> None:
    bundle = load(folders(name))
    assert isinstance(bundle.model, TransformersNetwork)
    assert framework_of(bundle.model).title == "transformers"
    inputs = bundle.example_inputs
    named = inputs if isinstance(inputs, dict) else {"pixel_values": inputs}
    with torch.no_grad():
        wanted, came = make_model(name)(**named), call_model(in_memory_of_its_own(bundle.model), inputs)
    assert torch.equal(first(came), wanted.logits if "logits" in wanted else first(wanted))


@pytest.mark.parametrize("name", MODELS)
def test_half_of_every_width_goes_and_the_directory_comes_back(
    name: str, folders: Callable[[str], Path], tmp_path: Path
) -> None:
    bundle = load(folders(name))
    pruned = sapwood.prune(bundle.model, bundle.example_inputs, target=sapwood.Target(sparsity=0.5))
    assert pruned.verification.passed
    sapwood.save(pruned, tmp_path / "small", bundle)
    again = load_model(str(tmp_path / "small"))
    with torch.no_grad():
        wanted, came = (call_model(one, bundle.example_inputs) for one in (pruned.model, again.model))
    assert torch.equal(first(wanted), first(came))
    assert (again.task, again.source.spec) == (bundle.task, bundle.source.spec)


def test_the_saved_directory_says_who_reads_it(folders: Callable[[str], Path], tmp_path: Path) -> None:
    bundle = load(folders("bert"))
    pruned = sapwood.prune(bundle.model, bundle.example_inputs, target=sapwood.Target(sparsity=0.5))
    sapwood.save(pruned, tmp_path / "small", bundle)
    assert not (tmp_path / "small" / "config.json").exists()
    assert (
        "`from_pretrained` of transformers does not load this folder" in (tmp_path / "small" / "README.md").read_text()
    )
    import transformers

    words = transformers.AutoTokenizer.from_pretrained(tmp_path / "small")("the good film")
    assert words["input_ids"] == [2, 9, 5, 7, 3]
    with pytest.raises(Exception, match=r"config\.json"):
        transformers.AutoModel.from_pretrained(tmp_path / "small")


def test_parts_are_put_together(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "parts", "bert", max_shard_size="20KB")
    assert len(list(folder.glob("*.safetensors"))) > 1
    inputs = load(folder).example_inputs
    model = in_memory_of_its_own(load(folder).model)
    assert torch.equal(call_model(model, inputs), make_model("bert")(**inputs).logits)


def test_weights_beside_the_folder(folders: Callable[[str], Path], tmp_path: Path) -> None:
    other = make_model("bert")
    with torch.no_grad():
        other.classifier.bias.fill_(7.0)
    torch.save(other.state_dict(), tmp_path / "own.pt")
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare" / "config.json").write_text((folders("bert") / "config.json").read_text())
    bundle = load_model(f"transformers:{tmp_path / 'bare'}", weights=tmp_path / "own.pt")
    assert bundle.model.network.classifier.bias.tolist() == [7.0, 7.0]


def changed(folder: Path, to: Path, **fields: Any) -> Path:
    """A copy of a folder, other fields in its configuration; None takes one out."""
    to.mkdir()
    for file in folder.iterdir():
        (to / file.name).write_bytes(file.read_bytes())
    content = json.loads((to / "config.json").read_text()) | fields
    (to / "config.json").write_text(json.dumps({name: value for name, value in content.items() if value is not None}))
    return to


POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 5613764\n"


def _moved(folder: Path, inside: Path) -> None:
    files = list(folder.iterdir())
    inside.mkdir(parents=True)
    for file in files:
        file.rename(inside / file.name)


def test_what_was_probably_meant_is_named(folders: Callable[[str], Path]) -> None:
    folder = folders("bert")
    with pytest.raises(SpecError, match=rf"is a file; expected .*; did you mean transformers:{folder}\?"):
        load(folder / "config.json")
    with pytest.raises(SpecError, match=r"Nothing is downloaded \(hf download org/net --local-dir net brings"):
        load(Path("org/net"))
    with pytest.raises(SavedModelError, match=rf"expected a saved model; did you mean transformers:{folder}\?"):
        sapwood.load_model(str(folder))


BAD: dict[str, tuple[Callable[[Path], object], type[SapwoodError], str]] = {
    "no folder": (lambda to: [file.unlink() for file in to.iterdir()] and to.rmdir(), SpecError,
                  r"there is no such folder; .*Nothing is downloaded"),
    "no config": (lambda to: (to / "config.json").unlink(), SpecError, r"holds no config\.json; expected a folder as"),
    "no weights": (lambda to: (to / "model.safetensors").unlink(), SpecError, r"holds no model\.safetensors; expected"),
    "a pickle": (lambda to: (to / "model.safetensors").rename(to / "pytorch_model.bin"), SpecError,
                 r"holds its weights as pytorch_model\.bin only; expected model\.safetensors"),
    "half a file": (lambda to: (to / "model.safetensors").write_bytes((to / "model.safetensors").read_bytes()[:999]),
                    WeightsError, "expected the weights of a BertForSequenceClassification"),
    "an adapter": (lambda to: (to / "adapter_config.json").write_text("{}"), SpecError, "holds an adapter"),
    "an adapter alone": (
        lambda to: [file.unlink() for file in to.iterdir()]
        and (to / "adapter_config.json").write_text('{"base_model_name_or_path": "org/base"}'), SpecError,
        r"holds an adapter \(adapter_config\.json\) for org/base; expected a model that it was merged into: merge_and"),
    "a pipeline": (
        lambda to: (to / "config.json").unlink() or (to / "model_index.json").write_text("{}"), SpecError,
        r"holds no config\.json; .*It is a pipeline of diffusers \(model_index\.json\)"),
    "a run": (lambda to: _moved(to, to / "checkpoint-5"), SpecError,
              r"Models are inside of it; did you mean transformers:.*bad/checkpoint-5\?"),
    "a cache": (lambda to: _moved(to, to / "snapshots" / "abc"), SpecError,
                r"did you mean transformers:.*bad/snapshots/abc\?"),
    "llama.cpp": (
        lambda to: (to / "model.safetensors").rename(to / "a.gguf"), SpecError, r"a\.gguf is for llama\.cpp; the"),
    "parts without an index": (
        lambda to: (to / "model.safetensors").rename(to / "model-00001-of-00002.safetensors"), SpecError,
        r"model-00001-of-00002\.safetensors is a part of the weights, and model\.safetensors\.index\.json"),
    "a pointer": (lambda to: (to / "model.safetensors").write_text(POINTER), SpecError,
                  r"model\.safetensors: is a pointer of Git LFS and not the file itself"),
    "a pointer to the config": (lambda to: (to / "config.json").write_text(POINTER), SpecError,
                                r"config\.json: is a pointer of Git LFS"),
    "a pointer to the tokenizer": (lambda to: (to / "tokenizer.json").write_text(POINTER), SpecError,
                                   r"tokenizer\.json: is a pointer of Git LFS .*; expected a file of the tokenizer"),
    "timm's": (lambda to: (to / "config.json").write_text('{"architecture": "resnet18"}'), SpecError,
               r"this one is timm's: expected timm:resnet18 --weights .*model\.safetensors"),
    "no JSON": (lambda to: (to / "config.json").write_text("{"), SpecError, r"config\.json:1: is not JSON"),
    "parts elsewhere": (
        lambda to: (to / "model.safetensors").unlink() or (to / "model.safetensors.index.json").write_text(
            json.dumps({"weight_map": {"a": "../other/model.safetensors"}})), SpecError,
        r"names '\.\./other/model\.safetensors'; expected \.safetensors files of this folder"),
    "a part less": (
        lambda to: (to / "model.safetensors").unlink() or (to / "model.safetensors.index.json").write_text(
            json.dumps({"weight_map": {"a": "model-1-of-2.safetensors"}})), SpecError,
        r"lacks model-1-of-2\.safetensors, which model\.safetensors\.index\.json names"),
}  # fmt: skip


@pytest.mark.parametrize("what", BAD)
def test_a_bad_folder_is_named(
    what: str, folders: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil, error, message = BAD[what]
    folder = changed(folders("bert"), tmp_path / "bad")
    spoil(folder)
    with pytest.raises(error, match=message):
        load(folder)
    with pytest.raises(SystemExit) as ended:
        main(["inspect", f"transformers:{folder}"])
    assert ended.value.code == 2
    assert folder.name in capsys.readouterr().err


CONFIGS: dict[str, tuple[dict[str, Any], str]] = {
    "code": ({"auto_map": {"AutoModel": "own.Model"}}, r"auto_map names code of its own \(AutoModel\)"),
    "no type": ({"model_type": None}, "names no model_type"),
    "unknown type": ({"model_type": "tulip"}, "has no model_type 'tulip'"),
    "unknown class": ({"architectures": ["BertForGardening"]}, r"has no model 'BertForGardening' \(architectures\)"),
    "no model": ({"architectures": ["BertTokenizer"]}, r"has no model 'BertTokenizer' \(architectures\)"),
    "another type's class": ({"architectures": ["GPT2LMHeadModel"]}, "names GPT2LMHeadModel, which is no bert model"),
    "not a list": ({"architectures": "BertModel"}, "architectures: 'BertModel'; expected a list"),
    "quantised": ({"quantization_config": {"bits": 4}}, "has a quantization_config; expected weights in floating"),
    "quantised by name": ({"quantization_config": {"quant_method": "gptq"}}, r"has a quantization_config \(gptq\);"),
    "too large": ({"hidden_size": 1 << 20, "vocab_size": 1 << 20}, "SAPWOOD_MAX_NETWORK_BYTES"),
    "another width": (
        {"intermediate_size": 64},
        r"dense\.bias has shape \(48,\); expected \(64,\), as config\.json says",
    ),
    "another depth": ({"num_hidden_layers": 3}, r"lacks bert\.encoder\.layer\.2.* and \d+ more; expected every tensor"),
    "wrong kind": ({"hidden_size": "wide"}, "expected the configuration of a bert model"),
}


@pytest.mark.parametrize("what", CONFIGS)
def test_a_configuration_that_cannot_be_is_named(what: str, folders: Callable[[str], Path], tmp_path: Path) -> None:
    fields, message = CONFIGS[what]
    with pytest.raises(SapwoodError, match=message):
        load(changed(folders("bert"), tmp_path / "bad", **fields))


def test_a_tokenizer_that_names_code_is_refused(folders: Callable[[str], Path], tmp_path: Path) -> None:
    folder = changed(folders("bert"), tmp_path / "bad")
    (folder / "tokenizer_config.json").write_text('{"auto_map": {"AutoTokenizer": ["own.Words", null]}}')
    with pytest.raises(SpecError, match=r"tokenizer_config\.json: auto_map names code of its own"):
        load(folder)


def test_tensors_that_nobody_reads_are_said(tmp_path: Path) -> None:
    def more(model: Any) -> None:
        model.register_buffer("spare", torch.ones(1))

    folder = make_folder(tmp_path / "more", "bert", change=more)
    with pytest.warns(UserWarning, match="spare: not read, a BertForSequenceClassification has no such tensors"):
        load(folder)


def test_an_older_release_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(package.importlib, "import_module", lambda name: type("Old", (), {"__version__": "4.57.1"}))
    with pytest.raises(MissingDependencyError, match=r"transformers 4\.57\.1 is too old; expected 5\.24 or later"):
        package.transformers()


def test_no_release_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr(package.importlib, "import_module", missing)
    with pytest.raises(MissingDependencyError, match=r"pip install sapwood\[transformers\]"):
        package.transformers()
