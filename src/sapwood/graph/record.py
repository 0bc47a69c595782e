"""Records what a model does: runs it once and writes down every ATen call with the identities of its tensors."""

from __future__ import annotations

import functools
import itertools
import os
import sys
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.nn.parallel import DistributedDataParallel

from sapwood.arguments import check_example_inputs, check_model
from sapwood.errors import ConfigError, SapwoodError
from sapwood.graph.decisions import Decisions
from sapwood.graph.double import KeepDouble, Sooner
from sapwood.graph.draws import one_seed
from sapwood.graph.outputs import Outputs, counting, output_tensors
from sapwood.graph.remembered import remembering_nothing
from sapwood.graph.replay import stays_alive
from sapwood.graph.skeleton import leaving_no_trace, new_tensors_like
from sapwood.graph.training_too import BothRuns, askers, in_training, mark_, marked
from sapwood.graph.valueless import valueless
from sapwood.graph.written import Writes
from sapwood.models import (
    all_modules,
    copy_model,
    kinds_of,
    map_tensors,
    named_buffers,
    named_modules,
    named_parameters,
    refresh_computed,
)
from sapwood.nested import named_tensors
from sapwood.ops import (
    RULES,
    Call,
    CallMode,
    Graph,
    ShapesOnly,
    TensorRef,
    hides_calls,
    leaves,
    mapped,
    name_of,
    nothing_compiled,
)
from sapwood.types import ExampleInputs

_OWN_FOLDER = str(Path(__file__).resolve().parents[1]) + os.sep
_PYTHON_FOLDER = str(Path(os.__file__).resolve().parent) + os.sep
_TORCH_FOLDER = str(Path(torch.__file__).resolve().parent) + os.sep


LAID_OUT = (
    "expected nested tensors with layout=torch.jagged inside of the model, and plain ones returned: their values(), or "
    "padded by torch.nested.to_padded_tensor"
)


