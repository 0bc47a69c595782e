"""Labels of texts as the classes of a model."""

from __future__ import annotations

import pytest

from sapwood.data import Text, Texts, text_labels
from sapwood.errors import DataError


def texts(*labels: str | int | None) -> Texts:
    return Texts("notes", tuple(Text(f"notes:{row}", "a", label=label) for row, label in enumerate(labels, 1)))


def test_names_in_their_order_where_the_model_has_none() -> None:
    assert text_labels(texts("sad", "happy", None), ("LABEL_0", "LABEL_1", "LABEL_2")) == [1, 0, -1]


def test_names_of_which_the_model_knows_none_are_no_order() -> None:
    with pytest.raises(DataError, match="notes has the classes happy, sad, and the model bad, fair, good: none is"):
        text_labels(texts("sad", "happy"), ("bad", "fair", "good"))


def test_numbers_count_as_they_stand() -> None:
    assert text_labels(texts(2, 0), ("bad", "fair", "good")) == [2, 0]
