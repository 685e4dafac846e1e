#!/bin/bash
# calib-amax.t - ranges of inputs and weights
. tests/lib.sh
. tests/models.sh
cmd() { echo "calib-amax -m $1 $2"; }
contract calib-amax
like 'calib-amax: no model' 2 '^calib-amax: -m MODEL is missing$' "calib-amax $S"

# The oracle's ranges; fp32 sums in another order move an input by some ulp.
calib-amax -m $M $S >"$W/layers.json"
ok 'calib-amax: the ranges are the reference'"'"'s' "jq -e -n --slurpfile got '$W/layers.json' \
    --slurpfile want $M.oracle.json '
        def near(\$a; \$b): (\$a - \$b | fabs) <= 2e-5 * (\$b | fabs);
        \$want[0].amax as \$w | \$got[0].modules as \$g | (\$w | length) > 10 and
            all(\$w | keys[]; . as \$k | near(\$g[\$k].input_amax; \$w[\$k].input) and
                near(\$g[\$k].weight_amax; \$w[\$k].weight))' >'$W/null'"
is 'calib-amax: one range for every linear module' "$(jq '.amax | length' $M.oracle.json)" \
    "$(jq '.modules | length' "$W/layers.json")"
is 'calib-amax: what it was measured on' '4 107' "$(jq -r '"\(.samples.count) \(.samples.tokens)"' "$W/layers.json")"
is 'calib-amax: the samples by their digest' "$(sha256sum <$S | cut -d ' ' -f 1)" \
    "$(jq -r .from.samples "$W/layers.json")"
is 'calib-amax: nothing is scored' null "$(jq .layer_sensitivity "$W/layers.json")"

# Ranges of shards merge by max, tokens by sum: exactly the whole.
for i in 0 1; do calib-amax -m $M --shard $i/2 $S >"$W/shard$i.json"; done
is 'calib-amax: ranges and tokens of the shards are those of the whole' "$(jq -S .modules "$W/layers.json")" \
    "$(jq -S -s '.[0].modules as $a | .[1].modules as $b | $a | with_entries(.key as $k | .value |= (
        .input_amax = ([.input_amax, $b[$k].input_amax] | max) | .tokens += $b[$k].tokens))' \
        "$W/shard0.json" "$W/shard1.json")"

# Text alone never reaches the vision tower: listed, without an input range.
calib-amax -m $TINY --shard 0/80 $DESCRIBE >"$W/text.json"
is 'calib-amax: a module that no data reached' '{"shape":[288,96],"weight_amax":0.30078125,"tokens":0}' \
    "$(jq -c '.modules["visual.blocks.0.attn.qkv"]' "$W/text.json")"
is 'calib-amax: a shard past the last sample is empty, not an error' '0 0' \
    "$(calib-amax -m $M --shard 7/8 $S | jq -r '"\(.samples.count) \([.modules[].tokens] | add)"')"

# ---- channels, keys and values, alphas ----
calib-amax -m $M --per-channel --kv --alpha auto $S >"$W/all.json"
is 'calib-amax: the largest channel is the range' true "$(jq '[.modules[] | select(.tokens > 0)] | length > 10 and all(.[];
    (.input_amax_per_channel | max) == .input_amax and (.weight_amax_per_channel | max) == .weight_amax and
    (.input_amax_per_channel | length) == .shape[1] and (.weight_amax_per_channel | length) == .shape[1])' "$W/all.json")"
is 'calib-amax: channels change no other range' "$(jq -S .modules "$W/layers.json")" "$(jq -S '.modules | map_values(
    del(.input_amax_per_channel, .weight_amax_per_channel, .kv_amax, .smooth_alpha))' "$W/all.json")"
is 'calib-amax: keys and values of the language model alone' '["language_model.layers.0.self_attn.k_proj",true]' \
    "$(jq -c '.modules | to_entries | map(select(.value.kv_amax)) | [.[0].key, (length > 1 and
        all(.[]; .key | test("^language_model.*self_attn.[kv]_proj$")))]' "$W/all.json")"
is 'calib-amax: members of a group have one alpha' true "$(jq '.modules as $m | [$m | keys[] | select(endswith("q_proj"))] |
    length > 1 and all(.[]; . as $q | ($q | sub("q_proj$"; "v_proj")) as $v | $m[$q].smooth_alpha == $m[$v].smooth_alpha and
        ([$m[$q].smooth_alpha * 10 | . - round | fabs < 1e-9] | all))' "$W/all.json")"
# Alphas compare the groups' own errors, so that what dynamic inputs lose moves some of them.
calib-amax -m $M --per-channel --alpha auto --activations dynamic $S >"$W/dynamic.json"
is 'calib-amax: other alphas for inputs with a scale for each token' false "$(jq -n --slurpfile a "$W/all.json" \
    --slurpfile b "$W/dynamic.json" '[$a[0], $b[0] | [.modules[].smooth_alpha]] | .[0] == .[1]')"
for i in 0 1; do calib-amax -m $M --per-channel --kv --shard $i/2 $S >"$W/shard$i.json"; done
is 'calib-amax: channels of the shards merge to those of the whole' \
    "$(jq -S '[.modules[] | [.input_amax_per_channel, .kv_amax]]' "$W/all.json")" \
    "$(jq -S -s '.[0].modules as $a | .[1].modules as $b | [$a | keys_unsorted[] | . as $k | [
        [$a[$k], $b[$k] | .input_amax_per_channel] | transpose | map(max)] + [[$a[$k], $b[$k] | .kv_amax] | max]]' \
        "$W/shard0.json" "$W/shard1.json")"
calib-amax -m $TINY --per-channel --kv --shard 0/80 $DESCRIBE >"$W/text.json"
is 'calib-amax: no channels of an input that no data reached' '["shape","weight_amax","tokens","weight_amax_per_channel"]' \
    "$(jq -c '.modules["visual.blocks.0.attn.qkv"] | keys_unsorted - ["group"]' "$W/text.json")"
like 'calib-amax: alphas without channels' 2 '^calib-amax: --alpha needs the ranges of channels: give --per-channel' \
    "calib-amax -m $M --alpha auto $S"
like 'calib-amax: an alpha that is none' 2 "--alpha: '0.5' is not one of" "calib-amax -m $M --per-channel --alpha 0.5 $S"

# ---- a run that was killed in its second pass goes on, and ends with the same bytes ----
calib-stream -q -m $TINY -n 8 -o "$W/eight.samples" data/shapes2017
resumes 1000 "calib-amax -q -m $TINY --per-channel --alpha auto -o $W/after.json $W/eight.samples"
finish
