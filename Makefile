# Everything runs in .venv, which is made when first needed, and made anew when the requirements
# change. PYTHON chooses its Python, REQUIREMENTS what is installed; without them an environment
# that exists keeps its own.
ifndef PYTHON
PYTHON := $(shell .venv/bin/python -c 'import os, sys; print(os.path.realpath(sys.executable))' \
	2>/dev/null || echo python3)
endif
ifndef REQUIREMENTS
REQUIREMENTS := $(or $(shell cut -d' ' -f3 .venv/installed 2>/dev/null),requirements.txt)
endif

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.DEFAULT_GOAL := help
.PHONY: help toy figures test test-fast lint venv system clean

help:  ## list these targets
	@sed -nE 's/^([a-z-]+):[^#]*## (.*)/  make \1\t\2/p' Makefile | expand -t 18
	echo "PYTHON=python3.x make ... chooses the Python, 3.9 to 3.12;"
	echo "make REQUIREMENTS=requirements-gpu.txt ... installs MXNet for NVIDIA GPUs."

toy: venv  ## make 200 toy images, segment and score them: outputs/toy
	rm -rf data/toy-200 outputs/toy  # of an earlier generator or of other weights, perhaps
	.venv/bin/python -m datasets.toy_generator --out data/toy-200 --train 0 --test 200 --seed 3000
	.venv/bin/python test_panoptic.py toy --data-root data/toy-200 --weights weights/toy.params \
	  --output outputs/toy --processes "$$(nproc)"

figures: venv  ## draw the figures of docs/ with the shipped weights
	rm -rf data/toy-200 data/toy-large  # of an earlier generator, perhaps
	.venv/bin/python -m datasets.toy_generator --out data/toy-200 --train 0 --test 200 --seed 3000
	.venv/bin/python -m datasets.toy_generator --out data/toy-large --train 0 --test 20 --seed 2000 \
	  --degradation hardest --size 256 --objects 250
	.venv/bin/python -m docs.figures

# A process a core, each with one thread: threads of several that wait for each other take longer.
PYTEST := OMP_NUM_THREADS=1 .venv/bin/python -m pytest --numprocesses auto --maxprocesses 4

test: venv  ## run the tests
	$(PYTEST) --dist loadfile

test-fast: venv  ## run the tests that take no training, process or large network: a minute
	$(PYTEST) --fast --durations 5

lint: venv  ## check style, format and types
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy

venv: system  ## install the requirements into .venv, if they aren't
	@version=$$("$(PYTHON)" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
	wanted="Python $$version $(REQUIREMENTS) $$(cat requirements*.txt | cksum)"
	if [ "$$(cat .venv/installed 2>/dev/null)" = "$$wanted" ]; then
	  exit
	fi
	echo "Installing $(REQUIREMENTS) for Python $$version into .venv: about a minute"
	"$(PYTHON)" -m venv --clear .venv
	# -qq: errors only. Why --no-deps: requirements-common.txt
	.venv/bin/python -m pip install -qq --disable-pip-version-check --no-deps \
	  -r $(REQUIREMENTS) -r requirements-dev.txt
	echo "$$wanted" > .venv/installed

system:  ## check what the system must have: Python, venv, shared libraries
	@if ! version=$$("$(PYTHON)" -c 'import sys; print("%d.%d" % sys.version_info[:2])'); then
	  echo "error: can't run $(PYTHON). Name a Python that is there: PYTHON=python3.x make ..." >&2
	  exit 1
	fi
	case $$version in
	3.9 | 3.10 | 3.11 | 3.12) ;;
	*)
	  here=$$(for name in python3.{9..12}; do "$$name" -c "print('$$name')" 2>/dev/null; done || :)
	  echo "error: $(PYTHON) is Python $$version, and MXNet 1.9.1 runs on Python 3.9 to 3.12." >&2
	  echo "Choose one (found here: $${here:-none}), such as: PYTHON=python3.11 make ..." >&2
	  exit 1
	  ;;
	esac
	if ! "$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null; then
	  echo "error: $(PYTHON) can't make virtual environments: its venv module is missing." >&2
	  echo "On Debian and Ubuntu: apt-get install python$$version-venv" >&2
	  exit 1
	fi
	missing=
	# the first two for MXNet, the others for OpenCV
	for library in libgomp.so.1 libquadmath.so.0 libGL.so.1 libgthread-2.0.so.0; do
	  "$(PYTHON)" -c "import ctypes; ctypes.CDLL('$$library')" 2>/dev/null || missing+=" $$library"
	done
	if [ "$$missing" ]; then
	  echo "error: system libraries are missing:$$missing" >&2
	  echo "On Debian and Ubuntu: apt-get install libgomp1 libquadmath0 libgl1 libglib2.0-0" >&2
	  exit 1
	fi

clean:  ## delete .venv, caches, the images and results of make toy
	rm -rf .venv .pytest_cache .ruff_cache .mypy_cache .hypothesis data/toy-200 outputs/toy
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
