# Every target sets up its own .venv first; `make demo` and `make test` are all a newcomer needs.
.DEFAULT_GOAL := help
VENV := .venv
PYTHON := $(VENV)/bin/python
SETUP := $(VENV)/.set-up
INSTALL = $(VENV)/bin/uv pip install --quiet --python $(PYTHON) --constraint constraints.txt
DISTRIBUTIONS := kernels $(sort $(dir $(wildcard plugins/*/*/pyproject.toml)))
PROJECTS := pyproject.toml kernels/pyproject.toml kernels/hatch_build.py $(wildcard kernels/csrc/* plugins/*/*/pyproject.toml)

# Without compiled bytecode every start of Python compiles torch again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup demo test test-slow test-gpu lint format docs bench bench-gpu clean

help: ## Show this help
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

setup: $(SETUP) ## Create .venv with all distributions, pinned by constraints.txt

$(SETUP): constraints.txt $(PROJECTS)
	test -x $(PYTHON) || python3 -m venv $(VENV)
	$(PYTHON) -m pip install --quiet --disable-pip-version-check --constraint constraints.txt uv
	$(INSTALL) torch torchvision torchaudio hatchling editables
	$(INSTALL) --no-build-isolation-package modrwkv-kernels --group dev \
	    --editable . $(addprefix --editable ,$(DISTRIBUTIONS))
	touch $@

demo: $(SETUP) ## Train, evaluate and ask one model that sees, hears and forecasts
	rm -rf runs/demo
	$(VENV)/bin/modrwkv train examples/demo.yaml --run runs/demo
	$(VENV)/bin/modrwkv evaluate runs/demo

test: $(SETUP) ## Run the test suite
	OMP_NUM_THREADS=1 $(PYTHON) -m pytest -n auto -m "not slow and not gpu"

test-slow: $(SETUP) ## Run the tests that take minutes
	$(PYTHON) -m pytest -m "slow"

test-gpu: $(SETUP) ## Run the tests that need a CUDA device
	$(PYTHON) -m pytest tests/gpu

lint: $(SETUP) ## Check format, style, types, import rules and spelling
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports
	$(VENV)/bin/codespell README.md docs modrwkv_core kernels plugins examples benchmarks

format: $(SETUP) ## Format and fix what can be fixed automatically
	$(VENV)/bin/ruff format .
	$(VENV)/bin/ruff check --fix .

docs: $(SETUP) ## Write docs/reference from the code
	$(PYTHON) docs/generate.py

bench: $(SETUP) ## Print this machine's start-up times, and its speed in training, products and loading
	$(PYTHON) benchmarks/startup.py
	$(PYTHON) benchmarks/train_cpu.py
	$(PYTHON) benchmarks/linear_cpu.py
	$(PYTHON) benchmarks/processors.py

bench-gpu: $(SETUP) ## Check and time everything that runs on a CUDA device, in turns with installed rivals
	$(PYTHON) -m pytest tests/gpu
	$(PYTHON) benchmarks/gpu_wkv7.py --no-sweep --fla
	$(PYTHON) benchmarks/gpu_train.py --rounds 1
	$(PYTHON) benchmarks/gpu_train.py --rounds 1 --recompute cheap --cases 0.45B:8:4096 --rivals llama fla
	$(PYTHON) benchmarks/gpu_decode.py

clean: ## Remove .venv and caches
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
