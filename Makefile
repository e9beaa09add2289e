# The front door: `make book` and `make test` need nothing done before them. `make help` lists all.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

PROFILE ?= demo
# phantom, or arc: real strokes that anyone may have, fetched by the first build that wants them.
DATA ?= phantom
SUBJECTS ?= 20
BASE_URL ?=
DATA_ROOT ?=
PORT ?= 8000

ifeq ($(and $(filter 1,$(words $(DATA))),$(filter phantom arc,$(DATA))),)
$(error DATA is "$(DATA)": choose phantom or arc, or give your own scans as DATA_ROOT)
endif
ifneq ($(and $(filter arc,$(DATA)),$(value DATA_ROOT)),)
$(error DATA=arc and DATA_ROOT are two answers to one question: give one of them)
endif

# One word, and one of three; the pattern is ours, so that PROFILE=% matches nothing.
ifeq ($(and $(filter 1,$(words $(PROFILE))),$(filter smoke demo paper,$(PROFILE))),)
$(error PROFILE is "$(PROFILE)": choose smoke, demo or paper)
endif

# A path is text: $ in it starts no variable, and an apostrophe ends no quotation.
override DATA_ROOT := $(value DATA_ROOT)
quote = '$(subst ','\'',$(1))'

ifeq ($(origin KENSEG_HOME),undefined)
KENSEG_HOME := $(CURDIR)/.kenseg
else
override KENSEG_HOME := $(value KENSEG_HOME)
endif

ifeq ($(strip $(DATA)),arc)
FETCHED := $(KENSEG_HOME)/arc-$(subst $() ,-,$(strip $(SUBJECTS)))
override DATA_ROOT := $(FETCHED)
endif

