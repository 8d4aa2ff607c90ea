# Everything one types here. Each target sets up what it needs, on a fresh machine too:
# Debian or Ubuntu with Python 3.11 or newer, make, and root, sudo or Docker.

SHELL := /bin/bash
BIN := .venv/bin
READY := .venv/.postroad-ready
SETUP_INPUTS := uv.lock pyproject.toml scripts/bootstrap.sh \
	$(wildcard libs/*/pyproject.toml services/*/pyproject.toml)
PYTEST_ARGS ?=
# More than cores, as tests of servers wait for most of their time.
TEST_PROCESSES ?= 3
BENCH_ARGS ?=
CODE := $(wildcard libs/*/src services/*/src) bench

# An environment knows the folder that it was made in: where that was moved, it is made anew.
MADE_IN := $(shell cat $(READY) 2>/dev/null)
ifneq "$(MADE_IN)" "$(shell pwd -P)"
$(shell rm -f $(READY))
ifneq "$(MADE_IN)" ""
$(info The environment was made in $(MADE_IN): it is made anew)
$(shell rm -rf .venv)
endif
endif

.DEFAULT_GOAL := help
.PHONY: help run demo test test-speed test-cluster test-upgrade fuzz test-deploy lint generate bench bench-peers setup clean images test-images

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

run: $(READY) ## start everything, show a mail's whole life, stay until Ctrl-C
	@$(BIN)/postroad demo --stay

demo: $(READY) ## the same, but end by itself; fails if any step did not really happen
	@$(BIN)/postroad demo

test: $(READY) ## unit and integration tests, against real RabbitMQ and MongoDB
	@$(BIN)/postroad prepare
	@$(BIN)/python -m pytest -n $(TEST_PROCESSES) $(PYTEST_ARGS)

test-speed: $(READY) ## the tests that assert times; they want a quiet machine
	@$(BIN)/postroad prepare
	@$(BIN)/python -m pytest -m speed $(PYTEST_ARGS)

test-cluster: $(READY) ## brokers and databases killed, frozen, cut off, without room; TLS to both
	@$(BIN)/postroad prepare
	@$(BIN)/python -m pytest -m cluster tests/cluster -s $(PYTEST_ARGS)

test-upgrade: $(READY) ## the previous release's services beside the new ones, under load
	@$(BIN)/postroad prepare
	@$(BIN)/python -m pytest -m upgrade tests/upgrade -s $(PYTEST_ARGS)

fuzz: $(READY) ## mutate the corpus against the readers of what strangers send, for a bounded time
	@$(BIN)/python -m pytest -m fuzz tests/fuzz $(PYTEST_ARGS)

images: ## build the image of every service
	@deploy/docker/build

test-images: ## build all images, start them by compose, send, count, stop
	@scripts/bootstrap.sh images
	@pwd -P >$(READY)
	@$(BIN)/python -m pytest deploy/docker/tests -s $(PYTEST_ARGS)

test-deploy: ## render and check overlays, chart, rules and dashboards, without a cluster
	@scripts/bootstrap.sh deploy
	@pwd -P >$(READY)
	@$(BIN)/python -m pytest deploy/tests $(PYTEST_ARGS)

lint: $(READY) ## formatting, lint, types, import rules
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy $(CODE)
	$(BIN)/lint-imports

generate: ## write what is made of other files: pages, dashboards, rules, chart, golden renders
	@scripts/bootstrap.sh deploy
	@pwd -P >$(READY)
	@$(BIN)/python scripts/generate_docs.py
	@$(BIN)/python deploy/monitoring/generate
	@$(BIN)/python deploy/k8s/generate
	@$(BIN)/python deploy/helm/generate
	@UPDATE_GOLDEN=1 $(BIN)/python -m pytest -q deploy/tests/test_k8s_schemas.py -k is_the_one_that_was_read

bench: $(READY) ## the project's own benchmark: a table, and one JSON line per row
	@$(BIN)/python -m bench $(BENCH_ARGS)

bench-peers: $(READY) ## Postroad beside Postfix, opendkim, Haraka, ZoneMTA: a table of ratios
	@$(BIN)/python -m bench.peers $(BENCH_ARGS)

setup: $(READY) ## only set up: the virtual environment, RabbitMQ, MongoDB
	@$(BIN)/postroad prepare

clean: ## stop the stack of this folder, remove its data and the virtual environment
	@if [ -x $(BIN)/postroad ]; then $(BIN)/postroad down --wipe; fi
	rm -rf .venv .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

$(READY): $(SETUP_INPUTS)
	@scripts/bootstrap.sh
	@pwd -P >$@
