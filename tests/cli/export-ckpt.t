#!/bin/bash
# export-ckpt.t - the command line of export-ckpt: what it prints, refuses, and leaves behind
. tests/lib.sh
M=data/tiny-qwen2_5-vl
G=tests/golden/export
S=$G/fp8-lm-top50.scheme.json

sum() { (cd "$1" && find . -type f | sort | xargs sha256sum | sha256sum); } # of all names and bytes in a directory
left() { (cd "$W" && find . -maxdepth 1 -name "$1*" | sort | tr '\n' ' '); } # what is there under names that begin so

t export-ckpt-help 0 'export-ckpt --help'
like export-ckpt-bad-option 2 "unknown .*option '--bogus'" 'export-ckpt --bogus'
like export-ckpt-bad-format 2 'format.*modelopt' 'export-ckpt -m data --format gguf'
like export-ckpt-bad-rounding 2 'rounding' 'export-ckpt -m data --rounding up'
like export-ckpt-two-schemes 2 'export-ckpt' 'export-ckpt a b'
like export-ckpt-no-model 2 'no model' "export-ckpt -o $W/x $S"
like export-ckpt-no-output 2 'no output' "export-ckpt -m $M $S"
like export-ckpt-missing-model 4 "'absent'.*No such file" "export-ckpt -m absent -o $W/x $S"
like export-ckpt-missing-scheme 4 "'absent'.*No such file" "export-ckpt -m $M -o $W/x absent"
like export-ckpt-missing-parent 4 'No such file' "export-ckpt -m $M -o $W/absent/x $S"
like export-ckpt-empty-scheme 3 'standard input.*empty' "export-ckpt -m $M -o $W/x </dev/null"
like export-ckpt-cut-scheme 3 'not valid JSON' "head -c 700 $S | export-ckpt -m $M -o $W/x -"
like export-ckpt-other-schema 3 'octet-scheme' "jq '.schema=\"octet-layers/1\"' $S | export-ckpt -m $M -o $W/x"
like export-ckpt-next-major 3 'octet-scheme/2' "jq '.schema=\"octet-scheme/2\"' $S | export-ckpt -m $M -o $W/x"
like export-ckpt-nothing-selected 3 'selects nothing' \
    "jq '.modules={} | .selected_layers=[] | .num_layers_total=0 | .num_layers_selected=0' $S | export-ckpt -m $M -o $W/x"

# A scheme that is not for this model.
wrong() { echo "jq '$1' $G/fp8-lm-top10.scheme.json | export-ckpt -m $M -o $W/x"; }
rename='.modules |= with_entries(.key |= sub("layers.1.";"layers.7.")) | .selected_layers[0] |= sub("layers.1.";"layers.7.")'
like export-ckpt-unknown-module 3 "'language_model.layers.7.self_attn.o_proj'.*another model" "$(wrong "$rename")"
like export-ckpt-digest 3 'model digest is abc, that of .* is [0-9a-f]{64}$' "$(wrong '.model.digest="abc"')"
like export-ckpt-range 3 "reaches 0.161133, but .* is 0.16: " \
    "$(wrong '.modules["language_model.layers.1.self_attn.o_proj"].weight_amax=0.16')"
like export-ckpt-negative 3 'negative or not finite' \
    "$(wrong '.modules["language_model.layers.1.self_attn.o_proj"].weight_amax=-1')"
like export-ckpt-no-range 3 "'input_amax' is missing" \
    "$(wrong 'del(.modules["language_model.layers.1.self_attn.o_proj"].input_amax)')"

# A truncated model.
cp -r $M "$W/cut" && truncate -s 3000000 "$W/cut/model.safetensors"
like export-ckpt-truncated 3 'cut/model.safetensors.*truncated' "export-ckpt -m $W/cut -o $W/x $S"
is export-ckpt-nothing-left '' "$(left x)"

# The plan.
t export-ckpt-dry-run 0 "export-ckpt -m $M --dry-run $S"
# FP8, INT8, INT8 with inputs scaled at run time, and an FP8 KV cache.
jq '.modules |= with_entries((.key | capture("layers.(?<i>[0-9])").i | tonumber) as $i |
        if $i < 4 then . elif $i == 4 then .value |= {format: "int8", input_amax}
        else .value = {format: "int8", dynamic: true, input_amax: null} end)' $G/fp8-lm-kv.scheme.json >"$W/mixed.json"
t export-ckpt-dry-run-mixed 0 "export-ckpt -m $M --dry-run --format compressed-tensors $W/mixed.json"
like export-ckpt-mixed-modelopt 3 'in int8, but the layout modelopt has one format: use --format compressed-tensors$' \
    "export-ckpt -m $M -o $W/x $W/mixed.json"
