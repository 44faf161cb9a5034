from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from essa.errors import SpecError
from essa.spec import Precision
from tests.narrowing import present
from workers.quantization import checkpoint_writer
from workers.quantization.dequantize import dequantized_state_dict, save_dequantized
from workers.quantization.quantize import linear_shapes, quantize_folder
from workers.quantization.schemes import scheme_for

Q_PROJ = "model.layers.0.self_attn.q_proj"


def ignore(message: str) -> None:
    del message


@pytest.fixture(scope="module")
def quantised(tiny_model, tmp_path_factory):
    folders: dict[tuple[str, Precision], Path] = {}

    def build(architecture: str, precision: Precision) -> Path:
        key = (architecture, precision)
        if key not in folders:
            folders[key] = tmp_path_factory.mktemp(f"{architecture}-{precision}")
            quantize_folder(tiny_model(architecture), folders[key], precision, ignore)
        return folders[key]

    return build


def test_int8_rounds_each_output_channel_to_the_nearest_step(tiny_model, quantised):
    weight = load_file(tiny_model("llama") / "model.safetensors")[f"{Q_PROJ}.weight"]
    tensors = load_file(quantised("llama", Precision.INT8) / "model.safetensors")
    stored, scale = tensors[f"{Q_PROJ}.weight"], tensors[f"{Q_PROJ}.weight_scale"]
    assert stored.dtype == torch.int8
    assert scale.dtype == torch.float32
    torch.testing.assert_close(scale[:, 0], weight.abs().amax(1) / 127.5)
    expected = torch.clamp(torch.round(weight / scale), -128, 127)
    assert torch.equal(stored.float(), expected)


