"""A network with further layers: the ``.cfg`` in which a convolution is two, and all that counts layers follows."""

from __future__ import annotations

from collections.abc import Mapping

from sapwood.models.darknet.cfg import Cfg, Line, Section

REFERENCES = ("layers", "from")
"""Keys whose values are numbers of layers: of a ``[route]``, a ``[shortcut]`` and the sections that scale or weigh."""


def two_convolutions(cfg: Cfg, ranks: Mapping[int, int]) -> Cfg:
    """Returns the ``.cfg`` in which each of some convolutions is one to few channels and one of size 1 behind it.

    The first has size, stride, padding and dilation of the layer, no norm and no activation; the second the rest.

    Args:
        cfg: Read only.
        ranks: Number of the layer -> channels between the two. Their ``groups`` are 1.

    Examples:
        >>> from sapwood.models.darknet import parse_cfg, write_cfg
        >>> text = "[net]\\n[conv]\\nfilters=8\\nsize=3\\npad=1\\nactivation=leaky\\n[route]\\nlayers=-1\\n"
        >>> print(write_cfg(two_convolutions(parse_cfg(text), {0: 2})).partition("[net]\\n")[2], end="")
        [conv]
        filters=2
        size=3
        pad=1
        activation=linear
        [conv]
        filters=8
        size=1
        pad=0
        activation=leaky
        [route]
        layers=-1
    """
    places = {index: index + sum(layer <= index for layer in ranks) for index in range(-1, len(cfg.layers))}
    sections = [cfg.net]
    for index, section in enumerate(cfg.layers):
        moved = _moved(section, index, places)
        sections += _two(moved, ranks[index]) if index in ranks else [moved]
    return Cfg(tuple(sections), cfg.preamble, cfg.path)


def _two(section: Section, rank: int) -> list[Section]:
    first = section.with_option("filters", rank).with_option("activation", "linear")
    if "batch_normalize" in first:
        first = first.with_option("batch_normalize", 0)
    second = section.with_option("size", 1)
    for key, value in (("pad", 0), ("padding", 0), ("stride", 1), ("stride_x", 1), ("stride_y", 1), ("dilation", 1)):
        if key in second:
            second = second.with_option(key, value)
    return [_ended(first), second]


def _ended(section: Section) -> Section:
    """The section with a line end behind its last line, as another follows."""
    lines = [section.header, *section.body]
    if not lines[-1].end:
        lines[-1] = Line(lines[-1].text + (section.header.end or "\n"), lines[-1].number)
    return Section(lines[0], tuple(lines[1:]), section.path)


def _moved(section: Section, index: int, places: Mapping[int, int]) -> Section:
    """The section with the numbers of layers that it names as they are now, counted from where they were counted."""
    for key in REFERENCES:
        if key in section and section.name != "net":
            named = [
                places[index + layer] - (places[index - 1] + 1) if layer < 0 else places[layer]
                for layer in section.integers(key)
            ]
            if tuple(named) != section.integers(key):
                section = section.with_option(key, ",".join(map(str, named)))
    return section
