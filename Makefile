# Thin shortcuts: the README shows the plain commands behind them.
#
#   make reproduce   set up .venv, then run the default pipeline: results/tiny/report
#   make test        set up .venv, then run all checks and the tests
#   make lint        only the checks
#   make docs        the documentation, into site/
#   make bench       the speed of scoring, training and the server beside others' (20 minutes): bench.txt
#   make bench-growth  time and memory of the stages against the size of their work
#   make bench-gpu   the same on a GPU, for a model of 7 B, and the tests that need one
#   make clients     other programs with our reward models, each in an environment of its own
#   make setup       only set up .venv
#   make lock        renew requirements.lock
#   make clean       remove .venv (results stay)

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help reproduce test lint docs bench bench-growth bench-gpu clients setup lock clean

VENV := .venv
READY := $(VENV)/.installed
IN_VENV := PATH="$(CURDIR)/$(VENV)/bin:$$PATH"
NEW_ENOUGH := import sys; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for python in python3.11 python3; do \
	$$python -c "$(NEW_ENOUGH)" 2>/dev/null && echo $$python && break; done)

help:
	@sed -n '/^#   /s/^#   //p' Makefile

reproduce: $(READY)
	$(IN_VENV) snakemake --cores all

test: lint
	$(IN_VENV) pytest -m "not slow" -n 2 --dist loadfile

# The one definition of the checks: `make test` and the pre-commit hook call it.
lint: $(READY)
	$(IN_VENV) ruff check .
	$(IN_VENV) ruff format --check .
	$(IN_VENV) snakefmt --check workflow
	$(IN_VENV) snakemake --lint
	$(IN_VENV) mypy
	$(IN_VENV) lint-imports --no-logo --no-cache

docs: $(READY)
	$(IN_VENV) NO_MKDOCS_2_WARNING=1 mkdocs build --strict

# -m: the benchmarks share a module.
bench: $(READY)
	@$(VENV)/bin/python -c "import trl" 2>/dev/null || \
	  $(VENV)/bin/pip install --disable-pip-version-check -q -c requirements.lock -e ".[bench]"
	$(IN_VENV) python -m benchmarks.scoring | tee bench.txt
	$(IN_VENV) python -m benchmarks.stream | tee -a bench.txt
	$(IN_VENV) python -m benchmarks.training | tee -a bench.txt
	$(IN_VENV) python -m benchmarks.serving | tee -a bench.txt

bench-growth: $(READY)
	$(IN_VENV) python -m benchmarks.growth

# Needs no network once it is set up.
bench-gpu: $(READY)
	$(IN_VENV) python -m benchmarks.gpu
	$(IN_VENV) pytest -m gpu

clients: $(READY) .clients/rewardbench/.installed .clients/vllm/.installed .clients/evaluation/.installed
	@$(VENV)/bin/python -c "import trl" 2>/dev/null || \
	  $(VENV)/bin/pip install --disable-pip-version-check -q -c requirements.lock -e ".[bench]"
	$(IN_VENV) python -m benchmarks.clients.trl_grpo
	$(IN_VENV) python -m benchmarks.clients.reward_bench
	$(IN_VENV) python -m benchmarks.clients.vllm_server
	$(IN_VENV) python -m benchmarks.clients.evaluation_logs

# pip brings torchvision and the like for CUDA beside a torch for CPUs, which then fail; texts need none.
.clients/%/.installed: benchmarks/clients/%.txt
	@"$(PYTHON)" -m venv .clients/$*
	@.clients/$*/bin/pip install --disable-pip-version-check -q -r $<
	@.clients/$*/bin/pip uninstall --disable-pip-version-check -q -y torchvision torchaudio torchcodec
	@touch $@

setup: $(READY)

# Written last, so that a set-up that failed or was interrupted is done again.
$(READY): requirements.lock pyproject.toml
	@"$(PYTHON)" -c "$(NEW_ENOUGH)" 2>/dev/null || { \
	  echo "Python 3.11 or newer is needed; install it, or name it: make PYTHON=/path/to/python3.11" >&2; \
	  exit 1; }
	@echo "Installing the locked dependencies into $(VENV): a few minutes, 2 GB (6 GB with CUDA)"
	@"$(PYTHON)" -m venv $(VENV)
	@$(VENV)/bin/pip install --disable-pip-version-check -r requirements.lock
	@$(VENV)/bin/pip install --disable-pip-version-check --no-deps -e .
	@touch $@

# What a fresh installation of the ranges in pyproject.toml gives today, under the old header.
lock:
	rm -rf $(VENV).lock
	"$(PYTHON)" -m venv $(VENV).lock
	$(VENV).lock/bin/pip install -e ".[dev,docs,serve,slurm]"
	grep '^#' requirements.lock > $(VENV).lock/requirements
	$(VENV).lock/bin/pip freeze --all --exclude-editable --exclude pip \
	  | grep -vE '^(nvidia-|cuda-|triton)' | sed 's/+.*//' >> $(VENV).lock/requirements
	mv $(VENV).lock/requirements requirements.lock
	rm -rf $(VENV).lock

clean:
	rm -rf $(VENV)
