#!/bin/bash
# quantize.t - make quantize on the bundled model: recipes, resuming, what it refuses
. tests/lib.sh
unset MAKEFLAGS # those of make -j2 check: there is no jobserver here, and make says so

# Few samples: this is about the pipeline, not about the numbers.
quantize() { # quantize OUT [ARG...]
    local out=$1
    shift
    make --no-print-directory -s -f pipelines/quantize.mk TOOLS="$B/tools" OUT="$out" SAMPLES=4 EVAL=4 "$@" quantize
}
export -f quantize

echo '{"schema": "octet-preset/1", "name": "mixed", "rules": [{"pattern": "language_model.*", "format": "fp8"},
    {"pattern": "*.mlp.*", "format": "int8"}, {"pattern": "visual.*", "format": "none"}], "activations": "dynamic"}' >"$W/mixed.json"

run "quantize $W/a PRESET='fp8-lm-kv int8-sq-lm $W/mixed.json'"
is "three recipes end well" 0 "$status"
is "nothing on standard error" "" "$(cat "$W/.err")"
is "a table with a row for each, and one for the model" "recipe unquantized fp8-lm-kv int8-sq-lm mixed" \
    "$(awk -F' *[|] *' 'NR != 2 && NF > 2 { print $2 }' "$W/.out" | xargs)"
is "FP8 in ModelOpt's layout, INT8 in compressed-tensors" "modelopt compressed-tensors compressed-tensors" \
    "$(cat "$W"/a/{fp8-lm-kv,int8-sq-lm,mixed}/layout | xargs)"
is "the KV cache is measured, 12 of its scales" "12" "$(check-ckpt "$W/a/fp8-lm-kv/checkpoint" --json --engine vllm |
    jq '[.. | strings | select(test("[kv]_scale$"))] | unique | length')"
is "norms carry the smoothing of q, k, v, gate and up in 6 layers" 30 "$(jq '[.modules[] | select(.folded)] | length' "$W/a/int8-sq-lm/scheme.json")"
is "two formats in one checkpoint" '["fp8","int8"]' "$(jq -c '.recipes[2].formats' "$W/a/recipes.json")"
is "every recipe is smaller than the model and near it" true \
    "$(jq '.bytes as $b | all(.recipes[]; .bytes < $b and .kl_answer > 0 and .kl_answer < 0.05 and .top1 > 0.9)' "$W/a/recipes.json")"
for p in fp8-lm-kv int8-sq-lm mixed; do
    run "check-ckpt --engine vllm $W/a/$p/checkpoint >$W/null"
    is "$p: vLLM loads it" 0 "$status"
done

touch "$W/mark"
run "quantize $W/a PRESET='fp8-lm-kv int8-sq-lm $W/mixed.json'"
is "a second run does nothing" "" "$(find "$W/a" -newer "$W/mark")"
rm -r "$W/a/int8-sq-lm/checkpoint"
run "quantize $W/a PRESET='fp8-lm-kv int8-sq-lm $W/mixed.json'"
is "what is missing is made again, and nothing else" "0 1" "$status $(find "$W/a" -newer "$W/mark" -name checkpoint | wc -l)"
touch "$W/mark"
run "quantize $W/a PRESET=int8-lm"
is "another recipe, which needs less, is calibrated already" "int8-lm " \
    "$(jq -r '[.recipes[].recipe] | join(" ")' "$W/a/recipes.json") $(find "$W/a" -newer "$W/mark" -name layers.json)"
run "quantize $W/b PRESET='fp8-lm-kv int8-sq-lm $W/mixed.json'"
is "elsewhere it gives the same bytes" "" "$(diff -r "$W/a/fp8-lm-kv" "$W/b/fp8-lm-kv")"
run "quantize $W/b PRESET=int8-sq-lm LAYOUT=modelopt APPLY='--smooth-at input'"
is "options reach the tools" "modelopt false" \
    "$(jq -r .quantization_config.quant_method "$W/b/int8-sq-lm/checkpoint/config.json") $(jq '[.modules[].folded] | any' "$W/b/int8-sq-lm/scheme.json")"

run "make -n --no-print-directory -f pipelines/quantize.mk TOOLS=$B/tools OUT=$W/d PRESET=int8-sq-lm quantize"
is "make -n prints the commands" "coco-subset 3 calib-stream 4 calib-amax 1 apply-coverage 1 export-ckpt 1 check-ckpt 2 eval-logits 2" \
    "$(for c in coco-subset calib-stream calib-amax apply-coverage export-ckpt check-ckpt eval-logits; do
        echo "$c $(grep -c "^$c " "$W/.out")"; done | xargs)"
is "calib-amax is asked for what the recipe needs" 1 "$(grep -c '^calib-amax .*--per-channel' "$W/.out")"
run "quantize $W/e PRESET=fp9"
is "an unknown recipe is refused, and the known are listed" "2 1" "$status $(grep -c "'fp9' is not known; known are fp8-lm," "$W/.err")"
run "quantize $W/e PRESET='fp8-lm x/fp8-lm.json'"
is "a recipe twice is refused" "2 1" "$status $(grep -c 'names a recipe twice' "$W/.err")"
run "quantize $W/e PRESET="
is "none is refused" "2 1" "$status $(grep -c 'names no recipe' "$W/.err")"
run "quantize '$W/a b'"
is "a folder with a space is refused" "2 1" "$status $(grep -c 'has a space in it' "$W/.err")"
rm "$W/a/int8-lm/check.txt"
run "quantize $W/a PRESET=int8-lm ENGINE=tgi"
is "an engine that there is not is refused, though the others load all" "2 1" "$status $(grep -c "'tgi' is not vllm" "$W/.err")"
run "quantize $W/a PRESET=int8-lm ENGINE=tensorrt-llm"
is "one that does not load a checkpoint is named with it" "2 1" \
    "$status $(grep -c "^quantize: tensorrt-llm does not load '.*/a/int8-lm/checkpoint' as it is meant" "$W/.err")"
run "quantize $W/f MODEL=$W/none"
is "a missing model stops it with its name" "2 1" "$status $(grep -c "$(basename "$W")/none\|\$W/none" "$W/.err")"
is "and leaves no table" "" "$(find "$W/f" -name 'recipes*')"
finish
