# make setup      a virtual environment in .venv with everything
# make demo       train and evaluate a small Mask R-CNN; COCO_ROOT=... takes a COCO tree for it
# make test       the tests, in two processes; JOBS=4 takes four
# make benchmark  time and memory beside the peers'
# make lint       ruff and mypy
#
# onedl-mmcv has no wheel on PyPI: it is compiled here, which takes a quarter of an hour on two
# cores. A wheel in a folder that PIP_FIND_LINKS names is taken instead.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
JOBS ?= 2
PIP := $(BIN)/python -m pip install --quiet --constraint constraints.txt

.PHONY: setup demo test lint complexity benchmark

setup: $(VENV)/.done

$(VENV)/.done: setup.py constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	@echo "Installing torch (several GB) ..."
	$(PIP) torch torchvision
	@echo "Installing mmcv: compiled against this torch where there is no wheel of it ..."
	$(PIP) setuptools wheel ninja psutil
	$(PIP) --no-build-isolation onedl-mmcv
	@echo "Installing this package, MMDetection and the tools ..."
	$(PIP) --editable ".[mmdet,dev]"
	touch $@

demo: setup
	$(BIN)/python tools/demo.py $(if $(filter command,$(origin COCO_ROOT)),--coco-root "$(COCO_ROOT)")

test: setup
	$(BIN)/python -m pytest --numprocesses $(JOBS) --dist worksteal

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

complexity: setup
	$(BIN)/python tools/model_complexity.py

benchmark: setup
	$(BIN)/python tools/benchmark.py --task inference detector \
		--precision float32 bfloat16 --turns 2
