#!/bin/bash
# layer-score.t - scores of layer groups by gradient and by KL
. tests/lib.sh
. tests/models.sh
cmd() { echo "layer-score -m $1 $2"; }
contract layer-score
like 'layer-score: no model' 2 '^layer-score: -m MODEL is missing$' "layer-score $S"
like 'layer-score: a method that is none' 2 "'hessian' is not one of gradient\|kl" "layer-score --method hessian -m $M $S"
like 'layer-score: a format that is none' 2 "--formats: 'int3' is not one of" "layer-score --formats int3 -m $M $S"

# ---- against the reference, and on its own ----
layer-score -m $M $S >"$W/whole.json"
layer-score -m $M --fused-ranges own $S >"$W/own.json"
layer-score -m $M --fused-ranges own --method kl $S >"$W/kl.json"
# tests/unit/scores.c derives the tolerances: one flipped FP8 code moves a small group by a percent.
against() { # against DOCUMENT KEY ORACLE_KEY
    jq -e -n --slurpfile got "$W/$1" --slurpfile want $M.oracle.json --arg k "$2" --arg o "$3" '
        $want[0].groups as $w | $got[0].layer_sensitivity as $g | ($w | length) > 10 and all($w | keys[]; . as $n |
            ($g[$n][$k] - $w[$n][$o] | fabs) <= 0.02 * $w[$n][$o] + 1.1e-5)'
}
is 'layer-score: gradient scores are the reference'"'"'s' true "$(against own.json gradient score)"
is 'layer-score: KL scores are the reference'"'"'s' true "$(against kl.json kl kl_sum)"
is 'layer-score: every group has one decision' '["FP8(effective-bits: 8.0)","NONE(effective-bits: 16.0)"]' \
    "$(jq -c '[.layer_sensitivity[].formats] | unique | .[0]' "$W/whole.json")"
is 'layer-score: q, k and v are one group' '["q_proj","k_proj","v_proj"]' \
    "$(jq -c '.layer_sensitivity["language_model.layers.0.self_attn.q_proj"].members | map(split(".")[-1])' "$W/whole.json")"
is 'layer-score: a cost is weights times bits by 16' true "$(jq '. as $d | all(.layer_sensitivity[];
    ([.members[] | $d.modules[.].shape | .[0] * .[1]] | add) as $n | .costs == [(($n + 1) / 2 | floor), $n])' "$W/whole.json")"
is 'layer-score: the ranges are those of calib-amax' "$(calib-amax -m $M $S | jq -S .modules)" \
    "$(jq -S .modules "$W/whole.json")"
is 'layer-score: how it was measured' '["fp8","exact","shared","gradient"]' \
    "$(jq -c '.quantization + .scheme | [.formats[0], .rounding, .fused_ranges, .auto_quantize_method]' "$W/whole.json")"
is 'layer-score: shared ranges are other scores than own ranges' false \
    "$(jq -n --slurpfile a "$W/whole.json" --slurpfile b "$W/own.json" \
        '[$a, $b | .[0].layer_sensitivity["language_model.layers.0.self_attn.q_proj"].gradient] | .[0] == .[1]')"
is 'layer-score: rounding twice is another score than once' false \
    "$(layer-score -m $M --rounding modelopt $S | jq --slurpfile a "$W/whole.json" \
        '[.layer_sensitivity[].gradient] == [$a[0].layer_sensitivity[].gradient]')"

# ---- shards: scored with common ranges and merged, they are the whole ----
# A row of a batch has the bits that it has alone, as long as no product has fewer than five rows (kernels/cpu/linear.c);
# what remains is the order in which fp64 sums are added.
calib-stream -q -m $TINY -n 2 -o "$W/few.samples" data/shapes2017
calib-amax -m $TINY "$W/few.samples" >"$W/ranges.json"
near() { # near KEY...: each group's numbers in merged.json and whole.json are within 1e-12
    jq -n --slurpfile a "$W/whole.json" --slurpfile b "$W/merged.json" '
        all($a[0].layer_sensitivity | keys[]; . as $g | all($ARGS.positional[]; . as $k |
            $a[0].layer_sensitivity[$g][$k] as $x | $b[0].layer_sensitivity[$g][$k] as $y |
            $x != null and ($x - $y | fabs) <= 1e-12 * ($x | fabs)))' --args "$@"
}
for method in gradient kl; do
    layer-score -m $TINY --method $method --ranges "$W/ranges.json" "$W/few.samples" >"$W/whole.json"
    for i in 0 1; do
        layer-score -m $TINY --method $method --ranges "$W/ranges.json" --shard $i/2 "$W/few.samples" >"$W/shard$i.json"
    done
    rank-layers "$W/shard0.json" "$W/shard1.json" >"$W/merged.json"
    rank-layers "$W/whole.json" >"$W/ranked.json"
    if [ $method = kl ]; then keys='kl tokens'; else keys='gradient predicted_kl tokens'; fi
    # shellcheck disable=SC2086
    is "layer-score: two shards by $method are the whole" true "$(near $keys)"
    is "layer-score: and in the same order, by $method" "$(jq -c '[.sensitivity_ranking[].name]' "$W/ranked.json")" \
        "$(jq -c '[.sensitivity_ranking[].name]' "$W/merged.json")"
