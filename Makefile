# make demo: install, build the default dataset, train, write a report. After an interruption, it continues where it
# stopped.
# make test: install, lint, types, tests.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test lint clean

demo: .venv/.installed datasets/robohash64
	$(BIN)/python train.py robohash --resume auto
	@run=`ls -t results/*/stats.jsonl | head -1`; run=`dirname "$$run"`; \
	  $(BIN)/python report.py "$$run" --output "$$run/report.html" --overwrite && \
	  echo "open $$run/report.html in a browser to see how the training went"

test: .venv/.installed-test lint
	$(BIN)/python -m pytest

lint: .venv/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

datasets/robohash64: | .venv/.installed
	$(BIN)/python dataset_tool.py create_robohash $@

.venv/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "error: $(PYTHON) is `$(PYTHON) --version 2>&1`, expected Python 3.11 or newer: make PYTHON=python3.12" >&2; exit 2; }
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --editable . --constraint constraints.txt
	@touch $@

.venv/.installed-test: .venv/.installed
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[test]' --constraint constraints.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps torch-fidelity --constraint constraints.txt
	@touch $@

clean:
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache *.egg-info
