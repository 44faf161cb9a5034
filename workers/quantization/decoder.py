"""Run calibration texts through a decoder, one block in memory at a time."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from essa.errors import SpecError
from reward.machine import usable_cores
from workers.quantization.rounding import checked_weight
from workers.weights.checkpoint import WeightReader

if TYPE_CHECKING:
    import torch

    from workers.machine.row_threads import RowThreads

Noted = TypeVar("Noted")
Layers = dict[str, "torch.nn.Linear"]
"""Linear layers of one block, by their full module names."""

Call = tuple[tuple[Any, ...], dict[str, Any]]
"""Arguments of a block beside the hidden state."""


class Decoder:
    """The blocks of a causal language model, and the hidden states on their way through them.

    Everything is computed in float32, on the GPU if there is one. Between blocks the hidden states
    are kept in main memory: float32, texts x tokens x width.
    """

    def __init__(
        self,
        folder: Path,
        sequences: Sequence[Sequence[int]],
        threads: RowThreads | None = None,
    ) -> None:
        """Embed the texts.

        Args:
            folder: the unquantised model.
            sequences: token ids of each text.
            threads: threads that each take one text at a time; None uses the caller's thread.
        Raises:
            SpecError: the model has no list of decoder blocks.
        """
        import torch
        from accelerate import init_empty_weights
        from transformers import AutoConfig, AutoModelForCausalLM

        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.threads = threads
        self._reader = WeightReader(folder)
        # Buffers are real: rotary frequencies are computed and not in any file.
        with init_empty_weights(include_buffers=False):
            model = AutoModelForCausalLM.from_config(
                AutoConfig.from_pretrained(folder), dtype=torch.float32
            ).eval()
        self._name, blocks = _find_blocks(model, folder)
        self._blocks = [copy.deepcopy(block) for block in blocks]
        self._hidden, self._calls = _embedded(model, self._name, blocks, sequences, self._reader)

    def __len__(self) -> int:
        """Number of blocks."""
        return len(self._blocks)

    @contextmanager
    def block(self, index: int) -> Iterator[Layers]:
        """Load a block; on exit, run the texts through it with the weights it has then.

        Each block must be entered once, in order.
        """
        import torch

        prefix = f"{self._name}.{index}."
        block = self._blocks[index]
        state = {name: self._load(prefix + name) for name in block.state_dict()}
        block.load_state_dict(state, assign=True)
        block.to(self._device).requires_grad_(False)
        yield {
            prefix + name: module
            for name, module in block.named_modules()
            if isinstance(module, torch.nn.Linear)
        }
        for text, hidden in enumerate(self._outputs(index)):
            self._hidden[text] = hidden
        block.to("meta")
        if self._device.type == "cuda":
            # Engines start in other processes, which cannot use memory that this one caches.
            torch.cuda.empty_cache()

    def run(self, index: int, read: Callable[[], Noted]) -> Iterator[Noted]:
        """Run the texts through a loaded block, to trigger hooks on its layers.

        Args:
            read: returns what the hooks noted for a text; called in the thread that ran the text.
        Returns:
            The result of `read` for each text, in order.
        """
        return (noted for _, noted in self._passes(index, read))

    def _outputs(self, index: int) -> Iterator[torch.Tensor]:
        return (output for output, _ in self._passes(index, lambda: None))

    def _passes(self, index: int, read: Callable[[], Noted]) -> Iterator[tuple[Any, Noted]]:
        import torch

        def one(text: int) -> tuple[torch.Tensor, Noted]:
            with torch.inference_mode():
                rest, named = _moved(self._calls[text][index], self._device)
                output = self._blocks[index](self._hidden[text].to(self._device), *rest, **named)
                return (output[0] if isinstance(output, tuple) else output).cpu(), read()

        texts = range(len(self._hidden))
        if self.threads is None:
            yield from map(one, texts)
            return
        # At most one text per thread at once: what hooks note for a text is large.
        for first in range(0, len(texts), self.threads.parts):
            yield from self.threads.map(one, texts[first : first + self.threads.parts])

    def _load(self, name: str) -> torch.Tensor:
        if name not in self._reader:
            raise SpecError(
                f"the model's files hold no {name}, which its architecture needs; set "
                "engine.quantization.method to rtn",
                field="engine.quantization.method",
            )
        tensor = self._reader.read(name)
        return checked_weight(name, tensor) if tensor.is_floating_point() else tensor


def text_threads(texts: int) -> RowThreads:
    """Return the threads for a number of calibration texts; a single one if there is a GPU."""
    import torch

    from workers.machine.row_threads import RowThreads

    return RowThreads(1 if torch.cuda.is_available() else len(usable_cores()), texts)


class _AllNotedError(Exception):
    """Ends a forward pass after its last block was called."""


def _find_blocks(model: Any, folder: Path) -> tuple[str, Any]:
    import torch

    count = model.config.get_text_config().num_hidden_layers
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.ModuleList) and len(module) == count:
            return name, module
    raise SpecError(
        f"the model in {folder} has no list of {count} decoder blocks to calibrate one by one; set "
        "engine.quantization.method to rtn",
        field="engine.quantization.method",
    )


def _embedded(
    model: Any,
    blocks_name: str,
    blocks: Any,
    sequences: Sequence[Sequence[int]],
    reader: WeightReader,
) -> tuple[list[torch.Tensor], list[list[Call]]]:
    """Run the layers before the blocks; return each text's hidden state and each block's call."""
    import torch

    decoder = model.get_decoder()
    prefix = next(f"{name}." for name, module in model.named_modules() if module is decoder)
    names = [name for name in decoder.state_dict() if prefix + name in reader]
    outside = [name for name in names if not (prefix + name).startswith(f"{blocks_name}.")]
    state = {name: reader.read(prefix + name) for name in outside}
    decoder.load_state_dict(state, strict=False, assign=True)
    # The embeddings may be large and stay in the checkpoint's format; the rest is float32.
    decoder.get_input_embeddings().register_forward_hook(lambda _m, _a, output: output.float())
    hidden: list[torch.Tensor] = []
    calls: list[list[Call]] = []

    def note(state: torch.Tensor, *rest: Any, **named: Any) -> torch.Tensor:
        if not calls[-1]:
            hidden.append(state)
        calls[-1].append((rest, named))
        if len(calls[-1]) == len(blocks):
            raise _AllNotedError
        return state

    for block in blocks:
        block.forward = note
    with torch.inference_mode():
        for ids in sequences:
            calls.append([])
            try:
                decoder(input_ids=torch.tensor([list(ids)]), use_cache=False)
            except _AllNotedError:
                continue
    return hidden, calls


def _moved(value: Any, device: torch.device) -> Any:
    """Return the value with every tensor moved to `device`."""
    import torch

    if isinstance(value, torch.Tensor):
        return value.to(device)
    if isinstance(value, tuple | list):
        return type(value)(_moved(one, device) for one in value)
    if isinstance(value, dict):
        return {name: _moved(one, device) for name, one in value.items()}
    return value
