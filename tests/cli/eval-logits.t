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
layer-score -q -m $TINY --fused-ranges own $DESCRIBE | rank-layers >"$W/tiny-ranked.json"
for pct in 10 100; do apply-coverage $pct --include-unservable "$W/tiny-ranked.json" >"$W/tiny$pct.json"; done
eval-logits -q --ref $M --scheme "$W/top10.json" -m "$W/ckpt" --scheme "$W/top50.json" --scheme "$W/all.json" $S >"$W/eval.json"
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

# ---- statistics ----
stat() { jq -c ".candidates[3].statistics.all | $1" "$W/eval.json"; }
is 'eval-logits: statistics are of the figures' true "$(jq '.candidates | all(
    .ppl as $ppl | .kl_answer as $kl | .ppl_ratio as $ratio | .uncertainty as $u | .statistics.all |
    (.perplexity.ppl.value / $ppl - 1 | fabs) < 1e-12 and (.kl_divergence.mean.value - $kl | fabs) <= 1e-12 * $kl and
    (.perplexity.ppl_ratio.value / $ratio - 1 | fabs) < 1e-12 and .kl_divergence.mean.interval == $u.kl_answer.interval)' \
    "$W/eval.json")"
is 'eval-logits: of so many tokens' "$(jq -c '[.samples.count, .samples.loss_tokens]' "$W/eval.json")" "$(stat '[.samples, .tokens]')"
is 'eval-logits: percentiles ascend' true "$(stat '[.kl_divergence, .probability | .percentiles | [.[]] | . == sort] | all')"
is 'eval-logits: agreement falls with k, and labels are found more often' true \
    "$(stat '.top_k | [.agreement, .label_in, .label_in_ref | [.[]]] | .[0] == (.[0] | sort | reverse) and .[1] == (.[1] | sort)
        and .[2] == (.[2] | sort)')"
is 'eval-logits: same top is agreement at 1' true "$(stat '.top_k.same_top.value == .top_k.agreement["1"]')"
is 'eval-logits: both divergences, and Jensen-Shannon between' true \
    "$(stat '.kl_divergence | .reverse > 0 and .jensen_shannon < .mean.value and .jensen_shannon < .reverse and
        (.mean.value / .jensen_shannon | . > 3.5 and . < 4.5)')"
