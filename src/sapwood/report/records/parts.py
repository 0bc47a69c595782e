"""What records are made of: parts that are checked field by field, when they are made and when they are read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, TypeVar

from pydantic import (
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
)

from sapwood.errors import DataError

Fraction = Annotated[FiniteFloat, Field(ge=0.0, le=1.0)]
Count = Annotated[int, Field(ge=0)]
Amount = Annotated[FiniteFloat, Field(ge=0.0)]


class RecordPart(BaseModel):
    """A part of a record: frozen; fields it does not know are left out.

    It is made of named values, of what JSON gave back, or of an object with attributes of the same names.
    """

    model_config = ConfigDict(extra="ignore", frozen=True, from_attributes=True)

    sections: ClassVar[tuple[str, ...]] = ()
    """Fields that are not in the JSON where there is nothing to tell."""

    @model_serializer(mode="wrap")
    def _told(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        plain: dict[str, Any] = write(self)
        return {name: part for name, part in plain.items() if part is not None or name not in self.sections}


class VerbRecord(RecordPart):
    """What a verb tells: what it prints with ``--json``, and its page and its tables are made of."""

    def plain(self) -> dict[str, Any]:
        """Returns the record as JSON can hold it."""
        return self.model_dump(mode="json", by_alias=True)

    def __getitem__(self, name: str) -> Any:
        """Returns what the JSON has under a name: records were dictionaries once."""
        return self.plain()[name]

    def __contains__(self, name: object) -> bool:
        """Whether the JSON has something under a name."""
        return name in self.plain()


def named_schema(name: str) -> Any:
    """The field of a verb's record that says which one it is: ``schema`` in the JSON."""
    return Field(default=name, validation_alias=AliasChoices("schema", "schema_id"), serialization_alias="schema")


Kind = TypeVar("Kind", bound=RecordPart)


def make_part(kind: type[Kind], values: Any) -> Kind:
    """Makes a part of a record.

    Args:
        kind: Which.
        values: Its fields by name, or an object with attributes of these names, or such a part already.

    Raises:
        DataError: If a field does not hold what it should.

    Examples:
        >>> class Size(RecordPart):
        ...     params: Count
        >>> make_part(Size, {"params": -1})
        Traceback (most recent call last):
        ...
        sapwood.errors.DataError: record: params: got -1; Input should be greater than or equal to 0
    """
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        fault = error.errors()[0]
        field = ".".join(str(part) for part in fault["loc"])
        raise DataError(f"record: {field}: got {fault['input']!r:.60}; {fault['msg']}") from None


def read_part(record: Mapping[str, Any] | RecordPart, schema: str, kind: type[Kind]) -> Kind:
    """Reads a record of one schema; one that is typed already is that.

    Raises:
        DataError: If it is of another schema, or a field does not hold what it should.
    """
    if isinstance(record, kind):
        return record
    if not isinstance(record, Mapping) or record.get("schema") != schema:
        came = record.get("schema") if isinstance(record, Mapping) else type(record).__name__
        raise DataError(f"record: schema is {came!r}; expected {schema!r}")
    return make_part(kind, record)
