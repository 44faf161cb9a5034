# Two commands for a newcomer: `make demo` and `make test`.
VENV ?= .venv
VENV_GPU ?= .venv-gpu
BIN := $(VENV)/bin
BIN_GPU := $(VENV_GPU)/bin
# PYTHON=python3.12 takes that one instead of the newest that is there.
export PYTHON
# What an import compiles is kept, wherever make starts a Python.
unexport PYTHONDONTWRITEBYTECODE
LOCKS := deploy/requirements
INSTALL := tools/make_venv.sh
INSTALLER := tools/install.py tools/lock_file.py $(INSTALL) pyproject.toml

.PHONY: help install install-baseline install-dev install-gpu demo demo-gpu test test-fast test-gpu \
  test-small test-pythons check generate locks check-locks bench bench-gpu clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 18

install: $(VENV)/.installed ## make .venv with what runs jobs on CPUs
install-baseline: $(VENV)/.baseline ## add what jobs by gradients need
install-dev: $(VENV)/.dev ## add what tests and checks need
install-gpu: $(VENV_GPU)/.installed ## make .venv-gpu with what runs jobs on NVIDIA GPUs

# An environment that is not complete has no stamp.
$(VENV)/.installed: $(LOCKS)/core.txt $(LOCKS)/cpu.txt $(INSTALLER)
	@$(INSTALL) $(VENV) core cpu && touch $@

$(VENV)/.baseline: $(LOCKS)/baseline.txt $(VENV)/.installed
	@$(INSTALL) $(VENV) baseline && touch $@

$(VENV)/.dev: $(LOCKS)/unit.txt $(LOCKS)/dev.txt $(VENV)/.baseline
	@$(INSTALL) $(VENV) --compile unit dev && touch $@

$(VENV_GPU)/.installed: $(LOCKS)/core.txt $(LOCKS)/gpu.txt $(INSTALLER)
	@$(INSTALL) $(VENV_GPU) core gpu && touch $@

$(VENV_GPU)/.dev: $(LOCKS)/baseline.txt $(LOCKS)/unit.txt $(LOCKS)/dev.txt $(VENV_GPU)/.installed
	@$(INSTALL) $(VENV_GPU) --compile baseline unit dev && touch $@

demo: install ## align SmolLM2 over REST on this machine, in minutes
	@$(BIN)/python examples/upbeat/demo.py $(DEMO_ARGS)

demo-gpu: install-gpu ## the same on a GPU
	@$(BIN_GPU)/python examples/upbeat/demo.py $(DEMO_ARGS)

# Most of a test without engines is the start of some process, which keeps one core busy. An engine
# takes every core it may use: each process of its tests has a core of its own, and tests that need
# two run alone.
TEST_PROCESSES ?= 2

test: test-fast ## all tests that need no GPU
	ESSA_TEST_CORE_EACH=1 $(BIN)/python -m pytest -n $(TEST_PROCESSES) --dist loadfile \
	  -m "engine and not cores and not gpu"
	$(BIN)/python -m pytest -m "engine and cores and not gpu"

test-fast: $(VENV)/.dev ## the tests that start no engine
	$(BIN)/python -m pytest -n $(TEST_PROCESSES) --dist loadfile -m "not engine and not gpu and not small_cpu"

test-small: $(VENV)/.dev ## the whole path as on a CPU with AVX2 and no more
	$(BIN)/python -m pytest -m small_cpu --durations=0

test-gpu: $(VENV_GPU)/.dev ## the tests that need a GPU
	$(BIN_GPU)/python -m pytest -m gpu

test-pythons: ## the tests that need no PyTorch, on every supported Python of this machine
	@tools/test_pythons.sh $(VENV)

check: $(VENV)/.dev ## lint, format, layering, types, and syntax and library of the oldest Python
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/basedpyright --pythonpath $(BIN)/python
	$(BIN)/vermin --target=3.11- --violations --no-tips --quiet alignment_api essa reward workers tools

generate: $(VENV)/.dev ## write what is made from the code: JSON Schema, templates of the dashboard
	$(BIN)/python docs/make_schema.py
	$(BIN)/python examples/make_templates.py

bench: install ## every benchmark of the engine, an hour; BENCH_ARGS=--quick takes minutes
	$(BIN)/python benchmarks/suite.py $(BENCH_ARGS)

bench-gpu: install-gpu ## the same on a GPU
	$(BIN_GPU)/python benchmarks/suite.py $(BENCH_ARGS)

# pip of its own: `--dry-run` of older ones downloads every wheel.
build/locks/bin/python:
	python3 -m venv build/locks
	$@ -m pip install -q --upgrade pip packaging

locks: build/locks/bin/python ## write deploy/requirements/*.txt from pyproject.toml
	rm -f build/locks/*.json
	$< tools/write_locks.py

check-locks: build/locks/bin/python ## ask the package index for every pin, on every Python and platform
	$< tools/write_locks.py --resolve

clean: ## remove the environments and everything built
	rm -rf $(VENV) $(VENV_GPU) build *.egg-info
