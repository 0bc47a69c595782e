"""The record of a comparison, under the name that its module had before."""

from sapwood.report.records.compare import *  # noqa: F403
