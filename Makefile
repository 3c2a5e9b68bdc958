# Every target sets up its own .venv first; `make demo` and `make test` are all a newcomer needs.
.DEFAULT_GOAL := help
VENV := .venv
PYTHON := $(VENV)/bin/python
SETUP := $(VENV)/.set-up
CONSTRAINTS := constraints.txt
INSTALL = $(VENV)/bin/uv pip install --quiet --python $(PYTHON) --constraint $(CONSTRAINTS)
DISTRIBUTIONS := kernels $(sort $(dir $(wildcard plugins/*/*/pyproject.toml)))
PROJECTS := pyproject.toml kernels/pyproject.toml kernels/hatch_build.py $(wildcard kernels/csrc/* plugins/*/*/pyproject.toml)

# Without compiled bytecode every start of Python compiles torch again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup demo test test-slow test-gpu coverage lint format docs notebooks site wheels bench bench-gpu clean

help: ## Show this help
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

setup: $(SETUP) ## Create .venv with all distributions, pinned by constraints.txt

$(SETUP): constraints.txt $(PROJECTS)
	test -x $(PYTHON) || python3 -m venv $(VENV)
	$(PYTHON) -m pip install --quiet --disable-pip-version-check --constraint $(CONSTRAINTS) uv
	$(INSTALL) torch torchvision torchaudio hatchling editables
	$(INSTALL) --no-build-isolation-package modrwkv-kernels --group dev \
	    --editable . $(addprefix --editable ,$(DISTRIBUTIONS))
	@$(PYTHON) -c "from modrwkv_kernels.native import build_summary; print('compiled CPU kernels:', build_summary())"
	touch $@

demo: $(SETUP) ## Train, evaluate and ask one model that sees, hears and forecasts
	rm -rf runs/demo
	$(VENV)/bin/modrwkv train examples/demo.yaml --run runs/demo
	$(VENV)/bin/modrwkv evaluate runs/demo

test: $(SETUP) ## Run the test suite
	OMP_NUM_THREADS=1 $(PYTHON) -m pytest -n auto --dist worksteal -m "not slow and not gpu"

test-slow: $(SETUP) ## Run the tests that take minutes
	$(PYTHON) -m pytest -m "slow"

test-gpu: $(SETUP) ## Run the tests that need a CUDA device
	$(PYTHON) -m pytest tests/gpu

coverage: $(SETUP) ## Run the test suite, print the lines that no test runs, and fail below the floor in pyproject.toml
	rm -f .coverage .coverage.*
	OMP_NUM_THREADS=1 $(PYTHON) -m pytest -n auto -m "not slow and not gpu" --cov --cov-report=term-missing

lint: $(SETUP) ## Check format, style, types, import rules, spelling and the workflows
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy --num-workers auto
	$(VENV)/bin/lint-imports
	$(VENV)/bin/codespell *.md .github docs modrwkv_core kernels plugins examples
	$(VENV)/bin/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(VENV)/bin/check-jsonschema --builtin-schema vendor.dependabot .github/dependabot.yml
	$(VENV)/bin/check-jsonschema --builtin-schema vendor.citation-file-format CITATION.cff

format: $(SETUP) ## Format and fix what can be fixed automatically
	$(VENV)/bin/ruff format .
	$(VENV)/bin/ruff check --fix .

docs: $(SETUP) ## Write docs/reference from the code
	$(PYTHON) docs/generate.py

notebooks: $(SETUP) ## Make the notebooks in docs/notebooks of their pages, and run them
	$(PYTHON) docs/notebooks.py

site: $(SETUP) ## Build the documentation as a site into site, failing on broken links
	$(VENV)/bin/mkdocs build --strict --quiet

wheels: $(SETUP) ## Build wheels of all distributions into dist
	rm -rf dist
	$(VENV)/bin/uv build --quiet --python $(PYTHON) --all-packages --wheel --no-build-isolation --out-dir dist

bench: $(SETUP) ## Measure this machine's CPU: start-up, training, linear layers, processors, a busy core
	$(VENV)/bin/modrwkv bench startup
	$(VENV)/bin/modrwkv bench train --device cpu
	$(VENV)/bin/modrwkv bench linear
	$(VENV)/bin/modrwkv bench processors
	$(VENV)/bin/modrwkv bench busy --threads 2

bench-gpu: $(SETUP) ## Test and measure all that runs on a CUDA device, in turns with installed baselines
	$(PYTHON) -m pytest tests/gpu
	$(VENV)/bin/modrwkv bench accuracy --device cuda --batch-size 1 --batch-size 32 --batch-size 128
	$(VENV)/bin/modrwkv bench wkv7 --device cuda
	$(VENV)/bin/modrwkv bench layer --device cuda
	$(VENV)/bin/modrwkv bench train --device cuda
	$(VENV)/bin/modrwkv bench prefill --device cuda
	$(VENV)/bin/modrwkv bench decode --device cuda --batch-size 1 --batch-size 32 --batch-size 128

clean: ## Remove .venv and caches
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
