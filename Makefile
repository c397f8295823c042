# make search   install, then search cells on handwritten digits, train and report: the main job
# make test     install, then run the tests
# make lint     install, then check style and types
# Needs Python 3.11 to 3.13, the newest of which is found, or PYTHON=path. VENV=folder is where to install.

PYTHON ?= $(shell for python in python3.13 python3.12 python3.11 python3 \
	$(HOME)/.pyenv/versions/3.1[123].*/bin/python; do \
	$$python -c 'import sys, venv, ensurepip; v = sys.version_info[:2]; assert (3, 11) <= v <= (3, 13); \
	print(v[1], sys.executable)' 2>/dev/null; done | sort -nr | head -n 1 | cut -d' ' -f2)
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: install search test lint
.DELETE_ON_ERROR:

install: $(VENV)/installed

$(VENV)/installed: pyproject.toml
	@test -n "$(PYTHON)" || { echo "error: no Python 3.11 to 3.13 with venv found; name one by make PYTHON=path" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test]'
	@# The C++ kernels, so that the first search need not build them; without a compiler there are none.
	@$(BIN)/python -c 'from pathlib import Path; from jaxcv.functional import native; \
	[native.load(file) for part in ("jaxcv/functional", "search") \
	for file in Path(part, "native").absolute().glob("*.cc")]'
	touch $@

search: install
	$(BIN)/python -m experiments.search --preset digits $(ARGS)

test: install
	$(BIN)/python -m pytest -n 2 --dist worksteal $(ARGS)

lint: install
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m mypy
