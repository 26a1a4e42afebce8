# Tasks for this checkout; `make help` lists them. They need python3.11 with venv and pip.

PYTHON ?= $(shell command -v python3.11 || echo python3)
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
# Exact versions with hashes. The project itself is installed as editable: the checkout is what runs.
LOCKED := install --require-hashes --no-deps --progress-bar on -r
COMPILED := pyproject.toml --generate-hashes --no-emit-index-url --no-emit-find-links --python-version 3.11
STAMPS := $(VENV)/stamps

.DEFAULT_GOAL := help
.PHONY: help run install test test-slow guards check audit bench prove-migrations bloat upstream-table fuzz demo-player \
	docs docs-site wheel lock clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "make %-16s %s\n", $$1, $$2}'

run: $(STAMPS)/run ## Start Postgres, migrate it, load demo content and serve
	@exec $(BIN)/adserver run

install: $(STAMPS)/dev ## Install the dependencies of the server, the tests and the checks

test: $(STAMPS)/dev ## Run all tests except the slow ones
	$(BIN)/pytest -m "not slow"

test-slow: $(STAMPS)/dev ## Run the slow tests, which take minutes each
	$(BIN)/pytest -m slow

guards: $(STAMPS)/dev ## Remove each guard of an invariant in turn and check that a test fails
	$(BIN)/python -m tests.invariants.without_guards

check: $(STAMPS)/dev ## Check formatting, lint, types, layers, language and the safety of migrations
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest tests/unit/house
	@mkdir -p build
	$(BIN)/alembic upgrade head --sql >build/migrations.sql
	$(BIN)/squawk build/migrations.sql

audit: $(STAMPS)/dev ## Check the locked versions for known vulnerabilities, if advisories can be reached
	@.ci/audit

bench: $(STAMPS)/dev ## Measure the server against its references
	$(BIN)/python -m bench

prove-migrations: $(STAMPS)/dev ## Migrate under full load, after ROWS=1000000 served ads
	$(BIN)/python -m bench.live_migration $(or $(ROWS),1000000)

bloat: $(STAMPS)/dev ## Measure how the hottest table grows under load (SECONDS=15, twice)
	$(BIN)/python -m bench.bloat $(or $(SECONDS),15)

upstream-table: $(STAMPS)/dev ## Measure the answers to players while an upstream misbehaves
	$(BIN)/python -m bench.upstreams

fuzz: $(STAMPS)/dev ## Feed random documents to the parsers (SECONDS=60)
	$(BIN)/python -m tests.fuzz $(or $(SECONDS),60)

demo-player: ## Bundle the player of the demo page (needs npm)
	$(MAKE) -C demo-player

docs: $(STAMPS)/dev ## Write the pages that are generated from the code
	$(BIN)/python -m docs.settings_page >docs/settings.md.new && mv docs/settings.md.new docs/settings.md
	$(BIN)/python -m docs.macros_page >docs/macros.md.new && mv docs/macros.md.new docs/macros.md
	$(BIN)/python -m docs.finance_page >docs/finance.md.new && mv docs/finance.md.new docs/finance.md
	$(BIN)/python -m docs.schema_page >docs/schema.sql.new && mv docs/schema.sql.new docs/schema.sql

docs-site: $(STAMPS)/dev ## Build the documentation site in build/site
	$(BIN)/python -m docs.site

# setuptools keeps what it packed before in build/lib, also files that have been deleted since.
wheel: $(STAMPS)/dev ## Build the wheel in dist
	rm -rf build/lib
	$(PIP) wheel --quiet --no-deps --no-build-isolation --wheel-dir dist .

# Locked versions stay as they are. To update all of them, delete a lock file first.
lock: $(STAMPS)/dev ## Lock the dependencies that pyproject.toml names
	$(PIP) install --quiet uv
	$(BIN)/uv pip compile $(COMPILED) -o requirements.lock
	$(BIN)/uv pip compile $(COMPILED) --all-extras --group dev -o requirements-dev.lock
	awk '/^[a-z]/ { kept = /^setuptools==/ } kept && !/#/' requirements-dev.lock >requirements-build.lock

clean: ## Remove everything that was installed or built; data in ./var stays
	rm -rf $(VENV) build dist *.egg-info .cache .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis

# A stamp records that a step is done. The step runs again when one of its inputs is newer than its stamp.

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
		|| { echo "Python 3.11 is required: install it, or pass its path: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
		|| { echo "$(PYTHON) cannot create virtual environments: on Debian, apt-get install python3.11-venv" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@mkdir -p $(STAMPS) && touch $@
