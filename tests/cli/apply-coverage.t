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

# Presets, INT8, SmoothQuant, KV cache.  R: ranges of the bundled model's channels and KV cache; B: L, INT8 scored, too.
R=tests/golden/modelopt-tiny/channels.json
B2=$W/both.json
export R B2
jq '.layer_sensitivity[] |= (.formats = ["FP8(effective-bits: 8.0)", "INT8(effective-bits: 8.0)", "NONE(effective-bits: 16.0)"]
        | .scores = [.scores[0], 2 * .scores[0] % 5, 0] | .costs = [.costs[0], .costs[0], .costs[1]]
        | .gradient = .scores[:2] | .predicted_kl = [.predicted_kl, 2 * .predicted_kl] | del(.kl))
    | .quantization += {formats: ["fp8", "int8"], activations: "static", smooth_alpha: null}' $L >"$B2"
t apply-coverage-preset-list 0 'apply-coverage --preset list'
like apply-coverage-preset-unknown 2 "the preset 'fp9' is not known; known are fp8-lm, fp8-lm-kv," 'apply-coverage --preset fp9 $R'
like apply-coverage-preset-missing 4 "'./mine': No such file" 'apply-coverage --preset ./mine $R'
like apply-coverage-preset-format 2 "does not go with --preset" 'apply-coverage --preset fp8-lm --format int8 $R'
like apply-coverage-preset-modes 2 "exclude each other" 'apply-coverage --preset fp8-lm --bits 12 $R'
like apply-coverage-preset-nothing 3 "the preset 'fp8-lm' selects nothing of .* that can be quantized" \
    'apply-coverage --preset fp8-lm --exclude "language_model.*" $L'
like apply-coverage-preset-unreached 3 "'fp8-all' quantizes 'visual.merger.mlp.0', but .* run calib-amax on samples that reach it" \
    'apply-coverage --preset fp8-all $L'
for p in fp8-lm fp8-lm-kv fp8-all fp8-all-kv int8-lm int8-all int8-sq-lm int8-sq-all int8-dynamic-lm int8-dynamic-all; do
    apply-coverage --preset $p --exclude visual.merger.mlp.0 --kv none --smooth-quant none $L |
        jq -c '[.scheme_name, .by, (.modules | length), (.modules | [.[].format] | unique), .modules["lm_head"]]'
done >"$W/presets"
t apply-coverage-presets 0 'cat $W/presets'
t apply-coverage-needs 0 'for a in "fp8-lm" "fp8-lm-kv" "int8-sq-lm" "int8-lm --smooth-quant auto --kv fp8" "int8-sq-lm --smooth-quant none" "int8-dynamic-lm --smooth-quant auto"
    do apply-coverage --needs --preset $a; done'