done
is 'layer-score: the merged ranges are those of the whole' "$(jq -S .modules "$W/ranges.json")" \
    "$(jq -S .modules "$W/merged.json")"
is 'layer-score: given ranges change nothing but where they are from' \
    "$(layer-score -m $TINY "$W/few.samples" | jq -S 'del(.from, .argv)')" \
    "$(layer-score -m $TINY --ranges "$W/ranges.json" "$W/few.samples" | jq -S 'del(.from, .argv)')"
layer-score -m $TINY --ranges "$W/ranges.json" --batch-tokens 500 "$W/few.samples" >"$W/whole.json"
layer-score -m $TINY --ranges "$W/ranges.json" --batch-tokens 100000 "$W/few.samples" >"$W/merged.json"
is 'layer-score: batches of another size give the same scores' true "$(near gradient predicted_kl tokens)"
calib-amax -m $TINY --shard 0/80 $DESCRIBE >"$W/text-ranges.json"
like 'layer-score: ranges that miss what these samples reach' 3 "no data reached module 'visual.patch_embed.proj' when" \
    "layer-score -m $TINY --ranges $W/text-ranges.json $W/few.samples"
is 'layer-score: the document names its ranges' "$(sha256sum <"$W/ranges.json" | cut -d ' ' -f 1)" \
    "$(jq -r .from.ranges "$W/whole.json")"
like 'layer-score: ranges of another model' 3 'were measured on another model' \
    "layer-score -m $SHARDED --ranges $W/ranges.json $SHARDED.samples.msgpack"
jq 'del(.modules["visual.merger.mlp.0"])' "$W/ranges.json" >"$W/less.json"
like 'layer-score: ranges without a module' 3 "has no ranges of module 'visual.merger.mlp.0': make it with calib-amax" \
    "layer-score -m $TINY --ranges $W/less.json $W/few.samples"
head -c 4000 "$W/ranges.json" >"$W/cut.json"
like 'layer-score: truncated ranges' 3 'cut.json' "layer-score -m $M --ranges $W/cut.json $S"
like 'layer-score: ranges that do not exist' 4 'No such file' "layer-score -m $M --ranges $W/no.json $S"
like 'layer-score: ranges that are samples' 3 'samples.msgpack' "layer-score -m $M --ranges $S $S"

# ---- text alone says nothing of the vision tower ----
for method in gradient kl; do
    layer-score -m $TINY --method $method --shard 0/80 $DESCRIBE >"$W/text.json"
    is "layer-score: $method, a group that no data reached is listed with no tokens" 0 \
        "$(jq '.layer_sensitivity["visual.blocks.0.attn.qkv"].tokens' "$W/text.json")"
    is "layer-score: $method, and is not ranked" '0 no data reached it' \
        "$(rank-layers "$W/text.json" | jq -r '([.sensitivity_ranking[] | select(.name | startswith("visual"))] | length) as $n |
            (.unranked[] | select(.name == "visual.blocks.0.attn.qkv") | .reason) as $why | "\($n) \($why)"')"
done

# ---- a quantized checkpoint is not scored again ----
rank-layers "$W/own.json" | apply-coverage 50 >"$W/top50.json"
export-ckpt -q -m $M -o "$W/ckpt" "$W/top50.json"
like 'layer-score: a quantized checkpoint' 3 'is quantized already: layers are scored on the unquantized model' \
    "layer-score -m $W/ckpt $S"
like 'layer-score: calib-amax refuses it, too' 3 'cannot be quantized' "calib-amax -m $W/ckpt $S"

# ---- INT8, beside FP8 and alone, smoothed and not ----
calib-amax -m $M --per-channel --kv --alpha auto $S >"$W/smooth.json"
layer-score -m $M --formats fp8,int8 $S >"$W/both.json"
layer-score -m $M $S >"$W/fp8.json"
layer-score -m $M --formats int8 $S >"$W/int8.json"
scores() { # scores DOCUMENT FORMAT: of every group, in order
    jq -c --arg f "$2" '[.layer_sensitivity[] | . as $g | .formats | to_entries[] | select(.value | startswith($f)) |
        $g.scores[.key]]' "$W/$1"
}
is 'layer-score: both formats have the scores that they have alone' "$(scores fp8.json FP8) $(scores int8.json INT8)" \
    "$(scores both.json FP8) $(scores both.json INT8)"
