# Each target sets up what it needs: a machine with Python >= 3.10, pip and make is enough.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

SECONDS ?= 60


.PHONY: demo test slow check format fuzz faults clean

demo: $(INSTALLED)
	$(BIN)/sapwood demo -o demo-report

test: $(INSTALLED)
	$(BIN)/python -m pytest -m "not slow"

slow: $(INSTALLED)
	$(BIN)/python -m pytest -m slow

check: $(INSTALLED)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -m "not slow"

fuzz: $(INSTALLED)
	$(BIN)/python -c 'import atheris' 2>/dev/null || $(BIN)/python -m pip install --disable-pip-version-check -e '.[dev,fuzz]' || true
	$(BIN)/python fuzz/run.py --seconds $(SECONDS)

faults: $(INSTALLED)
	$(BIN)/python faults/run.py

format: $(INSTALLED)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

$(INSTALLED): pyproject.toml setup.py $(wildcard csrc/*.* csrc/kernels/*.*)
	$(PYTHON) -m venv $(VENV) || ($(PYTHON) -m pip install --user virtualenv && $(PYTHON) -m virtualenv $(VENV))
	$(BIN)/python -m pip install --disable-pip-version-check -e '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) build dist demo-report
