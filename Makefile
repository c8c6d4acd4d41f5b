# Fleetward: `make demo` shows it, `make test` proves it. `make help` lists the rest.
# Every target that needs the set-up does it first; doing it again takes a second.

.DEFAULT_GOAL := help
.PHONY: help setup demo test check search attack system browser conformance uptane qemu-test bench format closures openapi lock changelog build clean

PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
PYTEST := $(BIN)/python -m pytest -q -n 2 --dist loadfile
ARGS ?=

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' Makefile

setup: ## bring a fresh checkout to the point where both programs run
	@"$(PYTHON)" -m tools.setup

demo: setup ## start everything with thirteen devices, and print one address (ARGS="--no-browser …")
	@$(BIN)/fleetward demo $(ARGS)

test: ## run every check and every test; the last line is pytest's
	@"$(PYTHON)" -m tools.setup --tests
	@$(BIN)/python -m tools.run_tests

check: setup ## format, lint, types, imports, closures, unit and property tests; under a minute
	@$(BIN)/python -m tools.run_tests --quick

search: setup ## the generated tests with new histories; run it now and then, and before a release
	@$(PYTEST) tests/property tests/unit tests/attack --hypothesis-profile new -m "not slow and not browser" $(ARGS)

attack: setup ## for each promise, the tests that try to break it
	@$(PYTEST) tests/attack $(ARGS)

system: ## real broker, real databases, real processes
	@"$(PYTHON)" -m tools.setup --tests
	@$(PYTEST) tests/system $(ARGS)

browser: ## the walks in a real Chromium
	@"$(PYTHON)" -m tools.setup --tests
	@$(PYTEST) -m browser tests $(ARGS)

conformance: setup ## the public TUF suite against the agent's verifier (SUITE=folder of the suite)
	@test -d "$(SUITE)/tuf_conformance" || { echo "Say SUITE=folder; tests/conformance/README.md says of what."; exit 2; }
	@command -v faketime > /dev/null || { echo "The suite wants faketime: apt-get install faketime."; exit 2; }
	@cd "$(SUITE)" && "$(CURDIR)/$(BIN)/python" -m pytest -q -c pyproject.toml --rootdir . \
	  -p no:cacheprovider tuf_conformance --entrypoint "$(CURDIR)/tests/conformance/tuf-client" $(ARGS)

uptane: setup ## the public Uptane vectors against the agent's door (VECTORS=address of their server)
	@test -n "$(VECTORS)" || { echo "Say VECTORS=address; tests/conformance/README.md says of what."; exit 2; }
	@$(BIN)/python -m tests.conformance.uptane "$(VECTORS)"

qemu-test: setup ## the reference image in QEMU: a good release, a bad kernel, an old one, a power cut
	@$(BIN)/python -m tools.qemu_test $(ARGS)

bench: setup ## every published figure, with its workload
	@set -e; for script in bench/*.py; do echo "--- $$script"; $(BIN)/python "$$script"; done

format: setup ## bring the sources into the one format
	@$(BIN)/ruff check --fix --quiet src tests bench tools; $(BIN)/ruff format src tests bench tools

closures: setup ## write again what each program imports; read the difference before committing
	@$(BIN)/python -m tools.closures

openapi: setup ## write again what the API says, and the console's types from it
	@$(BIN)/python -m tools.openapi
	@cd console && PATH="$(CURDIR)/.venv/node/bin:$$PATH" npm run --silent api

lock: setup ## resolve the packages again, at least a week old, with hashes
	@$(BIN)/python -m tools.lock

changelog: ## show what the fragments in changes/ will say
	@"$(PYTHON)" -m tools.changelog

build: setup ## the wheel, with the web programs in it, into dist/
	@$(BIN)/uv build --wheel --offline --no-build-isolation --python $(BIN)/python --out-dir dist .

clean: ## remove what setup, build and tests made; never the data of a demo
	@rm -rf .venv build dist console/node_modules console/dist .mypy_cache .ruff_cache \
	  .pytest_cache .hypothesis .import_linter_cache \
	  src/fleetward/server/web/static src/fleetward/keyholder/console/static \
	  src/fleetward/keyholder/technician/static
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
