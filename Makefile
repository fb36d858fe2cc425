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

# Known vulnerabilities of what is installed, by PyPI's advisories. Left out, since no release is free of them that
# also has what is used here: torch.jit.script (PYSEC-2025-194) and files of torch.export (PYSEC-2026-139, torch 2.10)
# and accelerate's own loading of checkpoints (PYSEC-2026-3804); none of these is called here.
UNFIXED := PYSEC-2025-194 CVE-2025-3000 PYSEC-2026-139 PYSEC-2026-3804

audit: $(READY) $(LOWEST)/.ready
	for venv in $(VENV) $(LOWEST); do \
		$$venv/bin/pip install --quiet --upgrade pip setuptools pip-audit && \
		$$venv/bin/pip-audit --local --skip-editable $(UNFIXED:%=--ignore-vuln %) || exit 1; \
	done

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
