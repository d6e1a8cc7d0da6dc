# make setup      a virtual environment in .venv with everything; nothing is compiled
# make demo       train and evaluate a small Mask R-CNN; COCO_ROOT=... takes a COCO tree for it
# make test       the tests, in two processes, at most 12 minutes; JOBS=4 takes four
# make test-all   these, then those that run whole configs: at most 45 minutes together
# make benchmark  time and memory beside the peers'
# make docs       the documents as a site, in build/site; a warning fails it
# make lint       ruff and mypy
#
# Other versions: make test PYTHON=python3.13 VENV=.venv-3.13 CONSTRAINTS=constraints-oldest.txt

PYTHON ?= python3
VENV ?= .venv
CONSTRAINTS ?= constraints.txt
JOBS ?= 2
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --constraint $(CONSTRAINTS)
PYTEST := $(BIN)/python -m pytest --numprocesses $(JOBS) --dist worksteal

# mmcv is built where it sees no torch, as pip does by itself: else it would look for a compiler.
unexport PIP_NO_BUILD_ISOLATION

.PHONY: setup demo test test-whole test-all docs lint complexity model-index benchmark

setup: $(VENV)/.done

$(VENV)/.done: pyproject.toml $(CONSTRAINTS)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	@echo "Installing torch (several GB), MMDetection, this package and its tools ..."
	$(PIP) --editable ".[mmdet,dev]"
	touch $@

demo: setup
	$(BIN)/python tools/demo.py $(if $(filter command,$(origin COCO_ROOT)),--coco-root "$(COCO_ROOT)")

test: setup
	$(PYTEST) -m "not whole"

test-whole: setup
	$(PYTEST) -m whole

test-all: test test-whole

docs: setup
	$(BIN)/sphinx-build -W -n --keep-going --quiet -c docs/site -b html . build/site

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

model-index: setup
	$(BIN)/python -m benchmarks.model_index

complexity: setup
	$(BIN)/python -m benchmarks.complexity

benchmark: setup
	$(BIN)/python -m benchmarks --task inference detector \
		--precision float32 bfloat16 --turns 2
