# From a fresh clone: `make test`, `make check`, `make docs`, `make demo`, `make bench`, `make mutate`, `make soak`. All
# of it lives in .venv, but for the database server, and for `bench` the C library of some peers, which scripts/ install
# where they are missing.

VENV := .venv
PYTHON_HERE := $(VENV)/bin/python
PROJECT := setup.py improved_db/wire/_rows.c requirements.txt requirements-dev.txt pyproject.toml

# Peers that need a compiler or a C library here; the benchmarks do without those that cannot be installed.
OPTIONAL_PEERS := mysqlclient mariadb asyncmy cymysql connectorx psycopg[binary] psycopg-pool

# An older design whose name the newer one has, too: a folder of its own, for the tests to put on a program's path.
OLDER := $(VENV)/pymysql-pool-0.3.3

# The site. A warning is an error: a link that leads nowhere, a docstring that cannot be read.
SPHINX = $(PYTHON_HERE) -m sphinx -W --keep-going -E -q -d build/doctrees docs build/docs

.NOTPARALLEL:
.PHONY: test check docs demo bench mutate soak clean

test: $(VENV)/.dev $(VENV)/.server
	$(PYTHON_HERE) -m pytest -q --durations=10

check: $(VENV)/.dev
	$(PYTHON_HERE) -m ruff check .
	$(PYTHON_HERE) -m ruff format --check .
	$(PYTHON_HERE) -m mypy --strict improved_db pytest_improved_db.py tests examples benchmarks scripts
	$(PYTHON_HERE) -m mypy --strict --python-version 3.14 tests/python314/*.py
	$(VENV)/bin/basedpyright --pythonpath $(PYTHON_HERE)
	$(PYTHON_HERE) scripts/type_completeness.py
	$(PYTHON_HERE) -m pytest -q tests/unit/test_layers.py
	$(SPHINX)

docs: $(VENV)/.dev
	$(SPHINX)
	@echo 'The site is in build/docs/index.html'

demo: $(VENV)/.demo $(VENV)/.server
	$(PYTHON_HERE) examples/flights_demo.py

bench: $(VENV)/.bench $(VENV)/.server
	$(PYTHON_HERE) benchmarks/run.py

mutate: $(VENV)/.dev $(VENV)/.server
	$(PYTHON_HERE) scripts/mutate.py $(MUTATE)

soak: $(VENV)/.dev $(VENV)/.server
	$(PYTHON_HERE) -m pytest -q -m soak --timeout=3600 tests

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	rm -f improved_db/wire/_rows.*.so
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.made: scripts/make_venv.sh
	scripts/make_venv.sh $(VENV)
	touch $@

$(VENV)/.dev: scripts/ensure_client_headers.sh $(VENV)/.made $(PROJECT)
	$(PYTHON_HERE) -m pip install -q -r requirements-dev.txt
	test -f $(OLDER)/pymysqlpool.py || $(PYTHON_HERE) -m pip install -q --no-deps --target $(OLDER) pymysql-pool==0.3.3
	scripts/ensure_client_headers.sh >/dev/null 2>&1 || true
	$(PYTHON_HERE) -m pip install -q mysqlclient >/dev/null 2>&1 || echo "tests do without mysqlclient"
	touch $@

$(VENV)/.demo: $(VENV)/.made $(PROJECT)
	$(PYTHON_HERE) -m pip install -q -e '.[demo]'
	touch $@

$(VENV)/.bench: scripts/ensure_client_headers.sh $(VENV)/.made $(PROJECT)
	$(PYTHON_HERE) -m pip install -q -e '.[bench]'
	scripts/ensure_client_headers.sh >/dev/null 2>&1 || true
	for peer in $(OPTIONAL_PEERS); do \
		$(PYTHON_HERE) -m pip install -q "$$peer" >/dev/null 2>&1 || echo "benchmarks do without $$peer"; \
	done
	touch $@

# Any of the three above has installed the package by now; the server does not care which.
$(VENV)/.server: scripts/ensure_server.sh | $(VENV)/.made
	$(PYTHON_HERE) -c 'import improved_db' 2>/dev/null || $(PYTHON_HERE) -m pip install -q -e .
	scripts/ensure_server.sh $(PYTHON_HERE)
	touch $@
