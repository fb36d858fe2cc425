# make setup | demo | test | test-slow | test-lowest | audit | engines | check | docs | site
PYTHON ?= python3
VENV ?= .venv
ENGINES ?= .engines
LOWEST ?= .venv-lowest
BIN := $(VENV)/bin
READY := $(VENV)/.ready
export NO_MKDOCS_2_WARNING := 1

.PHONY: setup demo test test-slow test-lowest audit engines check docs site

setup: $(READY)

$(READY): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --editable '.[dev]'
	touch $@

demo: $(READY)
	$(BIN)/glm-ocr-finetune demo

test: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

test-slow: $(READY)
	$(BIN)/python -m pytest -m slow

# the floors of pyproject.toml, installed as they are
$(LOWEST)/.ready: pyproject.toml
	$(PYTHON) -m venv $(LOWEST)
	$(PYTHON) .ci/lowest.py > $(LOWEST)/floors.txt
	$(LOWEST)/bin/pip install --quiet --constraint $(LOWEST)/floors.txt --editable '.[dev]'
	touch $@

test-lowest: $(LOWEST)/.ready
	OMP_NUM_THREADS=1 $(LOWEST)/bin/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

# known vulnerabilities of what is installed, by PyPI's advisories
audit: $(READY) $(LOWEST)/.ready
	$(BIN)/pip install --quiet pip-audit
	$(BIN)/pip-audit --skip-editable --path $$($(BIN)/python -c 'import site; print(site.getsitepackages()[0])')
	$(BIN)/pip-audit --skip-editable --path $$($(LOWEST)/bin/python -c 'import site; print(site.getsitepackages()[0])')

engines: $(READY)
	PYTHON=$(PYTHON) tests/engines/setup.sh $(ENGINES)
	ENGINES=$(abspath $(ENGINES)) $(BIN)/python -m pytest -m engines -s tests/engines

check: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python docs/make_cli.py --check
	$(BIN)/python docs/make_diagrams.py --check
	$(BIN)/mkdocs build --quiet

docs: $(READY)
	$(BIN)/python docs/make_cli.py
	$(BIN)/python docs/make_diagrams.py

# the pages of docs/ as a site in site/; a broken link is an error
site: $(READY)
	$(BIN)/mkdocs build
