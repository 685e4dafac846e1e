#!/bin/sh
# rank-layers.t - the order, its forms, shards, and everything that must be refused
# shellcheck disable=SC2016 # the commands under test expand their own variables
. tests/lib.sh
L=tests/golden/quant/layers.json
P=data/published/qwen2_5-fp8-all-baseline.json
export L P

t rank-layers-help 0 'rank-layers --help'
like rank-layers-bad-option 2 "^rank-layers: unknown .* '--frobnicate'" 'rank-layers --frobnicate'
like rank-layers-bad-choice 2 "^rank-layers: --by: 'loss' is not one of gradient" 'rank-layers --by loss $L'
like rank-layers-missing 4 "^rank-layers: .*'no-such-file'.*No such file" 'rank-layers no-such-file'
like rank-layers-empty 3 "^rank-layers: 'standard input' is empty" 'rank-layers'
like rank-layers-truncated 3 "^rank-layers: 'standard input' is not valid JSON" 'head -c 2000 $L | rank-layers'
like rank-layers-major 3 "schema 'octet-layers/2'" 'sed s,octet-layers/1,octet-layers/2, $L | rank-layers'
like rank-layers-other-schema 3 "not an octet-layers document" 'sed s,octet-layers/1,octet-scheme/1, $L | rank-layers'
like rank-layers-not-layers 3 "neither 'modules' nor 'layer_sensitivity'" 'echo "{}" | rank-layers'
like rank-layers-no-scores 3 "has no scores: run layer-score" 'jq "del(.layer_sensitivity)" $L | rank-layers'
like rank-layers-negative 3 "layer_sensitivity.lm_head: the score -0.5 is negative" \
    'sed "s/\[0.5, 0.0\]/[-0.5, 0.0]/" $L | rank-layers'
like rank-layers-nan 3 "not valid JSON" 'sed "s/\[0.5, 0.0\]/[NaN, 0.0]/" $L | rank-layers'
like rank-layers-amax 3 "modules.lm_head: 'weight_amax' is negative" \
    'jq ".modules.lm_head.weight_amax = -1" $L | rank-layers'
like rank-layers-no-input-amax 3 "modules.lm_head: 90 tokens reached it, but 'input_amax' is missing" \
    'jq "del(.modules.lm_head.input_amax)" $L | rank-layers'
like rank-layers-shape 3 "modules.lm_head: 'shape' is not" 'jq ".modules.lm_head.shape = [64]" $L | rank-layers'
like rank-layers-cost 3 "cost of NONE is 7, but its modules have 1024" \
    'jq ".layer_sensitivity.lm_head.costs = [3, 7]" $L | rank-layers'
like rank-layers-large 3 "weights in all cannot be" \
    'jq "del(.layer_sensitivity) | .modules.lm_head.shape = [2147483647, 2147483647]" $L | rank-layers'
like rank-layers-arrays 3 "differ in length" 'jq ".layer_sensitivity.lm_head.costs = [3]" $L | rank-layers'
like rank-layers-group 3 "no such group" 'jq ".layer_sensitivity.moe = .layer_sensitivity.lm_head" $L | rank-layers'
like rank-layers-ranking 3 "sensitivity_ranking.0.: 'moe' is not in" \
    'jq ".sensitivity_ranking = [{name: \"moe\"}]" $L | rank-layers'
like rank-layers-full 4 "^rank-layers: .*(No space|standard output)" 'rank-layers $L >/dev/full'
like rank-layers-report-nowhere 4 "cannot create '/no/such/dir" 'rank-layers --report /no/such/dir/r.md $L'
is rank-layers-head '{' "$(rank-layers $P | head -n 1)"

t rank-layers-document 0 'rank-layers $L | sed "/^  .version.:/d"'
t rank-layers-table 0 'rank-layers --table $L'
t rank-layers-kl 0 'rank-layers --by kl --table --scope language $L'
like rank-layers-no-kl 3 "has no kl scores" 'rank-layers --by kl $P'
t rank-layers-report 0 'rank-layers --report $W/report.md -o $W/out.json $L && cat $W/report.md'
t rank-layers-old-report 0 'rank-layers -f --report $W/report.md -o $W/out.json $P && head -n 30 $W/report.md'
ok rank-layers-again 'rank-layers $L >$W/a && rank-layers $L >$W/b && cmp $W/a $W/b'
ok rank-layers-stdin 'rank-layers <$L | jq .sensitivity_ranking >$W/a; jq .sensitivity_ranking <$W/b | cmp - $W/a'
ok rank-layers-twice 'rank-layers $W/b | jq "del(.argv, .from)" >$W/c; jq "del(.argv, .from)" $W/b | cmp - $W/c'
ok rank-layers-published 'rank-layers $P | jq .sensitivity_ranking >$W/a; jq .sensitivity_ranking $P | cmp - $W/a'
ok rank-layers-unknown-keys 'jq ".mine = 1 | .modules.lm_head.k = [2]" $L | rank-layers |
    jq -e ".mine == 1 and .modules.lm_head.k == [2]" >/dev/null'
