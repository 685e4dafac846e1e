# quantize.mk - a model by a recipe: calibrate, export, check, measure; one row of a table for every recipe
#
#   make quantize                                          the bundled model as fp8-lm
#   make quantize MODEL=DIR DATA=DIR PRESET=fp8-lm-kv SAMPLES=4096 OUT=DIR
#   make quantize PRESET='fp8-lm fp8-lm-kv int8-sq-lm'     several recipes, calibrated once
#   make -n quantize                                       the commands, to be copied
#
# MODEL     model directory in hub layout
# DATA      COCO layout: annotations/captions_*2017.json, train2017/, val2017/
# PRESET    names (apply-coverage --preset list) or files NAME.json; each gets a folder of its name in OUT
# SAMPLES   pictures to calibrate with; as many captions alone are added
# EVAL      pictures to evaluate on, one caption each, and as many captions of others alone (default as in sweep.mk)
# LAYOUT    modelopt or compressed-tensors (default: the one that engines load: compressed-tensors when a layer is INT8)
# ENGINE    the one that must load the checkpoints (default vllm); check.txt says what all do
# APPLY     more options of apply-coverage, e.g. APPLY='--smooth-quant 0.5'     EXPORT  more options of export-ckpt
# SEED, DEVICE, DTYPE, OUT, LAUNCH, JOBS    as in sweep.mk
#
# Every stage's result appears whole or not at all, so an interrupted run goes on where it stopped, and a second one does
# nothing.  Settings that change what is measured are kept in OUT/settings, and what recipes have needed of calib-amax in
# OUT/needs; a change of the one, or an addition to the other, starts over.

PRESET   ?= fp8-lm
ENGINE   ?= vllm
OUT      ?= out/quantize-$(notdir $(MODEL:%/=%))
.DEFAULT_GOAL := quantize
include $(dir $(lastword $(MAKEFILE_LIST)))data.mk

# The folder of a recipe, and the recipe of a folder.
name_of   = $(patsubst %.json,%,$(notdir $(1)))
preset_of = $(firstword $(foreach p,$(PRESET),$(if $(filter $(1),$(call name_of,$p)),$p)))
NAMES    := $(foreach p,$(PRESET),$(call name_of,$p))
$(if $(NAMES),,$(error PRESET='$(PRESET)' names no recipe))
$(if $(filter $(words $(NAMES)),$(words $(sort $(NAMES)))),,$(error PRESET='$(PRESET)' names a recipe twice))
needs_of  = $(shell $(TOOLS)/apply-coverage --needs $(APPLY) --preset $(1) || echo error)
NEEDS    := $(sort $(foreach p,$(PRESET),$(call needs_of,$p)))
$(if $(filter error,$(NEEDS)),$(error PRESET='$(PRESET)' cannot be used))
NEEDS    := $(sort $(NEEDS) $(shell cat $(OUT)/needs 2>/dev/null))# what earlier recipes needed stays measured

SETTINGS := MODEL=$(MODEL) DATA=$(DATA) SAMPLES=$(SAMPLES) EVAL=$(EVAL) SEED=$(SEED) LAYOUT=$(LAYOUT) APPLY=$(APPLY) \
            EXPORT=$(EXPORT)
keep      = { echo '$(2)' | cmp -s - $(OUT)/$(1) || echo '$(2)' >$(OUT)/$(1); }
$(shell mkdir -p $(OUT) && $(call keep,settings,$(SETTINGS)) && $(call keep,needs,$(NEEDS)) && \
        $(call keep,names,$(NAMES)))

at       = $(NAMES:%=$(OUT)/%/$(1))# the same file of every recipe

ifndef OMP_NUM_THREADS
$(call at,metrics.json): private export OMP_NUM_THREADS := $(call share,$(NAMES))
endif

.DELETE_ON_ERROR:
.PHONY: quantize
quantize: $(OUT)/recipes.md
	@cat $<

# Ranges: one document for all recipes.
$(OUT)/layers.json: $(OUT)/calib-text.samples $(OUT)/calib.samples $(OUT)/needs
	$(RUN) calib-amax -f -m $(MODEL) $(ON) $(NEEDS) -o $@ $(filter %.samples,$^)

# Each recipe: a scheme, a checkpoint, what engines say of it, its distance from the unquantized model.
$(call at,scheme.json): $(OUT)/%/scheme.json: $(OUT)/layers.json
	@mkdir -p $(@D)
	apply-coverage -f --preset $(call preset_of,$*) $(APPLY) -o $@ $<
$(foreach p,$(filter %.json,$(PRESET)),$(eval $(OUT)/$(call name_of,$p)/scheme.json: $p))
$(call at,layout): %/layout: %/scheme.json
	@jq -r 'if any(.modules[]; .format == "int8") then "compressed-tensors" else "modelopt" end' $< >$@.tmp && mv $@.tmp $@
$(call at,checkpoint/config.json): %/checkpoint/config.json: %/scheme.json %/layout
	export-ckpt -q -f -m $(MODEL) --format $(or $(LAYOUT),$$(cat $*/layout)) $(EXPORT) -o $(@D) $<
$(call at,check.txt): %/check.txt: %/checkpoint/config.json
	check-ckpt -f -o $@ $(<D) || [ $$? = 1 ]
	@check-ckpt --engine $(ENGINE) $(<D) >/dev/null || { s=$$?; [ $$s != 1 ] || echo "quantize: $(ENGINE) does not load" \
	    "'$(<D)' as it is meant: see check-ckpt --engine $(ENGINE) $(<D), or name another LAYOUT or ENGINE" >&2; exit $$s; }
$(call at,metrics.json): %/metrics.json: %/checkpoint/config.json $(OUT)/reference.states
	$(RUN) eval-logits -f --ref $(OUT)/reference.states $(ON) -m $(<D) -o $@ \
	    $(OUT)/eval-text.samples $(OUT)/eval.samples
$(call at,row.json): %/row.json: %/scheme.json %/metrics.json %/check.txt
	jq -s --argjson bytes "$(call bytes,$(@D)/checkpoint)" -f $(PIPES)recipe.jq $(filter %.json,$^) >$@.tmp && mv $@.tmp $@

$(OUT)/recipes.json: $(call at,row.json) $(OUT)/names
	jq -s --argjson bytes "$(call bytes,$(MODEL))" '{bytes: $$bytes, recipes: .}' $(filter %/row.json,$^) >$@.tmp && mv $@.tmp $@
$(OUT)/recipes.md: $(OUT)/recipes.json
	jq -L $(PIPES) -r -f $(PIPES)recipes.jq $< >$@.tmp && mv $@.tmp $@
