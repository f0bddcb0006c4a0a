# Nothing here needs an activated environment: `make run` builds .venv and uses it.
SHELL := bash
PYTHON ?= python3
BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
# each holds what the one before has not
REQUIREMENTS := requirements.txt requirements-remotes.txt requirements-dev.txt
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help run imdb best ladder predict test lint verify bench pins clean

help:  ## Say what can be made
	@grep -E '^[a-z]+:.*## ' Makefile | sed -E 's/:.*## /\t/' | expand -t 10

run: $(BIN)/.run  ## Run the pipeline on the embedded corpus (or what params.yaml says), print metrics and plots
	@python -m stages.mend
	@TIMEFORMAT='pipeline: %0lR'; time dvc repro
	@$(MAKE) --no-print-directory show

imdb: $(BIN)/.run  ## The same on IMDb with GloVe, 950 MB to fetch; SET="-S key=value ..." changes more parameters
	@python -m stages.mend
	@TIMEFORMAT='pipeline: %0lR'; time dvc exp run -S download.corpus=imdb -S train.portable=false $(BEST) $(SET)
	@$(MAKE) --no-print-directory show

best: BEST := -S model.hidden_size=256 -S pretrain.enabled=true -S pretrain.epochs=2 -S train.schedule=constant
best: imdb  ## The same from language models, twice as wide: half an hour more

SEEDS ?= 1 2 3
ladder: $(BIN)/.run  ## Train what experiments/ladder.yaml lists, with each of SEEDS="1 2 3", and draw it side by side
	@python -m experiments.enqueue ladder --seeds $(SEEDS)
	@TIMEFORMAT='ladder: %0lR'; time dvc exp run --run-all
	@python -m experiments.compare ladder

.PHONY: show
show:
	@echo; dvc params diff
	@for stage in prepare pretrain train test; do echo; dvc metrics show metrics/$$stage.json; done
	@echo; echo "To open in a browser, the report and all plots:"; echo "file://$(CURDIR)/report.html"; dvc plots show

# The text reaches the command through the environment: neither make nor the shell may expand any part of it, and make
# expands what it exports from its own command line.
ifneq ($(origin TEXT),undefined)
override TEXT := $(value TEXT)
export TEXT
endif

predict: $(BIN)/.run  ## Score TEXT='I would never call it dull.', or each line of standard input, with the trained model
	@python -m stages.predict $${TEXT+-- "$$TEXT"}

test: $(BIN)/.dev  ## Run the tests
	pytest $(ARGS)

lint: $(BIN)/.dev  ## Check format, lint and types
	ruff format --check .
	ruff check .
	mypy

verify: $(BIN)/.dev  ## Run the last commit in two fresh clones that differ in all that should not matter; compare bytes
	python -m benchmarks.verify $(ARGS)

bench: $(BIN)/.dev run  ## Time our way against the textbook's, on what the pipeline last downloaded and prepared
	python -m benchmarks.prepare
	python -m benchmarks.train

pins:  ## Renew the exact versions below the line in the files of requirements
	rm -rf .venv && $(PYTHON) -m venv .venv
	sed -i '/^## The following/,$$d' $(REQUIREMENTS)
	above=/dev/null; for file in $(REQUIREMENTS); do \
		pip install --quiet -r $$file && \
		pip freeze -r $$file | sed 's/+cpu//' | grep -vxFf <(grep -h == $$above) > requirements.new && \
		mv requirements.new $$file || exit; above="$$above $$file"; \
	done

clean:  ## Remove the environment and all outputs; DVC's cache stays
	rm -rf .venv data baseline pretrained model curves evaluation metrics/pushed report.html downloads resume dvc_plots

.venv:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' \
		|| { echo "Python 3.11 to 3.13 is needed; $(PYTHON) is $$($(PYTHON) --version). Try: make PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv .venv

$(BIN)/.run: requirements.txt | .venv
	@echo 'installing into .venv'; TIMEFORMAT='install: %0lR'; time pip install --quiet -r requirements.txt
	@touch $@

$(BIN)/.dev: requirements-dev.txt requirements-remotes.txt $(BIN)/.run
	@pip install --quiet -r requirements-dev.txt
	@touch $@
