from __future__ import annotations

import json
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from essa.errors import AdapterError
from essa.parametrize.adapter import LoraModule, read_adapter, write_adapter


def _edit_config(folder: Path, **changes) -> None:
    path = folder / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def _edit_tensors(folder: Path, **changes) -> None:
    """Replace, add or (with None) drop tensors; a double underscore stands for a dot."""
    path = folder / "adapter_model.safetensors"
    tensors = load_file(path)
    for name, values in changes.items():
        tensors.pop(name.replace("__", "."), None)
        if values is not None:
            tensors[name.replace("__", ".")] = np.ascontiguousarray(values)
    save_file(tensors, path)


Q0 = "base_model__model__model__layers__0__self_attn__q_proj"


@pytest.fixture
def folder(tiny_adapter, tmp_path) -> Path:
    write_adapter(tiny_adapter(rank=4), tmp_path / "adapter")
    return tmp_path / "adapter"


def test_a_written_adapter_reads_back_bit_equal(tiny_adapter, folder):
    original, restored = tiny_adapter(rank=4), read_adapter(folder)
    assert [m.name for m in restored.modules] == [m.name for m in original.modules]
    for ours, theirs in zip(restored.modules, original.modules, strict=True):
        assert np.array_equal(ours.lora_A, theirs.lora_A)
        assert np.array_equal(ours.lora_B, theirs.lora_B)
        assert ours.scaling == theirs.scaling == 2.0
    assert restored.lora_alpha == 8.0
    assert restored.target_modules == ("q_proj", "k_proj", "v_proj", "o_proj")
    assert restored.base_model_name == "tiny"


def test_modules_come_in_model_order_beyond_ten_layers(tiny_adapter, tmp_path):
    adapter = tiny_adapter(rank=2)
    layers = [
        replace(module, name=module.name.replace("layers.1.", f"layers.{number}."))
        for number in (11, 2)
        for module in adapter.modules[4:]
    ]
    write_adapter(replace(adapter, modules=tuple(layers[::-1])), tmp_path / "a")
    names = [module.name for module in read_adapter(tmp_path / "a").modules]
    assert [name.split(".")[2] for name in names] == ["2"] * 4 + ["11"] * 4
    assert [name.split(".")[-1] for name in names[:4]] == ["q_proj", "k_proj", "v_proj", "o_proj"]


def test_writing_replaces_an_adapter_but_no_other_folder(tiny_adapter, folder, tmp_path):
    (folder / "stale.txt").write_text("x")
    write_adapter(tiny_adapter(rank=2), folder, base_model_name="renamed")
    assert sorted(p.name for p in folder.iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
    ]
    assert read_adapter(folder).base_model_name == "renamed"
    assert [p.name for p in tmp_path.iterdir()] == ["adapter"]

    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("precious")
    with pytest.raises(AdapterError, match="not a PEFT adapter"):
        write_adapter(tiny_adapter(rank=2), tmp_path / "thesis")
    assert (tmp_path / "thesis" / "chapter.txt").read_text() == "precious"


def test_a_failed_write_leaves_the_old_adapter(tiny_adapter, folder, tmp_path, monkeypatch):
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_adapter(tiny_adapter(rank=2), folder)
    assert read_adapter(folder).modules[0].rank == 4
    assert [p.name for p in tmp_path.iterdir()] == ["adapter"]


def test_scaling_follows_patterns_and_rslora(tiny_adapter, tmp_path):
    adapter = tiny_adapter(rank=4)
    modules = tuple(
        m if not m.name.endswith("0.self_attn.v_proj") else _of_rank(m, 2) for m in adapter.modules
    )
    config = {
        **adapter.config,
        "rank_pattern": {"layers.0.self_attn.v_proj": 2},
        "alpha_pattern": {"v_proj": 6, ".*\\.1\\.self_attn\\.q_proj": 20},
    }
    write_adapter(replace(adapter, modules=modules, config=config), tmp_path / "a")
    scaling = {m.name[13:]: m.scaling for m in read_adapter(tmp_path / "a").modules}
    assert scaling["0.self_attn.q_proj"] == 8 / 4
    assert scaling["1.self_attn.q_proj"] == 20 / 4
    assert scaling["0.self_attn.v_proj"] == 6 / 2
    assert scaling["1.self_attn.v_proj"] == 6 / 4

    _edit_config(tmp_path / "a", use_rslora=True)
    scaling = {m.name[13:]: m.scaling for m in read_adapter(tmp_path / "a").modules}
    assert scaling["0.self_attn.v_proj"] == 6 / math.sqrt(2)


def _of_rank(module: LoraModule, rank: int) -> LoraModule:
    return replace(module, lora_A=module.lora_A[:rank], lora_B=module.lora_B[:, :rank])