class _Recorder(CallMode):
    """Numbers tensors by identity and keeps every call."""

    def __init__(self, decisions: Decisions | None, writes: Writes) -> None:
        super().__init__()
        self._decisions = decisions
        self._writes = writes
        self.calls: list[Call] = []
        self.constants: dict[int, Tensor] = {}
        self.module_stack: list[str] = []
        self._refs: dict[int, tuple[TensorRef, weakref.ref[Tensor]]] = {}
        self._kept_alive: list[Any] = []
        self._numbers = itertools.count()

    def ref(self, tensor: Tensor, *, known: bool = True) -> TensorRef:
        """The number of ``tensor``, as long as it lives: what the run needs no more is freed, as without a record."""
        entry = self._refs.get(id(tensor))
        if entry is not None and entry[1]() is tensor and entry[0].shape == tensor.shape:
            return entry[0]  # some in-place views change a tensor's shape
        if tensor.is_nested:
            where = f", at {_caller()}" if self.module_stack else ""
            raise ConfigError(f"the model makes or returns a nested tensor that has no one shape{where}; {LAID_OUT}")
        reference = TensorRef(next(self._numbers), tuple(tensor.shape), tensor.dtype)
        self._refs[id(tensor)] = (reference, weakref.ref(tensor))
        if not known:
            self.constants[reference.id] = tensor.detach().clone()
        return reference

    def _seen(self, leaf: Any) -> Any:
        return self.ref(leaf, known=False) if isinstance(leaf, Tensor) else leaf

    def meet(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Makes the call and writes it down."""
        if hides_calls(func):
            with self:
                return func.decompose(*args, **kwargs)
        seen_args = mapped(self._seen, args)
        seen_kwargs = mapped(self._seen, kwargs)
        self._writes.expect(func, args, kwargs)
        result = self.pass_on(func, args, kwargs)
        if self._decisions is not None:
            result = self._decisions.thinned(name_of(func), result)
        if stays_alive(func, args, kwargs):
            self._kept_alive.append(result)
        outputs = tuple(self.ref(leaf) if isinstance(leaf, Tensor) else leaf for leaf in leaves(result))
        modules = tuple(self.module_stack)
        if self._decisions is not None:
            self._decisions.keep(len(self.calls), name_of(func), (args, kwargs), result)
        self.calls.append(Call(len(self.calls), func, seen_args, seen_kwargs, outputs, modules, _caller()))
        return result


def _caller() -> str:
    """``file:line`` of the model's code: the first frame outside PyTorch, Sapwood and Python's library; else nothing.

    Behind the model's code stands what runs the model, of Sapwood again: there it ends.
    """
    frame: FrameType | None = sys._getframe(1)
    recording = True
    while frame is not None:
        name, own = _place(frame.f_code.co_filename)
        if name is not None:
            return f"{name}:{frame.f_lineno}"
        if own and not recording:
            return ""
        recording = recording and own
        frame = frame.f_back
    return ""


@functools.cache
def _place(path: str) -> tuple[str | None, bool]:
    """The name of a file of a model's code, and whether it is Sapwood's; its models are as good as a user's."""
    own = path.startswith(_OWN_FOLDER) and not path.startswith(_OWN_FOLDER + "models" + os.sep)
    others = own or path.startswith((_TORCH_FOLDER, "<"))
    return (None if others or _is_pythons(path) else Path(path).name), own


def _is_pythons(path: str) -> bool:
    """Whether a file is of Python's library; what is installed beside it is not."""
    return path.startswith(_PYTHON_FOLDER) and "-packages" not in path


@contextmanager
def _module_scopes(model: nn.Module, stack: list[str]) -> Iterator[None]:
    """Keeps ``stack`` at the names of the modules that are running."""
    names: dict[int, str] = {}
    handles = []

    def enter(module: nn.Module, *_: Any) -> None:
        if id(module) in names:
            stack.append(names[id(module)])

    def leave(module: nn.Module, *_: Any) -> None:
        if id(module) in names:
            stack.pop()

    def own_enter(name: str) -> Any:
        return lambda *_: stack.append(name)

    def own_leave(*_: Any) -> None:
        stack.pop()

    for name, module in named_modules(model):
        if isinstance(module, torch.jit.ScriptModule):  # takes no hooks; its calls are those of the module around it
            continue
        if not module._forward_pre_hooks and not module._forward_hooks:
            names[id(module)] = name  # two hooks for all of them: to add two to each takes as long as the run
            continue
        handles.append(module.register_forward_pre_hook(own_enter(name)))
        handles.append(module.register_forward_hook(own_leave, always_call=True))
    handles.append(register_module_forward_pre_hook(enter))
    handles.append(register_module_forward_hook(leave, always_call=True))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def call_model(model: nn.Module, example_inputs: ExampleInputs) -> Any:
    """Calls ``model`` with a tensor, a tuple of positional arguments or a dict of keyword arguments."""
    if isinstance(example_inputs, Mapping):
        return model(**example_inputs)
    if isinstance(example_inputs, (tuple, list)):
        return model(*example_inputs)
    return model(example_inputs)


@contextmanager
def explaining_inputs(
    model: nn.Module, *inputs: ExampleInputs, name: Callable[[int], str] = lambda number: "the example inputs"
) -> Iterator[None]:
    """Tells apart, of what fails inside, a model that does not run on its inputs at all.

    Args:
        model: The model.
        inputs: What it is called with inside, one after the other.
        name: Of those of a number, for the message.

    Raises:
        ConfigError: If it does not: with what the model says.
    """
    try:
        yield
    except SapwoodError:
        raise
    except Exception as error:
        for number, given in enumerate(inputs):
            fault = _fault(model, given)
            if fault is not None:
                text = " ".join(str(fault).split())
                raise ConfigError(
                    f"{type(model).__name__} does not run on {name(number)}: {type(fault).__name__}: {text}; expected "
                    "a tensor, a tuple of positional or a dict of keyword arguments that it takes"
                ) from fault
        raise error


def _fault(model: nn.Module, inputs: ExampleInputs) -> Exception | None:
    """What the model says where it does not run."""
    try:
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            call_model(copy_model(model).eval(), inputs)
    except Exception as error:  # whatever it is
        return error
    return None


def explaining_batches(model: nn.Module, batches: Sequence[ExampleInputs]) -> AbstractContextManager[None]:
    """Does what :func:`explaining_inputs` does, of a list of batches."""
    return explaining_inputs(model, *batches, name=lambda number: f"batches[{number}]")


def run_model(model: nn.Module, example_inputs: ExampleInputs, between: Callable[[], None] = lambda: None) -> Any:
    """Does what :func:`call_model` does, with what hooks make of parameters made first, as a part of the run.

    A masked weight that the code reads without calling its module (attention's last layer, a weight that a head
    borrows) then follows from its parameter as any other does, in the type that the model has now.

    A model that is marked runs as in training, too (:mod:`sapwood.graph.training_too`); ``between`` is called before,
    and may mark it.
    """
    refresh_computed(model)
    evaluated = call_model(model, example_inputs)
    between()
    if not marked(model):
        return evaluated
    with in_training(model):
        return BothRuns(evaluated, call_model(model, example_inputs))


@contextmanager
def plain_kernels(model: nn.Module, *, double: bool = True, sooner: bool = False) -> Iterator[KeepDouble | None]:
    """Runs without gradients and without the fused kernels that hide a layer's inside (attention, recurrent layers).

    Tensors that the code makes are made where the parameters are. Random numbers come from one seed. In a float64 model
    all floating tensors are float64. Functions remember nothing of other runs.

    Args:
        model: What runs.
        double: Whether a mode looks after float64; not needed where it had nothing to do in a run that made the same
            calls.
        sooner: Whether calls that are slow in float64 are made by equal formulas all the same, where it is not.

    Yields:
        That mode, if there is one.
    """
    keeper = None
    modules = tuple(all_modules(model))
    parameters = [one for module in modules for one in module._parameters.values() if one is not None]
    with ExitStack() as stack:
        stack.enter_context(nothing_compiled())
        stack.enter_context(sdpa_kernel(SDPBackend.MATH))
        stack.enter_context(new_tensors_like(model))
        stack.enter_context(_alone(modules))
        stack.enter_context(remembering_nothing(model))
        stack.enter_context(one_seed(model))
        fastpath = torch.backends.mha.get_fastpath_enabled()
        torch.backends.mha.set_fastpath_enabled(False)
        stack.callback(torch.backends.mha.set_fastpath_enabled, fastpath)
        if kinds_of(modules, nn.RNNBase):
            onednn = torch._C._get_mkldnn_enabled()
            torch._C._set_mkldnn_enabled(False)
            stack.callback(torch._C._set_mkldnn_enabled, onednn)
        stack.enter_context(torch.no_grad())
        if any(parameter.is_meta for parameter in parameters):
            stack.enter_context(ShapesOnly())
        if double and any(parameter.dtype in {torch.float64, torch.complex128} for parameter in parameters):
            keeper = KeepDouble()
            stack.enter_context(keeper)
        elif sooner:
            stack.enter_context(Sooner())
        yield keeper


@contextmanager
def _alone(modules: Sequence[nn.Module]) -> Iterator[None]:
    """Within it, wrappers for several processes send no buffers around: only one process may be pruning."""
    kinds = kinds_of(modules, DistributedDataParallel)
    wrappers: list[Any] = [module for module in modules if type(module) in kinds] if kinds else []
    before = [(wrapper, wrapper.require_forward_param_sync) for wrapper in wrappers]
    for wrapper in wrappers:
        wrapper.require_forward_param_sync = False
    try:
        yield
    finally:
        for wrapper, sync in before:
            wrapper.require_forward_param_sync = sync


def trace(
    model: nn.Module, example_inputs: ExampleInputs, *, outputs: Outputs | None = None, training_too: bool = False
) -> Graph:
    """Runs ``model`` once and records every ATen call.

    The model runs as it is (put it into eval mode and pass a copy where that matters); parameters are found by
    tensor identity, so bare ``nn.Parameter`` attributes and weights that are used twice need no special case.

    Args:
        model: Any module.
        example_inputs: A tensor, a tuple of positional or a dict of keyword arguments.
        outputs: What of the model's outputs counts, and so keeps its sizes; see :func:`sapwood.graph.counting`.
        training_too: Whether ``model``, a copy, is marked to run as in training, too, where its run leaves parameters
            unread; both runs are then recorded.

    Returns:
        The recorded run.

    Raises:
        ConfigError: If ``outputs`` names nothing that the model returns.

    Examples:
        >>> graph = trace(nn.Linear(3, 2), torch.zeros(1, 3))
        >>> [call.name for call in graph.calls]
        ['aten.t', 'aten.addmm']
    """
    return _recorded(model, example_inputs, None, outputs, training_too=training_too)[0]


def record(
    model: nn.Module,
    example_inputs: ExampleInputs,
    decisions: Decisions | None = None,
    *,
    outputs: Outputs | None = None,
) -> tuple[Graph, list[Tensor]]:
    """Does what :func:`trace` does, keeps what the run chooses on values, and returns the model's outputs as well."""
    graph, result, trained = _recorded(model, example_inputs, decisions, outputs)
    return graph, output_tensors((result, trained))


def trace_shapes(model: nn.Module, example_inputs: ExampleInputs) -> tuple[Graph, Any]:
    """Does what :func:`trace` does, without computing what depends on the inputs: it takes the time of the code alone.

    Returns:
        The recorded run, and what the model returned: its tensors have no values.

    Raises:
        Exception: If the code needs a value, or an operator tells no shapes: any that it raises itself, too.

    Examples:
        >>> graph, result = trace_shapes(nn.Linear(3, 2), torch.zeros(1, 3))
        >>> [call.name for call in graph.calls], tuple(result.shape)
        (['aten.t', 'aten.addmm'], (1, 2))
    """
    with leaving_no_trace(model):
        return _recorded(model, example_inputs, valued=False)[:2]


def _recorded(
    model: nn.Module,
    example_inputs: ExampleInputs,
    decisions: Decisions | None = None,
    outputs: Outputs | None = None,
    *,
    valued: bool = True,
    training_too: bool = False,
) -> tuple[Graph, Any, Any]:
    """The graph of a run, what the model returned, and what it returned in training where it ran so, too."""
    check_model(model)
    check_example_inputs(example_inputs)
    RULES.load_plugins()  # facts of operators are asked for from here on
    writes = Writes(model)
    recorder = _Recorder(decisions, writes)
    parameters = _names(recorder, named_parameters(model, every=True))
    buffers = _names(recorder, named_buffers(model, every=True))
    unsaved = frozenset(recorder.ref(buffer).id for module in all_modules(model) for buffer in _unsaved(module))
    evaluated: list[int] = []

    def between() -> None:
        evaluated.append(len(recorder.calls))
        if training_too:
            mark_(model, askers(model, Graph(tuple(recorder.calls), (), (), parameters, {}, {})))

    try:
        with plain_kernels(model), _module_scopes(model, recorder.module_stack), ExitStack() as stack:
            if not valued:
                example_inputs = map_tensors(stack.enter_context(valueless()), example_inputs)
            inputs = tuple(recorder.ref(tensor) for tensor in output_tensors(example_inputs))
            stack.enter_context(recorder)
            result = run_model(model, example_inputs, between)
    finally:
        written = writes.names()
        writes.put_back()
    twice = isinstance(result, BothRuns)
    result, trained = result if twice else (result, ())
    named = named_tensors(result)
    also = named_tensors(trained, "in training")
    returned = tuple(recorder.ref(tensor) for _, tensor in (*named, *also))
    counts = counting(result, outputs)
    counted = {ref.id for ref, counts in zip(returned, counts, strict=False) if counts}
    graph = Graph(
        tuple(recorder.calls),
        inputs,
        returned,
        parameters,
        buffers,
        recorder.constants,
        unsaved,
        output_names=tuple(name for name, _ in (*named, *also)),
        resizable=frozenset(ref.id for ref in returned) - counted,
        trained_from=evaluated[0] if twice else None,
        num_evaluated=len(named),
        trained_outputs=frozenset(ref.id for ref in returned[len(named) :]) - counted,
        written=written,
    )
    return graph, result, trained


def _unsaved(module: nn.Module) -> list[Tensor]:
    """The buffers of a module that are not saved with it."""
    known = getattr(module, "_non_persistent_buffers_set", ())
    return [buffer for name, buffer in module._buffers.items() if name in known and buffer is not None]


def _names(recorder: _Recorder, named: Any) -> dict[int, tuple[str, ...]]:
    found: dict[int, tuple[str, ...]] = {}
    for name, tensor in named:
        number = recorder.ref(tensor).id
        found[number] = (*found.get(number, ()), name)
    return found
