#!/bin/bash
# eval-ppl.t - perplexity of a model, a checkpoint and a model under a scheme
. tests/lib.sh
. tests/models.sh
cmd() { echo "eval-ppl -m $1 $2"; }
contract eval-ppl
like 'eval-ppl: no model' 2 '^eval-ppl: -m MODEL is missing$' "eval-ppl $S"

# The oracle's perplexities; fp32 sums in another order leave some 1e-7 of them.
ppl() { jq '.candidates[0].ppl' "$1"; }
near() { jq -n --argjson a "$1" --argjson b "$2" --argjson tol "$3" '($a - $b | fabs) <= $tol * ($b | fabs)'; }
eval-ppl -m $TINY $DESCRIBE >"$W/tiny.json"
is 'eval-ppl: the bundled model has the reference'"'"'s perplexity' true "$(near "$(ppl "$W/tiny.json")" 1.8376528698027121 1e-5)"
is 'eval-ppl: of so much' '{"count":80,"tokens":4652,"loss_tokens":1858}' "$(jq -c .samples "$W/tiny.json")"
for model in "$M" "$SHARDED" tests/golden/models/windows-only; do
    eval-ppl -m "$model" "$model.samples.msgpack" >"$W/m.json"
    is "eval-ppl: ${model##*/} has the reference's perplexity" true \
        "$(near "$(ppl "$W/m.json")" "$(jq .ppl_ref "$model.oracle.json")" 1e-5)"
done
eval-ppl -m $M $S >"$W/whole.json"
is 'eval-ppl: nothing runs in FP8' '[{"F32":69},0,0]' \
    "$(jq -c '.candidates[0] | [.tensors, .fp8_modules, .scales_applied]' "$W/whole.json")"
is 'eval-ppl: no figure that needs a reference' '["ppl"]' \
    "$(jq -c '[.candidates[0] | keys_unsorted[] | select(test("^(ppl|kl|mse|top1)"))]' "$W/whole.json")"

# Perplexity of shards: the geometric mean, weighted by their tokens with loss.
for i in 0 1; do eval-ppl -m $M --shard $i/2 $S >"$W/shard$i.json"; done
is 'eval-ppl: shards are parts of the whole' true "$(jq -s '(.[1:] | map(.samples.loss_tokens * (.candidates[0].ppl | log)) | add) as $nll |
    (.[1:] | map(.samples.loss_tokens) | add) as $n | $n == .[0].samples.loss_tokens and
    (($nll / $n | exp) / .[0].candidates[0].ppl - 1 | fabs) <= 1e-5' "$W/whole.json" "$W/shard0.json" "$W/shard1.json")"
like 'eval-ppl: a shard without samples' 3 'no sample has a token with loss' "eval-ppl -m $M --shard 7/8 $S"

# ---- per sample, and per byte ----
eval-ppl -m $TINY --per-sample "$W/lines" --bits-per-byte $DESCRIBE >"$W/bits.json"
is 'eval-ppl: a line for every sample' '80 4652 1858' "$(jq -rs '"\(length) \(map(.tokens) | add) \(map(.loss_tokens) | add)"' "$W/lines")"
is 'eval-ppl: lines have the reference'"'"'s likelihoods' true "$(jq -s --slurpfile want tests/golden/tiny-describe.cpu.oracle.json \
    '[., $want[0].nll] | transpose | all(.[0].id == .[1].id and .[0].loss_tokens == .[1].tokens and
        (.[0].nll - .[1].nll | fabs) <= 1e-5 * .[1].nll + 1e-4)' "$W/lines")"
is 'eval-ppl: and make up the perplexity' true "$(jq -s --slurpfile doc "$W/bits.json" \
    '(map(.nll) | add) / (map(.loss_tokens) | add) | (exp / $doc[0].candidates[0].ppl - 1 | fabs) < 1e-12' "$W/lines")"
