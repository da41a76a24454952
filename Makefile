# Every target sets up what it needs by itself; `make help` lists them.
# PYTHON=python3.13 chooses the interpreter, VENV=.env-313 another environment, ARGS='-k connect' goes to pytest.
VENV ?= .venv
PYTHON ?=
ARGS ?=
PEERS ?=
export VENV PYTHON

RUN := $(VENV)/bin/python
setup = @sh scripts/setup.sh

.DEFAULT_GOAL := help
.PHONY: help demo test test-clients test-others check format bench docs dist soak fuzz mutants mutants-kit lock clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | awk -F'\t' '{ printf "  make %-13s %s\n", $$1, $$2 }'

demo: ## a spoken conversation with real speech, no key, no sound card; ARGS=gateway: over the Realtime protocol
	$(setup) demo
	@if [ -f examples/demo.py ]; then $(RUN) examples/demo.py $(ARGS); else echo "demo: examples/demo.py is not there yet"; fi

test: ## every test, in two processes (ARGS='-n 0' for one; longer runs are soak, fuzz and mutants)
	$(setup) test
	@if [ -f scripts/real_speech.py ]; then $(RUN) scripts/real_speech.py --fetch \
		|| echo "test: no recorded speech could be fetched, so tests on real speech will be skipped"; fi
	@$(RUN) scripts/system_packages.py
	@$(RUN) -m pytest -n auto --maxprocesses 2 --dist loadfile $(ARGS)

test-clients: ## one conversation with each independent client of the Realtime protocol, against the gateway
	$(setup) test
	@$(RUN) scripts/clients.py $(ARGS)

test-others: ## the conformance kit on implementations that are not ours; their failures are known
	$(setup) test
	@$(RUN) scripts/others.py

check: ## format, lint, types, tests
	$(setup) check
	@echo "check: format" && $(VENV)/bin/ruff format --check .
	@echo "check: lint" && $(VENV)/bin/ruff check .
	@echo "check: types" && $(RUN) -m mypy $(wildcard core/src plugins/*/src tests/typing examples scripts)
	@$(MAKE) --no-print-directory test

format: ## put every file into the project's format
	$(setup) check
	@$(VENV)/bin/ruff format . && $(VENV)/bin/ruff check --fix .

bench: ## the project's own measurements; PEERS=1 adds other frameworks
	$(setup) test
	@$(RUN) tests/bench/run.py $(if $(PEERS),--peers)

docs: ## the documentation as a site, in site/; a broken link fails
	$(setup) docs
	@NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build --strict && echo "docs: site/index.html"

dist: ## all wheels in dist/, checked, and installed together in an empty environment
	$(setup) dist
	@$(RUN) scripts/dist.py

soak: ## long runs: hours of conversation, memory and descriptors
	$(setup) test
	@$(RUN) scripts/system_packages.py
	@$(RUN) -m pytest -m soak --timeout=0 $(ARGS)

fuzz: ## many more generated inputs than `make test` tries
	$(setup) test
	@HYPOTHESIS_PROFILE=fuzz $(RUN) -m pytest -m "fuzz or property" --timeout=0 $(ARGS)

mutants: mutants-kit ## breaks providers and the core on purpose and counts what is noticed
	@$(RUN) scripts/mutants.py --most 10 $(ARGS)

mutants-kit: ## the part about providers: the corpus of wrong ones, and changes made by machine
	$(setup) test
	@$(RUN) scripts/conformance_corpus.py
	@$(RUN) scripts/conformance_mutants.py

lock: ## write constraints.txt anew, with the newest versions that fit
	$(setup) dist
	@UV_SYSTEM_CERTS=1 $(RUN) scripts/lock.py

clean: ## remove what these targets made
	@rm -rf $(VENV) .cache dist site build demo-out .mypy_cache .ruff_cache .pytest_cache .hypothesis
	@find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +
