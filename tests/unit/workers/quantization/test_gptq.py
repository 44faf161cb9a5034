"""GPTQ against rounding to nearest: on single weights, and through the blocks of a tiny model."""

from __future__ import annotations

import random
import shutil
from contextlib import ExitStack
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from essa.errors import SpecError
from essa.spec import Precision, QuantizationMethod, QuantizationSpec
from workers.quantization.dequantize import dequantized_state_dict
from workers.quantization.gptq import DAMPING, feedback_of, round_gptq
from workers.quantization.hessian import output_energy, relative_error
from workers.quantization.quantize import linear_shapes, quantize_folder
from workers.quantization.rounding import bounds, round_nearest, scale_for
from workers.quantization.schemes import scheme_for

WIDTH = 192
GROUP = 64
INT8 = scheme_for(Precision.INT8, {})
INT4 = scheme_for(Precision.INT4, {"a": (1, WIDTH)}, GROUP)
SCHEMES = pytest.mark.parametrize("scheme", [INT8, INT4], ids=["int8", "int4"])


def ignore(message: str) -> None:
    del message


def random_weight(seed: int = 0) -> torch.Tensor:
    return torch.randn(48, WIDTH, generator=torch.Generator().manual_seed(seed))


def correlated_hessian(seed: int = 1, tokens: int = 4 * WIDTH) -> torch.Tensor:
    """Of inputs that are mixtures of a few sources, plus some noise, of unequal size."""
    generator = torch.Generator().manual_seed(seed)
    sources = torch.randn(tokens, WIDTH // 8, generator=generator)
    mixing = torch.randn(WIDTH // 8, WIDTH, generator=generator)
    inputs = sources @ mixing + 0.3 * torch.randn(tokens, WIDTH, generator=generator)
    inputs *= torch.rand(WIDTH, generator=generator) + 0.1
    return 2 * inputs.T @ inputs


def gptq(weight, hessian, scheme, **settings):
    feedback = feedback_of(hessian, **settings)
    return round_gptq(weight, scale_for(weight, scheme), feedback, bounds(scheme))


@SCHEMES
@pytest.mark.parametrize("is_ordered", [True, False])
def test_error_on_correlated_inputs_is_far_below_that_of_rounding(scheme, is_ordered):
    weight, hessian = random_weight(), correlated_hessian()
    found = relative_error(
        weight, gptq(weight, hessian, scheme, is_ordered=is_ordered).weight(), hessian
    )
    nearest = relative_error(weight, round_nearest(weight, scheme).weight(), hessian)
    assert found < 0.5 * nearest


@SCHEMES
def test_uncorrelated_inputs_of_one_size_give_rounding_to_nearest(scheme):
    weight = random_weight()
    rounded = gptq(weight, 3.0 * torch.eye(WIDTH), scheme)
    assert torch.equal(rounded.integers, round_nearest(weight, scheme).integers)


@SCHEMES
def test_scales_are_those_of_the_unrounded_weights(scheme):
    weight = random_weight()
    rounded = gptq(weight, correlated_hessian(), scheme)
    assert torch.equal(rounded.scale, round_nearest(weight, scheme).scale)
    assert rounded.integers.min() >= bounds(scheme)[0]
    assert rounded.integers.max() <= bounds(scheme)[1]


def test_weight_is_not_modified():
    weight, hessian = random_weight(), correlated_hessian()
    before = weight.clone(), hessian.clone()
    gptq(weight, hessian, INT4)
    assert torch.equal(weight, before[0])
    assert torch.equal(hessian, before[1])


def test_ordering_makes_the_result_follow_a_permutation_of_the_inputs():
    """With one scale a channel, shuffled inputs must give the same integers, shuffled."""
    weight, hessian = random_weight(), correlated_hessian()
    shuffle = torch.randperm(WIDTH, generator=torch.Generator().manual_seed(2))
    straight = gptq(weight, hessian, INT8).integers
    shuffled = gptq(weight[:, shuffle], hessian[shuffle][:, shuffle], INT8).integers
    assert torch.equal(shuffled, straight[:, shuffle])
    unordered = gptq(weight, hessian, INT8, is_ordered=False).integers
    assert not torch.equal(unordered, straight)


def test_inputs_in_falling_order_are_taken_as_they_stand():
    weight, hessian = random_weight(), correlated_hessian()
    falling = torch.argsort(hessian.diagonal(), descending=True)
    hessian = hessian[falling][:, falling]
    ordered, plain = (gptq(weight, hessian, INT4, is_ordered=choice) for choice in (True, False))
    assert torch.equal(ordered.integers, plain.integers)


@SCHEMES
def test_dead_inputs_are_rounded_to_nearest_and_change_nothing_else(scheme):
    weight, hessian = random_weight(), correlated_hessian()
    dead = torch.arange(5, WIDTH, 7)
    hessian[dead] = 0
    hessian[:, dead] = 0
    rounded = gptq(weight, hessian, scheme)
    nearest = round_nearest(weight, scheme)
    assert torch.equal(rounded.integers[:, dead], nearest.integers[:, dead])
    living = torch.tensor([column for column in range(WIDTH) if column not in set(dead.tolist())])
    assert not torch.equal(rounded.integers[:, living], nearest.integers[:, living])
    other = weight.clone()
    other[:, dead] = other[:, dead].roll(1, dims=1).clamp(-1, 1)
    # Same scales, so that only what is carried over from dead columns could differ.
    again = round_gptq(other, rounded.scale, feedback_of(hessian), bounds(scheme))
    assert torch.equal(again.integers[:, living], rounded.integers[:, living])


def test_a_layer_without_any_input_is_rounded_to_nearest():
    weight = random_weight()
    rounded = gptq(weight, torch.zeros(WIDTH, WIDTH), INT4)
    assert torch.equal(rounded.integers, round_nearest(weight, INT4).integers)


def test_damping_is_raised_on_a_singular_hessian_only():
    direction = torch.randn(WIDTH, generator=torch.Generator().manual_seed(3))
    singular = 2 * torch.outer(direction, direction)
    raised = feedback_of(singular, damping=1e-12)
    assert raised.damping > 1e-12
    assert torch.isfinite(raised.upper).all()
    assert feedback_of(correlated_hessian()).damping == DAMPING
    rounded = gptq(random_weight(), singular, INT4, damping=1e-12)
    found, nearest = (
        output_energy(random_weight() - one.weight(), singular)
        for one in (rounded, round_nearest(random_weight(), INT4))
    )
    assert found < nearest


@pytest.mark.parametrize("exponent", [-110, 110])
def test_inputs_near_the_ends_of_float32_give_the_same_integers(exponent):
    weight, hessian = random_weight(), correlated_hessian()
    expected = gptq(weight, hessian, INT4).integers
    assert torch.equal(gptq(weight, hessian * 2.0**exponent, INT4).integers, expected)


@pytest.fixture(scope="module")
def texts() -> list[str]:
    rng = random.Random(0)
    return ["".join(rng.choices("abcdefg 0123", k=80)) for _ in range(24)]


@pytest.fixture(scope="module")
def calibrated(tiny_model, texts, tmp_path_factory):
    """Reports and folders of the tiny models by GPTQ."""
    built = {}

    def build(architecture: str, precision: Precision):
        key = (architecture, precision)
        if key not in built:
            folder = tmp_path_factory.mktemp(f"gptq-{architecture}-{precision}")
            report = quantize_folder(
                tiny_model(architecture),
                folder,
                precision,
                ignore,
                settings=QuantizationSpec(method=QuantizationMethod.GPTQ),
                texts=texts,
            )
            built[key] = report, folder
        return built[key]

    return build


PRECISIONS = pytest.mark.parametrize("precision", [Precision.INT8, Precision.INT4])


@PRECISIONS
@pytest.mark.parametrize("architecture", ["llama", "qwen2"])
def test_every_layer_of_a_model_has_a_lower_error_than_by_rounding(
    calibrated, tiny_model, architecture, precision
):
    report, _ = calibrated(architecture, precision)
    names = {f"{error.module}.weight" for error in report.errors}
    assert names == linear_shapes(tiny_model(architecture)).keys()
    assert len(report.errors) == len(names)
    for error in report.errors:
        assert 0 < error.gptq < 0.8 * error.nearest, error


@PRECISIONS
def test_gptq_checkpoint_reads_back_as_the_integers_that_were_chosen(
    calibrated, tiny_model, precision
):
    _, folder = calibrated("llama", precision)
    rebuilt = dequantized_state_dict(folder)
    source = load_file(tiny_model("llama") / "model.safetensors")
    stored = load_file(folder / "model.safetensors")
    scheme = scheme_for(precision, linear_shapes(folder))
    assert rebuilt.keys() == source.keys()
    moved = 0
    for name in linear_shapes(folder):
        scale = stored[f"{name.removesuffix('.weight')}.weight_scale"].float()
        assert torch.equal(scale, scale_for(source[name], scheme))
        steps = rebuilt[name] / scale.repeat_interleave(rebuilt[name].shape[1] // scale.shape[1], 1)
        assert torch.all((steps - steps.round()).abs() < 1e-3)
        assert bounds(scheme)[0] <= steps.round().min() <= steps.round().max() <= bounds(scheme)[1]
        moved += (rebuilt[name] != round_nearest(source[name], scheme).weight()).sum().item()
    assert moved > 1000


def test_a_text_changes_the_integers_and_the_same_texts_give_the_same(
    tiny_model, texts, calibrated, tmp_path
):
    _, folder = calibrated("llama", Precision.INT4)
    same, other = tmp_path / "same", tmp_path / "other"
    settings = QuantizationSpec(method=QuantizationMethod.GPTQ)
    for target, given in ((same, texts), (other, [text.upper() for text in texts])):
        target.mkdir()
        quantize_folder(
            tiny_model("llama"), target, Precision.INT4, ignore, settings=settings, texts=given
        )
    weights = [(one / "model.safetensors").read_bytes() for one in (folder, same, other)]
    assert weights[0] == weights[1]
    assert weights[0] != weights[2]


def test_gptq_of_a_sharded_model_equals_that_of_one_file(tiny_model, texts, calibrated, tmp_path):
    from transformers import AutoModelForCausalLM

    _, whole = calibrated("llama", Precision.INT4)
    source, target = tmp_path / "source", tmp_path / "target"
    target.mkdir()
    shutil.copytree(tiny_model("llama"), source)
    (source / "model.safetensors").unlink()
    AutoModelForCausalLM.from_pretrained(tiny_model("llama")).save_pretrained(
        source, max_shard_size="300KB"
    )
    settings = QuantizationSpec(method=QuantizationMethod.GPTQ)
    quantize_folder(source, target, Precision.INT4, ignore, settings=settings, texts=texts)
    assert len(list(target.glob("*.safetensors"))) > 1
    assert sorted(path.name for path in target.iterdir() if path.is_dir()) == []
    expected, found = dequantized_state_dict(whole), dequantized_state_dict(target)
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[name], found[name]) for name in expected)


def test_progress_names_layer_and_seconds(tiny_model, texts, tmp_path):
    lines: list[str] = []
    settings = QuantizationSpec(method=QuantizationMethod.GPTQ, samples=4)
    quantize_folder(
        tiny_model("llama"), tmp_path, Precision.INT8, lines.append, settings=settings, texts=texts
    )
    assert lines[0] == "calibrating on 4 texts, 320 tokens"
    assert lines[1].startswith("gptq: layer 1 of 2, ")
    assert " s, output error " in lines[2]


def test_gptq_without_texts_is_refused(tiny_model, tmp_path):
    with pytest.raises(SpecError, match="gptq needs calibration texts") as caught:
        quantize_folder(
            tiny_model("llama"),
            tmp_path,
            Precision.INT4,
            ignore,
            settings=QuantizationSpec(method=QuantizationMethod.GPTQ),
        )
    assert caught.value.detail["field"] == "engine.quantization.calibration"


def test_a_text_without_a_token_is_left_out(calibrated, tiny_model, texts, tmp_path):
    expected, _ = calibrated("llama", Precision.INT8)
    report = quantize_folder(
        tiny_model("llama"),
        tmp_path,
        Precision.INT8,
        ignore,
        settings=QuantizationSpec(method=QuantizationMethod.GPTQ),
        texts=["", *texts],
    )
    assert report.errors == expected.errors


def test_texts_of_which_none_has_a_token_are_refused(tiny_model, tmp_path):
    with pytest.raises(SpecError, match="no calibration text has a token") as caught:
        quantize_folder(
            tiny_model("llama"),
            tmp_path,
            Precision.INT4,
            ignore,
            settings=QuantizationSpec(keep_int8=1),
            texts=["", ""],
        )
    assert caught.value.detail["field"] == "engine.quantization.calibration"


@pytest.mark.parametrize("method", ["rtn", "gptq"])
def test_weights_that_are_not_finite_are_refused_by_name(tiny_model, texts, tmp_path, method):
    source, target = tmp_path / "source", tmp_path / "target"
    target.mkdir()
    shutil.copytree(tiny_model("llama"), source)
    tensors = load_file(source / "model.safetensors")
    tensors["model.layers.1.mlp.down_proj.weight"][3, 4] = float("nan")
    save_file(tensors, source / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(SpecError, match=r"layers\.1\.mlp\.down_proj\.weight holds infinities"):
        quantize_folder(
            source,
            target,
            Precision.INT4,
            ignore,
            settings=QuantizationSpec(method=method),
            texts=texts,
        )


def test_inputs_that_are_not_finite_are_refused_by_layer(tiny_model, texts, tmp_path):
    source, target = tmp_path / "source", tmp_path / "target"
    target.mkdir()
    shutil.copytree(tiny_model("llama"), source)
    tensors = load_file(source / "model.safetensors")
    # Finite by themselves; their products with ordinary inputs are not.
    tensors["model.layers.0.mlp.up_proj.weight"][:] = 3e38
    save_file(tensors, source / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(SpecError, match=r"inputs of model\.layers\.0\.mlp\.down_proj"):
        quantize_folder(
            source,
            target,
            Precision.INT4,
            ignore,
            settings=QuantizationSpec(method=QuantizationMethod.GPTQ),
            texts=texts,
        )


@pytest.mark.parametrize("threads", [None, 1, 3])
def test_hidden_states_of_the_decoder_are_those_of_the_model(tiny_model, texts, threads):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from workers.machine.row_threads import RowThreads
    from workers.quantization.decoder import Decoder
    from workers.quantization.hessian import input_hessians

    folder: Path = tiny_model("qwen2")
    ids = [AutoTokenizer.from_pretrained(folder)(text).input_ids for text in texts[:2]]
    seen: list[torch.Tensor] = []
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    model.model.layers[1].mlp.down_proj.register_forward_pre_hook(
        lambda _module, inputs: seen.append(inputs[0][0])
    )
    with torch.no_grad():
        for one in ids:
            model(torch.tensor([one]))
    rows = torch.cat(seen)
    with ExitStack() as stack:
        apart = stack.enter_context(RowThreads(threads, 8)) if threads else None
        decoder = Decoder(folder, ids, apart)
        shared = []
        for index in range(len(decoder)):
            with decoder.block(index) as layers:
                shared = input_hessians(decoder, index, layers)
    found = {one.layers: one.hessian for one in shared}
    prefix = "model.layers.1"
    assert [sorted(name.removeprefix(f"{prefix}.") for name in names) for names in found] == [
        ["self_attn.k_proj", "self_attn.q_proj", "self_attn.v_proj"],
        ["self_attn.o_proj"],
        ["mlp.gate_proj", "mlp.up_proj"],
        ["mlp.down_proj"],
    ]
    torch.testing.assert_close(
        found[(f"{prefix}.mlp.down_proj",)], 2 * rows.T @ rows, rtol=1e-3, atol=1e-2
    )