is 'eval-ppl: bits per byte' true "$(jq -s --slurpfile doc "$W/bits.json" '(map(.nll) | add) / (2 | log) / (map(.loss_bytes) | add) |
    (. / $doc[0].candidates[0].bits_per_byte - 1 | fabs) < 1e-12' "$W/lines")"
echo 'A red ring.' | calib-stream -q -m $TINY - >"$W/text.samples"
is 'eval-ppl: bytes of all tokens but the first' 10 \
    "$(eval-ppl -m $TINY --bits-per-byte "$W/text.samples" | jq '.candidates[0].loss_bytes')"

# ---- how far to trust it ----
eval-logits -q --ref $TINY -m $TINY $DESCRIBE >"$W/against.json"
is 'eval-ppl: the interval is that of eval-logits' true "$(jq -n --slurpfile a "$W/tiny.json" --slurpfile b "$W/against.json" \
    '[$a, $b | .[0].candidates[0].uncertainty.ppl | .error, .interval[]] | [.[:3], .[3:]] | transpose | all((.[0] / .[1] - 1 | fabs) < 1e-6)')"
is 'eval-ppl: it holds the figure' true "$(jq '.candidates[0] | .uncertainty.ppl.interval[0] < .ppl and .ppl < .uncertainty.ppl.interval[1]' "$W/tiny.json")"
is 'eval-ppl: of windows it is over samples, too' "$(jq -c '.candidates[0].uncertainty' "$W/whole.json")" \
    "$(eval-ppl -m $M --window 100000 $S | jq -c '.candidates[0].uncertainty')"
is 'eval-ppl: seed and draws are printed' "$(jq -c .bootstrap "$W/against.json")" "$(jq -c .bootstrap "$W/tiny.json")"
is 'eval-ppl: one sample has no interval' false "$(eval-ppl -m $TINY "$W/text.samples" | jq '.candidates[0] | has("uncertainty")')"

