# make demo   installs into .venv, pulls the embedded assets once and runs the whole benchmark
# make test   installs what the tests need as well and runs them
# make clean  removes .venv and build outputs; the cache of assets and results stays (see `sana-bench doctor`)
PYTHON ?= python3
BIN := .venv/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: demo test clean

demo: .venv/installed
	$(BIN)/sana-bench assets pull
	$(BIN)/sana-bench train-and-eval || [ $$? -eq 1 ] # 1 is the verdict "regressed": an answer, not a failure of the demo

test: .venv/installed-for-tests
	$(BIN)/sana-bench assets pull
	$(BIN)/python -m pytest -n 2 --dist loadfile

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(INSTALL) --editable .
	touch $@

.venv/installed-for-tests: .venv/installed
	$(INSTALL) --editable '.[test]'
	touch $@

clean:
	rm -rf .venv build dist *.egg-info .pytest_cache .hypothesis
