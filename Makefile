# make demo: install what running needs and matte the demo set.  make test: add the tools, run all checks.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP = $(BIN)/python -m pip install -qq --disable-pip-version-check
TOO_OLD := bgm needs Python 3.10 or newer: make PYTHON=python3.11 ...

.PHONY: demo test soak lowest lint browser clean

demo: $(VENV)/.runs
	@$(BIN)/bgm data=demo

# Tests run side by side, a core for each; those of one file mostly in one process.
test: $(VENV)/.develops
	$(BIN)/ruff check --quiet .
	$(BIN)/ruff format --quiet --check .
	$(BIN)/mypy --no-error-summary
	$(BIN)/lint-imports > $(VENV)/lint-imports.log || { cat $(VENV)/lint-imports.log; false; }
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not slow" -n auto --maxprocesses 4 --dist worksteal

# Thousands of images: that memory does not grow. Takes several minutes.
soak: $(VENV)/.develops
	$(BIN)/python -m pytest -m slow -s

# The lowest versions that pyproject.toml allows, in an environment of their own, and what they must do.
lowest: $(VENV)/.develops
	@bash scripts/test_lowest.sh $(BIN)/python

lint: $(VENV)/.develops
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/mypy

# The tests look at the comparison page in a real browser; this is the only target that changes the
# system. Without a browser those tests are skipped.
browser: $(VENV)/.develops
	@bash scripts/install_browser.sh $(BIN)

# Both are installed again only when what is to be installed has changed.
$(VENV)/.runs: pyproject.toml scripts/constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("$(TOO_OLD)" if sys.version_info < (3, 10) else 0)'
	@echo "Installing bgm into $(VENV): a minute or more, most of it for torch."
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) -c scripts/constraints.txt -e .
	@touch $@

$(VENV)/.develops: $(VENV)/.runs
	@echo "Adding the development tools."
	@$(PIP) --upgrade pip
	@$(PIP) -c scripts/constraints.txt -e ".[dev]"
	@touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache
