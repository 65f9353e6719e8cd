# Two commands from nothing: `make demo` and `make test`. Both set up what they need in .venv.
PYTHON ?= python3
LOCK ?= requirements.lock
EXTRAS ?= dev,export,kernels,llm,serve,sweep
DATA ?= digits
RUNS ?= logs
VENV := .venv
BIN := $(VENV)/bin
comma := ,
empty :=
space := $(empty) $(empty)
name := $(basename $(notdir $(LOCK)))
# Stamps say what is installed: the core alone, or the core with the extras of this name. Another
# lock or other extras have other stamps, so that a change installs again.
CORE := $(VENV)/.core-$(name)
ALL := $(VENV)/.extras-$(name)-$(subst $(comma),-,$(EXTRAS))
INSTALL := $(BIN)/uv pip install --quiet --python $(BIN)/python --constraint $(LOCK) --editable

# Names in the table of pyproject.toml. uv installs without an extra that it does not know.
known = $(shell sed -n '/^\[project.optional-dependencies\]/,/^\[/s/^\([a-z0-9-]*\) *=.*/\1/p' pyproject.toml)
unknown = $(filter-out $(known),$(subst $(comma),$(space),$(EXTRAS)))

.PHONY: setup extras demo test test-all docs notebooks lint format tensorboard lock clean

setup: $(ALL)

extras:
	@test -z '$(unknown)' || \
	  { echo "there is no extra $(firstword $(unknown)); there are $(subst $(space),$(comma)$(space),$(sort $(known)))" >&2; exit 1; }

# Of a lock that is not there.
%.lock:
	@echo "there is no $@; there are $(wildcard *.lock)" >&2; exit 1

$(CORE): pyproject.toml $(LOCK) | extras
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	  { echo "gpu-learning needs Python 3.10 or newer; on RHEL 9: sudo dnf install python3.11, then make $(or $(MAKECMDGOALS),setup) PYTHON=python3.11" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || \
	  { rm -rf $(VENV); echo "this Python has no venv; on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	@test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(INSTALL) .
	@rm -f $(VENV)/.core-* $(VENV)/.extras-* && touch $@

$(ALL): $(CORE)
	$(INSTALL) '.[$(EXTRAS)]'
	@touch $@

demo: $(CORE)
	@$(BIN)/gpu-learning demo --data $(DATA)

test: $(ALL)
	$(BIN)/python -m pytest -n auto --maxprocesses 12 -m "not slow"

# With the slow ones: compiled nets, several processes, kills, llama.cpp, Chromium.
test-all: $(ALL)
	$(BIN)/python -m pytest -n auto --maxprocesses 12 --durations 25

# The code that the pages of the course quote, and the diagrams of its nets, as they are now.
docs: $(CORE)
	$(BIN)/python -m course.pages
	$(BIN)/python -m course.diagrams

notebooks: $(ALL)
	$(BIN)/gpu-learning lessons notebooks --out notebooks --overwrite --execute

lint: $(ALL)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/python .ci/words.py

format: $(ALL)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# All runs, or those of one experiment, whose curves can be compared: RUNS=logs/digits_cnn
tensorboard: $(CORE)
	@test -d '$(RUNS)' || echo "there is no folder $(RUNS) yet$(if $(wildcard logs/*),; there is $(wildcard logs/*))" >&2
	@test '$(RUNS)' != logs || echo "shows the runs of all experiments; of one: make tensorboard RUNS=logs/EXPERIMENT"
	$(BIN)/tensorboard --logdir '$(RUNS)'

# The newest versions that fit together; the second lock keeps the last torch built for CUDA 12.
lock: $(ALL)
	$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.10 --all-extras \
	  --no-annotate --no-header --no-emit-index-url pyproject.toml --output-file requirements.lock
	printf 'torch==2.10.0\ntorchvision==0.25.0\n' | \
	$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.10 --all-extras \
	  --no-annotate --no-header --no-emit-index-url --constraint - pyproject.toml \
	  --output-file requirements-cuda12.lock

# Data, checkpoints and exports stay; they are yours.
clean:
	rm -rf $(VENV) build dist .pytest_cache .ruff_cache *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
