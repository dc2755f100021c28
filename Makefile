# Each target makes its own virtual environment in .venv; nothing is installed anywhere else.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help demo test check load matrix matrix-ends benchmark integration format clean

help:
	@echo "make demo         what the package does, with your LM Studio or a stand-in"
	@echo "make test         the tests, on loopback alone"
	@echo "make check        ruff and mypy --strict"
	@echo "make load         many streams at once, and a very long one"
	@echo "make matrix       the tests on each Python that there is, with the oldest and the newest urllib3"
	@echo "make benchmark    how late a piece of a stream is"
	@echo "make integration  the tests against llama.cpp (Python 3.10 or newer)"

demo: $(VENV)/.installed
	$(BIN)/python examples/quickstart.py

# Bytecode is kept, whatever the environment says: the tests start many interpreters.
test: $(VENV)/.test
	PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest --ignore=tests/integration --ignore=tests/load

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

load: $(VENV)/.test
	$(BIN)/python -m pytest tests/load

matrix: $(VENV)/.installed
	$(BIN)/python tests/matrix.py

matrix-ends: $(VENV)/.installed
	$(BIN)/python tests/matrix.py --ends

benchmark: $(VENV)/.installed
	$(BIN)/python benchmarks/latency.py

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

# Each extra has a stamp, so that it is installed once, and again when setup.cfg changes.
$(VENV)/.test $(VENV)/.dev: $(VENV)/.%: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[$*]"
	@touch $@

# Nothing is compiled: without a wheel for this Python and system, it fails at once.
$(VENV)/.integration: $(VENV)/.test
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --only-binary :all: -e ".[integration]"
	@touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