ok rank-layers-hub-names 'sed "s/\"language_model\.layers/\"model.layers/; s/\"lm_head\":/\"lm_head.quant_recipe\":/" $L |
    rank-layers --table >$W/a; rank-layers --table $L | cmp - $W/a'

t rank-layers-shards 0 'jq ".mine = 1 | .yours = 2" $L >$W/one; jq ".mine = 1 | .yours = 3" $L >$W/two
    rank-layers $W/one $W/two | jq "{from, mine, yours, samples, kept: .modules.lm_head,
        twice: .layer_sensitivity.lm_head, order: [.sensitivity_ranking[].name]}" | sed "s/\"[0-9a-f]\{64\}\"/\"...\"/"'
like rank-layers-other-model 3 "cannot be merged: they differ in the model" \
    'jq ".model.digest = \"x\"" $L | rank-layers $L -'
like rank-layers-other-rounding 3 "they differ in the rounding" \
    'jq ".quantization.rounding = \"modelopt\"" $L | rank-layers $L -'
like rank-layers-other-modules 3 "they differ in the list of modules|they differ in lm_head" \
    'jq "del(.layer_sensitivity.lm_head, .modules.lm_head)" $L | rank-layers $L -'

# Two formats: the document of the tests of apply-coverage, ranges of channels and of the KV cache in it.
jq '.layer_sensitivity[] |= (.formats = ["FP8(effective-bits: 8.0)", "INT8(effective-bits: 8.0)", "NONE(effective-bits: 16.0)"]
        | .scores = [.scores[0], 2 * .scores[0] % 5, 0] | .costs = [.costs[0], .costs[0], .costs[1]]
        | .gradient = .scores[:2] | .predicted_kl = [.predicted_kl, null] | del(.kl))
    | .quantization += {formats: ["fp8", "int8"], activations: "static", smooth_alpha: 0.5, smooth_at: "norm"}
    | .modules[] |= (.shape as $s | .input_amax_per_channel = [range($s[1]) | 1 + .] | .weight_amax_per_channel = [range($s[1]) | 0.5])
    | .modules["language_model.layers.0.self_attn.k_proj"].kv_amax = 2' $L >"$W/int8"
t rank-layers-two-table 0 'rank-layers --table $W/int8'
t rank-layers-two-report 0 'rank-layers -f --report $W/report.md -o $W/out.json $W/int8 && sed -n "/Table/,/Not ranked/p" $W/report.md'
ok rank-layers-two-again 'rank-layers $W/int8 | jq "del(.argv, .from)" >$W/a; rank-layers $W/int8 | rank-layers | jq "del(.argv, .from)" | cmp - $W/a'
t rank-layers-two-shards 0 'jq "(.. | .input_amax_per_channel? // empty)[] |= . * 2 | .modules[].kv_amax? |= (. // empty) * 3" $W/int8 >$W/more
    rank-layers $W/int8 $W/more | jq -c ".quantization, .layer_sensitivity.lm_head, (.modules[\"language_model.layers.0.self_attn.k_proj\"] |
        [.kv_amax, (.input_amax_per_channel | max), (.weight_amax_per_channel | max)])"'
like rank-layers-other-alpha 3 "they differ in the alpha that INT8 was scored with" \
    'jq ".quantization.smooth_alpha = 1" $W/int8 | rank-layers $W/int8 -'
like rank-layers-other-activations 3 "they differ in the activations that INT8 was scored with" \
    'jq ".quantization.activations = \"dynamic\"" $W/int8 | rank-layers $W/int8 -'
like rank-layers-other-formats 3 "cannot be merged: they differ in" 'rank-layers $W/int8 $L'
like rank-layers-alpha 3 "'smooth_alpha' is neither" 'jq ".quantization.smooth_alpha = 2" $W/int8 | rank-layers'
like rank-layers-kv 3 "only k_proj and v_proj" 'jq ".modules.lm_head.kv_amax = 2" $W/int8 | rank-layers'
finish
