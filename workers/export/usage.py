"""Commands and code for serving and loading an export, as shown in its model card."""

from __future__ import annotations

import shlex

from essa.spec import Precision
from essa.spec.export import ExportFormat, ExportSpec
from workers.engines.vllm_settings import RANKS
from workers.export.provenance import Provenance

SERVED_NAME = "aligned"


def serve_command(provenance: Provenance, spec: ExportSpec, rank: int) -> str:
    """Return the `vllm serve` command, to be run in the folder of the export."""
    precision = spec.precision or provenance.served.precision
    dtype = "float32" if precision is Precision.FP32 else "bfloat16"
    if spec.format is ExportFormat.MERGED:
        words = ["vllm", "serve", ".", "--served-model-name", SERVED_NAME, "--dtype", dtype]
        return shlex.join(words)
    base, adapter = [*served_base(provenance)], "."
    if spec.format is ExportFormat.QUANTIZED:
        base, adapter = ["./base"], "./adapter"
    largest = next((allowed for allowed in RANKS if allowed >= rank), rank)
    lora = ["--enable-lora", "--max-lora-rank", str(largest)]
    named = ["--lora-modules", f"{SERVED_NAME}={adapter}"]
    return shlex.join(["vllm", "serve", *base, "--dtype", dtype, *lora, *named])


def python_code(provenance: Provenance, spec: ExportSpec) -> str:
    """Return code that loads the export with transformers and PEFT."""
    if spec.format is ExportFormat.MERGED:
        lines = [
            "from transformers import AutoModelForCausalLM, AutoTokenizer",
            "",
            'model = AutoModelForCausalLM.from_pretrained(".")',
            'tokenizer = AutoTokenizer.from_pretrained(".")',
        ]
        return "\n".join(lines)
    is_apart = spec.format is ExportFormat.QUANTIZED
    base = "base" if is_apart else served_base(provenance)[0]
    lines = [
        "from peft import PeftModel",
        "from transformers import AutoModelForCausalLM, AutoTokenizer",
        "",
        f"base = AutoModelForCausalLM.from_pretrained({base!r})",
        f"model = PeftModel.from_pretrained(base, {'adapter' if is_apart else '.'!r})",
        f"tokenizer = AutoTokenizer.from_pretrained({base!r})",
    ]
    return "\n".join(lines)


def served_base(provenance: Provenance) -> list[str]:
    """Return the arguments for an adapter's base: the hub name if that base was served."""
    base, served = provenance.base, provenance.served
    if base.is_hub and served.precision in (Precision.BF16, Precision.FP32):
        return [base.name, *(("--revision", base.revision) if base.revision else ())]
    return [served.folder]
