"""What engines are sized for before the adapter is there, and the codec that comes of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("ray")

from essa.errors import AdapterError
from essa.parametrize.adapter import write_adapter
from essa.parametrize.basis import AdapterBasis
from essa.spec import AlignmentJobSpec
from workers.job.search_codec import search_codec, search_layout


def job(warm_start: dict[str, Any], target: str, **changes: Any) -> AlignmentJobSpec:
    return AlignmentJobSpec.model_validate(
        {
            "model": {"path": "model"},
            "warm_start": warm_start,
            "data": {"train": {"path": "train.jsonl"}},
            "reward": {"type": "sentiment"},
            "search": {"type": "openai_es", "target": target},
            **changes,
        }
    )


@pytest.mark.parametrize("target", ["factors", "product", "weights"])
def test_engines_are_sized_as_the_codec_of_the_search_will_ask(target, tiny_adapter, tmp_path):
    folder: Path = tmp_path / "adapter"
    write_adapter(tiny_adapter(), folder)
    kind = "product" if target == "weights" else target
    basis = AdapterBasis.decompose(tiny_adapter(), kind, 1.0)
    spec = job({"type": "adapter", "path": str(folder)}, target)
    codec = search_codec(spec, basis, folder)
    assert search_layout(spec) == codec.layout
    assert (codec.digest == basis.digest) == (target != "weights")


def test_engines_of_a_warm_start_that_is_still_to_be_trained_are_sized_by_its_setting():
    warm_start = {
        "type": "rejection_sampling", "lora": {"rank": 5, "target_modules": ["v_proj", "q_proj"]}
    }  # fmt: skip
    layout = search_layout(job(warm_start, "factors"))
    assert (layout.rank, layout.modules, layout.has_core) == (5, ("v_proj", "q_proj"), True)
    assert layout.slots(16) == 16
    # Whatever `search` says, gradients move all weights.
    trained = search_layout(job(warm_start, "factors", method={"type": "grpo"}))
    assert (trained.has_core, trained.slots(16)) == (False, 1)


def test_an_adapter_that_is_not_there_is_named():
    with pytest.raises(AdapterError, match="no-such-adapter"):
        search_layout(job({"type": "adapter", "path": "no-such-adapter"}, "factors"))
