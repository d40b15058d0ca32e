# The two commands of the README, and the parts they are made of. All the work is in
# tools/setup.py, which also runs where there is no make.
PYTHON ?= python3

.PHONY: demo test lint install clean

demo:
	$(PYTHON) tools/setup.py demo -- $(ARGS)

test:
	$(PYTHON) tools/setup.py test -- $(ARGS)

lint:
	$(PYTHON) tools/setup.py lint

install:
	$(PYTHON) tools/setup.py install

clean:
	rm -rf .venv build dist .pytest_cache .ruff_cache .mypy_cache