is 'eval-logits: tokens by confidence are all tokens' true "$(stat '([.kl_divergence.by_confidence[].tokens] | add) == .tokens')"
is 'eval-logits: a shift of all logits is no loss' true "$(stat '.logits | .mse_centred < .mse and .cosine_centred <= 1')"
is 'eval-logits: intervals hold their figures' true "$(jq '.candidates[3] | . as $c | .uncertainty | to_entries |
    all(.key as $k | ($c[$k] // .value.interval[0]) as $v | .value.interval[0] <= $v and $v <= .value.interval[1])' "$W/eval.json")"
eval-logits -q --ref $TINY --scheme "$W/tiny10.json" --scheme "$W/tiny100.json" $DESCRIBE >"$W/tiny.json"
is 'eval-logits: the bundled model at 10 % has the reference'"'"'s KL' true "$(jq -n --slurpfile got "$W/tiny.json" \
    --slurpfile want tests/golden/tiny-describe.cpu.oracle.json '$want[0].coverage[0] as $w | $got[0].candidates[0] |
        (.kl / $w.kl_all - 1 | fabs) < 0.02 and .top1 == $w.top1')"
is 'eval-logits: texts and pictures apart' '[80,40,40]' "$(jq -c '.candidates[0].statistics | [.all, .text, .picture | .samples]' "$W/tiny.json")"
is 'eval-logits: together they are all' true "$(jq '.candidates[0].statistics | [.text, .picture | .tokens * .kl_divergence.mean.value] as $kl |
    (($kl | add) / .all.tokens / .all.kl_divergence.mean.value - 1 | fabs) < 1e-12' "$W/tiny.json")"

# ---- candidates against each other ----
pair() { jq -c --arg a "$1" --arg b "$2" ".pairs[] | select(.a == \$a and .b == \$b) | $3" "$W/$4.json"; }
is 'eval-logits: all layers are worse than few' '"worse"' "$(pair tiny10.json tiny100.json .verdict tiny)"
is 'eval-logits: by this much, paired' true "$(pair tiny10.json tiny100.json '.kl_answer | .interval[0] > 0 and
    .interval[0] < .difference and .difference < .interval[1]' tiny)"
is 'eval-logits: the difference is that of the figures' true "$(jq '.candidates[1].kl_answer - .candidates[0].kl_answer -
    .pairs[0].kl_answer.difference | fabs < 1e-15' "$W/tiny.json")"
eval-logits -q --ref $TINY --scheme "$W/tiny100.json" --scheme "$W/tiny10.json" $DESCRIBE >"$W/back.json"
is 'eval-logits: the other way round, better' '"better"' "$(pair tiny100.json tiny10.json .verdict back)"
is 'eval-logits: every two candidates are paired' 6 "$(jq '.pairs | length' "$W/eval.json")"
is 'eval-logits: a checkpoint equals its scheme' '"equal"' "$(pair ckpt top50.json .verdict eval)"
is 'eval-logits: four samples do not tell steps of 40 % apart' '["unclear",true]' \
    "$(pair top10.json ckpt '[.verdict, .samples_needed >= 8]' eval)"
is 'eval-logits: which is said' '4 samples tell 1 of 3 neighbouring candidates apart by their KL' \
    "$(eval-logits --ref $M --scheme "$W/top10.json" -m "$W/ckpt" --scheme "$W/top50.json" --scheme "$W/all.json" $S 2>&1 >"$W/null" |
        sed 's/^eval-logits: //; s/; some .* would tell all$//')"
is 'eval-logits: seed and draws are printed' '{"draws":5000,"seed":20240607,"level":0.95,"unit":"sample"}' \
    "$(jq -c .bootstrap "$W/eval.json")"
head -n 1 <<<'A blue disc.' | calib-stream -q -m $TINY - >"$W/single.samples"
is 'eval-logits: one sample has no interval' '[false,[],null]' "$(eval-logits --ref $TINY --scheme "$W/tiny10.json" \
    --scheme "$W/tiny100.json" "$W/single.samples" | jq -c '[(.candidates[0] | has("uncertainty")), .pairs, .resolution]')"

# ---- for people ----
eval-logits --ref $TINY --scheme "$W/tiny10.json" --scheme "$W/tiny100.json" --table -o "$W/beside.json" $DESCRIBE >"$W/table"
is 'eval-logits: --table has llama-perplexity'"'"'s names in its order' "$(cat tests/golden/eval/llama.names)" \
    "$(sed -E 's/ *:.*//; s/ +/ /g; s/^ //' "$W/table" | grep -Fxf tests/golden/eval/llama.names | head -n 37)"
is 'eval-logits: and the document goes to -o' true "$(jq --slurpfile tiny "$W/tiny.json" '.candidates == $tiny[0].candidates' "$W/beside.json")"
is 'eval-logits: it states what is worse' 'tiny100.json is worse than tiny10.json' \
    "$(grep -o 'tiny100.json is worse than tiny10.json' "$W/table")"
is 'eval-logits: its KL is the document'"'"'s' "$(jq '.candidates[1].kl_answer * 1e9 | round' "$W/tiny.json")" \
    "$(awk '/^Mean    KLD/ { kl = $3 } END { printf "%.0f\n", kl * 1e9 }' "$W/table")"
like 'eval-logits: --table and a document on standard output' 2 'give -o a file' "eval-logits --ref $M -m $M --table -o - $S"
like 'eval-logits: a table on a full disk' 4 'No space left' "eval-logits --ref $M -m $M --table $S >/dev/full"

# ---- gates: the document is written, then the status is 1 ----
gate() { # NAME STATUS MESSAGE OPTIONS
    like "eval-logits: $1" 1 "$2" "eval-logits -q --ref $M --scheme $W/top10.json --scheme $W/all.json $3 -f -o $W/gated.json $S"
    is "eval-logits: $1, and the document is there" 2 "$(jq '.candidates | length' "$W/gated.json")"
    rm "$W/gated.json"
}
gate '--max-kl' "^eval-logits: 'top10.json': kl_answer is [0-9.e-]+, more than --max-kl 1e-09$" '--max-kl 1e-9'
gate '--max-ppl-ratio' "^eval-logits: 'top10.json': ppl_ratio is [0-9.]+, more than --max-ppl-ratio 0.5$" '--max-ppl-ratio=0.5'
gate '--min-top1' "^eval-logits: 'top10.json': top1 is 0.[0-9]+, less than --min-top1 0.999$" '--min-top1=0.999'
ok 'eval-logits: gates that all pass' \
    "eval-logits -q --ref $M --scheme $W/all.json --max-kl 10 --max-ppl-ratio 2 --min-top1 0 -o $W/gated.json $S"
like 'eval-logits: a gate that is no number' 2 'max-kl' "eval-logits --ref $M -m $M --max-kl=much $S"
like 'eval-logits: a gate out of range' 2 'min-top1' "eval-logits --ref $M -m $M --min-top1=1.5 $S"

# ---- the Python system's definitions ----
eval-logits --ref $M --scheme "$W/all.json" --semantics origin --batch 3 $S >"$W/origin.json"
eval-logits --ref $M --scheme "$W/all.json" --semantics origin --batch 1 $S >"$W/origin1.json"
is 'eval-logits: batches of one are samples' "$(jq -c '.candidates[3] | {kl_last, mse_last}' "$W/eval.json")" \
    "$(jq -c '.candidates[0] | {kl_last, mse_last}' "$W/origin1.json")"
is 'eval-logits: ours stay beside them' "$(jq -c '.candidates[3] | {kl_last, mse_last}' "$W/eval.json")" \
    "$(jq -c '.candidates[0].mean_of_samples' "$W/origin.json")"
# Four samples in batches of three: ((a + b + c) / 3 + d) / 2; shards have a to d apart.
for i in 0 1 2 3; do eval-logits --ref $M --scheme "$W/all.json" --shard $i/4 $S >"$W/last$i.json"; done
is 'eval-logits: a short batch weighs as much as a full one' true "$(jq -s --slurpfile origin "$W/origin.json" \
    'map(.candidates[0]) | [map(.kl_last), map(.mse_last)] | map(((.[0] + .[1] + .[2]) / 3 + .[3]) / 2) as [$kl, $mse] |
    $origin[0].candidates[0] | (.kl_last / $kl - 1 | fabs) < 1e-4 and (.mse_last / $mse - 1 | fabs) < 1e-4' "$W"/last[0-3].json)"
is 'eval-logits: no interval is of other figures' '["origin",3,false,true]' "$(jq -c '.candidates[0] |
    [.semantics, .batch, (.uncertainty | has("kl_last")), (.uncertainty | has("kl"))]' "$W/origin.json")"
like 'eval-logits: semantics that there are not' 2 'semantics' "eval-logits --ref $M -m $M --semantics python $S"

# ---- numbers that are not finite: how many, and where they begin ----
broken() { # broken NAME TENSOR: its first 64 elements are the largest float
    copy "$1"
    for _ in {1..64}; do printf '\377\377\177\177'; done | dd of="$W/$1/model.safetensors" bs=1 \
        seek="$(tensor_at "$W/$1/model.safetensors" "$2")" conv=notrunc status=none
}
L=model.language_model.layers.1
broken huge1 $L.mlp.down_proj.weight
broken huge2 $L.post_attention_layernorm.weight
broken huge3 lm_head.weight
like 'eval-logits: overflow in a product' 3 "^eval-logits: the logits of '.*/huge1' are not finite: sample '[^']+', position [0-9]+, \
and of [0-9]+ more positions; it begins in the output of language_model.layers.1.mlp.down_proj, row [0-9]+$" \
    "eval-logits --ref $M --scheme $W/top10.json -m $W/huge1 $S"
like 'eval-logits: overflow between products' 3 'begins in the input of language_model.layers.1.mlp.gate_proj, row [0-9]+$' \
    "eval-logits --ref $M -m $W/huge2 $S"
like 'eval-logits: overflow in the head' 3 'begins in the output of lm_head, row [0-9]+$' "eval-logits --ref $M -m $W/huge3 $S"
like 'eval-logits: overflow in a reference to be kept' 3 "the logits of '.*/huge1' are not finite: sample .* begins in the output of .*down_proj" \
    "eval-logits --ref $W/huge1 --save-ref $W/nan.states $S"
is 'eval-logits: which is not kept' '' "$(cd "$W" && ls -d nan.states* 2>&1 | grep -v 'No such')"

# ---- hidden states, block by block ----
# A candidate whose difference is no rounding: 64 weights of a vision block and of a language layer are 0.25.
copy quarter
for tensor in model.visual.blocks.1.attn.qkv.weight $L.mlp.down_proj.weight; do
    for _ in {1..64}; do printf '\0\0\200\076'; done | dd of="$W/quarter/model.safetensors" bs=1 \
        seek="$(tensor_at "$W/quarter/model.safetensors" $tensor)" conv=notrunc status=none
done
eval-logits -q --ref $M --blocks -m "$W/quarter" --scheme "$W/all.json" -m $M $S >"$W/blocks.json" 2>&1
# fp32 sums in another order leave some 1e-6 of differences of 1e-2; where there is none, there is none.
is 'eval-logits: --blocks has the reference'"'"'s distances' true "$(jq --slurpfile want tests/golden/eval/nested4-gqa8.blocks.json '
    def near(a; b): (a - b | fabs) <= 1e-4 * (b | fabs) + 1e-9;
    [.candidates[0].blocks, $want[0]] | (map(map([.name, .rows])) | .[0] == .[1]) and (transpose |
        all(near(1 - .[0].cosine; 1 - .[1].cosine) and near(.[0].relative_l2; .[1].relative_l2)))' "$W/blocks.json")"
is 'eval-logits: a scheme is held against the plain model' true \
    "$(jq '.candidates[1].blocks | length == 8 and all(.relative_l2 > 0 and .cosine < 1)' "$W/blocks.json")"
is 'eval-logits: blocks of the model itself' '[[1],[0]]' \
    "$(jq -c '.candidates[2].blocks | [(map(.cosine * 1e12 | round / 1e12) | unique), (map(.relative_l2) | unique)]' "$W/blocks.json")"
is 'eval-logits: other figures are as without' "$(jq -c ".candidates[3] | $figures" "$W/eval.json")" \
    "$(jq -c ".candidates[1] | $figures" "$W/blocks.json")"
is 'eval-logits: texts have no vision blocks' 'language_model.layers.0' \
    "$(eval-logits --ref $TINY --scheme "$W/tiny10.json" --blocks "$W/single.samples" | jq -r '.candidates[0].blocks[0].name')"
is 'eval-logits: --table has the blocks' "$(jq -r '.candidates[0].blocks[] | "\(.name) \(.rows)"' "$W/blocks.json")" \
    "$(eval-logits --ref $M -m "$W/quarter" --blocks --table $S | sed '1,/^====== Hidden states/d' | awk '$2 ~ /^[0-9]+$/ { print $1, $2 }')"

# ---- from files to figures, against transformers ----
# 64 weights of a layer are 0.25, in three models.  No rounding is involved: 2 % or 1e-9, as asked of figures that are.
changed() { # changed NAME MODEL SAMPLES FILE 0.25: eval-logits of the change has the reference's figures
    local file=$W/changed/$4
    copy changed "$2"
    for _ in {1..64}; do printf "$5"; done | dd of="$file" bs=1 seek="$(tensor_at "$file" $L.mlp.down_proj.weight)" \
        conv=notrunc status=none
    run "eval-logits -q --ref $2 -m $W/changed $3"
    is "eval-logits: $1, changed, is as far from itself as transformers says" '0 []' "$status $(jq -c --slurpfile want \
        "tests/golden/eval/$1.kl.json" '.candidates[0] as $got | [$want[0] | to_entries[] |
         select(($got[.key] - .value | fabs) > 0.02 * .value + 1e-9) | [.key, .value, $got[.key]]]' "$W/.out")"
    rm -r "$W/changed"
}
changed nested4-gqa8 $M $S model.safetensors '\0\0\200\076'
changed nested5-sharded tests/golden/models/nested5-sharded tests/golden/models/nested5-sharded.samples.msgpack \
    model-00004-of-00004.safetensors '\200\076'
