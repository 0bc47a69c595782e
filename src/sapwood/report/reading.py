"""Reading records that came back from JSON: checked field by field, refused with the field's name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError

from sapwood.errors import DataError

Fraction = Annotated[FiniteFloat, Field(ge=0.0, le=1.0)]
Count = Annotated[int, Field(ge=0)]
Amount = Annotated[FiniteFloat, Field(ge=0.0)]


class RecordPart(BaseModel):
    """A part of a record: frozen; fields it does not know are left out."""

    model_config = ConfigDict(extra="ignore", frozen=True)


Kind = TypeVar("Kind", bound=RecordPart)


def validate(record: Mapping[str, Any], schema: str, kind: type[Kind]) -> Kind:
    """Reads a record of one schema.

    Raises:
        DataError: If it is of another schema, or a field does not hold what it should.
    """
    if not isinstance(record, Mapping) or record.get("schema") != schema:
        came = record.get("schema") if isinstance(record, Mapping) else type(record).__name__
        raise DataError(f"record: schema is {came!r}; expected {schema!r}")
    try:
        return kind.model_validate(record)
    except ValidationError as error:
        fault = error.errors()[0]
        field = ".".join(str(part) for part in fault["loc"])
        raise DataError(f"record: {field}: got {fault['input']!r:.60}; {fault['msg']}") from None
