# make demo: set everything up and matte the demo set.  make test: set everything up and run all checks.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test soak lint install browser clean

demo: install
	$(BIN)/bgm data=demo

test: install browser
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -m "not slow"

# Thousands of images: that memory does not grow. Takes several minutes.
soak: install
	$(BIN)/python -m pytest -m slow -s

lint: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/mypy

install: $(VENV)/.installed

# The tests look at the comparison page in a real browser; without one they are skipped.
browser: install
	-bash scripts/install_browser.sh $(BIN)

# Installed again only when what is to be installed has changed.
$(VENV)/.installed: pyproject.toml scripts/constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("bgm needs Python 3.10 or newer: make PYTHON=python3.11 ...") if sys.version_info < (3, 10) else None'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -c scripts/constraints.txt -e ".[dev]"
	touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache
