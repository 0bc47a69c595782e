"""The records of `sapwood prune` and `inspect`, under the name that their module had before."""

from sapwood.report.records.inspect import *  # noqa: F403
from sapwood.report.records.latency import *  # noqa: F403
from sapwood.report.records.prune import *  # noqa: F403
from sapwood.report.records.recovery import *  # noqa: F403
from sapwood.report.records.sensitivity import *  # noqa: F403
