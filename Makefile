# SPDX-License-Identifier: Apache-2.0
# make check is exactly what the continuous integration runs.
PYTHON ?= python
CODE = roofline specs profiler calibration benchmarks tests

.PHONY: check fast lint types layers test format readme

check: lint types layers test

fast: lint types layers
	$(PYTHON) -m pytest -m "not slow"

lint:
	$(PYTHON) -m ruff check $(CODE)
	$(PYTHON) -m ruff format --check $(CODE)

types:
	$(PYTHON) -m mypy

layers:
	$(PYTHON) -c "from importlinter.cli import lint_imports_command; lint_imports_command()"

test:
	$(PYTHON) -m pytest

format:
	$(PYTHON) -m ruff check --fix $(CODE)
	$(PYTHON) -m ruff format $(CODE)

# Renews the README's sample output after a prediction has moved.
readme:
	$(PYTHON) -m benchmarks.readme
