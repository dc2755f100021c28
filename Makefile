# Each target that needs a virtual environment creates it in .venv; nothing is installed outside it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
BENCH_VENV := .venv-bench

.PHONY: help demo test test-slow check docs load soak vendor-check package-check matrix matrix-ends bench import-time \
	integration format clean

help:
	@echo "make demo         a tour of the package, with your LM Studio or a stand-in"
	@echo "make test         the quick tests, which use only loopback"
	@echo "make test-slow    the tests that start programs, interrupt them, or measure growth"
	@echo "make docs         build the documentation with Sphinx, in .venv/docs"
	@echo "make check        run ruff, mypy --strict and pyright"
	@echo "make load         the load tests: many streams at once, and a very long one"
	@echo "make soak         Ctrl-C and forks at random moments, and mutated replies (SOAK_SEED, SOAK_SECONDS)"
	@echo "make vendor-check copies inside applications, from a zip file too, where the package is not installed"
	@echo "make package-check  build sdist and wheel, check them, and test the installed wheel"
	@echo "make matrix       the tests on each installed Python, with the oldest and the newest urllib3"
	@echo "make bench        measure the package beside other clients; BENCH=--quick for a short run"
	@echo "make import-time  measure what importing the package costs"
	@echo "make integration  the tests against llama.cpp (Python 3.10 or newer)"

demo: $(VENV)/.installed
	$(BIN)/python examples/quickstart.py

# Bytecode is kept, whatever the environment says, because the tests start many interpreters.
PYTEST := PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n auto --ignore=tests/integration --ignore=tests/load \
	--ignore=tests/soak --ignore=tests/vendor --ignore=tests/package

test: $(VENV)/.test
	$(PYTEST) -m "not slow"

test-slow: $(VENV)/.test
	$(PYTEST) -m slow

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy --platform win32
	$(BIN)/mypy --platform darwin
	$(BIN)/basedpyright

# An own environment would need a second installation; the extra `docs` brings Sphinx into this one.
docs: $(VENV)/.docs
	$(BIN)/python -m docutils --halt=2 README.rst $(VENV)/readme.html
	$(BIN)/sphinx-build -q -W --keep-going -b html docs $(VENV)/docs

load: $(VENV)/.test
	$(BIN)/python -m pytest tests/load

soak: $(VENV)/.test
	$(BIN)/python -m pytest tests/soak -s

vendor-check: $(VENV)/.test
	$(BIN)/python -m pytest tests/vendor

package-check: $(VENV)/.test $(VENV)/.dev
	$(BIN)/python -m pytest tests/package

matrix: $(VENV)/.installed
	$(BIN)/python tests/matrix.py

matrix-ends: $(VENV)/.installed
	$(BIN)/python tests/matrix.py --ends

# The other clients bring many packages: they have an environment of their own.
bench: $(BENCH_VENV)/.bench
	$(BENCH_VENV)/bin/python -m benchmarks $(BENCH)

import-time: $(VENV)/.installed
	$(BIN)/python -m benchmarks.import_time

integration: $(VENV)/.integration
	INTEGRATION=required $(BIN)/python -m pytest tests/integration

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

$(VENV)/.installed: setup.cfg setup.py
	@$(PYTHON) -c "import sys; sys.exit(0 if sys.version_info >= (3, 9) else 'Python 3.9 or newer is needed: make PYTHON=...')"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e .
	@touch $@

# Each extra has a stamp file, so that it is installed once, and again if setup.cfg changes.
$(VENV)/.test $(VENV)/.dev $(VENV)/.docs: $(VENV)/.%: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[$*]"
	@touch $@

# Only wheels, because compiling the engine takes long: if there is none for this Python and system, pip fails at once.
$(VENV)/.integration: $(VENV)/.test
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --only-binary :all: -e ".[integration]"
	@touch $@

$(BENCH_VENV)/.bench: setup.cfg setup.py
	$(PYTHON) -m venv $(BENCH_VENV)
	$(BENCH_VENV)/bin/python -m pip install --quiet --disable-pip-version-check -e ".[bench]"
	@touch $@

clean:
	rm -rf $(VENV) $(BENCH_VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
