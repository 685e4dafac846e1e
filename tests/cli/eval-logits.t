#!/bin/bash
# eval-logits.t - candidates against a reference
. tests/lib.sh
. tests/models.sh
cmd() { echo "eval-logits --ref $1 -m $1 $2"; }
contract eval-logits
like 'eval-logits: no reference' 2 '^eval-logits: --ref MODEL\|STATES is missing$' "eval-logits -m $M $S"
like 'eval-logits: no candidate' 2 '^eval-logits: there is no candidate: give -m CHECKPOINT or --scheme SCHEME$' \
    "eval-logits --ref $M $S"

# ---- a model and itself ----
eval-logits --ref $M -m $M $S >"$W/self.json"
is 'eval-logits: a model is what it is' '{"ppl_ratio":1,"kl":0,"kl_answer":0,"kl_last":0,"mse":0,"mse_last":0,"top1":1}' \
    "$(jq -c '.candidates[0] | {ppl_ratio, kl, kl_answer, kl_last, mse, mse_last, top1}' "$W/self.json")"
# One sums negative log likelihoods in fp64, the other fp32 ones.
is 'eval-logits: its perplexity is that of eval-ppl' true "$(eval-ppl -m $M $S | jq --slurpfile self "$W/self.json" \
    '.candidates[0].ppl as $ppl | $self[0].candidates[0] | .ppl == .ppl_ref and (.ppl / $ppl - 1 | fabs) < 1e-7')"

# ---- schemes and checkpoints, against the reference ----
layer-score -m $M --fused-ranges own $S | rank-layers >"$W/ranked.json"
for pct in 10 50 100; do apply-coverage $pct "$W/ranked.json" >"$W/top$pct.json"; done
apply-coverage 100 --include-unservable "$W/ranked.json" >"$W/all.json"
export-ckpt -q -m $M -o "$W/ckpt" "$W/top50.json"
eval-logits --ref $M --scheme "$W/top10.json" -m "$W/ckpt" --scheme "$W/top50.json" --scheme "$W/all.json" $S >"$W/eval.json"
is 'eval-logits: candidates in their order' 'top10.json ckpt top50.json all.json' \
    "$(jq -r '[.candidates[].name] | join(" ")' "$W/eval.json")"
figures='{ppl, ppl_ratio, kl, kl_answer, kl_last, mse, mse_last, top1, fp8_modules, scales_applied}'
is 'eval-logits: a checkpoint is its scheme, to the bit' "$(jq -c ".candidates[1] | $figures" "$W/eval.json")" \
    "$(jq -c ".candidates[2] | $figures" "$W/eval.json")"
is 'eval-logits: one candidate leaves nothing to the next' "$(jq -c ".candidates[2] | $figures" "$W/eval.json")" \
    "$(eval-logits --ref $M --scheme "$W/top50.json" $S | jq -c ".candidates[0] | $figures")"
is 'eval-logits: more layers, more loss' true \
    "$(jq '.candidates | .[0].kl > 0 and .[0].kl < .[2].kl and .[2].kl < .[3].kl' "$W/eval.json")"
# The oracle ran the same coverage; which rows an FP8 code flips in is chance, so 10 % (its own reruns differ by as much).
is 'eval-logits: at 100 % the KL is the reference'"'"'s' true "$(jq -n --slurpfile got "$W/eval.json" \
    --slurpfile want $M.oracle.json '$want[0].coverage[2] as $w | $got[0].candidates[3] as $g |
        ($g.kl / $w.kl_all - 1 | fabs) < 0.1 and ($g.ppl / $w.ppl - 1 | fabs) < 0.01')"
eval-logits --ref $M --scheme "$W/top100.json" --scheme "$W/top100.json" $S >"$W/twice.json"
is 'eval-logits: the same candidate twice has the same figures' true "$(jq '.candidates[0] == .candidates[1]' "$W/twice.json")"

# ---- reference states ----
ok 'eval-logits: --save-ref alone writes no document' "eval-logits --ref $M --save-ref $W/states $S && test -s $W/states"
eval-logits --ref "$W/states" -m "$W/ckpt" $S >"$W/kept.json"
is 'eval-logits: states stand for their model' "$(jq -c ".candidates[1] | $figures" "$W/eval.json")" \
    "$(jq -c ".candidates[0] | $figures" "$W/kept.json")"
