# make demo: the main job on embedded images.  make test: everything that CI runs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: install demo test check docs tests docs-examples format clean

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "xception needs Python 3.11 or newer; name one: make PYTHON=python3.12"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --editable '.[dev]'
	@touch $@

demo: install
	$(BIN)/xception demo

check: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: install
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	@echo "the documentation: site/index.html"

docs-examples: install
	$(BIN)/pytest --doctest-modules src -q

# The engines' libraries keep threads of their own; their tests get processes of their own.
ENGINE_TESTS := tests/unit/export tests/unit/cli/test_engine_options.py \
	tests/unit/cli/test_export_command.py

tests: install
	$(BIN)/pytest -q -n 2 --dist loadfile $(ENGINE_TESTS)
	$(BIN)/pytest -q -n 2 --dist loadfile $(ENGINE_TESTS:%=--ignore=%)

# The documentation is built, strictly, by tests/integration/test_documentation.py.
test: check docs-examples tests

format: install
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf runs site build dist .mypy_cache .ruff_cache .pytest_cache
