"""The form of what a model returns, as it is stored: tuples, lists and dicts in each other, nothing that has a name."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

from torch.utils._pytree import TreeSpec, tree_flatten, tree_unflatten

from sapwood.errors import EngineError


class _Leaf:
    """What stands for a tensor or a number."""


_LEAF = _Leaf()
_KEYS = (str, int, bool)
_DICTS: Mapping[type, str] = {dict: "dict", OrderedDict: "ordered dict"}
_MAKERS: Mapping[str, Callable[[Any], Any]] = {
    "tuple": tuple, "list": list, "dict": dict, "ordered dict": OrderedDict
}  # fmt: skip
_EARLIER = {
    "builtins.tuple": "tuple",
    "builtins.list": "list",
    "builtins.dict": "dict",
    "collections.OrderedDict": "ordered dict",
}


def stored(form: TreeSpec) -> Any:
    """A form as JSON: None for a tensor or number, else the kind with its parts.

    Raises:
        EngineError: If it is of other classes than tuple, list, dict and OrderedDict, whose code no file can hold.

    Examples:
        >>> stored(tree_flatten({"maps": [1, 2], "score": (3,)})[1])
        {'dict': [['maps', {'list': [None, None]}], ['score', {'tuple': [None]}]]}
    """
    return _described(tree_unflatten([_LEAF] * form.num_leaves, form))


def _described(value: Any) -> Any:
    if value is _LEAF:
        return None
    kind = type(value)
    if kind in (tuple, list):
        return {kind.__name__: [_described(part) for part in value]}
    if kind not in _DICTS:
        raise EngineError(
            f"the model returns a {kind.__name__}; expected tuples, lists and dicts of tensors and numbers"
        )
    for key in value:
        if type(key) not in _KEYS:
            raise EngineError(f"the model returns a dict with the key {key!r}; expected texts and whole numbers")
    return {_DICTS[kind]: [[key, _described(part)] for key, part in value.items()]}


def form_of(content: Any) -> TreeSpec:
    """The way back.

    Raises:
        EngineError: If it is no form.

    Examples:
        >>> form_of({"list": [None, None]}).num_leaves
        2
        >>> form_of({"os.system": []})
        Traceback (most recent call last):
        ...
        sapwood.errors.EngineError: a form of outputs 'os.system'; expected tuple, list, dict or ordered dict
    """
    found: TreeSpec = tree_flatten(_example(content))[1]
    return found


def _example(content: Any) -> Any:
    """Something of a form."""
    if content is None:
        return _LEAF
    if not isinstance(content, dict) or len(content) != 1:
        raise EngineError("a form of outputs that is no kind with its parts; expected one of each")
    ((kind, parts),) = content.items()
    if kind not in _MAKERS:
        raise EngineError(f"a form of outputs {kind!r}; expected tuple, list, dict or ordered dict")
    if kind in ("tuple", "list"):
        return _MAKERS[kind](_example(part) for part in _list(parts))
    pairs = [(key, _example(part)) for key, part in map(_list, _list(parts))]
    if any(type(key) not in _KEYS for key, _ in pairs) or len({key for key, _ in pairs}) != len(pairs):
        raise EngineError("a form of outputs with keys that are neither texts nor numbers, or there twice")
    return _MAKERS[kind](pairs)


def earlier_form(text: Any) -> TreeSpec:
    """A form as files of version 1 have it: text of PyTorch's, of which only built-in containers are read.

    Raises:
        EngineError: If it names anything else.

    Examples:
        >>> earlier_form('[1, {"type": "my.Output", "context": "null", "children_spec": []}]')
        Traceback (most recent call last):
        ...
        sapwood.errors.EngineError: a form of outputs 'my.Output', which no file may name; compile the model again
    """
    version, content = json.loads(text)
    if version != 1:
        raise EngineError(f"a form of outputs of version {version!r}; compile the model again")
    found: TreeSpec = tree_flatten(_example(_converted(content)))[1]
    return found


def _converted(content: Any) -> Any:
    kind, parts = content["type"], [_converted(part) for part in _list(content["children_spec"])]
    if kind is None:
        return None
    if kind not in _EARLIER:
        raise EngineError(f"a form of outputs {kind!r}, which no file may name; compile the model again")
    if kind in ("builtins.tuple", "builtins.list"):
        return {_EARLIER[kind]: parts}
    keys = _list(json.loads(content["context"]))
    return {_EARLIER[kind]: [[key, part] for key, part in zip(keys, parts, strict=True)]}


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise EngineError(f"{value!r:.60} in a form of outputs; expected a list")
    return value
