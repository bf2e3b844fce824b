# Every target sets up a private .venv first; only Python 3.10-3.13 and git are needed.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
INSTALL = $(RUN) -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
READY := $(VENV)/.ready
DEV_READY := $(VENV)/.dev-ready

.PHONY: demo tables test test-all lint bench fuzz clean-venv help

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(READY) ## restore and score the built-in photographs, write pictures
	$(RUN) test_color_IJCN.py --opt options/demo.yml

tables: $(READY) ## measure on every test set that is found, print all tables
	$(RUN) -m jobs.tables

test: $(DEV_READY) ## run the tests that take seconds, on all cores
	$(RUN) -m pytest --numprocesses auto --dist worksteal -m "not slow"

test-all: $(DEV_READY) ## run every test, on all cores
	$(RUN) -m pytest --numprocesses auto --dist worksteal

lint: $(DEV_READY) ## check style and types
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy

bench: $(READY) ## measure speed and memory on this machine
	$(RUN) benchmarks/speed.py

fuzz: $(READY) ## damage JPEG files at random, see that restoring survives
	$(RUN) benchmarks/fuzz.py

clean-venv: ## remove the private environment
	rm -rf $(VENV)

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(None if (3, 10) <= v <= (3, 13) else f"Python 3.10 to 3.13 is needed, this is {v[0]}.{v[1]}: make PYTHON=python3.12 ...")'
	$(RUN) -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	$(INSTALL) --editable .
	touch $@

$(DEV_READY): $(READY)
	$(INSTALL) --editable '.[dev]'
	touch $@