def test_int4_scales_are_per_group_and_bf16(quantised):
    folder = quantised("llama", Precision.INT4)
    tensors = load_file(folder / "model.safetensors")
    out, width = linear_shapes(folder)[f"{Q_PROJ}.weight"]
    assert tensors[f"{Q_PROJ}.weight_packed"].shape == (out, width // 8)
    assert tensors[f"{Q_PROJ}.weight_scale"].shape == (out, width // 128)
    assert tensors[f"{Q_PROJ}.weight_scale"].dtype == torch.bfloat16


@pytest.mark.parametrize("precision", [Precision.INT8, Precision.INT4])
@pytest.mark.parametrize("architecture", ["llama", "qwen2"])
def test_dequantised_weights_are_within_half_a_step(tiny_model, quantised, architecture, precision):
    source = load_file(tiny_model(architecture) / "model.safetensors")
    folder = quantised(architecture, precision)
    rebuilt = dequantized_state_dict(folder)
    assert rebuilt.keys() == source.keys()
    tensors = load_file(folder / "model.safetensors")
    targets = linear_shapes(folder)
    for name, weight in source.items():
        if name not in targets:
            assert torch.equal(rebuilt[name], weight)
            continue
        scale = tensors[f"{name.removesuffix('.weight')}.weight_scale"].float()
        step = scale.repeat_interleave(weight.shape[1] // scale.shape[1], dim=1)
        # The largest value lies half a step beyond the last integer, and int4's scale is bf16:
        # 7.5 steps of a scale rounded by up to 2**-8.
        assert torch.all((rebuilt[name] - weight).abs() <= (0.5 + 7.5 * 2**-8 + 1e-4) * step)
        assert not torch.equal(rebuilt[name], weight)


def test_writing_tells_which_layer_of_how_many(tiny_model, tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint_writer, "TOLD_EVERY_S", 0.0)
    told: list[str] = []
    base = tiny_model("llama")
    quantize_folder(base, tmp_path, Precision.INT8, told.append)
    layers = len(linear_shapes(base))
    assert told == [
        f"int8: writing file 1 of 1, layer {layer} of {layers}" for layer in range(1, layers + 1)
    ]


def test_head_embeddings_and_norms_are_left_alone(tiny_model, quantised):
    source = load_file(tiny_model("llama") / "model.safetensors")
    tensors = load_file(quantised("llama", Precision.INT8) / "model.safetensors")
    for name in ("lm_head.weight", "model.embed_tokens.weight", "model.norm.weight"):
        assert torch.equal(tensors[name], source[name])


def test_dequantised_folder_loads_and_stays_close_to_the_base(tiny_model, quantised, tmp_path):
    save_dequantized(quantised("qwen2", Precision.INT8), tmp_path)
    ids = torch.arange(3, 40)[None]
    with torch.no_grad():
        base = AutoModelForCausalLM.from_pretrained(tiny_model("qwen2")).eval()(ids).logits
        rounded = AutoModelForCausalLM.from_pretrained(tmp_path).eval()(ids).logits.float()
    relative = (rounded - base).norm() / base.norm()
    assert 0 < relative < 0.1


@pytest.mark.parametrize(
    ("precision", "tolerance"), [(Precision.INT8, 0.1), (Precision.INT4, 1e-4)]
)
def test_transformers_runs_the_quantised_checkpoint(tiny_model, quantised, precision, tolerance):
    """INT4 equals its de-quantised weights; INT8 rounds activations on top of them."""
    ids = torch.arange(3, 40)[None]
    folder = quantised("llama", precision)
    plain = AutoModelForCausalLM.from_pretrained(tiny_model("llama"))
    plain.load_state_dict(dequantized_state_dict(folder))
    with torch.no_grad():
        expected = plain.eval()(ids).logits
        actual = AutoModelForCausalLM.from_pretrained(folder).eval()(ids).logits
    assert (actual - expected).norm() < tolerance * expected.norm()


@pytest.mark.parametrize(
    ("widths", "group"), [((256, 512), 128), ((576, 1536), 64), ((96, 160), 32)]
)
def test_int4_takes_the_largest_group_that_divides_every_layer(widths, group):
    shapes = {f"layer{width}.weight": (8, width) for width in widths}
    assert present(scheme_for(Precision.INT4, shapes).weights).group_size == group


def test_int4_of_odd_widths_is_refused():
    with pytest.raises(SpecError, match=r"multiples of 32.*\[100\].*engine\.precision"):
        scheme_for(Precision.INT4, {"layer.weight": (8, 100)})


def test_unquantised_precision_has_no_scheme():
    with pytest.raises(SpecError, match="bf16 is not a quantised one"):
        scheme_for(Precision.BF16, {"layer.weight": (8, 128)})


def test_quantised_model_is_not_quantised_again(quantised, tmp_path):
    with pytest.raises(SpecError, match=r"quantised already.*engine\.precision to bf16"):
        quantize_folder(quantised("llama", Precision.INT8), tmp_path, Precision.INT8, ignore)


def test_weight_of_an_unknown_kind_is_refused_by_name(tiny_model, tmp_path):
    source = Path(shutil.copytree(tiny_model("llama"), tmp_path / "source"))
    tensors = load_file(source / "model.safetensors")
    tensors["model.layers.0.experts.gate_up"] = torch.zeros(2, 4, 4)
    save_file(tensors, source / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(SpecError, match=r"experts\.gate_up"):
        quantize_folder(source, tmp_path, Precision.INT8, ignore)


def test_sharded_model_keeps_its_shards_and_gets_a_new_index(tiny_model, quantised, tmp_path):
    source = tmp_path / "source"
    target = tmp_path / "target"
    target.mkdir()
    shutil.copytree(tiny_model("llama"), source)
    (source / "model.safetensors").unlink()
    AutoModelForCausalLM.from_pretrained(tiny_model("llama")).save_pretrained(
        source, max_shard_size="300KB"
    )
    quantize_folder(source, target, Precision.INT8, ignore)
    index = json.loads((target / "model.safetensors.index.json").read_text())["weight_map"]
    assert len(set(index.values())) > 1
    whole = load_file(quantised("llama", Precision.INT8) / "model.safetensors")
    assert index.keys() == whole.keys()
    for name, file in index.items():
        assert torch.equal(load_file(target / file)[name], whole[name])