L=model.layers.1
changed tiny-describe $TINY tests/golden/tiny-describe.samples.msgpack model.safetensors '\200\076'

# ---- reference states ----
save="eval-logits --ref $M --ref-dtype fp32 --save-ref"
ok 'eval-logits: --save-ref alone writes no document' "$save $W/states $S && test -s $W/states"
eval-logits --ref "$W/states" -m "$W/ckpt" $S >"$W/kept.json"
is 'eval-logits: states in fp32 stand for their model' "$(jq -c ".candidates[1] | $figures" "$W/eval.json")" \
    "$(jq -c ".candidates[0] | $figures" "$W/kept.json")"
is 'eval-logits: whose digest they have' "$(jq -r .from.reference "$W/eval.json")" "$(jq -r .from.reference "$W/kept.json")"
is 'eval-logits: nothing was lost in keeping them' '{"dtype":"F32","argmax_moved":0,"lse_rms":0}' "$(jq -c .reference "$W/kept.json")"
is 'eval-logits: with --base they take schemes' "$(jq -c ".candidates[2] | $figures" "$W/eval.json")" \
    "$(eval-logits --ref "$W/states" --base $M --scheme "$W/top50.json" $S | jq -c ".candidates[0] | $figures")"
eval-logits --ref $TINY --save-ref "$W/bf16" $DESCRIBE
# A token: two bytes per hidden unit, log-sum-exp and argmax; the rest is the header and 48 bytes a chunk.
is 'eval-logits: bf16 states are small' true "$(jq -n --argjson bytes "$(wc -c <"$W/bf16")" '$bytes <= (2 * 192 + 16) * 4652 * 1.01')"
eval-logits --ref "$W/bf16" -m $TINY $DESCRIBE >"$W/rounded.json"
# Rounding a hidden unit moves it by up to 2^-9 of itself; what that does to a distribution is second order.
is 'eval-logits: their rounding costs little, and the document says how much' true "$(jq '.reference as $r | .candidates[0] |
    $r.dtype == "BF16" and $r.argmax_moved < 0.005 and 0 < $r.lse_rms and $r.lse_rms < 0.01 and 0 < .kl and .kl < 1e-6' "$W/rounded.json")"
