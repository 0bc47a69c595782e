"""The exceptions that Sapwood raises on purpose, each with the exit code the command line gives it."""

from __future__ import annotations


class SapwoodError(Exception):
    """Base of every error Sapwood raises on purpose; its text says what came and what was expected."""

    exit_code = 2


class SpecError(SapwoodError):
    """A model specification names nothing that can be loaded."""


class CfgError(SapwoodError):
    """A Darknet ``.cfg`` cannot be read or built; the message names file, line and section.

    Attributes:
        layer: The number of the layer that cannot be built, or None.
    """

    layer: int | None = None


class WeightsError(SapwoodError):
    """A weights file does not hold what the network needs; the message gives the bytes wanted and found."""


class DataError(SapwoodError):
    """A data set, an annotation or a label cannot be used."""


class NoDataSetError(DataError):
    """A folder in none of the layouts that a data set may have."""


class ImageError(DataError):
    """A picture cannot be read."""


class ConfigError(SapwoodError):
    """A recipe, a case or an option has a value outside what it may be."""


class PluginError(SapwoodError):
    """A package that adds to Sapwood by an entry point takes a name that is taken."""


class CriterionError(SapwoodError):
    """A criterion cannot score a channel group or a weight: what it looks at is not there, or not finite."""


class MaskError(SapwoodError):
    """A mask cannot be made, read or applied."""


class ShapeError(SapwoodError):
    """A tensor has another shape than the operation needs."""


class SavedModelError(SapwoodError):
    """A saved model directory is incomplete, damaged or of an unknown schema version."""


class TrainingError(SapwoodError):
    """Training cannot start or continue."""


class MeasureError(SapwoodError):
    """A figure cannot be measured: what is to be timed fails, or the machine does not tell."""


class ExportError(SapwoodError):
    """A model cannot be converted to a format, or the format cannot say what was asked for."""


class MissingDependencyError(SapwoodError):
    """An optional package is needed and not installed; the message gives the extra that installs it."""


class WriteError(SapwoodError, OSError):
    """A file or a directory cannot be written; the message names it, and nothing that stood there is lost."""

    def __str__(self) -> str:
        return str(self.args[0])


class CheckFailedError(SapwoodError):
    """A target or a numeric check was not met: the input was good, the result is not."""

    exit_code = 1


class BudgetError(SapwoodError):
    """A budget that no allowed network reaches; the message gives what can be reached."""

    exit_code = 1


class EngineError(SapwoodError):
    """The sparse engine cannot do what was asked."""


class EngineMissingError(EngineError):
    """The sparse engine is not built, or this processor cannot run it."""