like export-ckpt-kv-part 3 'KV ranges for 5 layers, .* has 6: engines quantize the cache of all layers or of none$' \
    "jq 'del(.kv_cache.layers[\"language_model.layers.3\"])' $G/fp8-lm-kv.scheme.json | export-ckpt -m $M -o $W/x"
like export-ckpt-half-format 3 'q_proj and .*k_proj see one input, but differ' \
    "jq '.modules[\"language_model.layers.4.self_attn.q_proj\"] |= (.format = \"fp8\" | .weight_amax = 1)' $W/mixed.json | export-ckpt -m $M -o $W/x"
like export-ckpt-full 4 'No space left' "export-ckpt -m $M --dry-run $S >/dev/full"
ok export-ckpt-head "export-ckpt -m $M --dry-run $S | head -n 1 >/dev/null"

# Two runs, one by a pipe and by a digest that is right, give the same directory.
ok export-ckpt-one "export-ckpt -m $M -o $W/one --rounding exact $S"
digest=$(jq '.model.digest="abc"' $S | export-ckpt -m $M -n 2>&1 | sed 's/.* is //')
ok export-ckpt-two "jq '.model.digest=\"$digest\"' $S | export-ckpt -q -m $M/ -o $W/two/ --rounding exact"
is export-ckpt-same "$(sum "$W/one")" "$(sum "$W/two")"
ok export-ckpt-modelopt "export-ckpt -m $M -o $W/three $S"
is export-ckpt-scheme-rounding 1 "$(cmp -s "$W/one/model.safetensors" "$W/three/model.safetensors"; echo $?)"
is export-ckpt-files \
    'chat_template.json config.json generation_config.json hf_quant_config.json merges.txt model.safetensors preprocessor_config.json tokenizer.json tokenizer_config.json vocab.json ' \
    "$(find "$W/one" -type f -printf '%f\n' | sort | tr '\n' ' ')"
for f in chat_template generation_config preprocessor_config tokenizer tokenizer_config vocab; do
    cmp -s $M/$f.json "$W/one/$f.json" || echo $f
done >"$W/differ"
is export-ckpt-copies '' "$(cat "$W/differ")"
is export-ckpt-config "$(jq -cS . $M/config.json)" "$(jq -cS 'del(.quantization_config)' "$W/one/config.json")"
is export-ckpt-lists-agree "$(jq -c .quantization.exclude_modules "$W/one/hf_quant_config.json")" \
    "$(jq -c .quantization_config.ignore "$W/one/config.json")"
shape='.quantization_config | del(.ignore, .producer.version)'
is export-ckpt-inline-config "$(jq -cS "$shape"' | .producer.name="octet"' \
    tests/golden/modelopt-tiny/exports-cuda/fp8-lm-top50/config.json)" "$(jq -cS "$shape" "$W/one/config.json")"
shape='del(.quantization.exclude_modules, .producer.version)'
is export-ckpt-file-config "$(jq -cS "$shape"' | .producer.name="octet"' \
    tests/golden/modelopt-tiny/exports-cuda/fp8-lm-top50/hf_quant_config.json)" \
    "$(jq -cS "$shape" "$W/one/hf_quant_config.json")"

# The whole pipe, on a model of several files with in-memory names.  What is measured under a scheme is what its
# checkpoint gives, to the last bit.
N=tests/golden/models/nested5-sharded
ok export-ckpt-pipe "calib-amax -q -m $N $N.samples.msgpack | apply-coverage -q --select '*layers*' --select 'visual.blocks*' |
    tee $W/pipe.json | export-ckpt -q -m $N -o $W/pipe"
ppl() { eval-ppl -q -m "$@" $N.samples.msgpack | jq '.candidates[0].ppl'; }
is export-ckpt-evaluated "$(ppl $N --scheme "$W/pipe.json")" "$(ppl "$W/pipe")"
is export-ckpt-index 'model-00001-of-00001.safetensors' \
    "$(jq -r '[.weight_map[]] | unique | join(" ")' "$W/pipe/model.safetensors.index.json")"

# What loads, but not everywhere or not as written: said once, and the vision layers not under -q.
V=$G/fp8-all-top50.scheme.json
like export-ckpt-vision 0 '^export-ckpt: FP8 vision layers load in vLLM from 0.32 on and in SGLang 0.5.23, never in TensorRT-LLM$' \
    "export-ckpt -m $M -o $W/vision $V"
ok export-ckpt-vision-quiet "export-ckpt -q -m $M -f -o $W/vision $V"
jq '(.modules["language_model.layers.1.self_attn.o_proj"]) |= (.weight_amax = 0.01)' $S >"$W/small.json"
like export-ckpt-small-scale 0 \
    'warning: 1 weight scale is below 3.1e-5 .language_model.layers.1.self_attn.o_proj: 2.2[0-9]*e-05.: SGLang will round' \
    "export-ckpt -n -q -m $M $W/small.json >/dev/null"