is 'layer-score: three choices for every group' '["FP8(effective-bits: 8.0)","INT8(effective-bits: 8.0)","NONE(effective-bits: 16.0)"]' \
    "$(jq -c '[.layer_sensitivity[].formats] | unique | select(length == 1)[0]' "$W/both.json")"
is 'layer-score: what INT8 was scored with' '[["fp8","int8"],"static",null]' \
    "$(jq -c '.quantization | [.formats, .activations, .smooth_alpha]' "$W/both.json")"
layer-score -m $M --formats fp8,int8 --method kl $S >"$W/kl-both.json"
ok 'layer-score: KL of INT8, smoothed' "layer-score -m $M --formats int8 --method kl --smooth-quant 0.5 $S |
    jq -e 'all(.layer_sensitivity[]; .kl > 0)' >$W/null"
is 'layer-score: KL of both formats, each its own' "$(layer-score -m $M --formats int8 --method kl $S >"$W/kl-int8.json"
    scores kl-int8.json INT8)" "$(scores kl-both.json INT8)"
is 'layer-score: dynamic inputs are other scores' false "$(layer-score -m $M --formats int8 --activations dynamic $S >"$W/dyn.json"
    jq -n --argjson a "$(scores int8.json INT8)" --argjson b "$(scores dyn.json INT8)" '$a == $b')"
layer-score -m $M --formats fp8,int8 --smooth-quant 0.5 $S >"$W/half.json"
layer-score -m $M --formats int8 --smooth-quant 0.5 --smooth-at input --ranges "$W/smooth.json" $S >"$W/input.json"
layer-score -m $M --formats int8 --smooth-quant auto --ranges "$W/smooth.json" $S >"$W/auto.json"
is 'layer-score: smoothing is of INT8' "$(scores fp8.json FP8)" "$(scores half.json FP8)"
kinds() { # kinds DOCUMENT: of which last names the INT8 score is not that of int8.json
    jq -c -n --slurpfile a "$W/int8.json" --slurpfile b "$W/$1" '[$a[0].layer_sensitivity | keys[] | select(. as $k |
        [$a[0], $b[0] | .layer_sensitivity[$k] | .scores[-2]] | .[0] != .[1]) | split(".")[-1]] | unique'
}
is 'layer-score: smoothed are groups whose norm can carry it' '["gate_proj","q_proj","qkv"]' "$(kinds half.json)"
is 'layer-score: or all' true "$(jq -n --argjson k "$(kinds input.json)" '$k | contains(["o_proj", "down_proj", "q_proj"])')"
is 'layer-score: how they were smoothed' '[0.5,"input"] ["auto","norm"]' \
    "$(jq -c '.quantization | [.smooth_alpha, .smooth_at]' "$W/input.json" "$W/auto.json" | paste -sd ' ')"
is 'layer-score: alphas from a pass of its own are those of calib-amax' "$(scores auto.json INT8)" \
    "$(layer-score -m $M --formats int8 --smooth-quant auto $S >"$W/own-auto.json"; scores own-auto.json INT8)"
is 'layer-score: channels, keys and values of given ranges go on into the document' "$(jq -S .modules "$W/smooth.json")" \
    "$(jq -S .modules "$W/auto.json")"
like 'layer-score: smoothing without INT8' 2 '^layer-score: --smooth-quant is of INT8: give --formats int8 or fp8,int8' \
    "layer-score -m $M --smooth-quant 0.5 $S"
like 'layer-score: activations without INT8' 2 '^layer-score: --activations is of INT8' "layer-score -m $M --activations dynamic $S"
for a in 1.5 -0.1 nan 0.5x ''; do
    like "layer-score: alpha '$a'" 2 "'$a' is neither auto nor a number within 0 and 1" \
        "layer-score -m $M --formats int8 --smooth-quant='$a' $S"
done
like 'layer-score: a place without smoothing' 2 '--smooth-at needs --smooth-quant' "layer-score -m $M --formats int8 --smooth-at input $S"
calib-amax -m $M $S >"$W/plain.json"
like 'layer-score: smoothing by ranges without channels' 3 "has no ranges of the channels of '.*calib-amax --per-channel" \
    "layer-score -m $M --formats int8 --smooth-quant 0.5 --ranges $W/plain.json $S"
calib-amax -m $M --per-channel $S >"$W/channels.json"
like 'layer-score: alphas that were not searched' 3 'has no alphas: make it with calib-amax --per-channel --alpha auto' \
    "layer-score -m $M --formats int8 --smooth-quant auto --ranges $W/channels.json $S"

# ---- a run that was killed in its second pass goes on, and ends with the same bytes ----
resumes 1000 "layer-score -q -m $TINY -o $W/after.json $DESCRIBE"
finish
