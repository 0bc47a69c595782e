"""A model's graph: recorded by running it once, and read for what hangs on what."""

from sapwood.graph.blocks import Branch, find_blocks
from sapwood.graph.decisions import Decisions
from sapwood.graph.double import KeepDouble
from sapwood.graph.draws import Draws, put_
from sapwood.graph.groups import Analysis, ChannelGroup, Member, Unpruned, alive_rows, build_groups, flags
from sapwood.graph.ladders import Ladder
from sapwood.graph.outputs import ALL, Outputs, counting, output_tensors, own_outputs
from sapwood.graph.record import (
    call_model,
    explaining_batches,
    explaining_inputs,
    plain_kernels,
    run_model,
    trace,
    trace_shapes,
)
from sapwood.graph.replay import OtherCallsError, Replay
from sapwood.graph.shuffles import Shuffle, find_shuffles
from sapwood.graph.skeleton import leaving_no_trace
from sapwood.graph.structure import Structure, evaluated_alone, with_values, without_values
from sapwood.graph.training_too import askers, mark_, read_names
from sapwood.graph.written import putting_back

__all__ = [
    "ALL",
    "Analysis",
    "Branch",
    "ChannelGroup",
    "Decisions",
    "Draws",
    "KeepDouble",
    "Ladder",
    "Member",
    "OtherCallsError",
    "Outputs",
    "Replay",
    "Shuffle",
    "Structure",
    "Unpruned",
    "alive_rows",
    "askers",
    "build_groups",
    "call_model",
    "counting",
    "evaluated_alone",
    "explaining_batches",
    "explaining_inputs",
    "find_blocks",
    "find_shuffles",
    "flags",
    "leaving_no_trace",
    "mark_",
    "output_tensors",
    "own_outputs",
    "plain_kernels",
    "put_",
    "putting_back",
    "read_names",
    "run_model",
    "trace",
    "trace_shapes",
    "with_values",
    "without_values",
]
