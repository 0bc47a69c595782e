"""A model's graph: recorded by running it once, and read for what hangs on what."""

from sapwood.graph.groups import Analysis, ChannelGroup, Member, Unpruned, alive_rows, build_groups
from sapwood.graph.record import call_model, output_tensors, plain_kernels, trace

__all__ = [
    "Analysis",
    "ChannelGroup",
    "Member",
    "Unpruned",
    "alive_rows",
    "build_groups",
    "call_model",
    "output_tensors",
    "plain_kernels",
    "trace",
]
