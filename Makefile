# Everything a fresh machine needs is Python 3.11 or later with `venv`, and make; for a cluster of its
# own also root on Linux, and Go 1.26 or later once.
#
#   make run      count the words of the King James Bible
#   make test     run the tests             make lint   check style, types and imports
#   make bench    compare with peers        make clean  remove what the others made
#   make image    build the container image
#   make docs     write the references of the Jobs service and of the command line
#   make crd      write the resource definition and its reference from the manifest's model
#   make test-cluster                       start a Kubernetes cluster here and run its tests
#   make simulate SEEDS=0:1000              jobs in which everything dies, in simulated time
#   make soak MINUTES=30                    the same with real processes on this machine
#   make soak-cluster MINUTES=30            the same on a Kubernetes cluster that it starts here
#
# Each creates .venv on first use and is quick the second time.

PYTHON ?= python3
BIN := .venv/bin
DEPENDENCIES := .venv/.dependencies
INSTALLED := .venv/.installed
PROTOS := $(wildcard proto/disco/v1/*.proto)
IMAGE ?= localhost/disco:dev
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help run test test-cluster simulate soak soak-cluster lint bench image docs crd lock clean

help:
	@sed -n 's/^#   //p' Makefile

run: $(INSTALLED)
	@$(BIN)/disco run examples/01-wordcount/job.yaml
	@echo
	@echo 'These are the twenty most frequent words of the King James Bible, counted by a coordinator,'
	@echo 'a partition service and two workers on this machine. They read examples/data/kjv and ran'
	@echo 'examples/01-wordcount/top_words.py. What to try next:'
	@echo
	@echo '  $(BIN)/disco run examples/01-wordcount/wordcount.py examples/data/kjv --top 10'
	@echo '      the same with a classic map and reduce'
	@echo '  $(BIN)/disco run examples/01-wordcount/wordcount.py README.md --output counts --format csv'
	@echo '      your own text, with the results in files'
	@echo '  $(BIN)/disco run --help'

# Tests that share nothing, not even how busy the machine is: as many at a time as there are cores.
ALONE := tests/unit tests/chart tests/simulation tests/compat
test: $(INSTALLED)
ifdef TEST
	$(BIN)/python -m pytest $(TEST)
else
	$(BIN)/python -m pytest -n auto $(ALONE)
	$(BIN)/python -m pytest --ignore=tests/cluster $(ALONE:%=--ignore=%)
	@why=$$($(BIN)/python tests/cluster/possible.py) \
		&& echo 'Left out: the tests on a real cluster; run `make test-cluster` for them.' \
		|| echo "Left out: the tests on a real cluster, which cannot run here: $$why."
endif

# TEST=… as above; KEEP=1 leaves the cluster up.
test-cluster: $(INSTALLED)
	tests/cluster/run $(TEST)

# SEEDS=from:to without the last; SEED=17 STORY=1 tells all that happens in one of them; with
# FAULTS=freeze,cut nothing else goes wrong.
SEEDS ?= 0:1000
simulate: $(INSTALLED)
	@PYTHONPATH=tests/simulation $(BIN)/python -m simulator $(or $(SEED),$(SEEDS)) $(if $(STORY),--story) $(FAULTS:%=--faults %)

# SEED=17 MINUTES=0 plays that one; root can do more harm than others.
MINUTES ?= 30
soak: $(INSTALLED)
	@PYTHONPATH=tests/chaos $(BIN)/python -m chaos $(SEED) --minutes $(MINUTES)

soak-cluster: $(INSTALLED)
	tests/cluster/run soak $(SEED) --minutes $(MINUTES)

lint: $(INSTALLED)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(INSTALLED)
	$(BIN)/python bench/run.py

image:
	@tool=$$(for tool in docker podman; do $$tool info >/dev/null 2>&1 && echo $$tool && break; done); \
	if [ -n "$$tool" ]; then set -x; $$tool build --tag $(IMAGE) .; \
	else set -x; tests/cluster/kube/kube image build --tag $(IMAGE) .; fi

docs: $(INSTALLED)
	$(BIN)/python -m disco_gateway.reference .
	$(BIN)/python -m disco.cli.reference .

crd: $(INSTALLED)
	$(BIN)/python -m disco_operator.crd .

# Pin the newest versions that pyproject.toml allows.
lock: $(INSTALLED)
	$(BIN)/pip install --quiet uv
	$(BIN)/uv pip compile pyproject.toml --group dev --extra http --extra parquet --extra operator --universal \
		--generate-hashes --no-emit-index-url --upgrade --quiet \
		--custom-compile-command 'make lock' --output-file requirements.lock
	$(BIN)/uv pip compile pyproject.toml --extra http --extra operator --extra s3 --universal \
		--constraint requirements.lock --generate-hashes --no-emit-index-url --quiet \
		--custom-compile-command 'make lock' --output-file requirements-image.lock

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis bench/results
	rm -f worker/disco/v1/*_pb2*.py worker/disco/v1/*_pb2*.pyi worker/disco/v1/descriptors.binpb
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The project itself: installing it generates the gRPC modules from proto/.
$(INSTALLED): $(DEPENDENCIES) pyproject.toml hatch_build.py $(PROTOS)
	$(BIN)/pip install --quiet --no-deps --editable .
	@touch $@

$(DEPENDENCIES): requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo '$(PYTHON) is too old: Python 3.11 or later is needed; try make PYTHON=python3.11'; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --require-hashes --requirement requirements.lock
	@touch $@
