"""vLLM as an engine: the whole population decodes in one continuous batch.

One thread owns vLLM and builds, feeds and steps it. Calls from other threads are put into a queue
and share the batch; `load_basis` and `set_population` wait until the batch has drained.
"""

from __future__ import annotations

import logging
import os
import queue
import tempfile
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from essa.errors import EngineError, EngineStartError, EngineStoppedError
from essa.parametrize.engine_basis import EngineBasis
from essa.types import Completion
from workers.engines.base import BASE, Engine, EngineHealth, SamplingParameters, check_answers
from workers.engines.vllm_basis_file import write_basis
from workers.engines.vllm_settings import (
    RUNNER_ENVIRONMENT,
    VllmSettings,
    check_config,
    engine_arguments,
)
from workers.machine.cpu_capability import honour_lowered_capability

logger = logging.getLogger(__name__)


_NOTHING = SamplingParameters(max_tokens=1)
"""Parameters for scoring: vLLM must also generate, and one token is the least it accepts."""


@dataclass
class _Call:
    """One `generate` or `score` call in flight; only `score` has `answers`."""

    candidates: Sequence[int]
    prompts: Sequence[Sequence[int]]
    parameters: SamplingParameters
    future: Future[list[list[Completion]]]
    answers: Sequence[Sequence[int]] | None = None
    results: list[Any] = field(default_factory=list)
    missing: int = 0


@dataclass
class _Exclusive:
    """An action that needs an empty batch."""

    action: Callable[[], Any]
    future: Future[Any]


