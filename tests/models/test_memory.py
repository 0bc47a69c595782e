"""Many tensors in one piece of memory: each is one of its own all the same."""

import copy
import gc
import weakref

import torch
from torch import nn

from sapwood.models import memory, wide_copy
from sapwood.models.memory import HugePages

WIDE = 1 << 9


def test_tensors_of_a_block_hold_what_is_written_to_them():
    block = HugePages([WIDE * WIDE, 7, WIDE * WIDE], torch.float64)
    tensors = [block.like(torch.empty(shape)) for shape in ((WIDE, WIDE), (7,), (2, WIDE, WIDE // 2))]
    for number, tensor in enumerate(tensors):
        tensor.fill_(float(number))
    assert [tensor.dtype for tensor in tensors] == [torch.float64] * 3
    assert [bool((tensor == number).all()) for number, tensor in enumerate(tensors)] == [True] * 3
    assert all(tensor.data_ptr() % memory.LINE == 0 for tensor in tensors)


def test_a_tensor_of_a_block_is_written_to_alone():
    block = HugePages([WIDE * WIDE] * 2, torch.float64)
    one, other = (block.like(torch.empty(WIDE, WIDE)).zero_() for _ in range(2))
    before = other._version
    one.add_(1.0)
    assert other._version == before
    assert not other.any()
    assert one.untyped_storage().nbytes() == one.nbytes
    assert one.untyped_storage()._cdata != other.untyped_storage()._cdata


def test_the_layout_of_a_tensor_stays():
    last = torch.rand(WIDE, 16, 8, 8).to(memory_format=torch.channels_last)
    block = HugePages([last.numel()], torch.float64)
    assert block.like(last).stride() == last.stride()


def test_more_tensors_than_were_told_have_memory_of_their_own():
    block = HugePages([WIDE * WIDE], torch.float64)
    made = [block.like(torch.empty(WIDE, WIDE)).fill_(number) for number in range(3)]
    assert [float(one.mean()) for one in made] == [0.0, 1.0, 2.0]


def test_a_system_without_such_memory_takes_its_own(monkeypatch):
    monkeypatch.delattr(memory.mmap, "MADV_HUGEPAGE", raising=False)
    assert HugePages([WIDE * WIDE], torch.float64).like(torch.empty(WIDE, WIDE)).shape == (WIDE, WIDE)


def test_a_wide_copy_holds_the_values_of_the_model():
    model = nn.Sequential(nn.Linear(WIDE, WIDE), nn.Linear(WIDE, WIDE, bias=False), nn.BatchNorm1d(WIDE))
    model[1].weight.requires_grad_(False)
    twin = wide_copy(model)
    for (name, tensor), (own, wide) in zip(model.state_dict().items(), twin.state_dict().items(), strict=True):
        assert name == own
        assert torch.equal(tensor.to(wide.dtype), wide), name
    assert [one.requires_grad for one in twin.parameters()] == [one.requires_grad for one in model.parameters()]
    assert torch.equal(copy.deepcopy(twin)[0].weight, twin[0].weight)


def test_the_memory_is_given_back_with_the_last_tensor():
    block = HugePages([WIDE * WIDE] * 2, torch.float64)
    piece, one = weakref.ref(block._memory), block.like(torch.empty(WIDE, WIDE))
    del block
    gc.collect()
    assert piece() is not None
    del one
    gc.collect()
    assert piece() is None
