# Every target sets up what it needs; all state is below .dev/.
PYTHON ?= python3
BIN := .dev/venv/bin
DEV := $(PYTHON) -m infra.dev
PYTEST := $(BIN)/pytest
CODE := domain consumers adapters api infra tests
COUNTED := domain consumers adapters
LEAST := 90

# Compiled once, and kept out of the checkout: a process of the platform starts in 1 s instead of 3.
unexport PYTHONDONTWRITEBYTECODE
export PYTHONPYCACHEPREFIX ?= $(CURDIR)/.dev/cache/pycache
export TALLY_STACK ?= auto
export HYPOTHESIS_STORAGE_DIRECTORY ?= $(CURDIR)/.dev/cache/hypothesis
export RUFF_CACHE_DIR ?= $(CURDIR)/.dev/cache/ruff
export XDG_RUNTIME_DIR ?= $(CURDIR)/.dev/cache/runtime

.DEFAULT_GOAL := help
.PHONY: help demo test test-unit test-integration test-e2e lint fmt bench up down status venv fetch images locks clean

help: ## List the targets
	@sed -n 's/^\([a-z0-9-]*\):[^#]*## \(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | column -t -s '|' 2>/dev/null \
	  || sed -n 's/^\([a-z0-9-]*\):[^#]*## \(.*\)/  make \1  \2/p' $(MAKEFILE_LIST)

demo: venv ## Run a workflow in real containers and print its history and trace
	$(BIN)/python -m infra.demo

test: venv ## Run every test, on servers that TALLY_STACK names (auto, native, containers, external)
	$(PYTEST) $(COUNTED:%=--cov=%) --cov-report=
	@for package in $(COUNTED); do \
	  printf 'coverage of %s, at least $(LEAST) %%: ' $$package; \
	  $(BIN)/coverage report --include="$$package/*" --format=total --fail-under=$(LEAST) \
	    || { $(BIN)/coverage report --include="$$package/*"; exit 1; }; \
	done

test-unit: venv ## Run the tests that need no server
	$(PYTEST) tests/unit

test-integration: venv ## Run the tests of each port and adapter on real servers
	$(PYTEST) $(wildcard tests/contract) tests/integration

test-e2e: venv ## Run the tests of the whole system
	$(PYTEST) tests/e2e

lint: venv ## Check style, types, import rules, migrations and the schemas of messages
	$(BIN)/ruff check $(CODE)
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/mypy
	$(BIN)/basedpyright
	$(BIN)/lint-imports
	@for file in infra/migrations/*.sql; do \
	  sed '/^-- migrate:down/,$$d' $$file | $(BIN)/squawk --stdin-filepath $$file || exit 1; \
	done
	$(BIN)/python -m infra.schemas --check
	$(BIN)/python -m infra.definitions --check

fmt: venv ## Format the code and fix what can be fixed
	$(BIN)/ruff check --fix $(CODE)
	$(BIN)/ruff format $(CODE)

bench: venv ## Measure CPU a task, latency, containers a second, bulk: one JSON line each (FIGURE=T1 for one)
	$(BIN)/python -m tests.benchmarks

up: venv ## Start PostgreSQL, RabbitMQ and an engine, and leave them running
	@$(BIN)/python -m infra.dev up

down: ## Stop what `make up` started
	@$(DEV) down

status: ## Say what `make up` has running
	@$(DEV) status

venv: python ## Make .dev/venv from the hash-pinned lock
	@$(DEV) venv

fetch: python ## Fetch the servers' binaries that this machine lacks
	@$(DEV) fetch

images: venv ## Make images of the servers and the application on the engine here, without a registry
	@$(DEV) images

locks: venv ## Compile infra/locks again from pyproject.toml 
	$(BIN)/uv pip compile pyproject.toml -q --universal --python-version 3.11 --generate-hashes \
	  --no-emit-index-url --no-annotate --no-header -o infra/locks/run.txt
	$(BIN)/uv pip compile pyproject.toml --group test -c infra/locks/run.txt -q --universal --python-version 3.11 \
	  --generate-hashes --no-emit-index-url --no-annotate --no-header -o infra/locks/test.txt

clean: down ## Stop everything and delete .dev/
	rm -rf .dev

.PHONY: python
python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	  || { echo "$(PYTHON) is missing or older than 3.11; name another: make PYTHON=python3.12"; exit 1; }
