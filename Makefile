# make demo: install, build the default dataset, train, write a report. After an interruption, it continues where it
# stopped.
# make test: install, lint, types, tests.
# make test-torch-2.11: the tests with the oldest PyTorch that is supported, in an environment of its own.
# make lock: write requirements.lock anew. make audit: known vulnerabilities of the packages in it.
# make gpu: what only a machine with a GPU can show: tests, then speed, memory and kernels, as tables and as JSON.
PYTHON ?= python3
BIN := .venv/bin
# Where PyTorch brings no Triton, the tests take this one.
TRITON := triton==3.6.0

.PHONY: demo test test-torch-2.11 lint lock audit gpu clean

demo: .venv/.installed datasets/robohash64
	$(BIN)/python train.py robohash --resume auto
	@run=`ls -t results/*/stats.jsonl | head -1`; run=`dirname "$$run"`; \
	  $(BIN)/python report.py "$$run" --output "$$run/report.html" --overwrite && \
	  echo "open $$run/report.html in a browser to see how the training went"

test: .venv/.installed-test .venv/.browser lint
	$(BIN)/python -m pytest

test-torch-2.11: .venv-torch-2.11/.installed .venv/.browser
	.venv-torch-2.11/bin/python -m pytest

.venv-torch-2.11/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv-torch-2.11
	grep -v '^torch==' constraints.txt > .venv-torch-2.11/constraints.txt
	.venv-torch-2.11/bin/pip install --quiet --disable-pip-version-check torch==2.11.0 --editable '.[test]' \
	  --constraint .venv-torch-2.11/constraints.txt
	.venv-torch-2.11/bin/pip install --quiet --disable-pip-version-check --no-deps torch-fidelity
	@.venv-torch-2.11/bin/python -c 'import triton' 2>/dev/null || test `uname` != Linux || \
	  .venv-torch-2.11/bin/pip install --quiet --disable-pip-version-check $(TRITON)
	@touch $@

gpu: .venv/.installed-test
	mkdir -p gpu-results
	$(BIN)/python -m pytest --numprocesses=0 -m gpu tests/gpu tests/training/ops/triton; echo $$? > gpu-results/.status
	for size in 256 1024; do \
	  $(BIN)/python benchmarks/train_step.py --device cuda --preset flowers256 --fmap-base 8192 --fmap-max 512 \
	    --resolution $$size --batch `expr 2048 / $$size` --json gpu-results/train_step_$$size.json \
	    --settings bf16-ref bf16 bf16-compile-ref bf16-compile || exit 1; \
	done
	$(BIN)/python benchmarks/kernels.py --json gpu-results/kernels.json
	$(BIN)/python benchmarks/kernels.py --compile --json gpu-results/kernels_compile.json
	$(BIN)/python benchmarks/sampling.py --json gpu-results/sampling.json
	@exit `cat gpu-results/.status`

# For the tests of web pages: Chromium, the system's or else Playwright's own, and onnxruntime-web.
.venv/.browser: .venv/.installed-test examples/onnx/node_modules
	@for program in chromium chromium-browser google-chrome google-chrome-stable; do \
	  command -v $$program && touch $@ && exit; \
	done; \
	if test `id -u` = 0 && command -v apt-get; then \
	  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium && chromium --version && \
	    touch $@ && exit; \
	fi; \
	$(BIN)/playwright install --with-deps chromium && touch $@

examples/onnx/node_modules: examples/onnx/package.json
	@command -v npm || test `id -u` != 0 || { apt-get update -qq && \
	  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq npm; }
	cd examples/onnx && npm install --silent --no-audit --no-fund --no-package-lock
	@touch $@

lint: .venv/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy --platform win32 --cache-dir .mypy_cache/win32
	$(BIN)/mypy --platform darwin --cache-dir .mypy_cache/darwin

lock: .venv-tools/.installed
	.venv-tools/bin/uv pip compile --quiet --universal --generate-hashes --no-annotate --no-header --no-emit-index-url \
	  --python-version 3.11 --constraint constraints.txt pyproject.toml --output-file .venv-tools/packages
	{ grep '^#' requirements.lock; grep -v '^#' .venv-tools/packages; } > .venv-tools/lock
	mv .venv-tools/lock requirements.lock

audit: .venv-tools/.installed
	.venv-tools/bin/pip-audit --disable-pip --no-deps --requirement requirements.lock

.venv-tools/.installed:
	$(PYTHON) -m venv .venv-tools
	.venv-tools/bin/pip install --quiet --disable-pip-version-check uv pip-audit
	@touch $@

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
	@$(BIN)/python -c 'import triton' 2>/dev/null || test `uname` != Linux || \
	  $(BIN)/pip install --quiet --disable-pip-version-check $(TRITON)
	@touch $@

clean:
	rm -rf .venv .venv-tools .venv-torch-2.11 examples/onnx/node_modules .pytest_cache .mypy_cache .ruff_cache *.egg-info
