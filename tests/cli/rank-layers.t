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
finish
