# sweep.mk - from COCO annotations to one checkpoint per coverage point, and a table of what each one lost
#
#   make sweep                                     the bundled model and pictures
#   make sweep MODEL=DIR DATA=DIR COVERAGE=10..100:5 OUT=DIR
#   make report                                    the same, and plots of it (kl.svg, report.html; needs gnuplot)
#   make sweep DRY_RUN=1                           rank, then print what each point would take; write no checkpoint
#   make -n sweep                                  the commands, to be copied
#
# MODEL     model directory in hub layout
# DATA      COCO layout: annotations/captions_*2017.json, train2017/, val2017/
# COVERAGE  10..100 (steps of 10), 10..100:5, or 10,50,100; ONLY=10,50 picks some of them
# SAMPLES   pictures to calibrate and score with; as many captions alone are added (16 pictures are the least that rank well)
# EVAL      pictures to evaluate on, one caption each, and as many captions of others alone; no picture of the calibration is
#           among them (default 100 where the evaluation split has 200 pictures, else SAMPLES)
# SCOPE     all, language or vision     BY  groups or bytes     METHOD  gradient or kl     SEED, DEVICE, DTYPE, OUT
# SCORE     more options of layer-score, e.g. SCORE='--formats fp8,int8 --activations dynamic'
# APPLY     more options of apply-coverage, e.g. APPLY='--include-unservable --fused-ranges own'
# POOL      folder where checkpoints share equal tensors by hard links (default OUT/pool; POOL= for none)
# RESULTS   sqlite database that keeps what was measured (default results.db beside OUT; RESULTS= for none)
# JOBS      how many points run side by side, which share the processors (OMP_NUM_THREADS= to say otherwise)
# EXPORT    more options of export-ckpt     LAUNCH  a prefix for what runs the model, e.g. LAUNCH='srun --gpus=1'
#
# Every stage's result appears whole or not at all, so an interrupted sweep goes on where it stopped, and a second one does
# nothing.  Settings that change what is measured are kept in OUT/settings; changing one starts over.

COVERAGE ?= 10..100
SCOPE    ?= all
BY       ?= groups
METHOD   ?= gradient
OUT      ?= out/$(notdir $(MODEL:%/=%))
POOL     ?= $(OUT)/pool
RESULTS  ?= $(dir $(OUT:%/=%))results.db
.DEFAULT_GOAL := sweep
include $(dir $(lastword $(MAKEFILE_LIST)))data.mk

POINTS   := $(shell $(PIPES)points.sh '$(COVERAGE)' '$(ONLY)')
$(if $(POINTS),,$(error COVERAGE='$(COVERAGE)' ONLY='$(ONLY)' names no coverage point))
SCORED   := $(if $(filter kl,$(METHOD)),kl,gradient)
SETTINGS := MODEL=$(MODEL) DATA=$(DATA) SAMPLES=$(SAMPLES) EVAL=$(EVAL) SEED=$(SEED) SCOPE=$(SCOPE) BY=$(BY) \
            METHOD=$(METHOD) DTYPE=$(DTYPE)$(if $(SCORE), SCORE=$(SCORE)) APPLY=$(APPLY) EXPORT=$(EXPORT) POOL=$(notdir $(POOL))
$(shell mkdir -p $(OUT) && { echo '$(SETTINGS)' | cmp -s - $(OUT)/settings || echo '$(SETTINGS)' >$(OUT)/settings; })

at       = $(POINTS:%=$(OUT)/top%/$(1))# the same file of every point

ifndef OMP_NUM_THREADS
$(call at,metrics.json): private export OMP_NUM_THREADS := $(call share,$(POINTS))
endif

.DELETE_ON_ERROR:
.PHONY: sweep report
sweep: $(if $(DRY_RUN),$(OUT)/plan.md,$(OUT)/summary.md $(if $(RESULTS),$(OUT)/stored.txt))
	@cat $<
report: sweep
	@$(PIPES)report.sh $(OUT)

# Ranking: one scored document for all points.
$(OUT)/layers.json: $(OUT)/calib-text.samples $(OUT)/calib.samples
	$(RUN) layer-score -f -m $(MODEL) $(ON) --method $(METHOD) $(SCORE) -o $@ $^
$(OUT)/ranking.json: $(OUT)/layers.json
	rank-layers -f --by $(SCORED) --scope $(SCOPE) --report $(OUT)/layer-sensitivity-report.md -o $@ $<

# Each point: a selection, a checkpoint, its distance from the unquantized model.
$(call at,scheme.json): $(OUT)/top%/scheme.json: $(OUT)/ranking.json
	@mkdir -p $(@D)
	apply-coverage -f $* --by $(BY) --scope $(SCOPE) $(APPLY) -o $@ $<
$(call at,checkpoint/config.json): %/checkpoint/config.json: %/scheme.json
	export-ckpt -q -f -m $(MODEL) $(if $(POOL),--pool $(POOL)) $(EXPORT) -o $(@D) $<
$(call at,metrics.json): %/metrics.json: %/checkpoint/config.json $(OUT)/reference.states
	$(RUN) eval-logits -f --ref $(OUT)/reference.states $(ON) -m $(<D) -o $@ \
	    $(OUT)/eval-text.samples $(OUT)/eval.samples
$(call at,check.txt): %/check.txt: %/checkpoint/config.json
	check-ckpt -f -o $@ $(<D)

# Neighbours differ in exactly the layers in which their schemes do: written when diff-ckpt has said so.
$(OUT)/differ.txt: $(call at,checkpoint/config.json)
	$(PIPES)neighbours.sh $(OUT) $(POINTS) >$@.tmp && mv $@.tmp $@

# Each point against the one before it: which steps are more than chance.
$(OUT)/pairs.json: $(call at,metrics.json)
	$(if $(word 2,$^),compare-metrics -q -f --neighbours -o $@ $^,echo '{}' >$@)
# Digests of what the database has.
$(OUT)/stored.txt: $(call at,metrics.json)
	store-metrics -q -d $(RESULTS) $^ >$@.tmp && mv $@.tmp $@

# All points, and the bytes of their checkpoints in the same order.
$(OUT)/summary.json: $(foreach p,$(POINTS),$(OUT)/top$p/scheme.json $(OUT)/top$p/metrics.json) $(call at,check.txt) \
        $(OUT)/pairs.json $(OUT)/differ.txt
	bytes=$$(for p in $(POINTS); do echo $(call bytes,$(OUT)/top$$p/checkpoint); done) && \
	    jq -s --arg bytes "$$bytes" --slurpfile pairs $(OUT)/pairs.json -f $(PIPES)summary.jq \
	        $(filter %/scheme.json %/metrics.json,$^) >$@.tmp && mv $@.tmp $@
$(OUT)/summary.md: $(OUT)/summary.json
	jq -L $(PIPES) -r -f $(PIPES)table.jq $< >$@.tmp && mv $@.tmp $@
$(OUT)/plan.md: $(call at,scheme.json)
	$(PIPES)plan.sh $(MODEL) $^ >$@.tmp && mv $@.tmp $@
