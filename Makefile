# Everything a user or a developer runs. Needs Python 3.11 and a package index; all else is installed into .venv.
.DEFAULT_GOAL := help
.PHONY: help demo test check bench lock clean

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
RUN := $(VENV)/bin
BASE := $(VENV)/.base
DEV := $(VENV)/.dev
BENCH := $(VENV)/.bench

help: ## show this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/' | expand -t 16

$(RUN)/python:
	$(PYTHON) -m venv $(VENV)

$(BASE): requirements/base.txt pyproject.toml | $(RUN)/python
	$(RUN)/pip install --quiet --disable-pip-version-check -r requirements/base.txt
	$(RUN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

$(DEV): requirements/train.txt requirements/dev.txt $(BASE)
	$(RUN)/pip install --quiet --disable-pip-version-check -r requirements/train.txt -r requirements/dev.txt
	@touch $@

$(BENCH): requirements/bench.txt $(DEV)
	$(RUN)/pip install --quiet --disable-pip-version-check -r requirements/bench.txt
	@touch $@

demo: $(BASE) ## set everything up and analyse the sample messages
	$(RUN)/umbel models pull e5-small
	$(RUN)/umbel analyze --samples

test: $(DEV) ## pass all tests
	$(RUN)/python -m pytest

check: $(DEV) ## lint, types and rules of import
	$(RUN)/ruff check .
	$(RUN)/ruff format --check .
	$(RUN)/mypy
	$(RUN)/lint-imports

bench: $(BENCH) ## rerun the benchmarks; each ends with a line of JSON
	@set -e; for script in bench/[a-z]*.py; do echo "== $$script"; $(RUN)/python $$script; done

lock: $(DEV) ## resolve the newest versions the project allows into requirements/
	$(RUN)/python scripts/lock.py

clean: ## delete what make built; the cache of weights stays
	rm -rf $(VENV) dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