# ---- windows ----
yes 'A red ring and a blue disc.' | head -n 12 | tr '\n' ' ' >"$W/long.txt"
echo >>"$W/long.txt"
calib-stream -q -m $TINY "$W/long.txt" >"$W/long.samples"
long=$(eval-ppl -m $TINY "$W/long.samples" | jq -c '[.samples.loss_tokens, .candidates[0].ppl]')
window() { eval-ppl -m $TINY --window "$1" --stride "$2" "$W/long.samples" | jq -c '[.samples.loss_tokens, .candidates[0].ppl]'; }
is 'eval-ppl: a window as long as the text changes nothing' "$long" "$(window 100000 5)"
is 'eval-ppl: every token is counted once' "$(jq '.[0]' <<<"$long")" "$(window 16 5 | jq '.[0]')"
is 'eval-ppl: less context, other figures' true "$(jq -n "[$(window 16 16), $(window 16 8), $long] | map(.[1]) | unique | length == 3")"
like 'eval-ppl: a stride longer than the window' 2 'longer than --window' "eval-ppl -m $M --window 4 --stride 5 $S"
like 'eval-ppl: a stride without a window' 2 'needs --window' "eval-ppl -m $M --stride 5 $S"
like 'eval-ppl: pictures cannot be cut' 3 "sample '[^']*' is longer than the window and has a picture" "eval-ppl -m $M --window 4 $S"
like 'eval-ppl: lines that exist' 2 "lines' exists: remove it or use -f" "eval-ppl -m $M --per-sample $W/lines $S"
like 'eval-ppl: lines on a full disk' 4 'No space left' "eval-ppl -m $M -o $W/nowhere --per-sample - $S >/dev/full"
mkdir "$W/mute" && cp $M/*.safetensors $M/config.json $M/preprocessor_config.json "$W/mute"
like 'eval-ppl: bytes without a tokenizer' 3 'neither a tokenizer.json nor' "eval-ppl -m $W/mute --bits-per-byte $S"

# ---- a run that was killed goes on, and ends with the same bytes ----
long="eval-ppl -q -m $TINY --per-sample $W/after.lines -o $W/after.json $DESCRIBE"
same() { cmp <(jq 'del(.argv)' "$W/before.json") <(jq 'del(.argv)' "$W/after.json") && cmp "$W/before.lines" "$W/after.lines"; }
export -f same
resumes 6000 "$long"
ok 'eval-ppl: to the same bytes' same
rm "$W"/after.*
head -c -1 "$W/half.part" >"$W/after.json.part"
ok 'eval-ppl: a torn end is cut off' "$long"
ok 'eval-ppl: again the same bytes' same
rm "$W"/after.*
cp "$W/half.part" "$W/after.json.part"
flip "$W/after.json.part" 600
like 'eval-ppl: damage is not gone on with' 3 "after.json.part' is damaged: chunk [12] .*; remove it to begin anew$" "$long"
for other in "--shard 0/2" "--scheme $W/tiny100.json"; do
    [ -e "$W/tiny100.json" ] || layer-score -q -m $TINY "$W/text.samples" | apply-coverage -q 100 -o "$W/tiny100.json"
    cp "$W/half.part" "$W/after.json.part"
    like "eval-ppl: what belongs to a run without ${other%% *}" 0 "after.json.part' is of other inputs, options or another version: ignored$" \
        "eval-ppl -m $TINY -f -o $W/after.json $other $DESCRIBE"
    is "eval-ppl: and it is not used, ${other%% *}" "$(eval-ppl -q -m $TINY $other $DESCRIBE | jq -c .candidates)" \
        "$(jq -c .candidates "$W/after.json")"
done
rm "$W"/after.*
cp $DESCRIBE "$W/after.json.part"
like 'eval-ppl: a file of that name that is none of ours' 3 "after.json.part' is not a file of an interrupted run" "$long"
rm "$W"/after.*

# ---- schemes and checkpoints ----
layer-score -m $M $S | rank-layers >"$W/ranked.json"
apply-coverage 50 "$W/ranked.json" >"$W/top50.json"
export-ckpt -q -m $M -o "$W/ckpt" "$W/top50.json"
eval-ppl -m $M --scheme "$W/top50.json" $S >"$W/scheme.json"
eval-ppl -m "$W/ckpt" $S >"$W/export.json"
modules=$(jq '[.modules[] | select(.format == "fp8")] | length' "$W/top50.json")
is 'eval-ppl: as many modules run in FP8 as the scheme selects' "[$modules,$((2 * modules))]" \
    "$(jq -c '.candidates[0] | [.fp8_modules, .scales_applied]' "$W/scheme.json")"
is 'eval-ppl: a checkpoint is its scheme, to the bit' "$(ppl "$W/scheme.json")" "$(ppl "$W/export.json")"
is 'eval-ppl: its codes are counted' "$modules" "$(jq '.candidates[0].tensors.F8_E4M3' "$W/export.json")"
is 'eval-ppl: it is not the unquantized model' true "$(jq -s '.[0].candidates[0].ppl != .[1].candidates[0].ppl' \
    "$W/whole.json" "$W/scheme.json")"
is 'eval-ppl: the scheme is named' "top50 $(sha256sum <"$W/top50.json" | cut -d ' ' -f 1)" \
    "$(jq -r '.candidates[0] | "\(.scheme) \(.scheme_digest)"' "$W/scheme.json")"
like 'eval-ppl: the scheme of another model' 3 "was made for another model \(digest" \
    "eval-ppl -m $SHARDED --scheme $W/top50.json $SHARDED.samples.msgpack"
like 'eval-ppl: a scheme on top of a checkpoint' 3 'was made for another model' \
    "eval-ppl -m $W/ckpt --scheme $W/top50.json $S"
apply-coverage 100 "$W/ranked.json" >"$W/top100.json"
sed 's/layers\.1\.mlp\.down_proj/layers.9.mlp.down_proj/' "$W/top100.json" >"$W/unknown.json"
like 'eval-ppl: a scheme with a module that is not there' 3 "quantizes 'language_model.layers.9.mlp.down_proj', a module that" \
    "eval-ppl -m $M --scheme $W/unknown.json $S"
head -c 1000 "$W/top50.json" >"$W/cut.json"
like 'eval-ppl: a truncated scheme' 3 'cut.json' "eval-ppl -m $M --scheme $W/cut.json $S"
like 'eval-ppl: a scheme that does not exist' 4 'No such file' "eval-ppl -m $M --scheme $W/no.json $S"
layer-score -m $M $S >"$W/layers.json"
like 'eval-ppl: LAYERS are no scheme' 3 'is not an octet-scheme document' "eval-ppl -m $M --scheme $W/layers.json $S"
like 'eval-ppl: a list of names is no scheme to run' 3 'no ranges|names' \
    "eval-ppl -m $M --scheme data/published/qwen2_5-fp8-all-baseline.top10.coverage.json $S"
truncate -s -64 "$W/ckpt/model.safetensors"
like 'eval-ppl: a truncated checkpoint' 3 'ckpt/model.safetensors.*truncated' "eval-ppl -m $W/ckpt $S"

# ---- INT8 and the KV cache: a checkpoint is its scheme in every form, in both layouts where they have it ----
calib-amax -m $M --per-channel --kv $S >"$W/ranges.json"
form() { # form LAYOUTS WANT OPTION...: what ran of the scheme and of its checkpoint in each layout, and the same perplexity
    local layouts=$1 want=$2 layout got
    shift 2
    apply-coverage "$@" -f -o "$W/form.json" "$W/ranges.json"
    eval-ppl -m $M --scheme "$W/form.json" $S >"$W/scheme.json"
    is "eval-ppl: $*: what ran" "$want" \
        "$(jq -c '.candidates[0] | [.fp8_modules, .int8_modules, .kv_cache, .scales_applied]' "$W/scheme.json")"
    for layout in $layouts; do
        rm -rf "$W/form"
        export-ckpt -q -m $M --format "$layout" -o "$W/form" "$W/form.json"
        got=$(eval-ppl -m "$W/form" $S)
        is "eval-ppl: $*: $layout is its scheme, to the bit" \
            "$(jq -c '.candidates[0] | [.ppl, .fp8_modules, .int8_modules, .kv_cache, .scales_applied]' "$W/scheme.json")" \
            "$(jq -c '.candidates[0] | [.ppl, .fp8_modules, .int8_modules, .kv_cache, .scales_applied]' <<<"$got")"
    done
}
form 'compressed-tensors modelopt' '[0,14,null,28]' --preset int8-sq-lm
form 'modelopt' '[0,14,null,28]' --preset int8-sq-lm --smooth-at input --smooth-quant 0.5
form 'modelopt' '[0,14,null,28]' --preset int8-sq-lm --smooth-at input --rounding modelopt
form 'compressed-tensors' "[0,$(jq '[.modules | keys[] | select(test("patch_embed|lm_head") | not)] | length | "\(.),null,\(.)" ' \
    -r "$W/ranges.json")]" --preset int8-dynamic-all
form 'compressed-tensors modelopt' '[14,null,"fp8",32]' --preset fp8-lm-kv
sed 's/language_model.layers.1"/language_model.layers.7"/' "$W/form.json" >"$W/kv.json"
like 'eval-ppl: KV ranges of a layer that is not there' 3 "KV ranges of 'language_model.layers.7', number 2 of 2" \
    "eval-ppl -m $M --scheme $W/kv.json $S"
jq '.kv_cache.layers |= del(.["language_model.layers.1"])' "$W/form.json" >"$W/kv.json"
like 'eval-ppl: KV ranges of some layers' 3 "number 1 of 1; '$M' has 2 attention layers" "eval-ppl -m $M --scheme $W/kv.json $S"
finish
