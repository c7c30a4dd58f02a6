# make demo    the dashboard in your browser        make test    every test
# make check   linters and types                    make help    the rest
#
# Everything lives in .venv; nothing is installed again until a requirement changes. A bare Debian
# needs the packages python3-venv, libgl1 and libglib2.0-0 for both, and chromium for the tests.

PYTHON ?= python3
PORT   ?= 8866
VENV   := .venv
PLAIN  := .venv-without-mxnet
NEWER  := .venv-newer-python
AUDIT  := .venv-audit
RELEASE := .venv-release
UNIT   := --ignore=tests/browser --ignore=tests/test_notebooks.py
TORCH  ?= 2.13.0
OPENVINO ?= 2026.4.1

# mxnet runs on Linux x86-64 only, before Python 3.12; elsewhere the engine is ONNX Runtime and numpy
# is version 2.
MXNET_RUNS := import platform, sys; print((sys.platform, platform.machine(), sys.version_info < (3, 12)))
ifeq ($(shell $(PYTHON) -c '$(MXNET_RUNS)' 2>/dev/null),('linux', 'x86_64', True))
  LOCK := requirements/with-mxnet.txt
else
  LOCK := requirements/without-mxnet.txt
endif

.PHONY: help install demo test test-as-haswell test-without-mxnet test-newer-python test-with-torch \
  check check-javascript audit chromium lock release samples gallery clean

help:
	@echo 'make demo [PORT=8866]     serve the dashboard with Voila'
	@echo 'make test                 run every test (finds or installs Chromium first)'
	@echo 'make test-as-haswell      run the unit tests with the kernels of a processor with AVX2'
	@echo 'make test-without-mxnet   run the unit tests in a second environment: numpy 2, no mxnet'
	@echo 'make test-newer-python    run them on another Python, 3.12 or newer, if there is one'
	@echo 'make test-with-torch      then add torch and OpenVINO there, and run the tests that need them'
	@echo 'make check                ruff, mypy, import-linter, biome, tsc, vitest, and that notebooks are committed clean'
	@echo 'make audit                ask for known holes in the locked packages'
	@echo 'make install              only prepare .venv'
	@echo 'make lock                 resolve the requirements anew (needs uv)'
	@echo 'make release              build wheel and sdist into dist/, check them, try the wheel'
	@echo 'make samples              make the ruined sample images anew'
	@echo 'make gallery              take the pictures of the dashboard in docs/ anew'
	@echo 'make clean                remove the environments and caches'
	@echo 'On a bare Debian, first:  apt install python3-venv libgl1 libglib2.0-0 (tests: chromium)'

install: $(VENV)/installed

demo: install
	@$(VENV)/bin/serfiq demo --port $(PORT)

test: install chromium
	$(VENV)/bin/python -m pytest

# The kernels of a common processor round otherwise than those of a newer one.
test-as-haswell: install
	OPENBLAS_CORETYPE=Haswell $(VENV)/bin/python -m pytest $(UNIT)

test-without-mxnet: $(PLAIN)/installed
	$(PLAIN)/bin/python -m pytest $(UNIT)

# One Python more than the first, if there is one: NEWER_PYTHON names it.
NEWER_PYTHON ?= $(shell for one in 3.14 3.13 3.12; do \
  for path in python$$one $$HOME/.pyenv/versions/$$one*/bin/python; do \
    $$path -c 'import venv, ensurepip' 2>/dev/null && echo $$path && exit; done; done)

test-newer-python:
ifeq ($(NEWER_PYTHON),)
	@echo 'There is no Python 3.12 or newer here: its tests were not run.'
else
	@$(MAKE) $(NEWER)/installed PYTHON=$(NEWER_PYTHON)
	$(NEWER)/bin/python -m pytest $(UNIT)
endif

test-with-torch: $(PLAIN)/torch
	$(PLAIN)/bin/python -m pytest tests/scoring tests/checkpoints/test_on_top.py tests/engines \
	  tests/test_recipe.py

