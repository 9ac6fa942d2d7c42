# Every command that the documentation names. `make help` lists them.

# An environment of our own: nothing from the caller's Python may leak into it.
unexport PYTHONHOME PYTHONPATH PYTHONSTARTUP PYTHONWARNINGS VIRTUAL_ENV

PYTHON ?=
JAX_PYTHON ?=
VENV_PYTHON := .venv/bin/python

.DEFAULT_GOAL := help
.PHONY: help venv demo serve test lint format bench portable-test newer-tensorflow-test \
    bazel-test clean distclean

help: ## Show this list.
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' Makefile | column -t -s '|' 2>/dev/null \
	    || sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1  \2/p' Makefile

venv: ## Make .venv, or bring it up to date. PYTHON=/path/to/python picks the Python.
	@python=$$(sh tools/find_python.sh "$(PYTHON)") && "$$python" -I tools/make_venv.py

demo: venv ## Compress and decompress sample photos; pictures and figures go to demo_out/.
	$(VENV_PYTHON) -m tfc_models.demo --output demo_out

test: lint ## Run lint, then all tests in four processes. ARGS="-k gdn -x" goes to pytest; --exhaustive takes longer.
	$(VENV_PYTHON) -m pytest -n 4 --dist loadgroup --no-loadscope-reorder $(ARGS)

lint: venv ## Check style and formatting (ruff), types (mypy) and imports (import-linter).
	$(VENV_PYTHON) -m ruff check
	$(VENV_PYTHON) -m ruff format --check
	$(VENV_PYTHON) -m mypy
	.venv/bin/lint-imports

format: venv ## Format the code, and mend what ruff can mend.
	$(VENV_PYTHON) -m ruff check --fix
	$(VENV_PYTHON) -m ruff format

bench: venv ## Run the benchmarks of speed and memory. ARGS="-k gdn" goes to pytest.
	$(VENV_PYTHON) -m pytest benchmarks --benchmark-only -s $(ARGS)
	$(VENV_PYTHON) -m benchmarks.memory

portable-test: venv ## Test the portable training step, with jax in .venv-jax. JAX_PYTHON= picks its Python.
	@sh tools/make_side_venv.sh .venv-jax constraints-jax.txt "3.14 3.13 3.12 3.11" "$(JAX_PYTHON)" jax numpy pillow
	TFC_MODELS_JAX_PYTHON=.venv-jax/bin/python $(VENV_PYTHON) -m pytest tests/training/test_portable.py \
	    tests/training/test_device_crops.py $(ARGS)

newer-tensorflow-test: venv ## Test an export under TensorFlow 2.17, in .venv-tf217.
	@sh tools/make_side_venv.sh .venv-tf217 constraints-tf217.txt "3.12 3.11 3.10 3.9" "" \
	    tensorflow tensorflow-compression-ops
	TFC_MODELS_NEWER_TENSORFLOW_PYTHON=$(CURDIR)/.venv-tf217/bin/python \
	    $(VENV_PYTHON) -m pytest tests/codec/test_newer_tensorflow.py $(ARGS)

serve: venv serving_out/exported ## Serve the zoo's default model: REST and the page on port 8501, gRPC on 8500.
	$(VENV_PYTHON) -m serving.server --model_name default --model_base_path serving_out/default

# A further version where the zoo has changed; the server takes the latest.
serving_out/exported: tfc_models/zoo/weights/index.json | venv
	$(VENV_PYTHON) -m serving.export --model default --bfloat16 auto --base_path serving_out/default
	@touch $@

bazel-test: venv ## Build and test with Bazel, offline. ARGS="--test_filter=gdn" goes to bazel.
	@sh tools/bazel/test.sh $(ARGS)

clean: ## Remove what the other commands wrote, but for .venv.
	rm -rf demo_out serving_out build dist .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis \
	    .benchmarks ./*.egg-info
	find . -name __pycache__ -type d -not -path './.venv*/*' -prune -exec rm -rf {} +

distclean: clean ## Remove the environments also.
	rm -rf .venv .venv-jax .venv-tf217
