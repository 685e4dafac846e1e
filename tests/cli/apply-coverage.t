#!/bin/sh
# apply-coverage.t - every way of selecting, and everything that must be refused
# shellcheck disable=SC2016 # the commands under test expand their own variables
. tests/lib.sh
L=tests/golden/quant/layers.json
P=data/published/qwen2_5-fp8-all-baseline.json
C=data/published/qwen2_5-fp8-all-baseline.top10.coverage.json
export L P C

t apply-coverage-help 0 'apply-coverage --help'
like apply-coverage-bad-option 2 "^apply-coverage: unknown .* '--frobnicate'" 'apply-coverage --frobnicate $L'
like apply-coverage-nothing 2 "a coverage from 1 to 100 is missing" 'apply-coverage'
like apply-coverage-percent 2 "'150' is not a coverage" 'apply-coverage 150 $L'
like apply-coverage-fraction 2 "'0.5' is not a coverage" 'apply-coverage 0.5 $L'
like apply-coverage-operands 2 "too many operands|unexpected operand" 'apply-coverage --bits 12 $L $L'
like apply-coverage-modes 2 "exclude each other" 'apply-coverage --bits 12 --select "*" $L'
like apply-coverage-by 2 "does not go with" 'apply-coverage --bits 12 --by bytes $L'
like apply-coverage-missing 4 "'no-such-file'.*No such file" 'apply-coverage 50 no-such-file'
like apply-coverage-empty 3 "'standard input' is empty" 'apply-coverage 50'
like apply-coverage-truncated 3 "not valid JSON" 'head -c 2000 $L | apply-coverage 50'
like apply-coverage-major 3 "schema 'octet-layers/2'" 'sed s,octet-layers/1,octet-layers/2, $L | apply-coverage 50'
like apply-coverage-full 4 "^apply-coverage: .*(No space|standard output)" 'apply-coverage 50 $L >/dev/full'
like apply-coverage-full-large 4 "^apply-coverage: .*(No space|standard output)" 'apply-coverage 50 $P >/dev/full'
is apply-coverage-head '{' "$(apply-coverage 50 $P | head -n 1)"

t apply-coverage-document 0 'apply-coverage 80 $L | sed "/^  .version.:/d"'
t apply-coverage-own 0 'apply-coverage 80 --fused-ranges own --rounding modelopt $L |
    jq "{rounding, fused_ranges, gate: .modules[\"language_model.layers.0.mlp.gate_proj\"]}"'
t apply-coverage-summary 0 'apply-coverage --summary --bits 12 -o $W/s $L && jq "{scheme_name, by, top_percent, score}" $W/s'
ok apply-coverage-quiet 'apply-coverage -q -f --summary 50 -o $W/s $L'
ok apply-coverage-again 'apply-coverage 50 $L >$W/a && apply-coverage 50 $L >$W/b && cmp $W/a $W/b'

# What is selected, in few words.
echo '[.scheme_name, .num_layers_total, .effective_bits, (.selected_layers | map(split(".")[-1]))]' >"$W/short"
t apply-coverage-bytes 0 'apply-coverage 44 --by bytes $L | jq -c -f $W/short'
t apply-coverage-select 0 'apply-coverage --select "*.mlp.*" --select "*.k_proj" $L | jq -c -f $W/short'
t apply-coverage-select-exclude 0 'apply-coverage --select "*" --exclude "*.up_proj" $L | jq -c -f $W/short'
t apply-coverage-exclude 0 'apply-coverage 50 --exclude "visual.*" $L | jq -c -f $W/short'
t apply-coverage-scope 0 'apply-coverage 100 --scope vision $L | jq -c -f $W/short'
t apply-coverage-unservable 0 'apply-coverage 100 --scope vision --include-unservable $L | jq -c -f $W/short'
t apply-coverage-ranked 0 'rank-layers --by kl $L | apply-coverage 60 | jq -c -f $W/short'
t apply-coverage-ranked-scope 0 'rank-layers --scope vision $L | apply-coverage 60 | jq -c .unranked'
ok apply-coverage-rank-pipe 'rank-layers $P | apply-coverage 50 | jq "del(.from, .argv, .model)" >$W/a
    apply-coverage 50 $P | jq "del(.from, .argv, .model)" | cmp - $W/a'