is 'eval-logits: the same figures in the run that makes them' "$(jq -c '.reference, .candidates' "$W/rounded.json")" \
    "$(eval-logits --ref $TINY -m $TINY --save-ref "$W/again" $DESCRIBE | jq -c '.reference, .candidates')"
ok 'eval-logits: and the same file' "cmp $W/bf16 $W/again"
is 'eval-logits: a reference in memory is exact' '[null,0]' "$(eval-logits --ref $TINY -m $TINY $DESCRIBE | jq -c '[.reference, .candidates[0].kl]')"
like 'eval-logits: a scheme without a model' 2 'give --base MODEL beside --ref STATES' \
    "eval-logits --ref $W/states --scheme $W/top50.json $S"
like 'eval-logits: states have no blocks' 2 '^eval-logits: --blocks needs the reference.s blocks, .*: give --ref MODEL$' \
    "eval-logits --ref $W/states --base $M --blocks --scheme $W/top50.json $S"
like 'eval-logits: two base models' 2 '--base goes with --ref STATES' \
    "eval-logits --ref $M --base $M --scheme $W/top50.json $S"
like 'eval-logits: --save-ref beside states' 2 '--save-ref needs --ref MODEL' \
    "eval-logits --ref $W/states --save-ref $W/states2 $S"
