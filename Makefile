# Each target sets up what it needs: a machine with Python >= 3.10, pip and make is enough.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

# How long `make fuzz` goes on.
SECONDS ?= 60

# What `make oldest` and `make newest` take where it is there, and $(PYTHON) else.
found = $(shell $(1) -c 'import sys; print(sys.executable)' 2>/dev/null || echo $(PYTHON))
OLDEST_PYTHON ?= $(call found,python3.10)
NEWEST_PYTHON ?= $(call found,python3.13)
UV ?= uv

# As many processes as processors, of one thread each: most tests are Python, and threads of two processes only wait.
# A test that runs when it is its turn is taken over by whoever is done; four at most, for their memory.
test slow frameworks check oldest newest: export OMP_NUM_THREADS ?= 1
IN_PARALLEL := -n logical --maxprocesses 4 --dist worksteal

# Tests of which those with NNCF are left out where it is not installed.
INT8_TESTS := tests/export/test_int8.py tests/pipeline/test_quantising.py tests/runtime/test_int8_runtimes.py

ENGINE := $(wildcard csrc/*.* csrc/kernels/*.*)
CPP := $(ENGINE) $(wildcard fuzz/engine/*.* tests/runtime/engine/native/*.*)

# Where `make docs` puts the site. A warning, as of a broken link, ends it.
SITE ?= build/docs

.PHONY: demo docs test slow frameworks check wheels oldest newest pins fuzz faults format clean

demo: $(INSTALLED)
	$(BIN)/sapwood demo -o demo-report

test: $(INSTALLED)
	$(BIN)/python -m pytest $(IN_PARALLEL) -m "not slow"

slow: $(INSTALLED)
	$(BIN)/python -m pytest $(IN_PARALLEL) -m slow

frameworks: .venv-frameworks/.installed
	.venv-frameworks/bin/python -m pytest $(IN_PARALLEL) tests/frameworks $(INT8_TESTS)

check: $(INSTALLED)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/clang-format --dry-run --Werror $(CPP)
	$(BIN)/python -m pytest $(IN_PARALLEL) -m "not slow"

wheels: $(INSTALLED)
	$(BIN)/python -m pip install --disable-pip-version-check -e '.[dev,wheels]'
	$(BIN)/python wheels/build.py dist

docs: .venv-docs/.installed
	.venv-docs/bin/python -m sphinx -W --keep-going -b html docs $(SITE)

fuzz: $(INSTALLED)
	$(BIN)/python -c 'import atheris' 2>/dev/null || $(BIN)/python -m pip install --disable-pip-version-check -e '.[dev,fuzz]' || true
	$(BIN)/python fuzz/run.py --seconds $(SECONDS)

faults: $(INSTALLED)
	$(BIN)/python faults/run.py

oldest newest: %: .venv-%/.installed
	.venv-$@/bin/python -m pytest $(IN_PARALLEL) -m "not slow"

pins:  # needs uv
	$(call pin,oldest,--resolution lowest-direct --python-version 3.10)
	$(call pin,newest,--python-version 3.13)

define pin
printf '# What `make $(1)` installs; made of pyproject.toml by `make pins`: uv pip compile $(2)\n' > requirements/$(1).txt
$(UV) pip compile --quiet --no-config --no-header --no-annotate --python-platform x86_64-manylinux_2_28 \
	--extra dev --extra zoo $(2) pyproject.toml >> requirements/$(1).txt
endef

format: $(INSTALLED)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	$(BIN)/clang-format -i $(CPP)

$(INSTALLED): pyproject.toml setup.py $(ENGINE)
	$(PYTHON) -m venv $(VENV) || ($(PYTHON) -m pip install --user virtualenv && $(PYTHON) -m virtualenv $(VENV))
	$(BIN)/python -m pip install --disable-pip-version-check -e '.[dev]'
	touch $@

.venv-oldest/.installed: WITH = $(OLDEST_PYTHON)
.venv-newest/.installed: WITH = $(NEWEST_PYTHON)
.venv-%/.installed: requirements/%.txt pyproject.toml setup.py $(ENGINE)
	$(WITH) -m venv $(@D) || ($(WITH) -m pip install --user virtualenv && $(WITH) -m virtualenv $(@D))
	$(@D)/bin/python -m pip install --disable-pip-version-check -c $< setuptools packaging
	$(@D)/bin/python -m pip install --disable-pip-version-check -c $< --no-build-isolation -e '.[dev,zoo]'
	touch $@

# Ultralytics and its OpenCV stay out of the venv of the other tests, which have another one.
.venv-frameworks/.installed: requirements/frameworks.txt pyproject.toml setup.py $(ENGINE)
	$(PYTHON) -m venv $(@D) || ($(PYTHON) -m pip install --user virtualenv && $(PYTHON) -m virtualenv $(@D))
	$(@D)/bin/python -m pip install --disable-pip-version-check -c requirements/frameworks.txt -e '.[onnx,int8,transformers,ultralytics,zoo]' pytest pytest-xdist hypothesis pycocotools
	touch $@

.venv-docs/.installed: requirements/docs.txt pyproject.toml setup.py $(ENGINE)
	$(PYTHON) -m venv $(@D) || ($(PYTHON) -m pip install --user virtualenv && $(PYTHON) -m virtualenv $(@D))
	$(@D)/bin/python -m pip install --disable-pip-version-check -c $< -e '.[docs]'
	touch $@

clean:
	rm -rf $(VENV) .venv-docs .venv-frameworks .venv-oldest .venv-newest build dist demo-report
