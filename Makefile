# `make demo` and `make test` need only Python 3.11 to 3.13, make and a package index.
# On a machine with an NVIDIA GPU: `make setup GPU=1`, or GPU=jax for JAX's own CUDA; it is remembered.
PYTHON ?= python3
BIN := .venv/bin
HAD := $(shell cat .venv/.gpu 2>/dev/null)
GPU ?= $(HAD)
KIND := $(if $(filter-out 0,$(GPU)),$(if $(filter jax,$(GPU)),-jax-cuda,-cuda))
LOCK := requirements$(KIND).lock

.PHONY: setup demo test test-ci test-all coverage web android lint format docs bench bench-phone bench-compression wheel lock clean

setup: .venv/.ready

# Another kind than what is installed: begin anew.
ifneq ($(filter-out 0,$(GPU)),$(filter-out 0,$(HAD)))
.PHONY: .venv/.ready
endif

# The stamp is written last, so that an interrupted install is begun again.
.venv/.ready: $(LOCK) pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || \
	  { echo "kerascnn needs Python 3.11, 3.12 or 3.13; try: make $(MAKECMDGOALS) PYTHON=python3.13" >&2; exit 2; }
	$(PYTHON) -m venv --clear .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r $(LOCK)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@echo '$(GPU)' > .venv/.gpu
	@touch $@

demo: setup
	$(BIN)/kerascnn demo

test: setup
	$(BIN)/python -m pytest -m "not slow" -n 2 --dist worksteal

# What CI runs beside `make test`: some seconds a test, of kinds that faster ones stand for.
test-ci: setup
	$(BIN)/python -m pytest -m "slow(ci=True)" -n 2 --dist worksteal

test-all: setup
	$(BIN)/python -m pytest -n 2 --dist worksteal

# As `make test-all`, and which lines of the product no test runs; takes longer.
coverage: setup
	$(BIN)/python -m pytest -n 2 --dist worksteal --cov --cov-report=term

# The page for browsers: its runtime from npm, then all its tests, in node and in Chromium.
web: setup
	npm ci --prefix export/deploy/web_page
	$(BIN)/python -m pytest -rs tests/export/deploy/test_web*.py \
	  tests/test_imported_runs.py::test_it_is_packed_for_clients

# The Android demo's sources, compiled and tested by Maven: a JDK, mvn and aapt2.
android: setup
	$(BIN)/python -m pytest -rs tests/test_android.py tests/test_android_looks.py

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# build/site: guides, benchmarks and the API reference; opens from disk.
docs: setup
	$(BIN)/mkdocs build --strict

# The figures that docs/benchmarks/index.md quotes.
bench: setup
	$(BIN)/python benchmarks/int8_partitions.py
	$(BIN)/python benchmarks/phone_latency.py

# benchmarks/phone_latency.md and docs/phone.png; wants a machine that does nothing else.
bench-phone: setup
	$(BIN)/python benchmarks/phone_networks.py

# benchmarks/compression.md, in about 40 minutes; goes on where it was.
bench-compression: setup
	$(BIN)/python benchmarks/compression_methods.py

# dist/: sdist and wheel, with the page's runtime in both: `kerascnn web` needs no Node.js then.
wheel: setup
	npm ci --prefix export/deploy/web_page
	$(BIN)/uv build --quiet --no-build-isolation --python $(BIN)/python --out-dir dist .

RESOLVE := $(BIN)/uv pip compile --universal --python-version 3.11 --no-emit-index-url --no-header
EXTRAS := $(addprefix --extra ,pretrained sweep tfds video parquet web docs dev)

# The locks for GPUs hold what CUDA needs beside the same versions of all else.
lock: setup
	$(RESOLVE) $(EXTRAS) -o requirements.lock pyproject.toml
	$(RESOLVE) $(EXTRAS) --extra cuda -c requirements.lock -o requirements-cuda.lock pyproject.toml
	$(RESOLVE) $(EXTRAS) --extra jax-cuda -c requirements.lock -o requirements-jax-cuda.lock pyproject.toml

clean:
	rm -rf .venv runs build dist *.egg-info
