# The newcomer's commands; `make` alone lists them. Everything they need is set up first, once.
# Further arguments go in ARGS: make test ARGS="-k replay", make start ARGS="--port 7072".

.PHONY: help setup app demo test start lint format lock bench clean
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
PYTHON_BIN := .venv/bin

help: ## list these commands
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' Makefile | expand -t 10

setup: ## make .venv and node_modules as locked; quick when they are there
	@scripts/setup

app:
	@scripts/setup app

demo: app ## the whole main job once: score, a batch from the queue, a dead letter, its replay
	@$(PYTHON_BIN)/python scripts/demo.py $(ARGS)

test: setup ## every test, on real storage (Azurite)
	@$(PYTHON_BIN)/python -m pytest $(ARGS)

start: app ## serve on http://localhost:7071 until Ctrl-C (HOST=func: with Azure Functions Core Tools)
	@scripts/start $(ARGS)

lint: setup ## formatting, lint and types
	@$(PYTHON_BIN)/ruff format --check --quiet .
	@$(PYTHON_BIN)/ruff check --quiet .
	@$(PYTHON_BIN)/mypy

format: setup ## format, and fix what the linter can
	@$(PYTHON_BIN)/ruff format .
	@$(PYTHON_BIN)/ruff check --fix .

lock: ## write the lock files anew (ARGS=--upgrade for the newest versions)
	@scripts/lock $(ARGS)

bench: setup ## the benchmarks
	@scripts/bench $(ARGS)

clean: ## remove what set-up, tests and runs made
	@rm -rf .venv .venv-checkov node_modules .cache .azurite .devhost .mypy_cache .pytest_cache .ruff_cache .hypothesis *.egg-info
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
