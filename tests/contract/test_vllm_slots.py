"""The table row of every token, on vLLM's own objects, and what torch.compile makes of a layer."""

from __future__ import annotations

import pytest

pytest.importorskip("vllm")

import torch
from vllm.lora.layers import LoRAMapping
from vllm.lora.punica_wrapper.punica_cpu import PunicaWrapperCPU

from essa.errors import EngineError
from workers.engines.vllm_population import STEADY_ROWS, LayerBuffers, _write_slots

pytestmark = pytest.mark.engine

SLOTS: list[int | None] = [7, None, 2]


@pytest.fixture
def wrapper() -> PunicaWrapperCPU:
    return PunicaWrapperCPU(16, 4, "cpu")


def _write(wrapper: PunicaWrapperCPU, *adapters: int) -> list[int]:
    mapping = LoRAMapping(tuple(adapters), (0,), is_prefill=True)
    _write_slots(wrapper, mapping, SLOTS, len(SLOTS) + 1, 100)
    return wrapper.token_lora_indices.tolist()


def test_tokens_get_the_slot_of_their_adapter_and_the_last_row_without_one(wrapper):
    assert _write(wrapper, 2, 0, 7, 7) == [2, 3, 0, 0]


@pytest.mark.parametrize("lost", [1, 5, 99])
def test_an_adapter_without_a_slot_stops_the_step(wrapper, lost):
    before = _write(wrapper, 2, 0, 7)
    with pytest.raises(EngineError, match=rf"\[{lost}\].*3 slots"):
        _write(wrapper, 2, lost, 7)
    assert wrapper.token_lora_indices.tolist() == before


def test_slots_that_moved_after_the_population_was_written_stop_the_step(wrapper):
    wrapper.essa_slots = list(SLOTS)
    assert _write(wrapper, 2) == [2]
    wrapper.essa_slots = [2, None, 7]
    with pytest.raises(EngineError, match=r"anew.*\[2, 7\]"):
        _write(wrapper, 2)


def _buffers(device: str) -> LayerBuffers:
    return LayerBuffers(
        shrink=torch.zeros(8, 3, device=device),
        core=None,
        expand=torch.zeros(3, 8, device=device),
        first=torch.ones(5, 3, device=device),
        second=None,
        rank=3,
    )


def test_off_the_cpu_one_compiled_shape_serves_every_number_of_rows():
    """`meta` stands for a device that is not the CPU: shapes and guards, without numbers.

    vLLM drops torch's guards and runs the first graph for all batches, so there must be one.
    """
    from torch._dynamo.testing import CompileCounter

    counter = CompileCounter()
    torch._dynamo.reset()
    buffers = _buffers("meta")
    shrunk = torch.compile(buffers.shrunk, backend=counter, dynamic=True, fullgraph=True)
    for rows in (3 * STEADY_ROWS, STEADY_ROWS - 1, STEADY_ROWS - 2):
        slots = torch.zeros(rows, dtype=torch.int64, device="meta")
        hidden = shrunk(torch.zeros(rows, 8, device="meta"), slots)
        assert hidden.shape == (rows, 3)
    assert counter.frame_count == 1


def test_on_the_cpu_few_rows_are_filled_up_and_cut_again():
    buffers = _buffers("cpu")
    hidden = buffers.shrunk(torch.zeros(1, 8), torch.zeros(1, dtype=torch.int64))
    assert hidden.shape == (1, 3)
