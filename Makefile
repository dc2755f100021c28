# Each target makes its own virtual environment in .venv; nothing is installed anywhere else.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help demo test check integration format clean

help:
	@echo "make demo         what the package does, with your LM Studio or a stand-in"
	@echo "make test         the tests, on loopback alone"
	@echo "make check        ruff and mypy --strict"
	@echo "make integration  the tests against llama.cpp (compiles it once, for some minutes)"

demo: $(VENV)/.installed
	$(BIN)/python examples/quickstart.py

test: $(VENV)/.test
	$(BIN)/python -m pytest --ignore=tests/integration

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

integration: $(VENV)/.integration
	INTEGRATION=required $(BIN)/python -m pytest tests/integration

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

$(VENV)/.installed: setup.cfg setup.py
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e .
	@touch $@

# Each extra has a stamp, so that it is installed once, and again when setup.cfg changes.
$(VENV)/.test $(VENV)/.dev: $(VENV)/.%: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[$*]"
	@touch $@

$(VENV)/.integration: $(VENV)/.test
	$(BIN)/python -m pip install --disable-pip-version-check -e ".[integration]"
	@touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