like 'eval-logits: --ref-dtype without --save-ref' 2 '--ref-dtype goes with --save-ref' "eval-logits --ref $M -m $M --ref-dtype fp32 $S"
like 'eval-logits: states to a pipe' 2 '--save-ref needs a file' "eval-logits --ref $M --save-ref - $S"
like 'eval-logits: states and the document in one file' 2 "--save-ref and -o name the same file" \
    "eval-logits --ref $M -m $W/ckpt -f --save-ref $W/both -o $W/both $S"
mkfifo "$W/fifo"
like 'eval-logits: states in place of a pipe' 2 "fifo' is not a regular file" "eval-logits --ref $M -f --save-ref $W/fifo $S"
like 'eval-logits: a document in place of a folder' 2 "' is not a regular file" "eval-logits --ref $M -m $W/ckpt -f -o $W $S"
like 'eval-logits: a shard of the samples' 3 'was made of other samples, or of another shard' \
    "eval-logits --ref $W/states -m $W/ckpt --shard 0/2 $S"
like 'eval-logits: more samples' 3 'was made of other samples' "eval-logits --ref $W/states -m $W/ckpt $S $S"
like 'eval-logits: samples of another model' 3 'was made of other samples' \
    "eval-logits --ref $W/states -m $SHARDED $SHARDED.samples.msgpack"
