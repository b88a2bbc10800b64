# `make demo` and `make test` do all the set-up themselves, in .venv; nothing outside this folder is touched.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO := demo
EDGECNN := $(BIN)/edgecnn
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: demo test lint types tests tests-first tests-second slow test-zoo test-zoo-matrix test-zoo-full board wheel clean

# The straight line: zoo -> export -> quantize -> bench.
demo: $(VENV)/.use
	$(EDGECNN) export mobilenet --output $(DEMO)/mobilenet_v1_0.25_32.onnx
	$(EDGECNN) quantize $(DEMO)/mobilenet_v1_0.25_32.onnx --max-drop 0.5
	$(EDGECNN) export mobilenet --weights random --output $(DEMO)/mobilenet_v1.onnx
	$(EDGECNN) quantize $(DEMO)/mobilenet_v1.onnx
	$(EDGECNN) bench --threads 1 --seconds 4 --output $(DEMO)/results.jsonl \
	  $(DEMO)/mobilenet_v1_0.25_32.onnx $(DEMO)/mobilenet_v1_0.25_32.int8.onnx \
	  $(DEMO)/mobilenet_v1.onnx $(DEMO)/mobilenet_v1.int8.onnx

test: lint types tests

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev
	$(BIN)/mypy

# Two processes of one thread each, about equally long; a new folder of tests is in the second.
tests: $(VENV)/.dev
	$(MAKE) --jobs=2 --output-sync tests-first tests-second

FIRST := tests/zoo tests/exporters tests/conformance tests/cli

tests-first: export OMP_NUM_THREADS = 1
tests-first: $(VENV)/.dev
	$(BIN)/python -m pytest $(FIRST)

tests-second: export OMP_NUM_THREADS = 1
tests-second: $(VENV)/.dev
	$(BIN)/python -m pytest $(FIRST:%=--ignore=%)

# Everything that `make test` leaves out because it takes minutes, and what draws its examples at random with more of them.
slow: $(VENV)/.dev
	$(BIN)/python -m pytest -m "slow or hypothesis" --hypothesis-profile thorough

# Every member of the zoo: export, parity with torch, int8. Two processes of one thread each: tracing is Python and has but one.
test-zoo: $(VENV)/.dev
	$(MAKE) --jobs=2 test-zoo-matrix test-zoo-full

test-zoo-matrix: export OMP_NUM_THREADS = 1
test-zoo-matrix: $(VENV)/.dev
	$(BIN)/python -m pytest -m zoo -v -s -p no:logging --ignore=tests/exporters/test_zoo_full.py

test-zoo-full: export OMP_NUM_THREADS = 1
test-zoo-full: $(VENV)/.dev
	$(BIN)/python -m pytest -m zoo -v -s -p no:logging tests/exporters/test_zoo_full.py

# Needs an emulated or real 64-bit Arm board, see tests/board/README.md.
board: $(VENV)/.dev
	$(BIN)/python -m pytest -m board -rs

# Not from an old build folder, which keeps files that are gone.
wheel: $(VENV)/.dev
	rm -rf build
	$(BIN)/python -m build --wheel --outdir dist .

clean:
	rm -rf $(VENV) $(DEMO) dist build *.egg-info

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.use: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(INSTALL) --editable '.[cpu,export,images]'
	touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(INSTALL) --editable '.[dev]'
	touch $@ $(VENV)/.use
