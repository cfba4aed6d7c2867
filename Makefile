# The book's commands; `make help` lists them. Each sets up what it needs.

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV ?= .venv
JOBS ?= 2
PORT ?= 8000

# On Linux the torch of the public package index brings several GB of CUDA, so its CPU build is fetched first, from PyTorch's
# own index. `make book TORCH_INDEX=` takes torch from where all other packages come from; a missing index costs a second.
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
TORCH := $(shell sed -n 's/^torch==/torch==/p' requirements.txt)

PY := $(VENV)/bin/python
PIP := $(PY) -m pip --disable-pip-version-check
INSTALLED := $(VENV)/.installed

# The libraries that the benches measure against live in an environment of their own; nothing else needs them.
BENCH_VENV := tests/bench/.venv
BENCH_PIP := $(BENCH_VENV)/bin/python -m pip --disable-pip-version-check
BENCH_INSTALLED := $(BENCH_VENV)/.installed

.PHONY: help book test serve lint refresh experiments base mutate-provers bench colab clean distclean

help: ## list the commands
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/make \1\t\2/p' Makefile | expand -t 22

book: $(INSTALLED) ## build the site into _build/html
	$(PY) -m rlbook.site.katex
	$(VENV)/bin/jupyter-book build . --all -W -n --keep-going

test: book ## run every test and every chapter; the figures go to reports/
	@mkdir -p reports
	@$(PY) -c 'import sys; from rlbook.site.testing import chromium; sys.exit(chromium() is None)' \
	  || $(PY) -m playwright install chromium \
	  || echo "No Chromium: the tests of the site will fail. On Debian: apt-get install chromium"
	RLBOOK_REPORTS=reports $(PY) -m pytest -n $(JOBS) --junitxml=reports/junit.xml

serve: book ## build the site and serve it on this machine
	@echo "http://127.0.0.1:$(PORT)/  (stop with Ctrl-C)"
	$(PY) -m http.server $(PORT) --bind 127.0.0.1 --directory _build/html

lint: $(INSTALLED) ## check the style of the code
	$(VENV)/bin/ruff check .

refresh: $(INSTALLED) ## run all notebooks and store their outputs (FILES="book/x.ipynb" for some)
	$(PY) -m rlbook.site.refresh $(FILES)

experiments: $(INSTALLED) ## run the long experiments again and store their logs in rlbook/data
	$(PY) -m rlbook.experiments

base: $(INSTALLED) ## train the base model of chapters 11 to 13 again
	$(PY) -m rlbook.experiments.addition

mutate-provers: $(INSTALLED) ## change the provers' own rules one at a time and count what the tests catch
	$(PY) -m tests.derive.mutate_provers

bench: $(BENCH_INSTALLED) ## measure rlbook against other libraries and store the logs in rlbook/data (BENCH=gae for one)
	$(BENCH_VENV)/bin/python -m tests.bench $(BENCH)

colab: $(INSTALLED) ## write the repository's address everywhere (REPO=owner/name to change it)
	$(PY) -m rlbook.site.colab $(if $(REPO),--repo $(REPO))

clean: ## delete what was built
	rm -rf _build reports .pytest_cache .ruff_cache .hypothesis

distclean: clean ## delete the environment as well
	rm -rf $(VENV) $(BENCH_VENV) rlbook/site/node_modules *.egg-info

$(INSTALLED): requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' \
	  || { echo "The book needs Python 3.11, 3.12 or 3.13, and $(PYTHON) is not one: make book PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2> /dev/null \
	  || { echo "$(PYTHON) cannot make virtual environments; on Debian and Ubuntu: apt-get install python3-venv"; exit 1; }
	@$(PY) -m pip --version > /dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
ifneq ($(strip $(TORCH_INDEX)),)
	@if [ "$$(uname -s)" = Linux ]; then \
	  $(PIP) install --retries 0 --no-deps --extra-index-url $(TORCH_INDEX) $(TORCH) \
	    || echo "$(TORCH_INDEX) failed; going on without it"; \
	fi
endif
	$(PIP) install -r requirements.txt
	@touch $@

$(BENCH_INSTALLED): tests/bench/requirements.txt | $(INSTALLED)
	@$(BENCH_PIP) --version > /dev/null 2>&1 || $(PY) -m venv --clear $(BENCH_VENV)
ifneq ($(strip $(TORCH_INDEX)),)
	@if [ "$$(uname -s)" = Linux ]; then \
	  $(BENCH_PIP) install --retries 0 --no-deps --extra-index-url $(TORCH_INDEX) $(TORCH) \
	    || echo "$(TORCH_INDEX) failed; going on without it"; \
	fi
endif
	$(BENCH_PIP) install -r $<
	@touch $@
