from __future__ import annotations

from functools import partial

import pytest

from essa.errors import AdapterError
from essa.parametrize.basis import AdapterBasis
from essa.parametrize.codec import SingularValueCodec
from essa.parametrize.dimension import search_dimension, selected_count
from essa.spec.model import ATTENTION_MODULES

LAYERS = {"Qwen2.5-7B": 28, "Llama-3.1-8B": 32, "Qwen2.5-32B": 64, "Qwen2.5-72B": 80}
PAPER = {
    "Qwen2.5-7B": {2: 448, 4: 896, 8: 1792, 16: 3584, 32: 7168},
    "Llama-3.1-8B": {2: 512, 4: 1024, 8: 2048, 16: 4096, 32: 8192},
    "Qwen2.5-32B": {2: 1024, 4: 2048, 8: 4096, 16: 8192, 32: 16384},
    "Qwen2.5-72B": {2: 1280, 4: 2560, 8: 5120, 16: 10240, 32: 20480},
}


@pytest.mark.parametrize("model", LAYERS)
def test_dimension_equals_the_paper(model):
    measured = {
        rank: search_dimension(LAYERS[model], rank, ATTENTION_MODULES, alpha=1.0, target="factors")
        for rank in PAPER[model]
    }
    assert measured == PAPER[model]


def test_math_7b_at_rank_32_and_a_tenth_has_672():
    of = partial(search_dimension, 28, 32, ATTENTION_MODULES, alpha=0.1)
    assert (of(target="factors"), of(target="product")) == (672, 336)


@pytest.mark.parametrize("target", ["factors", "product"])
@pytest.mark.parametrize("alpha", [0.3, 0.5, 1.0])
def test_prediction_equals_the_codec(tiny_adapter, target, alpha):
    codec = SingularValueCodec(AdapterBasis.decompose(tiny_adapter(rank=4), target, alpha))
    predicted = search_dimension(2, 4, ATTENTION_MODULES, alpha=alpha, target=target)
    assert codec.dimension == predicted


@pytest.mark.parametrize("rank", range(1, 65))
def test_decimal_fractions_do_not_lose_a_value_to_rounding(rank):
    for tenths in range(1, 11):
        exact = tenths * rank // 10
        if exact:
            assert selected_count(tenths / 10, rank) == exact


def test_an_empty_selection_names_the_smallest_alpha():
    with pytest.raises(AdapterError, match=r"0\.1 of rank 8.*0\.125"):
        selected_count(0.1, 8)
    assert selected_count(0.125, 8) == 1
    with pytest.raises(AdapterError, match=r"0\.1 of rank 3.*0\.3334"):
        selected_count(0.1, 3)
    assert selected_count(0.3334, 3) == 1


@pytest.mark.parametrize("alpha", [0.0, -1.0, 1.1, float("nan")])
def test_alpha_outside_its_range_is_refused(alpha):
    with pytest.raises(AdapterError, match=r"search\.alpha"):
        selected_count(alpha, 8)
