"""``.cfg`` files: nothing is lost, what they say is read as Darknet reads it, and mistakes are named."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sapwood.errors import CfgError
from sapwood.models.darknet import cfg_bytes, parse_cfg, write_cfg
from sapwood.models.darknet.keys import KNOWN_KEYS

NUM_PUBLISHED = 43


def published(data_dir: Path) -> list[Path]:
    return sorted((data_dir / "darknet_cfgs").glob("*.cfg"))


def test_every_published_file_is_written_as_it_was(data_dir: Path) -> None:
    paths = [*published(data_dir), *(data_dir / "detectors").glob("*.cfg")]
    assert len(paths) >= NUM_PUBLISHED
    for path in paths:
        cfg = parse_cfg(path)
        assert write_cfg(cfg).encode() == path.read_bytes(), path
        assert parse_cfg(write_cfg(cfg)) == cfg, path


def test_line_ends_and_spacing_are_kept(detector_text: str) -> None:
    for text in (
        detector_text.replace("\n", "\r\n"),
        detector_text.rstrip("\n"),
        "# first\n\n" + detector_text.replace("=", "\t = "),
        "\ufeff" + detector_text,
    ):
        cfg = parse_cfg(text)
        assert write_cfg(cfg) == text
        assert len(cfg.layers) == 6
        assert cfg.layers[1].integers("layers") == (-1,)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["", " ", "\t"]),
            st.sampled_from(sorted(KNOWN_KEYS["convolutional"])),
            st.sampled_from(["=", " = ", "= "]),
            st.from_regex(r"[a-z0-9.,-]{1,8}( #[a-z ]{0,5})?", fullmatch=True),
            st.sampled_from(["\n", "\r\n", " \n"]),
        ),
        max_size=8,
    ),
    st.integers(1, 999),
)
def test_any_options_survive_and_one_can_be_set(parts: list[tuple[str, ...]], filters: int) -> None:
    text = "[net]\n[conv]\n" + "".join("".join(part) for part in parts)
    cfg = parse_cfg(text)
    assert write_cfg(cfg) == text
    changed = parse_cfg(write_cfg(cfg.with_option(0, "filters", filters)))
    assert changed.layers[0].integer("filters") == filters
    others = [key for key in cfg.layers[0].keys if key != "filters"]
    assert [key for key in changed.layers[0].keys if key != "filters"] == others
    assert changed == cfg.with_option(0, "filters", filters)


@pytest.mark.parametrize(
    ("before", "key", "after"),
    [
        ("[net]\nwidth = 416  # wide\nheight=1\n", "width", "[net]\nwidth = 7  # wide\nheight=1\n"),
        ("[net]\nwidth=1\nwidth=2\n", "width", "[net]\nwidth=7\nwidth=2\n"),
        ("[net]\nheight=1\n\n# end\n", "width", "[net]\nheight=1\nwidth=7\n\n# end\n"),
        ("[net]\nheight=1", "width", "[net]\nheight=1\nwidth=7"),
        ("[net]", "width", "[net]\nwidth=7"),
        ("[net]\r\nheight=1\r\n", "width", "[net]\r\nheight=1\r\nwidth=7\r\n"),
        ("[net]\nwidth=\n", "width", "[net]\nwidth=7\n"),
    ],
)
def test_an_option_is_set_in_its_place(before: str, key: str, after: str) -> None:
    cfg = parse_cfg(before)
    assert write_cfg(cfg.with_option(-1, key, 7)) == after
    assert write_cfg(cfg) == before


def test_values_are_read_as_darknet_reads_them() -> None:
    section = parse_cfg("[net]\n[conv]\nfilters=3\nfilters=4\nlearning_rate=.5\nstride= 1 6 # note\n").layers[0]
    assert section.name == "convolutional"
    assert section.written_name == "conv"
    assert section.integer("filters") == 3  # the first of two counts
    assert section.number("learning_rate") == 0.5
    assert section.integer("stride") == 16  # white space within is dropped
    assert section.integer("size", 9) == 9
    assert section.flag("pad") is False
    assert parse_cfg("[net]\n[route]\nlayers = -1, 271 ###S4\n").layers[0].integers("layers") == (-1, 271)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[net]\n[convolutionl]\n", r"<text>:2: \[convolutionl\]: unknown section \(did you mean convolutional\?\)"),
        ("[net]\n[conv]\nfiltres=3\n", r"<text>:3: \[conv\] filtres=3: unknown key \(did you mean filters\?\)"),
        ("[net]\n[conv]\nfilters 3\n", r"<text>:3: \[conv\]: 'filters 3': expected key=value, a comment or a section"),
        ("[net]\n[conv\n", r"<text>:2: '\[conv': expected \] at the end of a section's name"),
        ("[conv]\n", r"<text>:1: \[conv\]: expected \[net\] as the first section"),
        ("[net]\n\n[net]\n", r"<text>:3: \[net\]: a second \[net\]; the first stands at line 1"),
        ("width=3\n[net]\n", r"<text>:1: 'width=3' stands before any section; expected \[net\] first"),
        ("# nothing\n", r"<text>: holds no section; expected \[net\]"),
    ],
)
def test_what_darknet_does_not_know_is_refused(text: str, message: str) -> None:
    with pytest.raises(CfgError, match=message):
        parse_cfg(text)


@pytest.mark.parametrize(
    ("value", "read", "message"),
    [
        ("x", "integer", r"<text>:3: \[conv\] size=x: expected an integer"),
        ("1.5", "integer", r"size=1.5: expected an integer"),
        ("", "integer", r"size=: expected an integer"),
        ("1,2", "integer", r"size=1,2: expected an integer"),
        ("1,", "integers", r"size=1,: expected integers parted by commas"),
        ("nan", "number", r"size=nan: expected a number"),
        ("1,x", "numbers", r"size=1,x: expected numbers parted by commas"),
        ("1,2", "number", r"size=1,2: expected a number"),
    ],
)
def test_values_of_another_type_are_refused(value: str, read: str, message: str) -> None:
    section = parse_cfg(f"[net]\n[conv]\nsize={value}\n").layers[0]
    with pytest.raises(CfgError, match=message):
        getattr(section, read)("size")


def test_a_missing_or_small_value_is_refused() -> None:
    section = parse_cfg("[net]\n[conv]\nsize=-3\nactivation=leeky\n").layers[0]
    with pytest.raises(CfgError, match=r"<text>:2: \[conv\]: no filters=; expected one"):
        section.integer("filters")
    with pytest.raises(CfgError, match=r"<text>:3: \[conv\] size=-3: expected an integer of at least 1"):
        section.integer("size", minimum=1)
    with pytest.raises(CfgError, match=r"activation=leeky: expected one of: leaky, linear \(did you mean leaky\?\)"):
        section.choice("activation", ["linear", "leaky"], "linear")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[net]\n# caf\xe9\nwidth=\xe9\n", r"net.cfg:3: byte 0xe9 is not UTF-8 text; expected a Darknet .cfg file"),
        ("[net]\nwidth=3\n".encode("utf-16-le"), r"net.cfg:1: byte 0x00 is not UTF-8 text"),
        (b"\x89PNG\r\n", r"net.cfg:1: byte 0x89 is not UTF-8 text"),
        (b"", r"net.cfg: holds no section"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "net.cfg"
    path.write_bytes(content)
    with pytest.raises(CfgError, match=message):
        parse_cfg(path)


def test_absent_files_and_directories_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CfgError, match=r"none.cfg: no such file; expected a Darknet .cfg file"):
        parse_cfg(str(tmp_path / "none.cfg"))
    with pytest.raises(CfgError, match=r"is a directory; expected a Darknet .cfg file"):
        parse_cfg(tmp_path)


@pytest.mark.parametrize("encoding", ["gbk", "latin-1", "utf-8", "big5", "cp1251"])
def test_comments_of_any_encoding_stay_as_they_are(tmp_path: Path, encoding: str) -> None:
    words = {"gbk": "改成自己的类别", "latin-1": "Größe für café", "big5": "類別", "cp1251": "классы"}.get(
        encoding, "改é"
    )
    data = f"# {words}\n[net]\nwidth=8 ; {words}\n\n;{words}\n[conv]\nfilters=3#{words}".encode(encoding)
    (tmp_path / "net.cfg").write_bytes(data)
    cfg = parse_cfg(tmp_path / "net.cfg")
    assert (cfg.net.integer("width"), cfg.layers[0].integer("filters")) == (8, 3)
    assert cfg_bytes(write_cfg(cfg)) == data
    changed = cfg_bytes(write_cfg(cfg.with_option(0, "filters", 2)))
    assert changed == data.replace(b"filters=3#", b"filters=2#")


@pytest.mark.parametrize(
    ("section", "key"),
    [
        ("net", "max_epochs=300"),
        ("yolo", "uc_normalizer=0.07"),
        ("conv", "my_note=1"),
        ("region", "loss_weight=1"),
        ("maxpool", "dilation_of_gradient=2"),
        ("softmax", "label_smooth=0.1"),
    ],
)
def test_keys_of_forks_are_kept_with_a_warning(section: str, key: str) -> None:
    text = f"[net]\n{key}\n" if section == "net" else f"[net]\n[{section}]\n{key}\n"
    line = text.count("\n")
    with pytest.warns(
        UserWarning, match=rf"<text>:{line}: \[{section}\] {key}: unknown key, not used, as Darknet does"
    ):
        cfg = parse_cfg(text)
    assert write_cfg(cfg) == text
    assert parse_cfg(text, warn=False) == cfg


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("filter=3", "filters"),
        ("Filters=3", "filters"),
        ("strides=2", "stride"),
        ("pading=1", "padding"),
        ("batch_norm=1", "batch_normalize"),
        ("batchnormalize=1", "batch_normalize"),
        ("activations=leaky", "activation"),
        ("dilatation=2", "dilation"),
        ("stridex=2", "stride_x"),
    ],
)
def test_misspelt_keys_that_change_the_network_are_refused(key: str, meant: str) -> None:
    message = rf"<text>:3: \[conv\] {key}: unknown key \(did you mean {meant}\?\); expected one that Darknet knows"
    with pytest.raises(CfgError, match=message):
        parse_cfg(f"[net]\n[conv]\n{key}\n")


def test_keys_of_opencv_are_known() -> None:
    text = "[net]\n[yolo]\nthresh=0.3\nnms_threshold=0.4\n[region]\nthresh=0.3\nnms_threshold=0.4\n"
    assert write_cfg(parse_cfg(text)) == text  # without a warning, which would be an error
