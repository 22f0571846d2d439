# Everything here works from a bare checkout: the targets make the virtual environment, and `up` the servers.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
DEV    := $(VENV)/.installed-dev
PEERS  := .bench-venv/.installed
PIP    := $(BIN)/python -m pip --disable-pip-version-check --no-input -qq

.DEFAULT_GOAL := help
.PHONY: help demo up down status logs unit test fmt check docs bench

help: ## show this list
	@sed -n 's/^\([a-z]*\):.*## /\1|/p' $(MAKEFILE_LIST) | while IFS='|' read -r name what; do printf '  make %-8s %s\n' "$$name" "$$what"; done

demo: $(STAMP) ## start everything and show it at work on a sample; leaves it up
	@$(BIN)/millrace up
	@$(BIN)/python -m cli.demo

up: $(STAMP) ## start the stack on this machine
	@$(BIN)/millrace up

down: $(STAMP) ## stop it; its data stays in .local
	@$(BIN)/millrace down

status: $(STAMP) ## what runs, and where
	@$(BIN)/millrace status

logs: $(STAMP) ## the services' last log lines
	@$(BIN)/millrace logs

unit: $(DEV) ## the tests that need no server, in half a minute
	@$(BIN)/pytest -q --numprocesses 2 --dist worksteal --hypothesis-profile quick tests/unit

# In the order of the folders, the long files first; a worker that dies ends the run, which would hang otherwise.
test: $(DEV) ## all tests, three files side by side, each process with a stack of its own; works while the stack is up
	@$(BIN)/pytest --numprocesses 3 --dist loadfile --no-loadscope-reorder --max-worker-restart 0

fmt: $(DEV) ## format, and fix what lint can fix
	@$(BIN)/ruff check --fix-only
	@$(BIN)/ruff format

check: $(DEV) ## format, lint, types, import rules
	@$(BIN)/ruff format --check
	@$(BIN)/ruff check
	@$(BIN)/mypy
	@$(BIN)/lint-imports

docs: $(STAMP) ## write the generated tables of the documentation again
	@$(BIN)/python -m deploy.reference

bench: $(STAMP) $(PEERS) ## the measurements, beside other tools; only="load again" for some of them
	@$(BIN)/python -m bench $(only)

$(STAMP): requirements.txt pyproject.toml
	@deploy/environment.sh "$(PYTHON)" "$(VENV)"
	@echo "Installing the locked dependencies into $(VENV) ..."
	@$(PIP) install --require-hashes -r requirements.txt
	@$(PIP) install --no-deps --no-build-isolation -e .
	@touch $@

$(DEV): $(STAMP) requirements-dev.txt
	@$(PIP) install --require-hashes -r requirements.txt -r requirements-dev.txt
	@touch $@

$(PEERS): requirements-bench.txt
	@deploy/environment.sh "$(PYTHON)" .bench-venv
	@echo "Installing what is measured against into .bench-venv ..."
	@.bench-venv/bin/python -m pip --disable-pip-version-check --no-input -qq install --require-hashes -r $<
	@touch $@
