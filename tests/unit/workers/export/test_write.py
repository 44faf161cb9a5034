"""What lies in an export of a run, and what its model card says."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml

pytest.importorskip("torch")

from essa.errors import JobConflictError, SpecError
from essa.parametrize.adapter import read_adapter
from essa.spec import Precision, QuantizationSpec
from essa.spec.export import ExportSpec
from tests.unit.workers.export.export_run import LAST, SELECTED, vector, write_run
from workers.export.card import model_card
from workers.export.licence import base_licence
from workers.export.provenance import CheckpointRecord, Provenance, read_provenance
from workers.export.source import RunSource
from workers.export.write import write_export
from workers.models.store import ModelStore


@pytest.fixture(scope="module")
def run(tiny_model, tiny_adapter, tmp_path_factory) -> dict:
    """A finished run on a base of its own, with the cache that it used."""
    folder = tmp_path_factory.mktemp("run")
    model = tiny_model("llama")
    cache = folder / "cache"
    codec = write_run(folder / "run", model, tiny_adapter(), cache_dir=cache)
    return {"dir": folder / "run", "cache": cache, "model": model, "codec": codec}


def _export(run: dict, folder: Path, **spec) -> tuple[Path, list[str]]:
    folder.mkdir()
    said: list[str] = []
    write_export(
        run["dir"], ExportSpec(**spec), folder, cache_dir=run["cache"], progress=said.append
    )
    return folder, said


def _card(folder: Path) -> tuple[dict, str]:
    _, front, body = (folder / "README.md").read_text().split("---\n", 2)
    return yaml.safe_load(front), body


def test_the_selected_adapter_goes_out_byte_for_byte_with_its_card(run, tmp_path):
    folder, _ = _export(run, tmp_path / "out")
    names = ["README.md", "adapter_config.json", "adapter_model.safetensors"]
    assert sorted(path.name for path in folder.iterdir()) == names
    for name in names[1:]:
        assert (folder / name).read_bytes() == (run["dir"] / "adapter" / name).read_bytes()


def test_the_selected_generation_rebuilt_from_its_vector_is_the_adapter_of_the_run(run, tmp_path):
    folder, _ = _export(run, tmp_path / "out", checkpoint=SELECTED)
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        assert (folder / name).read_bytes() == (run["dir"] / "adapter" / name).read_bytes()


def test_another_generation_has_the_factors_of_its_own_vector(run, tmp_path):
    folder, _ = _export(run, tmp_path / "out", checkpoint=LAST)
    expected = run["codec"].export(vector(run["codec"], LAST, 1.0))
    for found, one in zip(read_adapter(folder).modules, expected.modules, strict=True):
        assert np.array_equal(found.lora_A, one.lora_A)
        assert np.array_equal(found.lora_B, one.lora_B)
    body = _card(folder)[1]
    assert f"this export is generation {LAST}, which was not scored" in body


def test_generation_zero_is_the_warm_start(run, tmp_path, tiny_adapter):
    folder, _ = _export(run, tmp_path / "out", checkpoint=0)
    for found, one in zip(read_adapter(folder).modules, tiny_adapter().modules, strict=True):
        assert np.allclose(found.lora_B @ found.lora_A, one.lora_B @ one.lora_A, atol=1e-5)


def test_a_generation_that_was_not_kept_is_refused_with_those_that_were(run, tmp_path):
    with pytest.raises(SpecError, match=f"generations 0 to {LAST}"):
        _export(run, tmp_path / "out", checkpoint=LAST + 1)


def test_a_run_without_an_end_gives_its_generations_but_no_result(run, tmp_path):
    unfinished = tmp_path / "unfinished"
    for name in ("provenance.json", "basis.safetensors", "vectors"):
        source, place = run["dir"] / name, unfinished / name
        place.parent.mkdir(exist_ok=True)
        place.symlink_to(source)
    out = _export({**run, "dir": unfinished}, tmp_path / "out", checkpoint=2)[0]
    assert "its test set was not scored" in _card(out)[1]
    with pytest.raises(JobConflictError, match="no adapter"):
        _export({**run, "dir": unfinished}, tmp_path / "none")


def test_the_merged_model_is_a_whole_folder_with_a_card_of_its_own(run, tmp_path):
    folder, said = _export(run, tmp_path / "out", format="merged")
    names = {path.name for path in folder.iterdir()}
    assert {"model.safetensors", "config.json", "tokenizer.json", "generation_config.json"} <= names
    assert "adapter_config.json" not in names
    assert "merging file 1 of 1" in said
    front, body = _card(folder)
    assert front["library_name"] == "transformers"
    assert "vllm serve . --served-model-name aligned --dtype bfloat16" in body
    assert "rounded once more" in body


def test_a_base_that_has_changed_since_the_run_is_not_merged(run, tmp_path):
    found = read_provenance(run["dir"]).model_dump()
    found["base"]["digest"] = "f" * 64
    for name in ("basis.safetensors", "vectors", "adapter", "result.json"):
        (tmp_path / name).symlink_to(run["dir"] / name)
    Provenance.model_validate(found).save(tmp_path)
    with pytest.raises(SpecError, match=r"not the one that the run was made with.*ffffffffffff"):
        _export({**run, "dir": tmp_path}, tmp_path / "out", format="merged")


def test_a_quantised_export_keeps_the_adapter_apart(run, tmp_path):
    folder, _ = _export(run, tmp_path / "out", format="quantized")
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "adapter", "base"]
    config = json.loads((folder / "base" / "config.json").read_text())
    assert config["quantization_config"]["quant_method"] == "compressed-tensors"
    adapter = json.loads((folder / "adapter" / "adapter_config.json").read_text())
    assert adapter["base_model_name_or_path"] == "base"
    front, body = _card(folder)
    assert front["base_model_relation"] == "quantized"
    assert "vllm serve ./base" in body
    assert "--lora-modules aligned=./adapter" in body
    assert "The int8 base of this export was not scored." in body
    assert "On a CPU, vLLM 0.32 does not start with LoRA on an INT8 base" in body


def test_the_checkpoint_that_the_search_ran_on_is_taken_as_it_is(
    tiny_model, tiny_adapter, tmp_path
):
    model, cache = tiny_model("llama"), tmp_path / "cache"
    store = ModelStore(cache)
    base = store.base(_model_spec(model))
    settings = QuantizationSpec(group_size=32)
    kept = store.quantized(base, Precision.INT4, settings=settings)
    record = CheckpointRecord(precision=Precision.INT4, folder=str(kept), digest=store.digest(kept))
    write_run(tmp_path / "run", model, tiny_adapter(), cache_dir=cache, searched=record)
    run = {"dir": tmp_path / "run", "cache": cache}
    folder, said = _export(run, tmp_path / "out", format="quantized", precision="int4")
    assert "copying the int4 checkpoint of the run" in said
    # Groups of 32 are not what rounding anew would take.
    weights = "model.safetensors"
    assert _sha256(folder / "base" / weights) == _sha256(kept / weights)
    assert not list((folder / "base").glob("*.manifest"))
    assert "was not scored" not in _card(folder)[1]


def test_there_is_no_card_before_there_are_vectors(run, tmp_path):
    (tmp_path / "provenance.json").symlink_to(run["dir"] / "provenance.json")
    for checkpoint, words in ((None, "no adapter"), (1, "no mean vectors")):
        with pytest.raises(JobConflictError, match=words):
            model_card(RunSource(tmp_path), ExportSpec(checkpoint=checkpoint))


def test_the_card_tells_scores_data_spec_versions_and_licence(run):
    card = model_card(RunSource(run["dir"]), ExportSpec())
    _, front, body = card.split("---\n", 2)
    found = yaml.safe_load(front)
    assert found["base_model"] == run["model"].name
    assert found["library_name"] == "peft"
    assert found["license"] == "apache-2.0"
    # A name cannot break out of its line, nor become HTML.
    assert body.splitlines()[1] == "# polite \\| &lt;b>"
    rows = [line.strip("| ").split(" | ") for line in body.splitlines() if line.startswith("| ")]
    assert ["aligned", "bf16", "0.750", "0.700 to 0.800", "6", "0"] in rows
    assert ["warm start", "bf16", "0.250", "0.200 to 0.300", "6", "0"] in rows
    assert ["aligned", "bf16", "0.760", "0.710 to 0.810", "6", "0"] in rows
    assert ["train", "train.jsonl", "50, first 40", "28", f"`{'a' * 64}`"] in rows
    assert ["numpy", "2.0"] in rows
    assert f"selected generation {SELECTED} of {LAST}" in body
    assert "bound by the base's licence" in body
    spec = yaml.safe_load(body.split("```yaml\n")[1].split("\n```")[0])
    assert spec["seed"] == 11
    assert spec["search"]["type"] == "sep_cma_es"


def test_the_card_of_the_best_of_n_says_what_its_score_takes(run, tmp_path):
    shutil.copytree(run["dir"], tmp_path / "run")
    path = tmp_path / "run" / "provenance.json"
    written = json.loads(path.read_text())
    written["spec"]["method"] = {"type": "best_of_n", "samples": 5, "temperature": 0.8}
    path.write_text(json.dumps(written))
    card = model_card(RunSource(tmp_path / "run"), ExportSpec())
    assert "best of 5 answers sampled at temperature 0.8" in card
    assert "nothing selected" in card
    assert "optimistic" not in card
    assert "evolution" not in card.split("## Specification")[0]


def test_the_hub_reads_the_front_matter(run):
    hub = pytest.importorskip("huggingface_hub")
    card = hub.ModelCard(model_card(RunSource(run["dir"]), ExportSpec()))
    assert card.data.base_model == run["model"].name
    assert card.data.tags == ["essa", "evolution-strategies", "lora"]


def test_the_licence_is_found_where_the_base_names_it(tmp_path):
    spec = _model_spec(tmp_path)
    assert base_licence(spec, tmp_path) == (None, None, ())
    (tmp_path / "config.json").write_text('{"license": "mit"}')
    assert base_licence(spec, tmp_path).name == "mit"
    card = "---\nlicense: other\nlicense_name: house\nlicense_link: LICENSE\n---\n# Base\n"
    (tmp_path / "README.md").write_text(card)
    (tmp_path / "LICENSE.txt").write_text("terms")
    assert base_licence(spec, tmp_path) == ("house", "LICENSE", ("LICENSE.txt",))


def _model_spec(folder: Path):
    from essa.spec import ModelSpec

    return ModelSpec(path=str(folder))


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
