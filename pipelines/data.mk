# data.mk - samples from COCO annotations: captions of pictures for calibration, and of other pictures for evaluation
#
# Included by sweep.mk and quantize.mk, which set MODEL, DATA, SAMPLES, EVAL, SEED and OUT, and write OUT/settings.

$(OUT)/calib.db: $(OUT)/settings
	coco-subset -q -f -n $(SAMPLES) -s $(SEED) --annotations $(DATA)/annotations/captions_train2017.json --calib-db $@
$(OUT)/eval.jsonl: $(OUT)/calib.db
	coco-subset -q -f -n $(EVAL) -s $(SEED) --annotations $(DATA)/annotations/captions_val2017.json --disjoint $< --eval $@
$(OUT)/calib.samples: $(OUT)/calib.db
	calib-stream -q -f -m $(MODEL) --style describe --images $(DATA) -o $@ $<
$(OUT)/calib-text.samples: $(OUT)/calib.db
	calib-stream -q -f -m $(MODEL) --style text -o $@ $<
$(OUT)/eval.samples: $(OUT)/eval.jsonl
	calib-stream -q -f -m $(MODEL) --style describe --images $(DATA) -o $@ $<
$(OUT)/eval-text.samples: $(OUT)/eval.jsonl
	calib-stream -q -f -m $(MODEL) --style text -o $@ $<