like export-ckpt-small-scale-compressed 0 ': vLLM and SGLang will round such weights a second time$' \
    "export-ckpt -n -q --format compressed-tensors -m $M $W/small.json >/dev/null"

# The schemes here are what scheme.jq makes of ModelOpt's exports.
for s in "$G"/*.scheme.json; do
    x=$(basename "$s" .scheme.json)
    jq -f $G/scheme.jq tests/golden/modelopt-tiny/exports-cuda/"$x"/evidence.json | cmp -s - "$s" || echo "$x"
done >"$W/differ"
is export-ckpt-schemes '' "$(cat "$W/differ")"

# Existing places.
before=$(sum "$W/one")
like export-ckpt-exists 2 "one' exists: .* -f" "export-ckpt -m $M -o $W/one $S"
is export-ckpt-untouched "$before" "$(sum "$W/one")"
ok export-ckpt-force "export-ckpt -f -m $M -o $W/one $S"
is export-ckpt-replaced "$(sum "$W/three")" "$(sum "$W/one")"
mkdir "$W/home" "$W/home/sub" "$W/empty" && : >"$W/home/thesis" && : >"$W/plain" && ln -s one "$W/link"
like export-ckpt-not-ours 2 'does not look like an earlier result' "export-ckpt -f -m $M -o $W/home $S"
is export-ckpt-not-ours-kept 'sub thesis ' "$(find "$W/home" -mindepth 1 -printf '%f\n' | sort | tr '\n' ' ')"
like export-ckpt-plain-file 2 'not a directory' "export-ckpt -f -m $M -o $W/plain $S"
like export-ckpt-link 2 'not a directory' "export-ckpt -f -m $M -o $W/link $S"
ok export-ckpt-empty "export-ckpt -f -m $M -o $W/empty $S"
cp -r $M "$W/model"
like export-ckpt-onto-model 2 "model's own directory" "export-ckpt -f -m $W/model -o $W/model/ $S"
like export-ckpt-into-model 2 "model's own directory" "export-ckpt -m $W/model -o $W/model/fp8 $S"
like export-ckpt-into-model-indirectly 2 "model's own directory" "export-ckpt -m $W/model -o $W/one/../model/fp8 $S"
is export-ckpt-model-kept "$(sum $M)" "$(sum "$W/model")"
like export-ckpt-quantized-twice 3 'quantized already' "export-ckpt -m $W/one -o $W/x $S"

# No room: known beforehand, and met on the way.
if unshare -rm true 2>/dev/null; then
    like export-ckpt-no-space 4 'needs [0-9]+ bytes, the file system has [0-9]+ free' \
        "unshare -rm sh -c 'mkdir $W/small && mount -t tmpfs -o size=4m none $W/small && PATH=$PATH && export-ckpt -m $M -o $W/small/x $S; s=\$?; ls $W/small; exit \$s'"
else
    skip export-ckpt-no-space 'needs a user namespace for a small file system'
fi
like export-ckpt-file-limit 4 "cannot write '.*x.tmp.[0-9]+/model.safetensors': File too large" \
    "ulimit -f 2000; export-ckpt -m $M -o $W/x $S"
is export-ckpt-no-space-left '' "$(left x)"

# Killed at any moment: nothing under the name, and the next run removes what is left.
seen=0
for delay in begun 0.005 0.01 0.015 0.02 0.025 0.03 0.035 0.04 begun; do
    export-ckpt -m $M -o "$W/killed" $S &
    pid=$!
    if [ $delay = begun ]; then
        while [ ! -d "$W/killed.tmp.$pid" ] && kill -0 $pid; do :; done
    else
        sleep $delay
    fi
    kill -9 $pid
    wait $pid
    if [ -e "$W/killed" ]; then
        [ "$(sum "$W/killed")" = "$(sum "$W/three")" ] || echo "partial after $delay"
        rm -r "$W/killed"
    fi
    [ -z "$(left killed)" ] || seen=$((seen + 1))
done >"$W/partial" 2>/dev/null
is export-ckpt-killed '' "$(cat "$W/partial")"
mkdir "$W/killed.tmp.999999999" && : >"$W/killed.tmp.999999999/model.safetensors"
mkdir "$W/killed.tmp.$$" "$W/killed.tmp.notes"
ok export-ckpt-after-kill "export-ckpt -m $M -o $W/killed $S"
is export-ckpt-cleaned "./killed ./killed.tmp.$$ ./killed.tmp.notes " "$(left killed)"
is export-ckpt-after-kill-whole "$(sum "$W/three")" "$(sum "$W/killed")"
is export-ckpt-kills-hit yes "$([ $seen -gt 0 ] && echo yes)"
finish
