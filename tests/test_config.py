"""What users write is checked field by field, and every fault is named."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import pytest

from sapwood.config import TrainConfig, parse_config, read_config
from sapwood.errors import ConfigError


def test_a_file_sets_some_fields_and_leaves_the_others(tmp_path: Path) -> None:
    path = tmp_path / "train.yaml"
    path.write_text("epochs: 7\naugment:\n  mosaic: 0.25\n")
    config = read_config(TrainConfig, path)
    assert (config.epochs, config.augment.mosaic) == (7, 0.25)
    assert config.model_copy(update={"epochs": 100}).augment.scale == TrainConfig().augment.scale
    path.write_text("")
    assert read_config(TrainConfig, path) == TrainConfig()


def test_a_config_survives_its_own_dump() -> None:
    config = parse_config(TrainConfig, {"lr": 0.5, "clip_norm": None, "loss": {"box_gain": 3}}, where="here")
    assert parse_config(TrainConfig, config.model_dump(mode="json"), where="dump") == config


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"epochs": 0}, r"here: epochs: Input should be greater than or equal to 1, got 0"),
        ({"epochs": "many"}, r"here: epochs: Input should be a valid integer.*, got 'many'"),
        ({"lr": 0}, r"here: lr: Input should be greater than 0, got 0"),
        ({"lr": float("nan")}, r"here: lr: Input should be a finite number, got nan"),
        ({"batch_size": -1}, r"here: batch_size: .*greater than or equal to 1, got -1"),
        ({"input_size": 100}, r"here: input_size: Input should be a multiple of 32, got 100"),
        ({"optimizer": "adam"}, r"here: optimizer: Input should be 'sgd' or 'adamw', got 'adam'"),
        ({"epoch": 3}, r"here: epoch: unknown field; expected one of: anchors, augment, batch_size"),
        ({"augment": {"flip": 1}}, r"here: augment.flip: unknown field; expected one of: aspect, brightness"),
        ({"augment": {"mosaic": 1.5}}, r"here: augment.mosaic: .*less than or equal to 1, got 1.5"),
        ({"loss": 3}, r"here: loss: .*LossConfig, got 3"),
        ([1], r"here: expected a mapping of TrainConfig fields, got list"),
    ],
)
def test_faults_are_named(values: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_config(TrainConfig, values, where="here")


def test_all_faults_are_named_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config(TrainConfig, {"epochs": 0, "lr": -1}, where="here")
    assert "epochs" in str(caught.value)
    assert "lr" in str(caught.value)


def test_files_that_are_no_yaml(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none.yaml: no such file; expected a YAML file"):
        read_config(TrainConfig, tmp_path / "none.yaml")
    with pytest.raises(ConfigError, match=r": is a directory; expected a YAML file"):
        read_config(TrainConfig, tmp_path)
    path = tmp_path / "bad.yaml"
    path.write_text("a: [1\n")
    with pytest.raises(ConfigError, match=r"bad.yaml:2: is not YAML"):
        read_config(TrainConfig, path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match=r"bad.yaml: is not UTF-8 text \(byte 0\); expected a YAML file"):
        read_config(TrainConfig, path)
    path.write_text("- 1\n")
    with pytest.raises(ConfigError, match=r"bad.yaml: expected a mapping of TrainConfig fields, got list"):
        read_config(TrainConfig, path)


def test_the_recipe_of_the_built_in_network_is_valid() -> None:
    zoo = Path(str(resources.files("sapwood.models"))) / "zoo"
    for path in sorted(zoo.glob("*.train.yaml")):
        assert read_config(TrainConfig, path).augment.horizontal_flip == 0, "a mirrored digit is another one, or none"
    assert list(zoo.glob("*.train.yaml"))


BOMB = "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 30))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (BOMB, r"bad\.yaml: asks for [\d,]+ values .*SAPWOOD_MAX_YAML_NODES"),
        ("[" * 5000, r"bad\.yaml: is nested too deeply; expected a YAML file"),
        ("epochs: &a [*a]", r"bad\.yaml:1: holds itself through an alias"),
        ("epochs: 5\nepochs: 6", r"bad\.yaml:2: the key 'epochs' is there twice"),
        ("epochs: !!int many", r"bad\.yaml: is damaged, or something else \(ValueError"),
        ("epochs: !!python/object/apply:os.getcwd []", r"bad\.yaml:1: is not YAML \(could not determine a constructor"),
        (
            f"epochs: 0x{'f' * 9000}",
            r"epochs: .*expected a number below 2\^63, got a number of thousands",
        ),
        (f"? 0x{'f' * 9000}\n: 1", r"bad\.yaml: "),
        (f"lr: 1{'0' * 400}", r"bad\.yaml: lr: "),
        ("1: 2", r"bad\.yaml: 1: "),
        ("epochs: yes", r"bad\.yaml: epochs: .*YAML reads yes, no, on and off as true and false.*, got True"),
        ("cache_mb: off", r"bad\.yaml: cache_mb: .*, got False"),
        ("augment: {mosaic: on}", r"bad\.yaml: augment.mosaic: .*, got True"),
        ("loader_threads: true", r"bad\.yaml: loader_threads: .*, got True"),
        (
            "optimizer: [" + "x, " * 5000 + "]",
            r"bad\.yaml: optimizer: .*, got \['x', 'x', 'x', 'x', .*, \.\.\.\]$",
        ),
    ],
)
def test_damaged_and_hostile_files_are_errors_of_ours(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message) as caught:
        read_config(TrainConfig, path)
    assert len(str(caught.value)) < 1000


def test_flags_are_true_or_false(tmp_path: Path) -> None:
    path = tmp_path / "train.yaml"
    path.write_text("resume: yes\nchannels_last: off\n")
    config = read_config(TrainConfig, path)
    assert (config.resume, config.channels_last) == (True, False)