for bytes in 5 100 3000 $(($(wc -c <"$W/states") - 1)); do
    head -c "$bytes" "$W/states" >"$W/states.cut"
    like "eval-logits: states of $bytes bytes" 3 "states.cut' (is truncated|is not a file of reference states)" \
        "eval-logits --ref $W/states.cut -m $W/ckpt $S"
done
for at in 20 1000 20000 $(($(wc -c <"$W/states") - 70)); do
    cp "$W/states" "$W/states.flip"
    flip "$W/states.flip" "$at"
    like "eval-logits: states with byte $at flipped" 3 'states.flip. is damaged: .*make it again with --save-ref' \
        "eval-logits --ref $W/states.flip -m $W/ckpt $S"
done
like 'eval-logits: states that are a checkpoint' 3 'is not a file of reference states; make it again with --save-ref' \
    "eval-logits --ref $M/model.safetensors -m $W/ckpt $S"
like 'eval-logits: states of a model with another head' 3 "the head of '.*' is not the reference's" \
    "eval-logits --ref $W/states -m $SHARDED $S"

# ---- candidates that are no form of the reference ----
copy retrained
jq '.model.merges |= .[0:-1]' $M/tokenizer.json >"$W/retrained/tokenizer.json"
other="^eval-logits: the reference: the tokenizer .* is not that of '.*/retrained'"
like 'eval-logits: a candidate with another tokenizer' 3 "$other" "eval-logits --ref $M -m $W/retrained $S"
like 'eval-logits: the same beside states' 3 "$other" "eval-logits --ref $W/states -m $W/retrained $S"
ok 'eval-logits: --foreign-samples' "eval-logits --ref $M -m $W/retrained --foreign-samples $S | jq -e .schema >$W/null"
tail -n 1 <<<'A blue disc.' | calib-stream -q -m $TINY - >"$W/low.samples"
like 'eval-logits: a candidate with another vocabulary' 3 "the vocabulary of '.*/qwen2-text' has [0-9]+ tokens, the reference's [0-9]+|of width" \
    "eval-logits --ref $TINY -m tests/golden/models/qwen2-text --foreign-samples $W/low.samples"

# ---- states that are there, and a run that was killed ----
like 'eval-logits: states that exist' 2 "^eval-logits: '.*states' exists and does not hold .*remove it or use -f$" \
    "$save $W/states $S $S"
