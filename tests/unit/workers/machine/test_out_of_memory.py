"""Memory that runs out is told with the setting that needs less of it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")

import torch

from essa.errors import TrainerError
from workers.machine.out_of_memory import is_out_of_memory, named_memory


def test_torchs_own_words_for_the_cpu_and_for_cuda_are_known():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**58, dtype=torch.uint8)
    assert is_out_of_memory(caught.value)
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"))
    assert is_out_of_memory(MemoryError())
    assert not is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))


def test_other_errors_pass_as_they_are():
    with pytest.raises(RuntimeError, match="shapes"), named_memory("it", "fix", "field"):
        raise RuntimeError("shapes cannot be multiplied")


_TRAINING = """
import resource, sys
from pathlib import Path

import torch
from essa.errors import TrainerError
from essa.spec import LoraSpec, SftSpec
from workers.warm_start.pairs import SftPair
from workers.warm_start.here import train_named

def train(pairs, batch_size):
    sft = SftSpec(batch_size=batch_size, max_length=96)
    out, ignored = Path(sys.argv[2]), lambda *told: None
    train_named(sys.argv[1], pairs, LoraSpec(rank=2), sft, 0, out, ignored, "float32")

pair = SftPair(tuple(range(3, 40)), tuple(range(3, 43)))
train([pair] * 2, 2)  # loads what torch loads once
if torch.cuda.is_available():
    torch.cuda.set_per_process_memory_fraction(400 * 2**20 / torch.cuda.mem_get_info()[1])
else:
    held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (held + 400 * 2**20,) * 2)
try:
    train([pair] * 6000, 6000)
except TrainerError as error:
    print(error, error.detail["field"])
"""


def told_by_a_training_without_memory(model: Path, out: Path) -> str:
    """What a warm start says in a process of its own that may have 400 MiB for tensors."""
    done = subprocess.run(
        [sys.executable, "-c", _TRAINING, model, out], capture_output=True, text=True, timeout=300
    )
    return done.stdout.strip() or done.stderr[-2000:]


def test_a_warm_start_that_needs_more_memory_than_there_is_names_its_batch(tiny_model, tmp_path):
    """A real allocation that is refused, by the kernel or by CUDA's allocator."""
    told = told_by_a_training_without_memory(tiny_model("llama"), tmp_path / "out")
    assert "the warm start ran out of memory" in told
    assert "lower warm_start.sft.batch_size, now 6000" in told
    assert told.endswith("warm_start.sft.batch_size")


def test_the_error_names_the_field(tmp_path):
    with pytest.raises(TrainerError) as caught, named_memory("it", "lower x", "method.x"):
        torch.empty(2**58, dtype=torch.uint8)
    assert caught.value.detail["field"] == "method.x"
    assert "lower x" in caught.value.message