check: install
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports --no-cache
	$(VENV)/bin/python tools/clean_notebooks.py --check notebooks
	@$(MAKE) check-javascript

# biome, TypeScript's checker and vitest, pinned in package.json
ifeq ($(shell command -v npm),)
check-javascript:
	@echo 'There is no npm here: the JavaScript was not checked.'
else
check-javascript: node_modules/installed
	npm run --silent check

node_modules/installed: package-lock.json
	@npm ci --silent --no-audit --no-fund
	@touch $@
endif

# ADVISORIES=all.zip names a copy of the OSV records for PyPI; then no connection is needed.
# A package that the service does not know is a failure, for it was not audited.
LOCKS := requirements/with-mxnet.txt requirements/without-mxnet.txt
ifeq ($(ADVISORIES),)
audit: $(AUDIT)/installed
	for lock in $(LOCKS); do \
	  $(AUDIT)/bin/pip-audit --strict --require-hashes --disable-pip -r $$lock || exit 1; done
else
audit: install
	$(VENV)/bin/python tools/audit_offline.py $(ADVISORIES) $(LOCKS)
endif

$(AUDIT)/installed:
	@$(PYTHON) -m venv --clear $(@D)
	@$(@D)/bin/python -m pip install -qq --disable-pip-version-check pip-audit
	@touch $@

chromium: install
	@$(VENV)/bin/python tools/find_chromium.py

samples: install
	$(VENV)/bin/python tools/make_samples.py

gallery: install chromium
	$(VENV)/bin/python tools/make_gallery.py

# Wheel and sdist into dist/, checked; then the wheel alone scores a sample in a fresh environment, from
# another folder, with a home that cannot be written to. Nothing is uploaded.
$(RELEASE)/installed:
	@$(PYTHON) -m venv --clear $(@D)
	@$(@D)/bin/python -m pip install -qq --disable-pip-version-check build twine check-wheel-contents
	@touch $@

release: $(RELEASE)/installed
	rm -rf dist
	$(RELEASE)/bin/python -m build
	$(RELEASE)/bin/twine check --strict dist/*
	$(RELEASE)/bin/check-wheel-contents dist/*.whl
	$(PYTHON) tools/try_wheel.py dist/*.whl

lock:
	uv pip compile -q --python-version 3.11 --python-platform x86_64-manylinux_2_28 --generate-hashes \
	  --no-emit-index-url --no-annotate --no-header --upgrade \
	  --extra mxnet --extra demo --extra dev pyproject.toml -o requirements/with-mxnet.txt
	uv pip compile -q --universal --python-version 3.11 --generate-hashes \
	  --no-emit-index-url --no-annotate --no-header --upgrade \
	  --extra demo --extra dev pyproject.toml -o requirements/without-mxnet.txt

clean:
	rm -rf node_modules $(VENV) $(PLAIN) $(NEWER) $(AUDIT) $(RELEASE) dist .mypy_cache .ruff_cache .pytest_cache .hypothesis

define installed
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo 'serfiq_widgets needs Python 3.11 or newer; say which with: make PYTHON=python3.11 ...'; exit 1; }
	@echo 'Installing into $(@D) (once; about a minute) ...'
	@$(PYTHON) -m venv --clear $(@D)
	@$(@D)/bin/python -m pip install -qq --disable-pip-version-check --require-hashes --only-binary :all: -r $<
	@$(@D)/bin/python -m pip install -qq --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@
endef

$(VENV)/installed: $(LOCK) pyproject.toml
	$(installed)

$(PLAIN)/installed $(NEWER)/installed: requirements/without-mxnet.txt pyproject.toml
	$(installed)

$(PLAIN)/torch: $(PLAIN)/installed
	@echo 'Installing torch $(TORCH) and OpenVINO into $(PLAIN) (once) ...'
	@$(PLAIN)/bin/python -m pip install -qq --disable-pip-version-check torch==$(TORCH) onnxscript \
	  openvino==$(OPENVINO)
	@touch $@
