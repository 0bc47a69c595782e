"""The record of a run, under the name that its module had before."""

from sapwood.report.records.run import *  # noqa: F403