like 'eval-logits: states that hold just this' 0 "states' holds these states already$" "$save $W/states $S"
cp "$W/states" "$W/flipped"
flip "$W/flipped" 20000
like 'eval-logits: damaged states are not used' 2 "flipped' exists and does not hold" "$save $W/flipped $S"
ok 'eval-logits: -f replaces them' "$save $W/flipped -f $S && cmp $W/states $W/flipped"
# The kill may come at any time: whatever it leaves, the same command ends with the same file.
keep="eval-logits -q --ref $TINY --save-ref $W/killed $DESCRIBE"
is 'eval-logits: a run is killed' killed "$(kill_at "$W/killed.part" 300000 "$keep" && echo killed)"
is 'eval-logits: it leaves no states' 'killed.part' "$(cd "$W" && ls -d killed*)"
like 'eval-logits: the next one goes on' 0 "[1-9][0-9]* of 80 samples are in '.*killed.part' already$" "${keep/-q/}"
is 'eval-logits: to the same bytes' "$(sha256sum <"$W/bf16")" "$(sha256sum <"$W/killed")"
is 'eval-logits: and leaves nothing beside them' 'killed' "$(cd "$W" && ls -d killed*)"
for bytes in 200 1000001 1824451; do
    rm "$W/killed"
    head -c $bytes "$W/bf16" >"$W/killed.part"
    ok "eval-logits: $bytes bytes of them are gone on with" "$keep && cmp $W/bf16 $W/killed && [ ! -e $W/killed.part ]"
done
rm "$W/killed"
head -c 1000000 "$W/bf16" >"$W/killed.part"
flip "$W/killed.part" 2000
like 'eval-logits: but not when they are damaged' 3 "killed.part' is damaged: chunk 1 .*remove it to begin anew$" "$keep"
head -c 1000000 "$W/bf16" >"$W/killed.part"
like 'eval-logits: nor when they are of other samples' 0 "killed.part' is of other models, samples or settings: begun anew$" \
    "eval-logits --ref $TINY --save-ref $W/killed --shard 0/2 $DESCRIBE"
rm "$W/killed"
like 'eval-logits: a disk that fills up' 4 "killed.part': File too large" "(ulimit -f 600; $keep)"
ok 'eval-logits: what was written is not lost' "$keep && cmp $W/bf16 $W/killed"

# ---- the same for candidates: the run is killed at the second ----
many="eval-logits -q --ref $W/bf16 --base $TINY --scheme $W/tiny10.json --scheme $W/tiny100.json -o $W/after.json $DESCRIBE"
resumes 400000 "$many"
rm "$W/after.json"
for bytes in 100 300000; do
    head -c $bytes "$W/half.part" >"$W/after.json.part"
    ok "eval-logits: $bytes bytes of a run are gone on with" "$many && cmp $W/before.json $W/after.json && rm $W/after.json"
done
cp "$W/half.part" "$W/after.json.part"
like 'eval-logits: another first candidate' 0 "goes on with another candidate: ignored from there$" \
    "eval-logits --ref $W/bf16 --base $TINY --scheme $W/tiny100.json -o $W/after.json $DESCRIBE 2>&1 | grep -v 'going on with' >&2"
is 'eval-logits: whose figures are its own' "$(jq -c '.candidates[1].kl' "$W/before.json")" "$(jq -c '.candidates[0].kl' "$W/after.json")"
rm "$W/after.json"
cp "$W/half.part" "$W/after.json.part"
like 'eval-logits: another reference' 0 "of other inputs, options or another version: ignored$" \
    "eval-logits --ref $TINY --scheme $W/tiny10.json -o $W/after.json $DESCRIBE"
rm "$W/after.json"
cp "$W/half.part" "$W/after.json.part"
flip "$W/after.json.part" 5000
like 'eval-logits: damage is not gone on with' 3 "after.json.part' is damaged: chunk 2 .*; remove it to begin anew$" "$many"
rm "$W/after.json.part"

# Two shards with as many tokens: their states are not each other's.
yes 'A red ring.' | head -n 4 | calib-stream -q -m $TINY - >"$W/rings.samples"
eval-logits --ref $TINY --ref-dtype fp32 --save-ref "$W/ring0" --shard 0/2 "$W/rings.samples"
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
