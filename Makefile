# Every target works on a fresh clone; it needs Python 3.11 or later, git and make.
# uv is used from PATH, or else installed into .tools/ in this folder.

.DEFAULT_GOAL := help
SHELL := /bin/sh
PYTHON ?= python3

# Three processes on two cores, because tests that start services wait for a third of their time.
# tests/conftest.py puts the longest tests first; xdist itself would start with the largest groups.
PYTEST = $(UV) run pytest -n 3 --dist loadgroup --no-loadscope-reorder

UV := $(shell command -v uv 2>/dev/null)
ifeq ($(UV),)
UV := .tools/bin/uv
endif
export PATH := $(PATH):$(CURDIR)/.tools/bin

.PHONY: help demo test test-all proofs check budgets bench pictures

help:  ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(UV)  ## Generate a service into build/, run it, and turn a CSV file into a report and an e-mail
	@$(UV) run --quiet --no-dev --compile-bytecode python scripts/demo.py

test: $(UV)  ## Run the tests: files, every combination, three services, proofs; ARGS="-k hooks"
	$(PYTEST) $(ARGS)

test-all: $(UV)  ## Run every test: also services for every pair of answers, and the oldest allowed versions
	$(PYTEST) -m ""

proofs: $(UV)  ## Run the proofs on the template's files, or on a service: PROJECT=path; ARGS="-k limits"
	@$(UV) run --quiet --no-dev python scripts/proofs.py $(if $(PROJECT),--project "$(PROJECT)") $(ARGS)

check: $(UV)  ## Run the linters and type checks of the template itself
	$(UV) run pre-commit run --all-files

budgets: $(UV)  ## Measure the size of the default service, for the table in the README
	@$(UV) run --quiet --no-dev python scripts/budgets.py

bench: $(UV)  ## Compare the service and its tasks with their peers; QUICK=1 for a few minutes
	@$(UV) run --quiet --no-dev --compile-bytecode python scripts/bench.py $(if $(QUICK),--quick)

pictures: $(UV)  ## Take the README's pictures again, in ten minutes, with this machine's Chromium
	@$(UV) run --quiet --no-dev --with playwright python scripts/pictures.py

.tools/bin/uv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo 'Python 3.11 or later is needed. Name one that you have: make PYTHON=python3.12'; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' || \
		{ echo 'The venv module is missing. On Debian and Ubuntu: apt install python3-venv'; exit 1; }
	$(PYTHON) -m venv .tools
	.tools/bin/python -m pip install --quiet --disable-pip-version-check uv
