"""Recipes: what `sapwood run` does, step by step, in one file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from sapwood.config import Strict, read_config

ORIGINAL = "original"
"""What a step calls the network that the recipe starts from."""


class RecipeStep(Strict):
    """One verb with its options.

    In YAML a step is a mapping of the verb to its options, as the command line has them, beside ``name`` and ``model``:
    ``{name: small, prune: {latency: 0.5, runtime: onnxruntime}}``.

    Attributes:
        verb: A verb of the command line.
        options: Its long options without dashes; a list repeats one, a mapping becomes a file that is passed.
        name: What later steps call the network that this one makes; the verb if not given.
        model: The networks it is about: names of earlier steps, ``"original"``, or a MODEL; the last one made if empty.
    """

    verb: str
    options: dict[str, Any] = Field(default_factory=dict)
    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    model: tuple[str, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _of_a_verb(cls, values: Any) -> Any:
        if not isinstance(values, Mapping) or "verb" in values:
            return values
        verbs = [key for key in values if key not in ("name", "model")]
        if len(verbs) != 1:
            raise ValueError(f"expected one verb beside name and model, got {', '.join(map(str, verbs)) or 'none'}")
        model = values.get("model", ())
        return {
            "verb": verbs[0],
            "options": {} if values[verbs[0]] is None else values[verbs[0]],
            "name": values.get("name", verbs[0]),
            "model": (model,) if isinstance(model, str) else model,
        }


class Recipe(Strict):
    """What is done to a network, one step after the other.

    Attributes:
        model: The network to start from.
        weights: Its weights file, if it has one of its own.
        names: Its class names, one a line.
        model_factory: What makes its dense model, if it is a saved directory that came from a function.
        data: The data set of every step that looks at pictures and names no other.
        on_missed: Whether a target that a step does not meet ends the run.
        steps: What is done.
    """

    model: str
    weights: Path | None = None
    names: Path | None = None
    model_factory: str | None = None
    data: str | None = None
    on_missed: Literal["stop", "go_on"] = "stop"
    steps: tuple[RecipeStep, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _names_are_known(self) -> Recipe:
        known = {ORIGINAL}
        for step in self.steps:
            if step.name in known:
                raise ValueError(f"two steps are called {step.name!r}; expected names that differ")
            known.add(step.name)
        return self


def read_recipe(path: str | Path) -> Recipe:
    """Reads a recipe.

    Raises:
        ConfigError: If the file is missing, is not YAML, or no recipe.
    """
    return read_config(Recipe, path, "a recipe in YAML")
