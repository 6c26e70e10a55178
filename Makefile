# make demo   restore the sample photographs and look at the result
# make test   every check: lint, types, import direction, tests
# make check  the checks that run nothing
# make soak   thirty kills and three rounds of game days on a cluster of three nodes; an hour and a half; as root,
#             with libfaketime
# make lock   resolve the pinned dependencies anew
#
# PYTHON      a Python >= 3.11 to make .venv with
# PIP_FLAGS   options for every pip install, such as the package index of another torch build:
#             make demo PIP_FLAGS="--extra-index-url <the index that PyTorch's site names>"

PYTHON ?= python3
PIP_FLAGS ?=
VENV := .venv
BIN := $(VENV)/bin
PIP := PIP_DISABLE_PIP_VERSION_CHECK=1 $(BIN)/python -m pip

.PHONY: demo test check soak lock clean
.DELETE_ON_ERROR:

demo: $(VENV)/installed
	$(BIN)/i2r demo

# Two at a time: what tests wait for is mostly other processes. Those of a file share what they start.
test: check
	$(BIN)/pytest --numprocesses=2 --dist=loadfile

soak: $(VENV)/installed-dev
	$(BIN)/python tests/pipeline/soak.py --kills 30 --seeds 3 --out benchmarks/soak

check: $(VENV)/installed-dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

# The torch builds differ by a local version (+cpu, +cu130) and in what they need: the lock names neither, so
# that one lock serves every machine. Run this where pip finds a CPU build, or it pins CUDA's packages.
lock: $(VENV)/installed-tools
	CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/pip-compile $(LOCK_FLAGS) --extra=s3 --extra=heif --extra=benchmark --extra=dev \
		--output-file=requirements/dev.txt pyproject.toml
	sed -i 's/^\(torch==[0-9.]*\)+[a-z0-9.]*/\1/' requirements/dev.txt
	CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/pip-compile $(LOCK_FLAGS) --constraint=requirements/dev.txt \
		--output-file=requirements/run.txt pyproject.toml
	sed -i 's/^\(torch==[0-9.]*\)+[a-z0-9.]*/\1/' requirements/run.txt
	CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/pip-compile $(LOCK_FLAGS) --constraint=requirements/dev.txt \
		--extra=s3 --extra=gcs --extra=azure --extra=heif --extra=rayup \
		--output-file=requirements/image.txt pyproject.toml
	sed -i 's/^\(torch==[0-9.]*\)+[a-z0-9.]*/\1/' requirements/image.txt
	! grep -iE '^(nvidia|cuda|triton)' requirements/*.txt

LOCK_FLAGS := --quiet --upgrade --strip-extras --allow-unsafe --annotation-style=line \
	--build-deps-for=editable \
	--no-emit-index-url --no-emit-find-links --no-emit-trusted-host

clean:
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache

# One stamp a layer; a layer is laid again when its lock or the project's metadata has changed.
$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11 ...")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: requirements/run.txt pyproject.toml | $(VENV)/bin/python
	$(PIP) install $(PIP_FLAGS) -r requirements/run.txt
	$(PIP) install $(PIP_FLAGS) --no-deps --no-build-isolation --editable .
	touch $@

$(VENV)/installed-dev: requirements/dev.txt $(VENV)/installed
	$(PIP) install $(PIP_FLAGS) -r requirements/dev.txt
	touch $@

$(VENV)/installed-tools: | $(VENV)/bin/python
	$(PIP) install $(PIP_FLAGS) 'pip-tools>=7.5'
	touch $@