def test_bfloat16_and_float16_tensors_are_read_without_torch(tiny_adapter, folder):
    torch = pytest.importorskip("torch")
    from safetensors.torch import load_file as load_torch
    from safetensors.torch import save_file as save_torch

    path = folder / "adapter_model.safetensors"
    tensors = load_torch(path)
    for dtype in (torch.bfloat16, torch.float16):
        save_torch({name: values.to(dtype) for name, values in tensors.items()}, path)
        read = "from essa.parametrize.adapter import read_adapter as r; import sys; "
        read += "print(repr(float(r(sys.argv[1]).modules[0].lora_A[1, 2])), 'torch' in sys.modules)"
        result = subprocess.run(
            [sys.executable, "-c", read, folder], capture_output=True, text=True, check=True
        )
        expected = float(tensors[Q0.replace("__", ".") + ".lora_A.weight"].to(dtype)[1, 2])
        assert result.stdout.split() == [repr(expected), "False"]


def test_an_adapter_saved_by_peft_reads_as_peft_computes_it(tiny_model, tmp_path):
    torch = pytest.importorskip("torch")
    peft = pytest.importorskip("peft")
    from transformers import AutoModelForCausalLM

    config = peft.LoraConfig(
        r=4,
        lora_alpha=10,
        target_modules=["q_proj", "v_proj"],
        rank_pattern={"v_proj": 2},
        use_rslora=True,
        init_lora_weights=False,
        task_type="CAUSAL_LM",
    )
    base = AutoModelForCausalLM.from_pretrained(tiny_model("llama"))
    model = peft.get_peft_model(base, config)
    model.save_pretrained(tmp_path / "peft")
    adapter = read_adapter(tmp_path / "peft")
    assert adapter.target_modules == ("q_proj", "v_proj")
    for module in adapter.modules:
        layer = model.base_model.model.get_submodule(module.name)
        x = torch.randn(3, module.lora_A.shape[1])
        with torch.no_grad():
            added = (layer(x) - layer.base_layer(x)).numpy()
        ours = module.scaling * x.numpy() @ module.lora_A.T @ module.lora_B.T
        assert ours == pytest.approx(added, abs=1e-4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"peft_type": "IA3"}, "IA3"),
        ({"use_dora": True}, "use_dora=True"),
        ({"bias": "all"}, "bias='all'"),
        ({"lora_bias": True}, "lora_bias"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"trainable_token_indices": [1]}, "trainable_token_indices"),
        ({"init_lora_weights": "pissa_niter_4"}, "pissa_niter_4"),
        ({"r": 8}, "rank 4.*says 8"),
        ({"r": 0}, "positive integers"),
        ({"lora_alpha": None}, "lora_alpha None"),
    ],
)
def test_what_is_not_plain_lora_is_refused_by_name(folder, changes, message):
    _edit_config(folder, **changes)
    with pytest.raises(AdapterError, match=message):
        read_adapter(folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({f"{Q0}__lora_magnitude_vector": np.ones(128, np.float32)}, "magnitude"),
        (
            {"base_model__model__model__embed_tokens__lora_embedding_A": np.ones((4, 9), "f4")},
            "lora_embedding_A",
        ),
        ({f"{Q0}__lora_B__weight": None}, "only lora_A"),
        ({f"{Q0}__lora_B__weight": np.ones((128, 3), "f4")}, r"\(4, 128\).*\(128, 3\)"),
        ({f"{Q0}__lora_A__weight": np.ones((4, 128, 1), "f4")}, "linear layer"),
        ({f"{Q0}__lora_B__weight": np.zeros((128, 4), "f4")}, r"1 of 8.*q_proj.*warm_start\.type"),
        ({f"{Q0}__lora_A__weight": np.full((4, 128), np.nan, "f4")}, "512 NaN or infinite"),
        ({f"{Q0}__lora_A__weight": np.ones((4, 128), np.int32)}, "I32"),
    ],
)
def test_unusable_tensors_are_refused_by_name(folder, changes, message):
    _edit_tensors(folder, **changes)
    with pytest.raises(AdapterError, match=message):
        read_adapter(folder)


def test_missing_and_broken_files_are_named(folder, tmp_path):
    with pytest.raises(AdapterError, match=r"adapter_config\.json.*warm_start\.path"):
        read_adapter(tmp_path)
    tensor_file = folder / "adapter_model.safetensors"
    tensor_file.write_bytes(tensor_file.read_bytes()[:100])
    with pytest.raises(AdapterError, match="unreadable"):
        read_adapter(folder)
    tensor_file.rename(folder / "adapter_model.bin")
    with pytest.raises(AdapterError, match="safe_serialization"):
        read_adapter(folder)
    (folder / "adapter_config.json").write_text("{")
    with pytest.raises(AdapterError, match="not JSON"):
        read_adapter(folder)


def test_a_rank_above_the_layer_is_refused():
    wide = np.ones((9, 8), np.float32)
    with pytest.raises(AdapterError, match="rank 9"):
        LoraModule("k_proj", wide, np.ones((20, 9), np.float32), 1.0)
