"""A merged model holds base plus adapter, loads anywhere, and is written in bounded memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("peft")

import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from essa.errors import AdapterError, SpecError
from essa.parametrize.adapter import LoraAdapter, write_adapter
from workers.export.merged import merge_folder

PROMPT = [[5, 9, 30, 31, 7, 44]]


@pytest.fixture(params=["llama", "qwen2"])
def base(request, tiny_model) -> Path:
    return tiny_model(request.param)


def _logits(folder: Path, adapter: Path | None = None):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    if adapter is not None:
        model = PeftModel.from_pretrained(model, adapter)
    with torch.no_grad():
        return model.eval()(torch.tensor(PROMPT)).logits


def test_a_model_merged_in_float32_answers_as_base_and_adapter_in_peft(
    base, tiny_adapter, tmp_path
):
    adapter = tiny_adapter()
    write_adapter(adapter, tmp_path / "adapter")
    (tmp_path / "merged").mkdir()
    merge_folder(base, adapter, tmp_path / "merged", print, in_float32=True)
    apart, merged = _logits(base, tmp_path / "adapter"), _logits(tmp_path / "merged")
    assert torch.allclose(apart, merged, atol=1e-4)
    assert (apart - _logits(base)).abs().max() > 0.1


def test_many_files_hold_what_one_holds_and_load_by_their_index(base, tiny_adapter, tmp_path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    for folder in (whole, parts):
        folder.mkdir()
    merge_folder(base, tiny_adapter(), whole, print)
    said: list[str] = []
    merge_folder(base, tiny_adapter(), parts, said.append, shard_weights=40_000)
    files = sorted(parts.glob("*.safetensors"))
    assert len(files) == len(said) > 3
    assert files[0].name == f"model-00001-of-{len(files):05d}.safetensors"
    tensors = {name: value for file in files for name, value in load_file(file).items()}
    expected = load_file(whole / "model.safetensors")
    assert tensors.keys() == expected.keys() == load_file(base / "model.safetensors").keys()
    assert all(torch.equal(tensors[name], expected[name]) for name in expected)
    assert torch.equal(_logits(parts), _logits(whole))


def test_weights_keep_the_format_of_the_base_unless_float32_is_asked_for(
    tiny_model, tiny_adapter, tmp_path
):
    base = _in_bf16(tiny_model("llama"), tmp_path / "base")
    for name in ("plain", "exact"):
        (tmp_path / name).mkdir()
        merge_folder(base, tiny_adapter(), tmp_path / name, print, in_float32=name == "exact")
    plain = load_file(tmp_path / "plain" / "model.safetensors")
    exact = load_file(tmp_path / "exact" / "model.safetensors")
    assert {value.dtype for value in plain.values()} == {torch.bfloat16}
    assert {value.dtype for value in exact.values()} == {torch.float32}
    # Rounded once, from the exact sum.
    assert all(torch.equal(plain[name], exact[name].bfloat16()) for name in plain)
    config = json.loads((tmp_path / "exact" / "config.json").read_text())
    assert config["dtype"] == "float32"


def test_tokenizer_configurations_and_licence_go_with_the_weights(
    tiny_model, tiny_adapter, tmp_path
):
    base = _in_bf16(tiny_model("llama"), tmp_path / "base")
    (base / "chat_template.jinja").write_text("{{ messages[0].content }}")
    (base / "LICENSE").write_text("terms")
    (tmp_path / "merged").mkdir()
    merge_folder(base, tiny_adapter(), tmp_path / "merged", print)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "merged")
    assert (
        tokenizer.apply_chat_template([{"role": "user", "content": "hi"}], tokenize=False) == "hi"
    )
    assert (tmp_path / "merged" / "generation_config.json").is_file()
    assert (tmp_path / "merged" / "LICENSE").read_text() == "terms"


def test_an_adapter_of_another_model_is_refused_by_the_layer_that_does_not_fit(
    tiny_model, tiny_adapter, tmp_path
):
    base, adapter = tiny_model("llama"), tiny_adapter()
    strange = [_renamed(adapter, "model.layers.9.self_attn.q_proj"), _renamed(adapter, "lm_head")]
    for wrong, words in zip(strange, ("has no model.layers.9", "has shape"), strict=True):
        with pytest.raises(AdapterError, match=words):
            merge_folder(base, wrong, tmp_path, print)
    assert not list(tmp_path.iterdir())


def test_a_quantised_base_is_refused(tiny_model, tiny_adapter, tmp_path):
    base = _in_bf16(tiny_model("llama"), tmp_path / "base")
    config = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps(config | {"quantization_config": {}}))
    with pytest.raises(SpecError, match="format quantized"):
        merge_folder(base, tiny_adapter(), tmp_path, print)


MEMORY_SCRIPT = """
import json, re, sys
from pathlib import Path
import numpy as np, torch
from safetensors.torch import save_file
from essa.parametrize.adapter import LoraAdapter, LoraModule
from workers.export.merged import merge_folder

base, merged = Path(sys.argv[1]) / "base", Path(sys.argv[1]) / "merged"
base.mkdir()
merged.mkdir()
names = [f"layers.{i}.proj" for i in range(64)]
weights = {f"{name}.weight": torch.ones(1024, 1024, dtype=torch.bfloat16) for name in names}
save_file(weights, base / "model.safetensors")
del weights
(base / "config.json").write_text("{}")
A, B = np.ones((4, 1024), np.float32), np.ones((1024, 4), np.float32)
modules = tuple(LoraModule(name, A, B, 1.0) for name in names)
used = []

def note(_):
    status = Path("/proc/self/status").read_text()
    used.append(int(re.search(r"RssAnon:\\s+(\\d+)", status)[1]))

merge_folder(base, LoraAdapter(modules, {}), merged, note, shard_weights=2 * 2**20)
print(json.dumps(used))
"""


def test_memory_does_not_grow_with_the_model(tmp_path):
    # 128 MiB of weights in files of 4 MiB. Freed blocks go back at once, so that what is counted
    # is in use.
    done = subprocess.run(
        [sys.executable, "-c", MEMORY_SCRIPT, str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536"},
    )
    assert done.returncode == 0, done.stderr
    used_kib = json.loads(done.stdout.splitlines()[-1])
    assert len(used_kib) == 32
    assert max(used_kib[4:]) - max(used_kib[:4]) < 24 * 1024


def _renamed(adapter: LoraAdapter, name: str) -> LoraAdapter:
    first = adapter.modules[0]
    module = type(first)(name, first.lora_A, first.lora_B, first.scaling)
    return LoraAdapter((module,), adapter.config)


def _in_bf16(source: Path, folder: Path) -> Path:
    model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.bfloat16)
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(source).save_pretrained(folder)
    return folder
