# Nothing here needs an activated environment: `make run` builds .venv and uses it.
SHELL := bash
PYTHON ?= python3
BIN := .venv/bin
DVC := $(BIN)/python -m dvc
PIP := $(BIN)/python -m pip
export PATH := $(CURDIR)/$(BIN):$(PATH)
# Each file adds packages to those of the one before.
REQUIREMENTS := requirements.txt requirements-remotes.txt requirements-export.txt requirements-serve.txt \
	requirements-ray.txt requirements-dev.txt requirements-docs.txt
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help run imdb best ladder predict check-data serve export wheel check test docs verify bench pins clean

help:  ## Say what can be made
	@grep -E '^[a-z-]+:.*## ' Makefile | sed -E 's/:.*## /\t/' | expand -t 12

run: $(BIN)/.run  ## Run the pipeline on generated reviews (or what params.yaml says), print metrics and plots
	@$(BIN)/python -m stages.repair
	@TIMEFORMAT='pipeline: %0lR'; time $(DVC) repro
	@$(MAKE) --no-print-directory show

imdb: $(BIN)/.run  ## Run it on IMDb, 84 MB to fetch; SET="-S key=value ..." changes more parameters
	@$(BIN)/python -m stages.repair
	@$(HAS_COMMIT)
	@TIMEFORMAT='pipeline: %0lR'; time $(DVC) exp run -S download.corpus=imdb -S train.portable=false $(BEST) $(SET)
	@$(MAKE) --no-print-directory show

best: BEST := -S train.refit=true
best: imdb  ## Run it on IMDb, then train once more on all labelled reviews: twice the time

SEEDS ?= 1 2 3
ladder: $(BIN)/.run  ## Train what experiments/ladder.yaml lists, with each of SEEDS="1 2 3", and draw it side by side
	@$(BIN)/python -m stages.repair
	@$(HAS_COMMIT)
	@$(BIN)/python -m experiments.enqueue ladder --seeds $(SEEDS)
	@TIMEFORMAT='ladder: %0lR'; time $(DVC) exp run --run-all
	@$(BIN)/python -m experiments.compare ladder

.PHONY: show
show:
	@echo; $(DVC) params diff
	@for stage in prepare vectors pretrain baseline train calibrate test; do echo; $(DVC) metrics show metrics/$$stage.json; done
	@echo; echo "To open in a browser, the report and all plots:"; echo "file://$(CURDIR)/report.html"; $(DVC) plots show

# The text reaches the command through the environment, so that neither make nor the shell expands any part of it. `value`
# is needed because make expands the variables of its own command line when it exports them.
ifneq ($(origin TEXT),undefined)
override TEXT := $(value TEXT)
export TEXT
endif

predict: $(BIN)/.run  ## Score TEXT='I would never call it dull.', or each line of standard input, with the trained model
	@$(BIN)/python -m stages.predict $${TEXT+--text="$$TEXT"}

check-data: $(BIN)/.run  ## Compare the texts in FILE=reviews.csv with those of training; ARGS="--output check" writes a picture
	@$(BIN)/python -m stages.check_data $(if $(FILE),"$(FILE)") $(ARGS)

serve: $(BIN)/.serve  ## Serve the model on this machine: a page, and scores over HTTP, at port 8000 or ARGS="--port 8001"
	@$(BIN)/python -m stages.serve $(ARGS)

export: $(BIN)/.export  ## Write the model as ONNX to export/, with a script that scores without PyTorch
	@$(BIN)/python -m stages.export

