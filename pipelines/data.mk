# data.mk - samples from COCO annotations: captions of pictures for calibration, of other pictures for evaluation, and of
# others still for texts
#
# Included by sweep.mk and quantize.mk, which set OUT and write OUT/settings; and what both use: settings, the states of the
# unquantized model, $(call share,LIST), $(call bytes,DIR).

MODEL    ?= data/tiny-qwen2_5-vl
DATA     ?= data/shapes2017
SAMPLES  ?= 40
SEED     ?= 42
DEVICE   ?= auto
DTYPE    ?= auto
ON        = --device $(DEVICE) --dtype $(DTYPE)
RUN       = $(LAUNCH)
TOOLS    ?= build/tools
PIPES    := $(dir $(lastword $(MAKEFILE_LIST)))
PATH     := $(TOOLS):$(PATH)
OMP_WAIT_POLICY ?= passive# threads that wait must not spin: programs may run side by side
export PATH OMP_WAIT_POLICY

$(foreach v,MODEL DATA OUT,$(if $(word 2,$($v)),$(error $v='$($v)' has a space in it, which make takes for two files: link it \
    to another name)))
VAL      := $(DATA)/annotations/captions_val2017.json
ifndef EVAL
EVAL     := $(or $(shell jq --argjson few '$(SAMPLES)' 'if (.images | length) < 200 then $$few else 100 end' $(VAL) \
            2>/dev/null),$(SAMPLES))
endif

# Threads of each program of which one for each word of LIST may run, JOBS at a time: more would wait for one another.
JOBS     ?= 1
share     = $(shell n=$(JOBS); [ $$n -le $(words $(1)) ] || n=$(words $(1)); echo $$((($$(nproc) + n - 1) / n)))
# Bytes of a model's tensors.
bytes     = $$(($$(find -L $(1) -name '*.safetensors' -printf '%s+')0))

$(OUT)/calib.db: $(OUT)/settings
	coco-subset -q -f -n $(SAMPLES) -s $(SEED) --annotations $(DATA)/annotations/captions_train2017.json --calib-db $@
$(OUT)/eval.jsonl: $(OUT)/calib.db
	coco-subset -q -f -n $(EVAL) -s $(SEED) --annotations $(VAL) --one-per-picture --disjoint $< --eval $@
$(OUT)/eval-text.jsonl: $(OUT)/calib.db $(OUT)/eval.jsonl
	coco-subset -q -f -n $(EVAL) -s $(SEED) --annotations $(VAL) --one-per-picture $(^:%=--disjoint %) --eval $@
$(OUT)/calib.samples: $(OUT)/calib.db
	calib-stream -q -f -m $(MODEL) --style describe --images $(DATA) -o $@ $<
$(OUT)/calib-text.samples: $(OUT)/calib.db
	calib-stream -q -f -m $(MODEL) --style text -o $@ $<
$(OUT)/eval.samples: $(OUT)/eval.jsonl
	calib-stream -q -f -m $(MODEL) --style describe --images $(DATA) -o $@ $<
$(OUT)/eval-text.samples: $(OUT)/eval-text.jsonl
	calib-stream -q -f -m $(MODEL) --style text -o $@ $<
$(OUT)/reference.states: $(OUT)/eval-text.samples $(OUT)/eval.samples
	$(RUN) eval-logits -f --ref $(MODEL) $(ON) --ref-dtype fp32 --save-ref $@ $^
