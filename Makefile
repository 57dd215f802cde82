# Every target that needs it first installs .venv, the pinned CPU stack and the package; a second call skips this.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup demo test unit sweep soak real serve check docs bench clean requirements

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
LOG := $(VENV)/install.log

# Where the CPU build of torch comes from: the folder in PIP_FIND_LINKS, else PyTorch's CPU index.
TORCH_SOURCE ?= $(if $(PIP_FIND_LINKS),--find-links $(PIP_FIND_LINKS),--extra-index-url https://download.pytorch.org/whl/cpu)

# Required by the metadata, but not installed: CUDA builds that break a CPU-only torch, and 1 GB that is not used.
UNUSED := torchaudio torchcodec triton

# The platform of requirements/gpu.txt: the nodes of cluster.yaml.
GPU_PLATFORM := x86_64-manylinux_2_35

help: ## list the targets
	@sed -nE 's/^([a-z]+):.*## (.*)/  make \1|\2/p' Makefile | column -t -s '|'

setup: $(READY) ## .venv with the pinned CPU stack and this package (done by every other target)

demo: $(READY) ## the whole pipeline on the embedded corpus and checkpoint; report in runs/demo/report.html
	@$(BIN)/imageref demo

test: unit ## all tests, with real vLLM, DeepSpeed and Serve
	@$(BIN)/python -m pytest tests/train tests/ray tests/serve

unit: $(READY) ## the tests that load no model and start no Ray, two files at once
	@$(BIN)/python -m pytest -n 2 --dist loadfile tests/unit

sweep: $(READY) ## make unit with SWEEP times (25) as many examples of each property: at night
	@SWEEP=$(or $(SWEEP),25) $(BIN)/python -m pytest -n 2 --dist loadfile tests/unit

soak: $(READY) ## a pass on Ray whose driver or engine is killed KILLS times (200, hours) with SEED; files in runs/soak
	@rm -rf runs/soak
	@$(BIN)/python tests/soak.py runs/soak --cluster --kills $(or $(KILLS),200) --seed $(or $(SEED),7)

real: $(READY) ## two manuals (Debian packages, downloaded) read, previewed and built without a model; files in runs/real
	@PYTHONPATH=benchmarks $(BIN)/python benchmarks/manuals.py runs/real

serve: $(READY) ## the OpenAI-compatible endpoint and /v1/reference on http://127.0.0.1:8000
	@$(BIN)/imageref serve --config serve/config.yaml

check: $(READY) ## ruff (rules and format), mypy and the import rules
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python -m pytest -q --durations=0 tests/unit/test_architecture.py

docs: $(READY) ## the pages generated from the code, and the site in site/, in which a warning is an error
	@$(BIN)/python docs/generate.py
	@$(BIN)/zensical build --clean --strict

bench: $(READY) ## the numbers of README and docs, one file per claim
	@for file in $$(grep -l __main__ benchmarks/*.py); do echo "==> $$file"; $(BIN)/python "$$file"; done

clean: ## remove the files of runs and tools (keeps .venv)
	@rm -rf runs build dist site .cache *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	@find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +

requirements: $(READY) ## derive requirements/*.txt from pyproject.toml; versions already in them are kept
	@$(BIN)/uv pip compile --quiet pyproject.toml --extra cpu --extra dev --python-version 3.11 \
	  $(TORCH_SOURCE) --index-strategy unsafe-best-match $(UNUSED:%=--no-emit-package %) \
	  --no-annotate --no-header --output-file requirements/cpu.txt
	@sed -i 's/+cpu$$//' requirements/cpu.txt
	@# Packages of both files get the CPU file's version, which is the tested one, as far as vLLM's GPU build allows.
	@sort --stable --unique --field-separator '=' --key 1,1 requirements/cpu.txt <(grep -v '^#' requirements/gpu.txt) \
	  > $(VENV)/gpu.txt
	@$(BIN)/uv pip compile --quiet pyproject.toml --extra gpu --python-version 3.11 --python-platform $(GPU_PLATFORM) \
	  --no-annotate --no-header --output-file $(VENV)/gpu.txt
	@cat <(grep '^#' requirements/gpu.txt) $(VENV)/gpu.txt > $(VENV)/gpu.new && mv $(VENV)/gpu.new requirements/gpu.txt
	@git diff --stat requirements

$(READY): requirements/cpu.txt pyproject.toml
	@if [ ! -x $(BIN)/python ]; then \
	  for python in "$${PYTHON:-python3.11}" python3.12 python3; do \
	    "$$python" -c 'import sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))' 2>/dev/null && break || python=; \
	  done; \
	  [ -n "$$python" ] || { echo "No Python 3.11 or 3.12 found; name one: make PYTHON=/path/to/python3.11" >&2; exit 1; }; \
	  echo "==> $(VENV) with $$("$$python" --version)"; \
	  "$$python" -m venv $(VENV) || { echo "Could not make $(VENV); on Debian: apt-get install python3-venv" >&2; exit 1; }; \
	fi
	@count=$$(wc -l < requirements/cpu.txt); \
	echo "==> installing $$count pinned packages, about 3 GB, 3 minutes (log: $(LOG))"; \
	$(BIN)/pip install --disable-pip-version-check --no-deps $(TORCH_SOURCE) -r requirements/cpu.txt 2>&1 | tee $(LOG) \
	  | awk -v all=$$count '/^(Collecting|Processing|Requirement already)/ && ++n % 40 == 0 {print "    " n " of " all; fflush()}' \
	  || { tail -n 20 $(LOG) >&2; exit 1; }
	@$(BIN)/pip install --disable-pip-version-check --quiet --no-deps --no-build-isolation --editable . 2>&1 | tee -a $(LOG)
	@touch $@
	@echo "==> ready"
