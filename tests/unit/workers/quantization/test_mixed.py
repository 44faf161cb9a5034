"""INT4 checkpoints in which the most sensitive layers stay INT8, and INT4's group sizes."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from essa.errors import SpecError
from essa.spec import Precision, QuantizationSpec
from workers.quantization.dequantize import dequantized_state_dict
from workers.quantization.quantize import linear_shapes, quantize_folder
from workers.quantization.schemes import SCHEMES, named_scheme, scheme_for
from workers.quantization.sensitivity import measured_sensitivities, merged_layers

ATTENTION = "model.layers.0.self_attn"
MLP = "model.layers.1.mlp"


def ignore(message: str) -> None:
    del message


@pytest.fixture(scope="module")
def texts() -> list[str]:
    rng = random.Random(1)
    return ["".join(rng.choices("abcdefg 0123", k=60)) for _ in range(8)]


@pytest.fixture(scope="module")
def uneven_model(tiny_model, tmp_path_factory) -> Path:
    """Outliers in one key and one gate projection, which int4 groups cannot hold."""
    folder = tmp_path_factory.mktemp("uneven") / "model"
    shutil.copytree(tiny_model("llama"), folder)
    tensors = load_file(folder / "model.safetensors")
    for name in (f"{ATTENTION}.k_proj.weight", f"{MLP}.gate_proj.weight"):
        tensors[name][:, ::32] *= 20
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def modules_of(folder: Path) -> list[str]:
    return [name.removesuffix(".weight") for name in linear_shapes(folder)]


def quantized(model: Path, folder: Path, texts: list[str], **settings):
    folder.mkdir(exist_ok=True)
    spec = QuantizationSpec(**settings)
    return quantize_folder(model, folder, Precision.INT4, ignore, settings=spec, texts=texts)


def test_a_layer_is_what_vllm_merges(tiny_model):
    layers = merged_layers(modules_of(tiny_model("llama")))
    assert len(layers) == 8
    assert layers[:4] == [
        (f"{ATTENTION}.q_proj", f"{ATTENTION}.k_proj", f"{ATTENTION}.v_proj"),
        (f"{ATTENTION}.o_proj",),
        ("model.layers.0.mlp.gate_proj", "model.layers.0.mlp.up_proj"),
        ("model.layers.0.mlp.down_proj",),
    ]


def test_projections_of_unknown_merging_are_refused():
    with pytest.raises(SpecError, match=r"has model\.layers\.0\.attn\.q_a_proj.*keep_int8 to 0"):
        merged_layers(["model.layers.0.attn.q_a_proj"])


def test_sensitivity_is_the_relative_error_of_the_layers_outputs(tiny_model, texts):
    folder = tiny_model("llama")
    shapes = linear_shapes(folder)
    scheme = scheme_for(Precision.INT4, shapes)
    ids = [list(range(3, 40)), list(range(20, 80))]
    found = measured_sensitivities(folder, modules_of(folder), scheme, ids, ignore)
    assert [one.error for one in found] == sorted((one.error for one in found), reverse=True)
    rebuilt = _rounded_weights(folder)
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    inputs: list[torch.Tensor] = []
    target = model.model.layers[1].mlp
    target.gate_proj.register_forward_pre_hook(lambda _layer, given: inputs.append(given[0][0]))
    with torch.no_grad():
        for one in ids:
            model(torch.tensor([one]))
        rows = torch.cat(inputs)
        lost = whole = 0.0
        for name in ("gate_proj", "up_proj"):
            outputs = getattr(target, name)(rows)
            lost += (outputs - rows @ rebuilt[f"{MLP}.{name}.weight"].T).square().sum().item()
            whole += outputs.square().sum().item()
    (expected,) = (one for one in found if one.modules[0] == f"{MLP}.gate_proj")
    assert expected.error == pytest.approx(lost / whole, rel=1e-3)


def _rounded_weights(folder: Path) -> dict[str, torch.Tensor]:
    from workers.quantization.rounding import round_nearest

    scheme = scheme_for(Precision.INT4, linear_shapes(folder))
    weights = load_file(folder / "model.safetensors")
    return {name: round_nearest(weights[name], scheme).weight() for name in linear_shapes(folder)}


def test_sensitivity_without_texts_is_that_of_the_weights(uneven_model):
    scheme = scheme_for(Precision.INT4, linear_shapes(uneven_model))
    found = measured_sensitivities(uneven_model, modules_of(uneven_model), scheme, (), ignore)
    weights, rounded = load_file(uneven_model / "model.safetensors"), _rounded_weights(uneven_model)
    (down,) = (one for one in found if one.modules == (f"{MLP}.down_proj",))
    name = f"{MLP}.down_proj.weight"
    lost = (weights[name] - rounded[name]).square().sum() / weights[name].square().sum()
    assert down.error == pytest.approx(lost.item(), rel=1e-5)
    assert len(found) == 8


@pytest.mark.parametrize("method", ["rtn", "gptq"])
def test_the_kept_layers_are_int8_and_whole_merged_layers(uneven_model, texts, tmp_path, method):
    report = quantized(uneven_model, tmp_path, texts, method=method, keep_int8=2)
    kept = {module for layer in report.kept for module in layer.modules}
    assert len(report.kept) == 2
    assert report.kept[0].error >= report.kept[1].error
    tensors = load_file(tmp_path / "model.safetensors")
    for module in modules_of(uneven_model):
        assert (f"{module}.weight" in tensors) == (module in kept)
        assert (f"{module}.weight_packed" in tensors) == (module not in kept)
    config = json.loads((tmp_path / "config.json").read_text())["quantization_config"]
    assert config["format"] == "mixed-precision"
    assert config["config_groups"]["group_0"]["targets"] == ["Linear"]
    assert set(config["config_groups"]["group_1"]["targets"]) == kept
    assert [group["format"] for group in config["config_groups"].values()] == [
        "pack-quantized",
        "int-quantized",
    ]


def test_mixed_checkpoint_reads_back_within_half_a_step_of_its_own_scheme(
    uneven_model, texts, tmp_path
):
    report = quantized(uneven_model, tmp_path, texts, keep_int8=3)
    kept = {module for layer in report.kept for module in layer.modules}
    source = load_file(uneven_model / "model.safetensors")
    tensors = load_file(tmp_path / "model.safetensors")
    rebuilt = dequantized_state_dict(tmp_path)
    assert rebuilt.keys() == source.keys()
    for module in modules_of(uneven_model):
        name = f"{module}.weight"
        scale = tensors[f"{module}.weight_scale"].float()
        assert (scale.shape[1] == 1) == (module in kept or source[name].shape[1] == 128)
        step = scale.repeat_interleave(source[name].shape[1] // scale.shape[1], dim=1)
        assert torch.all((rebuilt[name] - source[name]).abs() <= (0.5 + 7.5 * 2**-8 + 1e-4) * step)


@pytest.mark.parametrize(("method", "keep", "tolerance"), [("gptq", 0, 1e-4), ("gptq", 3, 0.1)])
def test_transformers_runs_gptq_and_mixed_checkpoints(
    tiny_model, texts, tmp_path, method, keep, tolerance
):
    """INT4 equals its de-quantised weights; INT8 rounds activations on top of them."""
    model = tiny_model("qwen2")
    quantized(model, tmp_path, texts, method=method, keep_int8=keep)
    ids = torch.arange(3, 40)[None]
    plain = AutoModelForCausalLM.from_pretrained(model)
    plain.load_state_dict(dequantized_state_dict(tmp_path))
    with torch.no_grad():
        expected = plain.eval()(ids).logits
        actual = AutoModelForCausalLM.from_pretrained(tmp_path).eval()(ids).logits
    assert (actual - expected).norm() < tolerance * expected.norm()


def test_keeping_layers_lowers_the_error_of_the_model(uneven_model, texts, tmp_path):
    ids = torch.arange(3, 60)[None]
    model = AutoModelForCausalLM.from_pretrained(uneven_model).eval()
    with torch.no_grad():
        base = model(ids).logits
        errors = []
        for keep in (0, 2, 7):
            folder = tmp_path / str(keep)
            quantized(uneven_model, folder, texts, keep_int8=keep)
            model.load_state_dict(dequantized_state_dict(folder))
            errors.append((model(ids).logits - base).norm().item())
    assert errors[0] > errors[1] > errors[2]


def test_keeping_every_layer_is_refused_before_any_is_measured(tiny_model, texts, tmp_path):
    lines: list[str] = []
    with pytest.raises(SpecError, match=r"keep_int8 is 8 but the model has 8 layers.*at most 7"):
        quantize_folder(
            tiny_model("llama"),
            tmp_path,
            Precision.INT4,
            lines.append,
            settings=QuantizationSpec(keep_int8=8),
            texts=texts,
        )
    assert not [line for line in lines if line.startswith("sensitivity")]


def test_keeping_int8_layers_of_an_int8_model_is_refused(tiny_model, tmp_path):
    settings = QuantizationSpec(keep_int8=2)
    with pytest.raises(SpecError, match="keep_int8 is 2 but every layer is int8 already"):
        quantize_folder(
            tiny_model("llama"), tmp_path, Precision.INT8, ignore, settings=settings, texts=()
        )


def test_group_size_of_the_settings_is_used(tiny_model, tmp_path):
    quantized(tiny_model("llama"), tmp_path, [], group_size=32)
    scale = load_file(tmp_path / "model.safetensors")[f"{MLP}.down_proj.weight_scale"]
    assert scale.shape == (128, 256 // 32)


def test_group_that_does_not_divide_a_layer_is_refused_with_those_that_do():
    shapes = {f"layer{width}.weight": (8, width) for width in (576, 1536)}
    with pytest.raises(
        SpecError, match=r"groups of 128 .* layer of 576; 64 and 32 divide"
    ) as caught:
        scheme_for(Precision.INT4, shapes, 128)
    assert "--scheme int4-w4a16-g64" in str(caught.value)
    assert caught.value.detail["field"] == "engine.quantization.group_size"


def test_schemes_have_names():
    assert named_scheme("int4-w4a16-g64") == (Precision.INT4, 64)
    assert named_scheme("int8-w8a8") == (Precision.INT8, None)
    with pytest.raises(SpecError, match=r"no scheme 'int4'.*int8-w8a8, int4-w4a16-g128"):
        named_scheme("int4")
    assert len(SCHEMES) == 4
