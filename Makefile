# Two commands do everything on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
INSTALLED := $(VENV)/.installed
DEVELOPING := $(VENV)/.installed-dev

.PHONY: help install demo test test-long check format docs site bench bench-scaling bench-autoscaling bench-tracing chaos fuzz audit compose-test pictures

help:
	@echo "make install  install what a demo, a worker and a console need into .venv"
	@echo "make demo     run the main job on embedded services, with a link to the console, until Ctrl-C"
	@echo "make test     run the tests that take less than ten minutes on two cores"
	@echo "make test-long  run the others: chaos, upgrades, backups, every page in every size"
	@echo "make check    lint, check formatting, types and calls that are often a hole"
	@echo "make fuzz     search for inputs that break a promise, SECONDS=60 for each target"
	@echo "make audit    look our dependencies up in a database of known holes"
	@echo "make format   mend formatting and what the linter can mend"
	@echo "make docs     write docs/settings.md and docs/commands.md from the code"
	@echo "make site     build the documents as web pages into site/"
	@echo "make pictures take the pictures of the console in docs/images from a running demo"
	@echo "make bench    measure Deadpan against its limit and its peers into docs/performance.md"
	@echo "make bench-scaling  measure backlogs, many verdicts and several workers"
	@echo "make bench-tracing  measure what log lines and spans cost a worker"
	@echo "make chaos    kill workers and servers for a quarter of an hour, then count every post"
	@echo "make compose-test  bring docker-compose.yml up, kill a worker and Redis, and count 500 posts"
	@echo "make bench-autoscaling  replay loads against ways to scale into docs/autoscaling-measured.md"

install: $(INSTALLED)

# With `ocr`, for the demo reads the words in its pictures.
$(INSTALLED): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else "Deadpan needs Python 3.11 or newer; set PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(PIP) --editable '.[ocr]'
	@touch $@

# What developers need comes on top, when it is first wanted: the demo is a stranger's first minutes.
$(DEVELOPING): $(INSTALLED)
	$(PIP) --editable '.[dev]'
	@touch $@

demo: $(INSTALLED)
	@$(BIN)/deadpan demo $(ARGS)

# Several processes compute at once here: torch's threads, which spin while they wait, would take the
# cores from one another (a worker that starts in 10 seconds took more than 120).
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest --durations=20

test: $(DEVELOPING)
	$(PYTEST) -m "not long" $(ARGS)

test-long: $(DEVELOPING)
	$(PYTEST) -m long $(ARGS)

check: $(DEVELOPING)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/bandit --quiet --configfile pyproject.toml --recursive deadpan worker tasks models sources storage console

format: $(DEVELOPING)
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

docs: $(DEVELOPING)
	$(BIN)/python docs/generate.py

SITE := $(VENV)/.installed-docs

$(SITE): $(DEVELOPING)
	$(PIP) --editable '.[dev,docs]'
	@touch $@

# A link that leads nowhere is an error.
site: $(SITE)
	$(BIN)/python -m mkdocs build --strict --quiet
	@echo "open site/index.html"

pictures: $(DEVELOPING)
	$(BIN)/python -m pytest tests/browser/test_pictures.py --pictures -n0

# POSTS=FILE.jsonl takes other posts than the demo's; ARGS as in `--rounds 1 --rows limit,deadpan`.
bench: $(DEVELOPING)
	@$(BIN)/python -m benchmarks.bench $(POSTS) $(ARGS)

bench-scaling: $(DEVELOPING)
	@$(BIN)/python -m benchmarks.scaling $(POSTS) $(ARGS)

# ARGS as in `--rounds 30`.
bench-tracing: $(DEVELOPING)
	@$(BIN)/python -m benchmarks.tracing $(ARGS)

# ARGS="--seed 6" takes another schedule; the report is .chaos/report.md.
chaos: $(DEVELOPING)
	@$(BIN)/python -m tests.chaos $(ARGS)

# ARGS as in `--seed 2 --start 60 --print-only`.
bench-autoscaling: $(DEVELOPING)
	@$(BIN)/python -m benchmarks.autoscaling $(ARGS)

# Both need more than the tests do, so it is installed when it is first wanted.
SECURITY := $(VENV)/.installed-security
SECONDS ?= 60
TARGETS ?= picture posts file url address answer text

$(SECURITY): $(DEVELOPING)
	$(PIP) --editable '.[dev,security]'
	@touch $@

# What is found is kept in tests/fuzz/corpus, and tried by the tests from then on.
fuzz: $(SECURITY)
	@for target in $(TARGETS); do $(BIN)/python -m tests.fuzz.run $$target --seconds $(SECONDS) || exit 1; done

# Strict: where the database cannot be reached, or knows nothing of a package, that is a failure.
audit: $(SECURITY)
	@$(BIN)/python -m pip list --format=freeze --exclude-editable > $(VENV)/audited.txt
	@$(BIN)/pip-audit --strict --no-deps --disable-pip --progress-spinner off -r $(VENV)/audited.txt \
		|| { echo "error: a dependency has a known hole, or the database of holes could not be asked: see above" >&2; exit 1; }

# Needs a Docker engine, and says so where there is none; the report is .compose-test/report.json.
compose-test: $(DEVELOPING)
	@$(BIN)/python -m tests.compose