class VllmEngine(Engine):
    """See `Engine`. Construction blocks until the model is loaded.

    Raises:
        EngineStartError: vLLM could not be built; the message is vLLM's own.
    """

    def __init__(self, settings: VllmSettings) -> None:
        self._settings = settings
        self._inbox: queue.SimpleQueue[_Call | _Exclusive | None] = queue.SimpleQueue()
        self._waiting: _Exclusive | None = None
        self._owners: dict[str, tuple[_Call, int]] = {}
        self._digest: str | None = None
        self._width = 0
        self._population = 0
        self._generated = 0
        self._serial = 0
        self._closed = False
        started: Future[None] = Future()
        self._thread = threading.Thread(
            target=self._run, args=(started,), name="vllm-engine", daemon=True
        )
        self._thread.start()
        started.result()

    # -- the port ---------------------------------------------------------------------------

    def load_basis(self, basis: EngineBasis) -> None:
        if basis.rank > self._settings.rank:
            raise EngineError(
                f"the adapter has rank {basis.rank}, the engine was started for rank "
                f"{self._settings.rank}"
            )
        self._exclusively(lambda: self._load_basis(basis))

    def set_population(self, scales_N_S: NDArray[np.float32]) -> None:
        if self._digest is None:
            raise EngineError("load_basis must come before set_population")
        rows, width = scales_N_S.shape
        if width != self._width:
            raise EngineError(f"scales have {width} columns, the basis needs {self._width}")
        if rows > self._settings.max_population:
            raise EngineError(
                f"population of {rows} is larger than the engine's {self._settings.max_population};"
                " it is fixed by search.population when the engine starts"
            )
        blob = np.ascontiguousarray(scales_N_S, dtype=np.float32).tobytes()
        self._exclusively(lambda: self._set_population(blob, rows))

    def generate(
        self,
        candidates: Sequence[int],
        prompts: Sequence[Sequence[int]],
        parameters: SamplingParameters,
    ) -> list[list[Completion]]:
        self._check_candidates(candidates, prompts)
        longest = max((len(prompt) for prompt in prompts), default=0)
        if longest + parameters.max_tokens > self._max_model_len:
            raise EngineError(
                f"a prompt of {longest} tokens and rollout.max_tokens {parameters.max_tokens} "
                f"exceed engine.max_model_len {self._max_model_len}"
            )
        return self._ask(_Call(candidates, prompts, parameters, Future()))

    def score(
        self,
        candidates: Sequence[int],
        prompts: Sequence[Sequence[int]],
        answers: Sequence[Sequence[int]],
    ) -> list[list[Completion]]:
        self._check_candidates(candidates, prompts)
        check_answers(prompts, answers, self._max_model_len)
        return self._ask(_Call(candidates, prompts, _NOTHING, Future(), answers))

    def health(self) -> EngineHealth:
        return EngineHealth(
            engine="vllm",
            model=self._settings.model_path,
            device=self._device,
            basis_digest=self._digest,
            population=self._population,
            generated_tokens=self._generated + self._unfinished_tokens(),
        )

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._inbox.put(None)
            self._thread.join(timeout=30)

    def slots(self) -> dict[int, int]:
        """Return the vLLM slot of each adapter number (candidate + 1), read from the worker."""
        return self._exclusively(lambda: self._llm.collective_rpc("population_slots")[0])

    def _unfinished_tokens(self) -> int:
        """Count tokens of unfinished answers, in a copy of the list that the step loop changes."""
        states = list(self._llm.output_processor.request_states.values())
        return sum(state.detokenizer.num_output_tokens() for state in states if state.detokenizer)

    # -- callers' side ----------------------------------------------------------------------

    def _check_candidates(
        self, candidates: Sequence[int], prompts: Sequence[Sequence[int]]
    ) -> None:
        if len(candidates) != len(prompts):
            raise EngineError(f"{len(candidates)} candidates for {len(prompts)} prompts")
        unknown = [c for c in candidates if not BASE <= c < self._population]
        if unknown:
            raise EngineError(
                f"candidate {unknown[0]} is unknown; the population has {self._population}"
            )

    def _ask(self, call: _Call) -> list[list[Completion]]:
        if not call.prompts:
            return []
        call.results, call.missing = [None] * len(call.prompts), len(call.prompts)
        self._post(call)
        return call.future.result()

    def _post(self, message: _Call | _Exclusive) -> None:
        if self._closed or not self._thread.is_alive():
            raise EngineStoppedError("the engine is closed")
        self._inbox.put(message)

    def _exclusively(self, action: Callable[[], Any]) -> Any:
        message = _Exclusive(action, Future())
        self._post(message)
        return message.future.result()

    # -- the owning thread ------------------------------------------------------------------

    def _run(self, started: Future[None]) -> None:
        try:
            self._build()
        except BaseException as error:
            started.set_exception(
                EngineStartError(
                    f"vLLM did not start on {self._settings.model_path}: "
                    f"{type(error).__name__}: {error}"
                ).with_traceback(error.__traceback__)
            )
            return
        started.set_result(None)
        try:
            while self._turn():
                pass
            failure = EngineStoppedError("the engine was closed")
        except BaseException as error:
            # vLLM's state is unknown after a failed step: every call in flight fails.
            logger.exception("vLLM stopped")
            failure = EngineStoppedError(f"vLLM stopped: {type(error).__name__}: {error}")
        self._closed = True
        self._fail_all(failure)

    def _turn(self) -> bool:
        """Run one round: take messages, run what may run, step. Returns False to end the loop."""
        busy = bool(self._owners)
        while self._waiting is None:
            try:
                message = self._inbox.get(block=not busy)
            except queue.Empty:
                break
            if message is None:
                return False
            if isinstance(message, _Exclusive):
                self._waiting = message
            else:
                self._admit(message)
                busy = True
        if self._waiting is not None and not self._owners:
            exclusive, self._waiting = self._waiting, None
            _settle(exclusive.future, exclusive.action)
        if self._owners:
            for output in self._llm.step():
                if output.finished:
                    self._finish(output)
        return True

    def _build(self) -> None:
        # In-process vLLM: the step loop and the model share this process and its cores.
        if self._settings.tensor_parallel == 1:
            os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
        honour_lowered_capability()
        os.environ.update(RUNNER_ENVIRONMENT)
        from vllm import EngineArgs
        from vllm.platforms import current_platform
        from vllm.v1.engine.llm_engine import LLMEngine

        if current_platform.is_cpu():
            from workers.engines.vllm_cpu_kernels import install_cpu_kernels

            # vLLM's configuration names these kernels before its worker imports them.
            install_cpu_kernels()
        arguments = engine_arguments(self._settings, on_cpu=current_platform.is_cpu())
        self._llm = LLMEngine.from_engine_args(EngineArgs(**arguments))
        check_config(self._llm.vllm_config)
        self._reads_prefixes = not self._llm.vllm_config.scheduler_config.enable_chunked_prefill
        self._device = str(current_platform.device_type)
        self._max_model_len = self._llm.model_config.max_model_len
        self._tokenizer = self._llm.get_tokenizer()
        self._llm.collective_rpc("population_start", args=(self._settings.max_population,))

    def _load_basis(self, basis: EngineBasis) -> None:
        with tempfile.TemporaryDirectory(prefix="essa-basis-") as folder:
            path = str(Path(folder) / "basis.safetensors")
            write_basis(basis, path)
            self._llm.collective_rpc("population_load_basis", args=(path,))
        self._forget_prefixes()
        self._digest, self._width, self._population = basis.digest, basis.width, 0

    def _set_population(self, blob: bytes, rows: int) -> None:
        self._llm.collective_rpc("population_set_scales", args=(blob, rows))
        self._forget_prefixes()
        self._population = rows

    def _forget_prefixes(self) -> None:
        """Empty the prefix cache: its keys hold names of adapters, which now mean other ones."""
        if not self._llm.reset_prefix_cache():
            raise EngineError("vLLM did not empty its prefix cache, which would give false scores")

    def _admit(self, call: _Call) -> None:
        try:
            # If prompts are scored in parts, a preempted request would find parts in the cache that
            # other requests left there, and their log-probabilities would be uninitialised.
            reads_prefixes = call.answers is None or self._reads_prefixes
            for index in range(len(call.prompts)):
                self._add(call, index, reads_prefixes)
        except Exception as error:
            self._abandon(call)
            call.future.set_exception(EngineError(f"vLLM refused a prompt: {error}"))

    def _add(self, call: _Call, index: int, reads_prefixes: bool = True) -> None:
        from vllm import SamplingParams
        from vllm.inputs import TokensPrompt
        from vllm.lora.request import LoRARequest
        from vllm.sampling_params import RequestOutputKind

        parameters, candidate = call.parameters, call.candidates[index]
        sampled = parameters.temperature > 0
        token_ids = [*call.prompts[index], *(call.answers[index] if call.answers else ())]
        adapter = None
        if candidate != BASE:
            adapter = LoRARequest(str(candidate + 1), candidate + 1, "population")
        self._serial += 1
        name = self._llm.add_request(
            str(self._serial),
            TokensPrompt(prompt_token_ids=token_ids),
            SamplingParams(
                # Greedy samples are all alike; vLLM accepts only one.
                n=parameters.samples if sampled else 1,
                temperature=parameters.temperature,
                seed=parameters.seed + index * parameters.samples if sampled else None,
                max_tokens=parameters.max_tokens,
                ignore_eos=parameters.ignore_end,
                stop=list(parameters.stop) or None,
                logprobs=0 if parameters.with_logprobs else None,
                prompt_logprobs=None if call.answers is None else 0,
                # By default vLLM skips it, because cached tokens have no log-probabilities.
                skip_reading_prefix_cache=not reads_prefixes,
                # vLLM would decode token by token; one decode at the end is cheaper.
                detokenize=bool(parameters.stop),
                output_kind=RequestOutputKind.FINAL_ONLY,
            ),
            lora_request=adapter,
        )
        self._owners[_external(name)] = (call, index)

    def _finish(self, output: Any) -> None:
        owner = self._owners.pop(_external(output.request_id), None)
        if owner is None:
            return
        call, index = owner
        if call.answers is not None:
            if (output.num_cached_tokens or 0) >= len(call.prompts[index]):
                # Another answer begins alike, so part of this one was cached and not computed.
                self._add(call, index, reads_prefixes=False)
            else:
                self._settle_one(call, index, [_scored(output, call.answers[index])])
            return
        decode = not call.parameters.stop
        completions = [self._completion(sample, decode) for sample in output.outputs]
        copies = call.parameters.samples // len(completions)
        self._settle_one(call, index, completions * copies)

    def _settle_one(self, call: _Call, index: int, completions: list[Completion]) -> None:
        call.results[index] = completions
        call.missing -= 1
        if call.missing == 0:
            call.future.set_result(call.results)

    def _completion(self, sample: Any, decode: bool) -> Completion:
        token_ids = tuple(sample.token_ids)
        self._generated += len(token_ids)
        logprobs = None
        if sample.logprobs is not None:
            logprobs = tuple(
                entry[token].logprob
                for entry, token in zip(sample.logprobs, token_ids, strict=True)
            )
        reason = sample.finish_reason or "stop"
        text = sample.text
        if decode:
            # Without stop strings, `stop` means an end token, which is not part of the text.
            shown = token_ids[:-1] if reason == "stop" else token_ids
            text = self._tokenizer.decode(shown, skip_special_tokens=True)
        return Completion(text, token_ids, reason, logprobs)

    def _abandon(self, call: _Call) -> None:
        mine = [name for name, (owner, _) in self._owners.items() if owner is call]
        for name in mine:
            del self._owners[name]
        if mine:
            self._llm.abort_request(mine)

    def _fail_all(self, failure: BaseException) -> None:
        for call in {id(call): call for call, _ in self._owners.values()}.values():
            call.future.set_exception(failure)
        self._owners.clear()
        waiting: list[_Call | _Exclusive] = [self._waiting] if self._waiting else []
        while not self._inbox.empty():
            message = self._inbox.get()
            if message is not None:
                waiting.append(message)
        for message in waiting:
            message.future.set_exception(failure)


def _scored(output: Any, answer: Sequence[int]) -> Completion:
    """Return the log-probabilities of an answer, which is the end of the prompt."""
    found = output.prompt_logprobs[-len(answer) :]
    logprobs = tuple(entry[token].logprob for entry, token in zip(found, answer, strict=True))
    return Completion("", tuple(answer), "scored", logprobs)


def _external(request_id: str) -> str:
    """Return the id we gave, without the random suffix that vLLM 0.32 appends."""
    return request_id.split("-", 1)[0]


def _settle(future: Future[Any], action: Callable[[], Any]) -> None:
    try:
        future.set_result(action())
    except Exception as error:
        future.set_exception(error if isinstance(error, EngineError) else EngineError(str(error)))
