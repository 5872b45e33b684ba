# Everything a user or a developer runs. Needs Python 3.11 and a package index; all else is installed into .venv.
.DEFAULT_GOAL := help
.PHONY: help demo serve studio browser example-customer-service example-assistant example-moderation test check bench lowest lock clean

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
RUN := $(VENV)/bin
PIP := $(RUN)/python -m pip --disable-pip-version-check
# What is installed is remembered in these files: they are older than a lock or pyproject.toml that has changed.
BASE := $(VENV)/.base
SERVE := $(VENV)/.serve
DEV := $(VENV)/.dev
BENCH := $(VENV)/.bench
LOWEST := $(VENV)/lowest
# More arguments for pytest: make test ARGS="-k calibrate"
ARGS ?=

help: ## show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 34

# pip comes last into a new environment, so where it stands the environment is whole.
$(RUN)/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=...")'
	$(PYTHON) -m venv --clear $(VENV)

$(BASE): requirements/base.txt pyproject.toml | $(RUN)/pip
	$(PIP) install -qq -r requirements/base.txt
	$(PIP) install -qq --no-deps --no-build-isolation --editable .
	@touch $@

$(SERVE): requirements/serve.txt $(BASE)
	$(PIP) install -qq -r requirements/serve.txt
	@touch $@

$(DEV): requirements/train.txt requirements/write.txt requirements/dev.txt $(SERVE)
	$(PIP) install -qq -r requirements/train.txt -r requirements/write.txt -r requirements/dev.txt
	@touch $@

$(BENCH): requirements/bench.txt $(DEV)
	$(PIP) install -qq -r requirements/bench.txt
	@touch $@

demo: $(BASE) ## set everything up and analyse the sample messages
	$(RUN)/umbel models pull e5-small
	$(RUN)/umbel analyze --samples
	@echo; echo 'Try it on your own texts in the browser: make serve, then open http://127.0.0.1:8000/studio/'

MODERATION := runs/moderation

$(MODERATION)/manifest.json: examples/moderation/flow.yaml src/umbel/packs/base/manifest.json $(SERVE)
	$(RUN)/umbel flow $< --into $(MODERATION)

serve: $(SERVE) $(MODERATION)/manifest.json ## serve the shipped pack, one with a flow, and the studio, to this machine alone
	$(RUN)/umbel serve base moderation=$(MODERATION) --open

studio: $(SERVE) $(MODERATION)/manifest.json ## the same with a small decoder, for replies to be written
	$(PIP) install -qq -r requirements/write.txt
	$(RUN)/umbel models pull smollm2-135m-instruct
	$(RUN)/umbel serve base moderation=$(MODERATION) --decoder smollm2-135m-instruct --open

example-customer-service: $(BASE) ## set everything up and answer the sample customers
	$(RUN)/umbel models pull e5-small
	$(RUN)/python examples/customer_service/run.py

example-assistant: $(BASE) ## set everything up and play two conversations
	$(RUN)/umbel models pull e5-small
	$(RUN)/python examples/assistant/run.py

example-moderation: $(BASE) ## set everything up and judge the sample messages
	$(RUN)/umbel models pull e5-small
	$(RUN)/python examples/moderation/run.py

browser: ## install a browser for the tests of the studio, if there is none
	@$(PYTHON) scripts/browser.py

test: $(DEV) browser ## pass all tests
	$(RUN)/python -m pytest $(ARGS)

check: $(DEV) ## lint, types and rules of import
	$(RUN)/ruff check .
	$(RUN)/ruff format --check .
	$(RUN)/mypy
	$(RUN)/lint-imports --no-logo

bench: $(BENCH) ## rerun the benchmarks; each ends with a line of JSON
	@set -e; for script in bench/[a-z]*.py; do echo "== $$script"; $(RUN)/python $$script; done

# The reference libraries want newer versions than Umbel does, so what they test is left out.
lowest: | $(RUN)/pip ## pass the unit and property tests with the oldest libraries allowed
	rm -rf $(LOWEST)
	$(RUN)/python -m venv $(LOWEST)
	$(LOWEST)/bin/pip install -qq --no-deps -r requirements/serve.txt -r requirements/dev.txt -r requirements/train.txt -r requirements/write.txt
	$(LOWEST)/bin/pip install -qq -r requirements/lowest.txt hatchling editables
	$(LOWEST)/bin/pip install -qq --no-deps --no-build-isolation .
	$(LOWEST)/bin/python -m pytest tests/unit tests/property --ignore tests/unit/test_decoderfile.py

lock: | $(RUN)/pip ## resolve the newest versions the project allows into requirements/
	$(RUN)/python scripts/lock.py

clean: ## delete what make built; the cache of weights stays
	rm -rf $(VENV) dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