# The newest supported Python that really runs (a name on the path may be an empty shim).
PYTHON ?= $(shell for name in python3.13 python3.12 python3.11 python3 python; do \
    $$name -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' \
    >/dev/null 2>&1 && { echo $$name; break; }; done)

VENV := .venv
PY := $(VENV)/bin/python
# Pages of different profiles and data never mix: each run has its own folder.
# One folder has one, however many slashes it is spelled with.
RUN := $(strip $(PROFILE))$(if $(DATA_ROOT),-$(shell printf '%s' $(call quote,$(DATA_ROOT)) | \
    sed -e 's|//*|/|g' -e 's|\(.\)/$$|\1|' | cksum | cut -d' ' -f1))
NOTEBOOKS := $(sort $(wildcard notebooks/*.ipynb))
# Chapter 5 first: others go on with the network that it trains. Then by the minutes that the
# overview boxes promise, the longest first, so that no long one is left for a single core at the
# end. Those that go on stand behind three that do not: make puts what has to wait behind all others.
TRAINS := notebooks/05_gpu_training.ipynb
GO_ON := $(addprefix notebooks/,06_dice_evaluation.ipynb 10_failure_cases.ipynb 11_whole_brain_segmentation.ipynb)
BY_LENGTH := $(shell grep -o 'at most [0-9]* minutes to run' $(NOTEBOOKS) | sort -t' ' -k3,3nr -s | cut -d: -f1)
LONG_ALONE := $(wordlist 1,3,$(filter-out $(TRAINS) $(GO_ON),$(BY_LENGTH)))
ORDER := $(TRAINS) $(LONG_ALONE) $(BY_LENGTH) $(NOTEBOOKS)
EXECUTED := $(patsubst notebooks/%,_build/executed/$(RUN)/%,$(ORDER))
PACKAGE := $(shell find kenseg_utils -name '*.py')
PAGES := $(shell find book -type f -not -path '*/__pycache__/*') _config.yml README.md CONTRIBUTING.md
DATA_ARGUMENT := $(if $(DATA_ROOT),--data-root $(call quote,$(DATA_ROOT)))

# Real data may change. This file is younger than the pages if they did since: a look at names,
# sizes and times below DATA_ROOT, taken whenever something is about to be built from them.
DATA_SEEN := $(if $(DATA_ROOT),_build/.seen-$(RUN))
ifneq ($(and $(DATA_SEEN),$(filter _build/%,$(MAKECMDGOALS))),)
$(shell mkdir -p _build && $(or $(wildcard $(PY)),$(PYTHON)) book/_tools/data_seen.py \
    $(call quote,$(DATA_ROOT)) $(DATA_SEEN) >&2)
endif

# Like a processor without bfloat16 units, which is what most laptops have: to see how long they take.
BFLOAT16 ?= on
ifeq ($(filter on off,$(BFLOAT16)),)
$(error BFLOAT16 is "$(BFLOAT16)": choose on or off)
endif
ifeq ($(strip $(BFLOAT16)),off)
export ONEDNN_MAX_CPU_ISA := AVX512_CORE
endif

# glibc gives every large array back to the system and asks for it anew, page by page: an eighth
# of the time that a phantom takes. Kept, the memory is used again (other systems ignore these).
export MALLOC_MMAP_MAX_ ?= 0
export MALLOC_TRIM_THRESHOLD_ ?= 8589934592

export KENSEG_HOME
export TF_CPP_MIN_LOG_LEVEL ?= 3
export PYTHONHASHSEED ?= 0

.PHONY: help install book test lint rehearse results paper bench serve pdf lock colab-check colab-lock clean

help: ## List these commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/\1|\2/' | \
	    awk -F'|' '{ printf "  make %-12s %s\n", $$1, $$2 }'
	@echo "  Options: PROFILE=smoke|demo|paper (default demo), DATA=arc [SUBJECTS=20|all] or DATA_ROOT=/data/ATLAS_2 (default: phantom)"
	@echo "           SIDE_BY_SIDE=1 (one chapter after another; else as many as cores and memory allow)"
	@echo "           BFLOAT16=off (compute as on a processor without bfloat16 units)"

install: $(VENV)/.book ## Make .venv from requirements.lock (hashes checked)

# 1 under make -n, which only tells what would be done: nothing is asked of Python then.
LOOKS_AHEAD := $(if $(findstring n,$(firstword -$(MAKEFLAGS))),1)

# Two chapters at a time or more where cores and memory allow; SIDE_BY_SIDE=1: one after another.
book: $(VENV)/.book ## Execute every notebook, render _build/html/index.html
	@mkdir -p _build && touch _build/.started
	@$(if $(FETCHED),$(PY) -m kenseg_utils.open_data arc --subjects $(SUBJECTS) --to $(call quote,$(FETCHED)) \
	    $(if $(BASE_URL),--base-url $(call quote,$(BASE_URL))))
	@many=$(or $(SIDE_BY_SIDE),$(LOOKS_AHEAD),$$($(PY) book/_tools/side_by_side.py _build/executed/$(RUN))); \
	$(MAKE) --no-print-directory -j$$many SIDE_BY_SIDE=$$many _build/.rendered-$(RUN) || \
	    { $(PY) book/_tools/report.py _build/executed/$(RUN); exit 1; }
	@$(PY) book/_tools/report.py _build/executed/$(RUN)
	@echo "The book: _build/html/index.html"

# Three processes, a file of tests at a time each: with two, a fifth of two cores lay idle; with
# four, a tenth, as with three, and it took no less.
# One test alone: make test JOBS=0 TESTS=tests/test_x.py
test: JOBS ?= 3
test: $(VENV)/.test ## Run all tests: units, notebooks in profile smoke, built pages (JOBS=3, TESTS=)
	$(PY) -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder $(TESTS)

lint: $(VENV)/.test ## Ruff (lint and format), the order of the rooms, types: seconds
	$(PY) -m ruff check . && $(PY) -m ruff format --check .
	$(VENV)/bin/lint-imports --no-cache | tail -n 4
	$(PY) -m mypy

# The paper's scale wants a GPU. On two cores: make results PROFILE=demo RESULTS="--epochs 24"
results: PROFILE = paper
results: $(VENV)/.book ## Train all networks and the ablation's questions at length (RESULTS="--minutes 60 …", ABLATION="…"); writes results/*.json
	$(PY) -m kenseg_utils.experiments.lineup --profile $(PROFILE) $(DATA_ARGUMENT) --record $(RESULTS)
	for question in ken factors grid; do \
	    $(PY) -m kenseg_utils.experiments.ablation --question $$question --profile $(PROFILE) $(DATA_ARGUMENT) --record $(ABLATION); \
	done

# A piece ends by itself, with 75 where another is wanted.
paper: MINUTES ?= 100000
paper: $(VENV)/.book ## Train at the paper's own scale, in pieces of ten minutes (RUNS="paper …", MINUTES=60); writes results/paper_scale.json
	@end=$$(( SECONDS + 60 * $(MINUTES) )); code=75; \
	while [ $$code = 75 ]; do \
	    left=$$(( (end - SECONDS + 59) / 60 )); piece=$$(( left < 1 ? 1 : left < 10 ? left : 10 )); \
	    $(PY) benchmarks/paper.py --minutes $$piece $(DATA_ARGUMENT) $(if $(RUNS),--runs $(RUNS)) \
	        && code=0 || code=$$?; \
	    [ $$code != 75 ] || [ $$SECONDS -lt $$end ] || { echo "Time is up: call again to go on."; exit 0; }; \
	done; exit $$code

bench: $(VENV)/.test ## Measure speed beside peers; writes benchmarks/results/*.json
	for script in benchmarks/bench_*.py; do $(PY) $$script; done

# Phantoms lie on one grid, with one mask each; real scans do not.
rehearse: $(VENV)/.book ## Run every chapter in profile smoke on made-up scans that are stored as hospitals store theirs
	$(PY) book/_tools/native_release.py _build/native
	$(MAKE) --no-print-directory --keep-going _build/.executed PROFILE=smoke DATA_ROOT=_build/native

_build/.executed: $(EXECUTED)  # never written: each chapter is

serve: book ## Build, then serve the book on http://localhost:8000 (PORT=)
	$(PY) -m http.server --directory _build/html $(PORT)

# Printed by a browser from the pages, which are built first; links and an outline work inside.
pdf: book $(VENV)/.test ## The whole book as _build/book.pdf (needs chromium)
	@$(PY) book/_tools/pdf.py _build/html _build/book.pdf

lock: ## Resolve requirements*.lock anew (needs uv: pip install uv)
	uv pip compile -q --universal --generate-hashes --no-header --python-version 3.11 --upgrade \
	    --extra full --extra book --extra fast --extra cluster --extra export pyproject.toml \
	    -o requirements.lock
	uv pip compile -q --universal --generate-hashes --no-header --python-version 3.11 --upgrade \
	    --extra full --extra book --extra fast --extra cluster --extra export --extra test \
	    -c requirements.lock pyproject.toml | $(PY) book/_tools/extra_lock.py requirements.lock \
	    > requirements-test.lock
	printf 'isal\nnilearn\n' | uv pip compile -q --universal --generate-hashes --no-header \
	    --no-annotate --no-deps --python-version 3.11 -c requirements.lock - -o requirements-colab.lock

# Colab has one Python at a time, 3.13 since August 2026; COLAB=3.12 is what it had before.
# Its versions are its own published list (COLAB_LIST) when a lock is made.
COLAB ?= 3.13
ifeq ($(and $(filter 1,$(words $(COLAB))),$(filter 3.12 3.13,$(COLAB))),)
$(error COLAB is "$(COLAB)": choose 3.13 or 3.12, the Pythons that Colab has and had)
endif
COLAB_PYTHON ?= python$(strip $(COLAB))
COLAB_LIST ?= _build/pip-freeze.gpu.txt
COLAB_LOCK := requirements-colab-check$(if $(filter 3.12,$(COLAB)),-3.12).lock
COLAB_VENV := .venv-colab-$(strip $(COLAB))
CHECKED ?=

colab-check: $(VENV)/.book $(COLAB_VENV)/.ready ## Run the notebooks (CHECKED=) with Colab's versions (COLAB=3.12: its last)
	$(PY) book/_tools/colab.py check $(COLAB_VENV)/bin/python $(CHECKED)

$(COLAB_VENV)/.ready: $(COLAB_LOCK)
	@$(COLAB_PYTHON) -c 'import sys; sys.exit("%d.%d" % sys.version_info[:2] != "$(strip $(COLAB))")' || { echo \
	    "colab-check needs Python $(strip $(COLAB)): COLAB_PYTHON=path/to/python$(strip $(COLAB))" >&2; exit 1; }
	$(COLAB_PYTHON) -m venv $(COLAB_VENV)
# The lock is complete. Left to resolve anew, older versions of pip stumble over bleach[css].
	$(COLAB_VENV)/bin/python -m pip install --quiet --no-deps --require-hashes -r $(COLAB_LOCK)
	@touch $@

colab-lock: ## Pin colab-check anew to Colab's published list (COLAB_LIST=, COLAB=, needs uv)
	$(PY) book/_tools/colab.py wanted > _build/colab.in
	uv pip compile -q --generate-hashes --no-header --no-annotate --python-version $(COLAB) \
	    --python-platform x86_64-manylinux_2_28 -c $(COLAB_LIST) _build/colab.in -o $(COLAB_LOCK)

clean: ## Remove what was built (_build); .venv and .kenseg stay (make clean ALL=1 removes them too)
	rm -rf _build $(if $(ALL),$(VENV) .kenseg)

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "No Python 3.11, 3.12 or 3.13 found. Install one (python.org," \
	    "your system's packages, or pyenv) so that python3.13 runs, then try again." >&2; exit 1; }
	@echo "Making $(VENV) with $(PYTHON)"
	$(PYTHON) -m venv $(VENV)

# pip compiles one file after another, the libraries' own tests among them. A library may hold a
# file that no Python compiles: that is no failure.
compile = @echo "Compiling what was installed"; $(PY) -m compileall -qq -j 0 -x '/tests?/' $(VENV)/lib || true

$(VENV)/.book: requirements.lock pyproject.toml | $(VENV)/bin/python
	$(PY) -m pip install --quiet --no-compile --require-hashes -r requirements.lock
	$(PY) -m pip install --quiet --no-deps --no-build-isolation -e .
	$(compile)
	@touch $@

$(VENV)/.test: requirements-test.lock $(VENV)/.book
	$(PY) -m pip install --quiet --no-compile --require-hashes -r requirements-test.lock
	$(compile)
	@touch $@

# The release first, so that its progress is seen; a notebook run alone builds what it lacks.
_build/.data-$(RUN): $(wildcard kenseg_utils/phantom/*.py) kenseg_utils/profiles.py $(DATA_SEEN)
	@mkdir -p $(@D)
	@$(PY) -m kenseg_utils.profiles $(PROFILE) $(DATA_ARGUMENT)
	@touch $@

_build/executed/$(RUN)/%.ipynb: notebooks/%.ipynb $(PACKAGE) requirements.lock $(DATA_SEEN) \
    | _build/.data-$(RUN)
	@$(PY) book/_tools/execute.py $< $@ --profile $(PROFILE) $(DATA_ARGUMENT) \
	    --side-by-side $(or $(SIDE_BY_SIDE),1)

# These go on with chapter 5's network.
$(GO_ON:notebooks/%=_build/executed/$(RUN)/%): | $(TRAINS:notebooks/%=_build/executed/$(RUN)/%)

# What these show beside their own results.
_build/executed/$(RUN)/03_residual_and_ken_blocks.ipynb: $(wildcard results/trained_gradients.json)
_build/executed/$(RUN)/05_gpu_training.ipynb: $(wildcard results/overfitting.json results/paper_scale.json)
_build/executed/$(RUN)/08_baseline_networks.ipynb: $(wildcard results/networks.json)
_build/executed/$(RUN)/09_ablation_study.ipynb: $(wildcard results/ken_block.json results/factors.json results/ablation.json results/paper_scale.json)
_build/executed/$(RUN)/11_whole_brain_segmentation.ipynb: $(wildcard results/whole_slices.npz results/dimensions.json results/real_heads*.json)
_build/executed/$(RUN)/15_train_on_your_own_data.ipynb: $(wildcard results/whole_slices.npz)
_build/executed/$(RUN)/12_segment_your_scan.ipynb: $(wildcard results/whole_slices.npz results/real_heads*.json)
_build/executed/$(RUN)/14_benchmarks.ipynb: $(wildcard benchmarks/results/*.json)

_build/.rendered-$(RUN): $(EXECUTED) $(PAGES)
	@$(PY) book/_tools/render.py _build/executed/$(RUN)
	@rm -f _build/.rendered-* && touch $@
