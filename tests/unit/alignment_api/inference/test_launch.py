"""How a model server is started."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import pytest

from alignment_api.errors import NotServedError
from alignment_api.inference import launch
from alignment_api.inference.guard import environment
from alignment_api.models.cached import MANIFEST
from alignment_api.models.entry import Weights
from alignment_api.settings import Settings


def _command(tmp_path: Path, config: dict, rank: int = 8, **settings) -> dict[str, str]:
    (tmp_path / "config.json").write_text(json.dumps(config))
    weights = Weights(tmp_path, "bfloat16", rank)
    given = Settings(home=tmp_path, inference_command=("serve",), **settings)
    command = launch.server_command(given, weights, Path("/s"))
    assert command[0] == "serve"
    return dict(pairwise(command))


@pytest.mark.parametrize(
    ("config", "length"),
    [
        ({"max_position_embeddings": 96}, 96),
        ({"max_position_embeddings": 8192}, 300),
        ({"text_config": {"max_position_embeddings": 128}}, 128),
        ({}, 300),
    ],
)
def test_a_server_takes_no_more_than_the_model_and_the_operator_allow(tmp_path, config, length):
    command = _command(tmp_path, config, inference_max_model_len=300)
    assert command["--max-model-len"] == str(length)
    assert json.loads(command["--override-generation-config"]) == {"max_new_tokens": length}


def test_ranks_are_rounded_up_to_what_vllm_takes(tmp_path):
    for rank, allowed in ((1, 16), (16, 16), (17, 32), (320, 320), (400, 512)):
        assert _command(tmp_path, {}, rank)["--max-lora-rank"] == str(allowed)
    with pytest.raises(NotServedError, match="600"):
        _command(tmp_path, {}, 600)


def test_secrets_of_the_service_stay_out_and_settings_of_the_operator_stay_in():
    outer = {"ESSA_DATABASE_URL": "x", "OMP_NUM_THREADS": "9", "VLLM_HOST_IP": "10.0.0.1"}
    inner = environment(outer, threads=2)
    assert "ESSA_DATABASE_URL" not in inner
    assert inner["OMP_NUM_THREADS"] == "2"
    assert inner["VLLM_HOST_IP"] == "10.0.0.1"
    assert inner["VLLM_ALLOW_RUNTIME_LORA_UPDATING"] == "1"


def test_ranks_are_those_that_the_engines_know():
    settings = pytest.importorskip("workers.engines.vllm_settings")
    assert set(launch.RANKS) <= set(settings.RANKS)
    assert max(launch.RANKS) == max(settings.RANKS)


def test_the_cache_is_read_as_the_workers_write_it():
    cache = pytest.importorskip("workers.models.cache")
    assert cache.MANIFEST == MANIFEST


def test_settings_split_commands_and_arguments():
    given = Settings.from_environment(
        {"ESSA_INFERENCE_COMMAND": "env A=1 serve", "ESSA_INFERENCE_ARGS": "--dtype 'a b'"}
    )
    assert given.inference_command == ("env", "A=1", "serve")
    assert given.inference_args == ("--dtype", "a b")