like apply-coverage-needs-alone 2 "preset is missing" 'apply-coverage --needs'
t apply-coverage-preset-file 0 'echo "{\"schema\": \"octet-preset/1\", \"name\": \"mine\", \"kv_cache\": \"fp8\", \"smooth_alpha\": 0.5, \"rules\":
        [{\"pattern\": \"*\", \"format\": \"fp8\"}, {\"pattern\": \"*.mlp.*\", \"format\": \"int8\"}]}" >$W/mine.json
    apply-coverage --summary --preset $W/mine.json -o $W/mine $R &&
    jq "{scheme_name, by, from: (.from | keys), formats: [.modules[].format] | group_by(.) | map([.[0], length]),
        folded: [.modules[] | select(.folded)] | length, kv: .kv_cache.layers[\"language_model.layers.5\"]}" $W/mine'
like apply-coverage-preset-nameless 3 "'name' is empty" \
    'echo "{\"schema\": \"octet-preset/1\", \"name\": \"\", \"rules\": [{\"pattern\": \"*\", \"format\": \"fp8\"}]}" >$W/mine.json; apply-coverage --preset $W/mine.json $R'
like apply-coverage-preset-typo 3 "the key 'kv' is not known to a preset" \
    'echo "{\"schema\": \"octet-preset/1\", \"name\": \"mine\", \"kv\": 1}" >$W/mine.json; apply-coverage --preset $W/mine.json $R'

t apply-coverage-best 0 'apply-coverage 100 $B2 | jq -c "[.score, (.modules | to_entries[] | [(.key / \".\")[-1], .value.format])]"'
t apply-coverage-int8 0 'apply-coverage 40 --format int8 $B2 | jq "{score, predicted_kl, selected_layers, modules}"'
t apply-coverage-fp8 0 'apply-coverage 40 --format fp8 $B2 | jq -c "[.score, .selected_layers, [.modules[].format]]"'
t apply-coverage-bits-both 0 'apply-coverage --bits 13 $B2 | jq -c "[.score, .effective_bits, (.modules | map(.format))]"'
ok apply-coverage-one-format 'apply-coverage 40 --format fp8 $B2 | jq "del(.argv, .from)" >$W/a; apply-coverage 40 $L | jq "del(.argv, .from)" | cmp - $W/a'
like apply-coverage-no-int8 3 "has no INT8 scores .*: run layer-score --formats fp8,int8" 'apply-coverage 40 --format int8 $L'
t apply-coverage-unscored-form 0 'apply-coverage 100 --format int8 --activations dynamic $B2 |
    jq -c "[.score, .predicted_kl, .modules[\"language_model.layers.0.mlp.down_proj\"]]"'
t apply-coverage-smooth 0 'apply-coverage --select "*.layers.0.*" --format int8 --smooth-quant 0.5 --rounding modelopt $R |
    jq -c ".modules[] | [.format, .input_amax, .folded, (.pre_quant_scale // [] | length, (add // 0) * 100 | round), (.own_scale // [] | length)]"'
t apply-coverage-smooth-input 0 'apply-coverage --select "*.layers.0.*" --format int8 --smooth-quant 1 --smooth-at input $R |
    jq -c ".modules[] | [.format, .input_amax, .folded, (.pre_quant_scale // [] | length, (add // 0) * 100 | round), (.own_scale // [] | length)]"'
for a in -0.1 1.1 nan x 0.5x ''; do
    like "apply-coverage-alpha '$a'" 2 "'$a' is neither an alpha from 0 to 1, nor 'auto' or 'none'" \
        "apply-coverage --preset int8-lm --smooth-quant='$a' \$R"
done
like apply-coverage-no-channels 3 "has no ranges of the channels of 'language_model.layers.0.self_attn.q_proj', which SmoothQuant needs: run calib-amax --per-channel" \
    'apply-coverage --preset int8-sq-lm $L'
like apply-coverage-no-alpha 3 "has no alpha that was searched for .*: run calib-amax --per-channel --alpha auto" \
    'apply-coverage --preset int8-lm --smooth-quant auto $R'
like apply-coverage-no-kv 3 "has no range of the KV cache for .*: run calib-amax --kv" 'apply-coverage --preset fp8-lm-kv $L'
like apply-coverage-dead 3 "every channel of '.*layers.3.self_attn.q_proj' has a range of 0.* run calib-amax" \
    'jq ".modules[\"language_model.layers.3.self_attn.q_proj\"].input_amax_per_channel[] = 0" $R | apply-coverage --preset int8-sq-lm'
like apply-coverage-few-channels 3 "modules.language_model.layers.3.self_attn.q_proj: 'input_amax_per_channel' is not an array of 192 numbers" \
    'jq "del(.modules[\"language_model.layers.3.self_attn.q_proj\"].input_amax_per_channel[7])" $R | apply-coverage --preset int8-sq-lm'
like apply-coverage-bad-channel 3 "weight_amax_per_channel\[7\] is not a finite number" \
    'jq ".modules[\"language_model.layers.3.self_attn.q_proj\"].weight_amax_per_channel[7] = -1" $R | apply-coverage --preset fp8-lm'
like apply-coverage-bad-sums 3 "'gradient' does not have a number for each of the 2 formats" \
    'jq ".layer_sensitivity[].gradient = 1" $B2 | apply-coverage 10'
like apply-coverage-no-use 2 "are for INT8, and no selected layer is stored in it" 'apply-coverage 40 --smooth-quant 0.5 $L'
like apply-coverage-kv-manifest 3 "is a manifest, which has no range of the KV cache" 'apply-coverage --preset fp8-lm-kv $P'
like apply-coverage-from-smooth 2 "smooths '.*': say with which alpha, or none" \
    'apply-coverage --preset int8-sq-lm $R >$W/s; apply-coverage --from $W/s $R'
ok apply-coverage-from-forms 'apply-coverage --preset int8-sq-lm --kv fp8 --smooth-at input --activations dynamic $R >$W/s
    apply-coverage --from $W/s --smooth-quant 1 --smooth-at input $R | jq "[.modules, .kv_cache]" >$W/a; jq "[.modules, .kv_cache]" $W/s | cmp - $W/a'
t apply-coverage-preset-manifest 0 'apply-coverage --preset int8-lm data/published/qwen2_5-int8_lm_small.json | jq -c "[.scheme_name, .num_layers_selected, .effective_bits]"'
finish