is 'eval-logits: whose digest they have' "$(jq -r .from.reference "$W/eval.json")" "$(jq -r .from.reference "$W/kept.json")"
is 'eval-logits: with --base they take schemes' "$(jq -c ".candidates[2] | $figures" "$W/eval.json")" \
    "$(eval-logits --ref "$W/states" --base $M --scheme "$W/top50.json" $S | jq -c ".candidates[0] | $figures")"
like 'eval-logits: a scheme without a model' 2 'give --base MODEL beside --ref STATES' \
    "eval-logits --ref $W/states --scheme $W/top50.json $S"
like 'eval-logits: two base models' 2 '--base goes with --ref STATES' \
    "eval-logits --ref $M --base $M --scheme $W/top50.json $S"
like 'eval-logits: --save-ref beside states' 2 '--save-ref needs --ref MODEL' \
    "eval-logits --ref $W/states --save-ref $W/states2 $S"
like 'eval-logits: states that exist' 2 "states' exists: remove it or use -f" "eval-logits --ref $M --save-ref $W/states $S"
like 'eval-logits: states on a full disk' 4 'No space left' "eval-logits --ref $M --save-ref - $S >/dev/full"
like 'eval-logits: a shard of the samples' 3 'was made of other samples, or of another shard' \
    "eval-logits --ref $W/states -m $W/ckpt --shard 0/2 $S"
like 'eval-logits: more samples' 3 'was made of other samples' "eval-logits --ref $W/states -m $W/ckpt $S $S"
like 'eval-logits: samples of another model' 3 'was made of other samples' \
    "eval-logits --ref $W/states -m $SHARDED $SHARDED.samples.msgpack"
head -c 3000 "$W/states" >"$W/states.cut"
like 'eval-logits: truncated states' 3 'states.cut.*truncated' "eval-logits --ref $W/states.cut -m $W/ckpt $S"
for at in 1000 20000 $(($(wc -c <"$W/states") - 70)); do
    cp "$W/states" "$W/states.flip"
    flip "$W/states.flip" "$at"
    like "eval-logits: states with byte $at flipped" 3 'states.flip. is damaged' \
        "eval-logits --ref $W/states.flip -m $W/ckpt $S"
done
like 'eval-logits: states that are a checkpoint' 3 'is not a file of reference states; --save-ref makes one' \
    "eval-logits --ref $M/model.safetensors -m $W/ckpt $S"
like 'eval-logits: states of a model with another head' 3 "the head of '.*' is not the reference's" \
    "eval-logits --ref $W/states -m $SHARDED $S"

# Two shards with as many tokens: their states are not each other's.
yes 'A red ring.' | head -n 4 | calib-stream -q -m $TINY - >"$W/rings.samples"
eval-logits --ref $TINY --save-ref "$W/ring0" --shard 0/2 "$W/rings.samples"
like 'eval-logits: states of the other shard' 3 'another shard' \
    "eval-logits --ref $W/ring0 -m $TINY --shard 1/2 $W/rings.samples"
is 'eval-logits: states of this shard' 0 "$(eval-logits --ref "$W/ring0" -m $TINY --shard 0/2 "$W/rings.samples" |
    jq '.candidates[0].kl')"

# ---- schemes that do not fit; nothing is printed for the candidates before them ----
like 'eval-logits: the scheme of another model' 3 'was made for another model \(digest' \
    "eval-logits --ref $SHARDED -m $SHARDED --scheme $W/top50.json $SHARDED.samples.msgpack"
sed 's/layers\.1\.mlp\.down_proj/layers.9.mlp.down_proj/' "$W/top100.json" >"$W/unknown.json"
like 'eval-logits: a scheme with a module that is not there' 3 "quantizes 'language_model.layers.9.mlp.down_proj', a module that" \
    "eval-logits --ref $M --scheme $W/top10.json --scheme $W/unknown.json $S"
like 'eval-logits: a second candidate that does not exist' 4 'No such file' \
    "eval-logits --ref $M -m $M -m $W/nothing $S"
finish