ok apply-coverage-order-kept 'rank-layers $L | jq ".sensitivity_ranking |= reverse" | apply-coverage 20 |
    jq -e ".selected_layers == [\"language_model.layers.0.self_attn.q_proj\"]" >/dev/null'
t apply-coverage-ranges-only 0 'jq "del(.layer_sensitivity)" $L | apply-coverage --select "*.mlp.*" |
    jq "{score, predicted_kl, effective_bits, modules}"'

like apply-coverage-no-scores 3 "no scores: run layer-score" 'jq "del(.layer_sensitivity)" $L | apply-coverage 50'
like apply-coverage-no-match 2 "'\*.moe.\*' matches no layer" 'apply-coverage --select "*.moe.*" $L'
like apply-coverage-no-exclude 2 "'\*.moe.\*' matches no layer" 'apply-coverage 50 --exclude "*.moe.*" $L'
like apply-coverage-tied 3 "'lm_head': tied to the embedding" 'apply-coverage --select lm_head $L'
like apply-coverage-embed 3 "no engine loads it quantized" 'apply-coverage --select "*patch_embed*" $L'
like apply-coverage-unreached 3 "no data reached it" 'apply-coverage --select "*merger*" $L'
like apply-coverage-unscored 3 "has no input range for 'visual.merger.mlp.0': no data reached it" \
    'apply-coverage 10 --include-unscored $L'
like apply-coverage-bits-low 3 "7 bits per weight cannot be met: with all 5 groups .* it is 10.9402" \
    'apply-coverage --bits 7 $L'
ok apply-coverage-bits-least 'apply-coverage --bits 10.9402 $L | jq -e ".num_layers_selected == 5" >/dev/null'
like apply-coverage-bits-all 3 "nothing is selected: 16 bits" 'apply-coverage --bits 16 $L'
like apply-coverage-no-range 3 "no weight range for 'language_model.layers.0.mlp.gate_proj': run calib-amax" \
    'jq "del(.modules[\"language_model.layers.0.mlp.up_proj\"].weight_amax)" $L | apply-coverage 100'
like apply-coverage-format 3 "stored as 'INT4.*', which this version cannot write" \
    'sed s/FP8/INT4/ $L | apply-coverage 100'

# A selection made elsewhere.
t apply-coverage-published 0 'apply-coverage 1 $P --summary | jq -c "[.model, .modules, .selected_layers]"'
ok apply-coverage-from-self 'apply-coverage 80 $L >$W/s; apply-coverage --from $W/s $L | jq "del(.argv, .from, .by, .unranked)" >$W/a
    jq "del(.argv, .from, .by, .unranked)" $W/s | cmp - $W/a'
ok apply-coverage-from-coverage 'apply-coverage --from $C $P | jq "[.selected_layers, .dropped_layers]" >$W/a
    jq "[.selected_layers, .dropped_layers]" $C | cmp - $W/a'
like apply-coverage-from-other 3 "names 'language_model.layers.35.self_attn.o_proj.quant_recipe', which .* does not have" \
    'apply-coverage --from $C $L'
like apply-coverage-from-cut 3 "'num_layers_selected' is 28, but 27 are listed" \
    'jq "del(.selected_layers[0]) | .num_layers_total = 274" $C >$W/c; apply-coverage --from $W/c $P'
like apply-coverage-from-twice 3 "twice" \
    'jq ".selected_layers[1] = .selected_layers[0]" $C >$W/c; apply-coverage --from $W/c $P'
like apply-coverage-from-embed 3 "selects 'visual.patch_embed.proj', which no engine loads" \
    'apply-coverage 100 --include-unservable $L >$W/s; apply-coverage --from $W/s $L'
finish
