# make bench    set up, start the simulator, run the sweep, print the table
# make test     everything that CI checks
# make fuzz     every parser fed with spoilt input, for as long as FUZZ_SECONDS says
# make soak         ten minutes at a steady load: does the memory of a run grow?
# make prompts      a hundred thousand long prompts: how soon is the first sent, is the schedule kept meanwhile?
# make instrument   the instrument against truth and its peers (needs a C compiler)

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: bench test fuzz lint soak prompts instrument lock clean

bench: $(VENV)/installed
	$(BIN)/inferometer run --max-concurrency 1 2 4 8 16 32 --random-input-len 256 --random-output-len 128 --ignore-eos --seed 42

test: $(VENV)/developer lint
	$(BIN)/python -m pytest -q --numprocesses 2 --dist loadfile -m "not engine"
	$(BIN)/python -m pytest -q -m engine

# Each target for FUZZ_SECONDS; atheris is no dependency of anything else.
fuzz: $(VENV)/developer
	$(INSTALL) atheris
	$(BIN)/python tests/fuzz/campaign.py --seconds $(or $(FUZZ_SECONDS),60)

lint: $(VENV)/developer
	$(BIN)/ruff format --check src tests benchmarks
	$(BIN)/ruff check src tests benchmarks
	$(BIN)/mypy

soak: $(VENV)/developer
	nice $(BIN)/python benchmarks/soak.py $(ARGS)

prompts: $(VENV)/developer
	$(BIN)/python benchmarks/many_prompts.py $(ARGS)

instrument: $(VENV)/developer
	$(BIN)/python benchmarks/instrument.py $(ARGS)

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) --editable .
	touch $@

$(VENV)/developer: $(VENV)/installed
	$(INSTALL) --editable '.[engine]'
	$(INSTALL) aiohttp hypothesis mypy pre-commit pytest pytest-xdist ruff trustme types-PyYAML
	touch $@

# Resolve anew what pyproject.toml asks for, and pin it.
lock:
	rm -rf build/lock && $(PYTHON) -m venv build/lock
	build/lock/bin/python -m pip install --quiet '.[engine]' aiohttp hypothesis mypy pre-commit pytest pytest-xdist ruff trustme types-PyYAML
	build/lock/bin/python -m pip freeze --exclude inferometer > constraints.txt

clean:
	rm -rf $(VENV) build benchmarks/build .pytest_cache .mypy_cache .ruff_cache .hypothesis
