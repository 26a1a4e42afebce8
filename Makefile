# What there is to do with this checkout; `make help` lists it. It needs python3.11 with venv and pip, nothing else.

PYTHON ?= $(shell command -v python3.11 || echo python3)
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
# Exact versions with hashes. A wheel of the project is not built: the checkout itself is what runs.
LOCKED := install --require-hashes --no-deps --progress-bar on -r
COMPILED := pyproject.toml --generate-hashes --no-emit-index-url --no-emit-find-links --python-version 3.11
STAMPS := $(VENV)/stamps

.DEFAULT_GOAL := help
.PHONY: help run install test test-slow guards check audit bench prove-migrations bloat upstream-table fuzz demo-player docs lock clean

help: ## List what there is to do
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "make %-16s %s\n", $$1, $$2}'

run: $(STAMPS)/run ## Start a database, migrate it, load demo content, serve
	@exec $(BIN)/adserver run

install: $(STAMPS)/dev ## Install everything that tests and checks need

test: $(STAMPS)/dev ## Run all tests but the slow ones
	$(BIN)/pytest -m "not slow"

test-slow: $(STAMPS)/dev ## Run the long proofs
	$(BIN)/pytest -m slow

guards: $(STAMPS)/dev ## Take out each guard of each invariant in turn, and see a test go red
	$(BIN)/python -m tests.invariants.without_guards

check: $(STAMPS)/dev ## Format, lint, types, import contracts, safety of migrations
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports
	@mkdir -p build
	$(BIN)/alembic upgrade head --sql >build/migrations.sql
	$(BIN)/squawk build/migrations.sql

audit: $(STAMPS)/dev ## Look for known faults of the locked versions, where advisories can be reached
	@.ci/audit

bench: $(STAMPS)/dev ## Measure the server beside its references
	$(BIN)/python -m bench

prove-migrations: $(STAMPS)/dev ## Migrate under full load, with ROWS=1000000 ads served before
	$(BIN)/python -m bench.live_migration $(or $(ROWS),1000000)

bloat: $(STAMPS)/dev ## Watch the hottest table grow under load (SECONDS=15, twice)
	$(BIN)/python -m bench.bloat $(or $(SECONDS),15)

upstream-table: $(STAMPS)/dev ## Measure what players get while an upstream misbehaves
	$(BIN)/python -m bench.upstreams

fuzz: $(STAMPS)/dev ## Send random documents at what reads them (SECONDS=60)
	$(BIN)/python -m tests.fuzz $(or $(SECONDS),60)

demo-player: ## Bundle the player of the demo page (needs npm)
	$(MAKE) -C demo-player

docs: $(STAMPS)/dev ## Write the pages that are made from the code
	$(BIN)/python -m docs.settings_page >docs/settings.md.new && mv docs/settings.md.new docs/settings.md
	$(BIN)/python -m docs.macros_page >docs/macros.md.new && mv docs/macros.md.new docs/macros.md
	$(BIN)/python -m docs.finance_page >docs/finance.md.new && mv docs/finance.md.new docs/finance.md

# Versions stay what they are; remove a lock file first to have the newest.
lock: $(STAMPS)/dev ## Write into the lock files what pyproject.toml asks for
	$(PIP) install --quiet uv
	$(BIN)/uv pip compile $(COMPILED) -o requirements.lock
	$(BIN)/uv pip compile $(COMPILED) --all-extras --group dev -o requirements-dev.lock
	awk '/^[a-z]/ { kept = /^setuptools==/ } kept && !/#/' requirements-dev.lock >requirements-build.lock

clean: ## Remove what was installed and built; data in ./var stays
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis

# A stamp says that a step is done; each is made again when what it was made from has changed.

$(STAMPS)/dev: $(STAMPS)/run requirements-dev.lock
	$(PIP) $(LOCKED) requirements-dev.lock
	@touch $@

$(STAMPS)/run: $(STAMPS)/venv requirements.lock requirements-build.lock pyproject.toml
	$(PIP) $(LOCKED) requirements-build.lock
	$(PIP) $(LOCKED) requirements.lock
	$(PIP) install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

$(STAMPS)/venv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null \
		|| { echo "Python 3.11 is needed: install it, or say where it is: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
		|| { echo "$(PYTHON) cannot make virtual environments: on Debian, apt-get install python3.11-venv" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@mkdir -p $(STAMPS) && touch $@