wheel: $(BIN)/.run  ## Build a wheel of the scorer in dist/, for projects that use a model
	@SOURCE_DATE_EPOCH=315532800 $(PIP) wheel --quiet --no-deps --wheel-dir dist .
	@rm -rf build src/*.egg-info; ls dist/*.whl

# A file of tests runs as a whole in one process, so that its tests share what its fixtures make.
PYTEST := $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

check: $(BIN)/.dev  ## Check format, lint and types, and run the unit tests: about a minute
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m ruff check .
	$(BIN)/python -m mypy
	$(PYTEST) -q -m 'not slow and not campaign'

test: $(BIN)/.dev  ## Run the tests, whole pipelines and servers too: ten to thirteen minutes; ARGS="tests/text" runs some
	$(PYTEST) $(ARGS)

docs: $(BIN)/.docs  ## Build the pages of docs/ as a site in site/; it asks no other host for anything
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet
	@echo 'To read it: python3 -m http.server --directory site'

verify: $(BIN)/.dev  ## Run the last commit in two fresh clones that differ in all that should not matter; compare bytes
	$(BIN)/python -m benchmarks.verify $(ARGS)

bench: $(BIN)/.dev run  ## Time our way against the textbook's, on what the pipeline last downloaded and prepared
	$(BIN)/python -m benchmarks.prepare
	$(BIN)/python -m benchmarks.train

pins:  ## Renew the exact versions below the line in the files of requirements
	@rm -rf .venv
	@$(CREATE)
	sed -i '/^## The following/,$$d' $(REQUIREMENTS)
	above=/dev/null; for file in $(REQUIREMENTS); do \
		$(PIP) install --quiet -r $$file && \
		$(PIP) freeze -r $$file | sed 's/+cpu//' | grep -vxFf <(grep -h == $$above) > requirements.new && \
		mv requirements.new $$file || exit; above="$$above $$file"; \
	done
	@$(MAKE) --no-print-directory versions.yaml

clean:  ## Remove the environment and all outputs; DVC's cache and your own files stay
	@$(PYTHON) stages/clean.py
	@rm -rf .venv site dist export comparison

# .run, .dev and .docs are written once their requirements are installed. The folder .venv alone proves nothing: its creation may
# have been interrupted, or its Python removed. WHOLE therefore looks for pip's RECORD, the last file of a new environment.
# .run holds the path at which .venv was created, since the commands in .venv/bin work only there.
WHOLE := $(shell $(BIN)/python -Ic 'import importlib.metadata as m, sys; sys.exit(not m.files("pip"))' < /dev/null 2> /dev/null && \
	{ [ ! -s $(BIN)/.run ] || [ "$$(cat $(BIN)/.run)/bin/.run" -ef $(BIN)/.run ]; } && echo yes)

# Never create .venv with its own Python, and never delete what a link points to.
define CREATE
PATH=$${PATH//"$(CURDIR)/$(BIN):"/}; \
$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))' 2> /dev/null || { \
	echo "error: Python 3.11 to 3.14 is needed; $(PYTHON) is: $$($(PYTHON) --version 2>&1); try: make PYTHON=python3.12" >&2; \
	exit 1; }; \
if [[ -L .venv || -f .venv ]] && [ -n "$$(ls -A .venv/ 2>&1)" ]; then \
	echo "error: .venv: is a file, or a link to something that is not a whole environment; remove .venv" >&2; exit 1; \
elif [ -n "$$(ls -A .venv 2> /dev/null)" ]; then \
	echo '.venv: is not whole (half made, moved, or its Python is gone); making it again'; \
fi; \
place=$$(cd .venv 2> /dev/null && pwd -P || echo .venv); \
said=$$({ $(PYTHON) -m venv --clear --without-pip "$$place" && $(BIN)/python -m ensurepip --default-pip; } 2>&1) || { \
	find .venv/ -mindepth 1 -delete 2> /dev/null; [ -L .venv ] || rm -rf .venv; \
	cause="could not be made: $$(tail -n 1 <<< "$$said")"; \
	if grep -q ensurepip <<< "$$said"; then \
		cause=$$($(PYTHON) -c 'import sys; print("Python %d.%d lacks ensurepip; on Debian or Ubuntu:" % sys.version_info[:2], \
			"apt install python%d.%d-venv" % sys.version_info[:2])'); \
	fi; \
	echo "error: .venv: $$cause" >&2; exit 1; }
endef

# pip writes a package's RECORD last. A package without one is half installed, and pip would take it for whole.
# Where uv is installed, it installs the same pins in less time; where it fails, which pip may not, pip does.
define INSTALL
[ -L .venv ] || for info in .venv/lib/python3*/site-packages/*.dist-info; do [ -e "$$info/RECORD" ] || rm -rf "$$info"; done; \
install() { { command -v uv && uv pip install --quiet --python $(BIN)/python "$$@"; } &> /dev/null || \
	$(PIP) install --quiet "$$@"; }; install
endef

# DVC's experiments start from a commit. DVC itself reports anything else that is wrong with git.
define HAS_COMMIT
git rev-parse --verify --quiet HEAD > /dev/null; [ $$? != 1 ] || { \
	echo 'error: DVC runs an experiment from a commit, and there is none: git add . && git commit -m Start' >&2; exit 1; }
endef

# DVC compares those versions that dvc.yaml names, so that an upgrade runs again the stages whose bytes it may change.
versions.yaml: requirements.txt
	@sed -nE -e '1i # Written by make from requirements.txt: the packages that the project imports.' \
		-e '/^## /q; s/^([A-Za-z].*)==(.*)/\1: "\2"/p' $< > $@

.PHONY: again
$(BIN)/.run: requirements.txt $(if $(WHOLE),,again)
	$(if $(WHOLE),,@$(CREATE))
	@echo 'installing into .venv'; TIMEFORMAT='install: %0lR'; time { $(INSTALL) -r requirements.txt; }
	@$(MAKE) --no-print-directory versions.yaml
	@(cd .venv && pwd -P) > $@

$(BIN)/.remotes: requirements-remotes.txt $(BIN)/.run
	@$(INSTALL) -r requirements-remotes.txt
	@touch $@

$(BIN)/.export: requirements-export.txt $(BIN)/.run
	@$(INSTALL) -r requirements-export.txt
	@touch $@

$(BIN)/.serve: requirements-serve.txt $(BIN)/.run
	@$(INSTALL) -r requirements-serve.txt
	@touch $@

$(BIN)/.dev: $(filter-out requirements-docs.txt,$(REQUIREMENTS)) $(BIN)/.run
	@$(INSTALL) -r requirements-dev.txt
	@touch $@

$(BIN)/.docs: requirements-docs.txt $(BIN)/.run
	@$(INSTALL) -r requirements-docs.txt
	@touch $@
