#!/bin/bash
# check-ckpt.t - good checkpoints pass, broken ones are named: which engine, which rule, which layer
. tests/lib.sh
M=data/tiny-qwen2_5-vl
G=tests/golden/export

t check-ckpt-help 0 'check-ckpt --help'
like check-ckpt-bad-option 2 "unknown .*option '--bogus'" 'check-ckpt --bogus'
like check-ckpt-nothing 2 'check-ckpt' 'check-ckpt'
like check-ckpt-bad-engine 2 "'tgi' is not vllm, sglang, tensorrt-llm or transformers" "check-ckpt --engine tgi $M"
like check-ckpt-missing 4 "'absent'.*No such file" 'check-ckpt absent'
like check-ckpt-a-file 3 'is not a directory' 'check-ckpt README.md'
like check-ckpt-no-model 3 'neither model.safetensors nor' "cp -r $M $W/none && rm $W/none/*.safetensors && check-ckpt $W/none"
like check-ckpt-full 4 'No space left' "check-ckpt $M >/dev/full"
is check-ckpt-head 'layout none: 0 layers in 8 bits, 0 of them in the vision tower' "$(check-ckpt $M | head -n 1)"

export_as() { export-ckpt -q -m $M -o "$W/$1" $G/fp8-"$1".scheme.json 2>"$W/warned" || echo "Bail out! no $1"; }
for x in lm-top10 lm-top50 lm-top100 all-top50 all-top100; do export_as $x; done

# ---- what is said: of the files, and of the engines that count what makes them fail ----
said() { # said DIR [OPTION...]: "ENGINE RULE SUBJECT" a line; "files" for the files themselves
    check-ckpt --json "$@" | jq -r '(.files[] | "files \(.rule) \(.subject)"),
        (.engines[] | select(.counts) | .name as $n | .findings[] |
            select(.effect == "wrong" or .effect == "refuses") | "\($n) \(.rule) \(.subject)")'
}
verdicts() { check-ckpt --json "$@" | jq -r '[.engines[] | .verdict] | join(" ")'; }
says() { # says NAME DIR LINE...: status 1, and exactly these lines
    local name=$1 dir=$2 want
    shift 2
    want=$(printf '%s\n' "$@")
    is "$name" "$want
status 1" "$(set -o pipefail; said "$dir"; echo "status $?")"
}
passes() { # passes NAME VERDICTS DIR [OPTION...]
    local name=$1 want=$2
    shift 2
    is "$name: passes" 'status 0' "$(set -o pipefail; said "$@"; echo "status $?")"
    is "$name: verdicts" "$want" "$(verdicts "$@")"
}

# ---- good ones ----
passes 'the original model' 'fine fine fine fine' $M
for m in flat-mha full-only-patch8 nested4-gqa8 nested5-sharded qwen2-text windows-only; do
    passes "the model $m" 'fine fine fine fine' tests/golden/models/$m
done
passes '10 % of the language model' 'fine fine fine wrong' "$W/lm-top10"
passes '50 %, ranges of their own' 'rounds rounds rounds wrong' "$W/lm-top50"
passes '100 %, ranges of their own' 'rounds rounds rounds wrong' "$W/lm-top100"
passes '50 % of language and vision' 'rounds rounds refuses wrong' "$W/all-top50"
passes '100 % of language and vision' 'rounds rounds refuses wrong' "$W/all-top100"
N=tests/golden/models/nested5-sharded
exported() { # exported DIR SELECTION...
    calib-amax -q -m $N $N.samples.msgpack | apply-coverage -q "${@:2}" | export-ckpt -q -m $N -o "$W/$1" 2>"$W/warned"
}
exported shared --select '*language_model.layers*'
exported shared-vision --select '*layers*' --select 'visual.blocks*'
passes 'shared ranges, from in-memory names' 'fine fine fine wrong' "$W/shared"
passes 'shared ranges, with vision' 'fine fine refuses wrong' "$W/shared-vision"

for x in lm-top10 all-top100; do
    export-ckpt -q -m $M --format compressed-tensors -o "$W/compressed-$x" $G/fp8-$x.scheme.json
done
passes 'compressed-tensors of the language model' 'fine fine refuses rounds' "$W/compressed-lm-top10"
passes 'compressed-tensors with vision' 'rounds rounds refuses rounds' "$W/compressed-all-top100"
export-ckpt -q -m $M --pool "$W/pool" -o "$W/pooled" $G/fp8-lm-top10.scheme.json
passes 'a checkpoint of a pool' 'fine fine fine wrong' "$W/pooled"

# An engine that is named counts, served or not.
run "check-ckpt --engine transformers $W/lm-top10"
is 'a layout that an engine does not know, named' 1 $status
run "check-ckpt --engine tensorrt-llm $W/all-top50"
is 'vision layers and TensorRT-LLM, named' 1 $status
is 'TensorRT-LLM says which' 'visual.blocks.0.attn.qkv' \
    "$(said --engine tensorrt-llm "$W/all-top50" | sed -n 's/^tensorrt-llm vision //p' | head -n 1)"
passes 'two engines' 'fine fine' --engine vllm --engine sglang "$W/lm-top10"

# The table, the document, and where they go.
t check-ckpt-table 0 "check-ckpt $W/lm-top50"
t check-ckpt-json 0 "check-ckpt --json --engine vllm $W/lm-top10 | jq 'del(.version, .from) | .layers |= .[:2]'"
ok check-ckpt-output "check-ckpt --json -o $W/doc.json $W/lm-top10 && jq -e .passes $W/doc.json >/dev/null"
like check-ckpt-output-exists 2 'exists: remove it or use -f' "check-ckpt --json -o $W/doc.json $W/lm-top10"
ok check-ckpt-no-path "! grep -q '$W' $W/doc.json"

# ---- broken ones ----
broken() { rm -rf "$W/x" && cp -r "$W/${1:-lm-top10}" "$W/x"; }
edit() { jq "$2" "$W/x/$1" >"$W/edited" && mv "$W/edited" "$W/x/$1"; }
lists() { # lists FILTER: of both lists
    edit config.json ".quantization_config.ignore |= ($1)"
    [ ! -e "$W/x/hf_quant_config.json" ] || edit hf_quant_config.json ".quantization.exclude_modules |= ($1)"
}
# A safetensors file taken apart and put together again; data of a tensor come from standard input.
header() { head -c $(($(head_bytes "$1") + 8)) "$1" | tail -c +9; }
head_bytes() { od -An -tu8 -N 8 "$1" | tr -d ' '; }
assemble() { # assemble HEADER DATA FILE
    local n=${#1} i
    {
        for i in 0 1 2 3 4 5 6 7; do printf "\\x$(printf %02x $((n >> (8 * i) & 255)))"; done
        printf %s "$1"
        cat "$2"
    } >"$3.new" && mv "$3.new" "$3"
}
drop() { # drop TENSOR
    local f=$W/x/model.safetensors h begin end skip
    h=$(header "$f")
    skip=$(($(head_bytes "$f") + 8))
    read -r begin end < <(jq -r --arg t "$1" '.[$t].data_offsets | @tsv' <<<"$h")
    { tail -c +$((skip + 1)) "$f" | head -c "$begin"; tail -c +$((skip + end + 1)) "$f"; } >"$W/data"
    assemble "$(jq -c --arg t "$1" --argjson b "$begin" --argjson e "$end" 'del(.[$t]) |
        map_values(if .data_offsets and .data_offsets[0] >= $e then .data_offsets |= map(. - $e + $b) else . end)' \
        <<<"$h")" "$W/data" "$f"
}
put() { # put TENSOR DTYPE SHAPE <DATA
    local f=$W/x/model.safetensors h n
    h=$(header "$f")
    cat >"$W/added"
    tail -c +$(($(head_bytes "$f") + 9)) "$f" >"$W/data"
    n=$(wc -c <"$W/data")
    cat "$W/added" >>"$W/data"
    assemble "$(jq -c --arg t "$1" --arg d "$2" --argjson s "$3" --argjson b "$n" \
        --argjson e $((n + $(wc -c <"$W/added"))) '.[$t] = {dtype: $d, shape: $s, data_offsets: [$b, $e]}' \
        <<<"$h")" "$W/data" "$f"
}
rename() { # rename FILTER: of every tensor name
    local f=$W/x/model.safetensors
    tail -c +$(($(head_bytes "$f") + 9)) "$f" >"$W/data"
    assemble "$(header "$f" | jq -c "with_entries(if .key == \"__metadata__\" then . else .key |= ($1) end)")" \
        "$W/data" "$f"
}
one() { printf '\x00\x00\x80\x3f'; } # 1.0 in F32
zeros() { head -c "$1" /dev/zero; }
O=model.layers.1.self_attn.o_proj # [192, 192]; quantized in lm-top10
C=language_model.layers.1.self_attn.o_proj

broken lm-top100
drop model.layers.2.mlp.up_proj.weight
drop model.layers.2.mlp.up_proj.weight_scale
drop model.layers.2.mlp.up_proj.input_scale
zeros $((512 * 192 * 2)) | put model.layers.2.mlp.up_proj.weight BF16 '[512, 192]'
half=language_model.layers.2.mlp.gate_proj
says 'half a group, not listed' "$W/x" "files half-group $half" \
    "vllm bytes-included ${half/gate/up}" "sglang bytes-included ${half/gate/up}" \
    "tensorrt-llm half-codes $half" "tensorrt-llm bytes-included ${half/gate/up}"
lists '. + ["model.layers.2.mlp.up_proj"]'
says 'half a group, listed' "$W/x" "files half-group $half" "vllm half-listed $half" "sglang half-listed $half" \
    "tensorrt-llm half-codes $half" "tensorrt-llm codes-excluded $half"

broken
drop $O.weight_scale
says 'no weight_scale' "$W/x" "files no-scale $C" "vllm no-scale $C" "sglang no-scale $C" "tensorrt-llm no-scale $C"
broken
drop $O.input_scale
says 'no input_scale' "$W/x" "files no-scale $C" "vllm no-scale $C" "sglang no-scale $C"
is 'no input_scale: which' input_scale "$(check-ckpt --json "$W/x" | jq -r '.files[0].detail')"

broken
rename "if . == \"$O.weight_scale\" then \"$O.weight_scales\" else . end"
says 'a misspelled scale' "$W/x" "files no-scale $C" "files unexpected $C.weight_scales" \
    "vllm no-scale $C" "vllm unexpected $C.weight_scales" "sglang no-scale $C" "tensorrt-llm no-scale $C"

broken
drop $O.weight_scale
printf '\x80\x3f' | put $O.weight_scale BF16 '[]'
says 'a scale in BF16' "$W/x" "files scale-type $C.weight_scale"
drop $O.weight_scale
one | put $O.weight_scale I32 '[]'
says 'a scale of whole numbers' "$W/x" "files scale-type $C.weight_scale"
drop $O.weight_scale
zeros 4 | put $O.weight_scale F32 '[]'
says 'a scale that is 0' "$W/x" "files scale-value $C.weight_scale"
drop $O.weight_scale
printf '\x00\x00\xc0\x7f' | put $O.weight_scale F32 '[]'
says 'a scale that is NaN' "$W/x" "files scale-value $C.weight_scale"
drop $O.weight_scale
{ one; one; } | put $O.weight_scale F32 '[2]'
says 'a scale of two numbers' "$W/x" "files scale-shape $C.weight_scale"

broken
lists ". + [\"$O\"]"
says 'codes in an excluded layer' "$W/x" "vllm codes-excluded $C" "sglang codes-excluded $C" \
    "tensorrt-llm codes-excluded $C"
is 'codes in an excluded layer: by which entry' "$O $O $O" \
    "$(check-ckpt --json "$W/x" | jq -r --arg c $C '[.layers[] | select(.name == $c).engines[].entry // empty] | join(" ")')"
drop $O.weight_scale
drop $O.input_scale
says 'codes without scales in an excluded layer' "$W/x" "files no-scale $C" "vllm codes-excluded $C" \
    "sglang codes-excluded $C" "tensorrt-llm codes-excluded $C"

D=language_model.layers.0.mlp.down_proj
broken
lists '. - ["model.layers.0.mlp.down_proj"]'
says '16-bit bytes in a layer that is not excluded' "$W/x" "vllm bytes-included $D" "sglang bytes-included $D" \
    "tensorrt-llm bytes-included $D"
lists '. + ["model.layers.0.mlp.down_pro", "layers.0.mlp.down_proj*x"]'
says 'an entry that matches too little' "$W/x" "sglang bytes-included $D" "tensorrt-llm bytes-included $D"

grow() { # layers 6..11 as copies of 0..5, so that there is a layer 11
    local f=$W/x/model.safetensors h n
    h=$(header "$f")
    tail -c +$(($(head_bytes "$f") + 9)) "$f" >"$W/data"
    n=$(wc -c <"$W/data")
    cp "$W/data" "$W/more"
    cat "$W/more" >>"$W/data"
    # The second half of the data belongs to names of their own; what is no layer is of no use there.
    assemble "$(jq -c --argjson n "$n" '. as $h | reduce (keys[] | select(. != "__metadata__")) as $k ($h;
        (if ($k | test("^model.layers.[0-5][.]")) then
            ($k | capture("^model.layers.(?<i>[0-5])(?<r>.*)") | "model.layers.\((.i | tonumber) + 6)\(.r)")
         else "unused.\($k)" end) as $new |
        .[$new] = ($h[$k] | .data_offsets |= map(. + $n)))' <<<"$h")" "$W/data" "$f"
    for k in $(header "$f" | jq -r 'keys[] | select(startswith("unused."))'); do drop "$k"; done
    edit config.json '.num_hidden_layers = 12'
}
broken lm-top10
grow
lists '. + [.[] | select(test("layers[.][0-5][.]")) | capture("layers.(?<i>[0-5])(?<r>.*)") |
    "model.layers.\((.i | tonumber) + 6)\(.r)"]'
passes 'twelve layers' 'fine fine fine wrong' "$W/x"
lists '. + ["model.layers.1*"]' # meant for layer 1
E=language_model.layers.11.self_attn.o_proj
says 'an entry that matches too much' "$W/x" "vllm codes-excluded $C" "vllm codes-excluded $E" \
    "sglang codes-excluded $C" "sglang codes-excluded $E" "tensorrt-llm codes-excluded $C" \
    "tensorrt-llm codes-excluded $E"
is 'an entry that matches too much: which' "excluded by 'model.layers.1*'" "$(check-ckpt --json "$W/x" |
    jq -r '.engines[].findings[] | select(.rule == "codes-excluded").detail' | sort -u)"

broken all-top50
one | put visual.blocks.0.attn.k_proj.k_scale F32 '[]'
says 'KV scales in the vision tower' "$W/x" 'files kv-vision visual.blocks.0.attn.k_proj.k_scale' \
    'vllm kv-vision visual.blocks.0.attn.k_proj.k_scale'
broken
one | put model.layers.0.self_attn.k_proj.k_scale F32 '[]'
says 'KV scales of the language model' "$W/x" 'files kv-incomplete null' 'sglang kv-language language_model.layers.0.self_attn.k_proj.k_scale'
is 'KV scales of the language model: verdicts' 'rounds refuses fine wrong' "$(verdicts "$W/x")"

broken
rename 'sub("^model[.](?!visual)"; "model.language_model.")'
is 'in-memory names' '1 sglang' "$(check-ckpt "$W/x" >"$W/null"; echo "$? $(said "$W/x" | cut -d ' ' -f 1 | sort -u)")"

broken
edit hf_quant_config.json ".quantization.exclude_modules |= . + [\"$O\"]"
says 'the two configurations disagree' "$W/x" 'files configs-disagree null' "tensorrt-llm codes-excluded $C"
is 'the two configurations disagree: in what' "'$O' is in exclude_modules of hf_quant_config.json alone" \
    "$(check-ckpt --json "$W/x" | jq -r '.files[0].detail')"
rm -rf "$W/x" && cp -r $M "$W/x"
echo '{"quantization": {"quant_algo": null, "kv_cache_quant_algo": null, "quantized_layers": {}}}' \
    >"$W/x/hf_quant_config.json"
passes 'a configuration that quantizes nothing' 'fine fine fine fine' "$W/x"
broken
edit config.json '.quantization_config.quant_algo = "NVFP4"'
like 'an algorithm without rules' 3 "config.json': 'quant_algo' is 'NVFP4'" "check-ckpt $W/x"
edit config.json '.quantization_config.quant_algo = "W8A8_SQ_PER_CHANNEL"'
is 'an algorithm that engines refuse' 'vllm algorithm null
sglang algorithm null' "$(said "$W/x" | grep algorithm)"
broken
edit config.json 'del(.quantization_config)'
passes 'hf_quant_config.json alone' 'fine fine fine wrong' "$W/x"
rm "$W/x/hf_quant_config.json"
is 'no configuration at all' "files unclaimed null" "$(said "$W/x" | grep ^files)"
broken
rm "$W/x/hf_quant_config.json"
passes 'config.json alone' 'fine fine fine wrong' "$W/x"

broken
zeros $((1024 * 192)) | put lm_head.weight F8_E4M3 '[1024, 192]'
one | put lm_head.weight_scale F32 '[]'
one | put lm_head.input_scale F32 '[]'
lists '. - ["lm_head"]'
says 'a quantized head that is tied' "$W/x" 'files tied-head lm_head' 'vllm tied-head lm_head' \
    'sglang tied-head lm_head' 'tensorrt-llm tied-head lm_head'

broken
one | put model.layers.0.mlp.extra.weight F32 '[1]'
X=language_model.layers.0.mlp.extra.weight
says 'an extra tensor' "$W/x" "files unexpected $X" "vllm unexpected $X"
broken
drop model.norm.weight
says 'a missing tensor' "$W/x" 'files missing language_model.norm'
broken
one | put model.layers.0.mlp.down_proj.weight_scale F32 '[]'
says 'a scale beside 16-bit bytes' "$W/x" "files stray-scale $D.weight_scale" "vllm stray-scale $D.weight_scale"
broken
drop model.norm.weight
zeros 192 | put model.norm.weight F8_E4M3 '[192]'
says 'codes in a norm' "$W/x" 'files codes-elsewhere language_model.norm.weight'

broken shared
edit model.safetensors.index.json '.metadata.total_size += 1'
says 'a wrong total_size' "$W/x" 'files total-size null'
broken shared
edit model.safetensors.index.json '.weight_map |= with_entries(.value |= "../" + .)'
like 'an index that leads out of the directory' 3 'is not the name of a .safetensors file in this directory' \
    "check-ckpt $W/x"
broken shared
edit model.safetensors.index.json '.weight_map["model.layers.9.mlp.up_proj.weight"] = .weight_map["model.norm.weight"]'
like 'an index of tensors that are not there' 3 "tensor 'model.layers.9.mlp.up_proj.weight' is not in '" "check-ckpt $W/x"
broken shared
edit model.safetensors.index.json 'del(.weight_map["model.norm.weight"])'
like 'an index that leaves a tensor out' 3 "'model.norm.weight' of .* is missing from the index" "check-ckpt $W/x"
broken shared
cp "$W/lm-top10/model.safetensors" "$W/x"
like 'an index beside another model' 3 'index that does not name it' "check-ckpt $W/x"

# Weights whose scale fp16 does not carry: SGLang's way through it changes codes.
broken
drop $O.weight_scale
printf '\x00\x00\x17\x37' | put $O.weight_scale F32 '[]' # 9e-6
is 'a weight scale of 9e-6' 'fine rounds fine wrong' "$(verdicts "$W/x")"
is 'a weight scale of 9e-6: which' "small-scale $C 9.0003e-06" "$(check-ckpt --json "$W/x" |
    jq -r '.engines[1].findings[] | "\(.rule) \(.subject) \(.detail)"')"

# ---- compressed-tensors ----
# The same tensors with scales of shape [1], and a list of expressions.
compressed() { # compressed FORMAT LIST: $W/x from lm-top10
    broken
    rm "$W/x/hf_quant_config.json"
    f=$W/x/model.safetensors
    tail -c +$(($(head_bytes "$f") + 9)) "$f" >"$W/data"
    assemble "$(header "$f" | jq -c 'with_entries(if (.key | endswith("_scale")) then .value.shape = [1] else . end)')" \
        "$W/data" "$f"
    edit config.json ".quantization_config = {quant_method: \"compressed-tensors\", format: \"$1-quantized\",
        quantization_status: \"compressed\", config_groups: {group_0: {targets: [\"Linear\"],
        weights: {num_bits: 8, type: \"$1\", strategy: \"tensor\", symmetric: true, dynamic: false},
        input_activations: {num_bits: 8, type: \"$1\", strategy: \"tensor\", symmetric: true, dynamic: false}}},
        ignore: $2}"
}
# What lm-top10 leaves in 16 bits, an expression for each group.
list=$(check-ckpt --json "$W/lm-top10" | jq -c '[.layers[] | select(.files == "16-bit" and (.group | startswith("language"))).group]
    | unique | map(capture("layers.(?<i>[0-9]+).(?<m>[a-z_]+).(?<p>[a-z_]+)$") |
        (if .p == "q_proj" then "(q|k|v|qkv)_proj" elif .p == "gate_proj" then "(gate|up|gate_up)_proj" else .p end) as $p |
        "re:.*layers\\.\(.i)\\.\(.m)\\.\($p)$") + ["re:.*visual.*", "lm_head"]')
compressed float "$list"
passes 'compressed-tensors' 'fine fine refuses rounds' "$W/x"
is 'compressed-tensors: scales in 16 bits' 'rounds scale-bf16' "$(check-ckpt --json "$W/x" |
    jq -r '.engines[3].findings[] | "\(.effect) \(.rule)"' | sort -u)"
drop $O.weight_scale
printf '\x00\x00\x17\x37' | put $O.weight_scale F32 '[1]' # 9e-6
is 'compressed-tensors with a weight scale of 9e-6' 'rounds rounds refuses rounds' "$(verdicts "$W/x")"
compressed float "$list"
edit config.json '.quantization_config.config_groups.group_0 |= (.weights.type = "int" | .input_activations.type = "int")'
is 'codes of another format' "$(for n in vllm sglang transformers; do for i in 1 2 5; do
    echo "$n other-codes"; done; done)" "$(said "$W/x" | cut -d ' ' -f 1,2)"
compressed float "$list"
edit config.json '.quantization_config.config_groups.group_0.weights.num_bits = 4'
like 'a number format without rules' 3 'weights of 4 bits.*checked are 8 bits' "check-ckpt $W/x"
compressed float "$list"
lists '. + ["re:(unclosed"]'
like 'a broken expression' 3 "'re:\\(unclosed' is not a regular expression" "check-ckpt $W/x"

compressed float "$list"
f=$W/x/model.safetensors
tail -c +$(($(head_bytes "$f") + 9)) "$f" >"$W/data"
assemble "$(header "$f" | jq -c ".[\"$O.weight_scale\"].shape = []")" "$W/data" "$f"
says 'compressed-tensors with a scale of shape []' "$W/x" "transformers scale-0d $C"

# Plain names: hub names are not known to transformers, and neither they nor in-memory ones to SGLang.
compressed float "$list"
lists 'map(select(test("0.*down_proj") | not)) + ["model.layers.0.mlp.down_proj"]'
says 'a plain hub name in the list' "$W/x" "sglang bytes-included $D" "transformers bytes-included $D"
compressed float "$list"
lists 'map(select(test("0.*down_proj") | not)) + ["model.language_model.layers.0.mlp.down_proj"]'
says 'a plain in-memory name in the list' "$W/x" "sglang bytes-included $D"
compressed float "$list"
lists 'map(sub("\\|qkv"; ""))'
is 'expressions without the fused name' sglang "$(said "$W/x" | cut -d ' ' -f 1 | sort -u)"
compressed float "$list"
lists '. - ["lm_head"]'
says 'a tied head that the list leaves out' "$W/x" 'transformers tied-head null'

# ---- INT8, mixed formats, and the KV cache ----
like check-ckpt-int8-export 0 'no engine loads INT8 in this layout: vLLM, SGLang and transformers load it with --format compressed-tensors$' \
    "export-ckpt -m $M -o $W/int8-modelopt $G/int8-lm-top50.scheme.json"
like check-ckpt-kv-export 0 'SGLang 0.5.23 does not load a checkpoint with KV cache scales; vLLM does, and rounds them' \
    "export-ckpt -m $M -o $W/kv $G/fp8-lm-kv.scheme.json"
# Layers 0 and 1 FP8, 2 and 3 INT8, 4 INT8 with inputs scaled at run time, 5 as it is.
mixed='.modules |= with_entries((.key | capture("layers.(?<i>[0-9])").i | tonumber) as $i |
        if $i == 5 then empty else . end |
        if $i < 2 then . elif $i < 4 then .value |= {format: "int8", input_amax}
        else .value = {format: "int8", dynamic: true, input_amax: null} end) |
    .selected_layers |= map(select(test("layers.5") | not)) | .num_layers_total = 20 | .num_layers_selected = 20 | del(.kv_cache)'
jq "$mixed" $G/fp8-lm-kv.scheme.json >"$W/mixed.json"
jq '.modules |= map_values(.dynamic = true | .input_amax = null)' $G/int8-lm-top50.scheme.json >"$W/dynamic.json"
for x in int8:$G/int8-lm-top50.scheme.json dynamic:$W/dynamic.json mixed:$W/mixed.json kv-compressed:$G/fp8-lm-kv.scheme.json; do
    export-ckpt -q -m $M --format compressed-tensors -o "$W/${x%%:*}" "${x#*:}"
done
passes 'INT8 in compressed-tensors' 'fine fine wrong rounds' "$W/int8"
passes 'INT8, inputs scaled at run time' 'fine fine wrong rounds' "$W/dynamic"
passes 'FP8 and INT8' 'rounds rounds refuses rounds' "$W/mixed"
passes 'FP8 with KV scales in compressed-tensors' 'rounds rounds refuses rounds' "$W/kv-compressed"
says "INT8 in ModelOpt's layout" "$W/int8-modelopt" 'vllm algorithm null' 'sglang algorithm null' 'tensorrt-llm algorithm null'
is 'KV scales: SGLang alone refuses' 'rounds refuses rounds wrong' "$(verdicts "$W/kv")"
is 'KV scales: vLLM rounds them' 12 "$(check-ckpt --json "$W/kv" |
    jq '[.engines[0].findings[] | select(.rule == "kv-language" and .effect == "rounds")] | length')"
held() { check-ckpt --json "$W/mixed" | jq -r --arg n "language_model.layers.$1" \
    '.layers[] | select(.name == $n) | [.files, .engines[].held] | join(" ")'; }
is 'FP8 and INT8: what each engine holds' 'fp8 fp8 fp8  fp8
int8 int8 int8  int8
int8 int8 int8  int8
16-bit 16-bit 16-bit  16-bit' "$(held 0.self_attn.k_proj; held 2.mlp.up_proj; held 4.self_attn.o_proj; held 5.mlp.down_proj)"
is 'FP8 and INT8: notes' 'note mixed' "$(check-ckpt --json --engine vllm "$W/mixed" |
    jq -r '.engines[0].findings[] | select(.effect == "note") | "\(.effect) \(.rule)"')"

P=model.layers.0.self_attn.o_proj # INT8 in all of them but mixed
Q=language_model.layers.0.self_attn.o_proj
broken int8
drop $P.weight_scale
for ((i = 0; i < 192; i++)); do one; done | put $P.weight_scale F32 '[192]'
says 'INT8 scales of shape [out]' "$W/x" "vllm scale-1d $Q" "sglang scale-1d $Q" "transformers scale-1d $Q"
drop $P.weight_scale
one | put $P.weight_scale F32 '[1]'
is 'one INT8 scale for all rows' "files scale-shape $Q.weight_scale" "$(said "$W/x" | grep ^files)"
drop $P.weight_scale
says 'INT8 codes without scales' "$W/x" "files no-scale $Q" "vllm no-scale $Q" "sglang no-scale $Q" "transformers no-scale $Q"
broken int8
drop $P.weight_scale
{ for ((i = 1; i < 192; i++)); do one; done; zeros 4; } | put $P.weight_scale F32 '[192, 1]'
says 'an INT8 scale that is 0' "$W/x" "files scale-value $Q.weight_scale"
broken int8
drop $P.input_scale
says 'INT8 without input_scale' "$W/x" "files no-scale $Q" "vllm no-scale $Q" "sglang no-scale $Q" "transformers no-scale $Q"
broken int8
for ((i = 0; i < 192; i++)); do printf '\x80\x3f'; done | put $P.pre_quant_scale BF16 '[192]'
says 'smoothing that compressed-tensors has no place for' "$W/x" "files pre-scale $Q.pre_quant_scale" \
    "vllm pre-scale $Q.pre_quant_scale" "sglang pre-scale $Q.pre_quant_scale" "transformers pre-scale $Q.pre_quant_scale"
broken int8
edit config.json '.quantization_config.config_groups.group_0.input_activations |= (.dynamic = true)'
says 'inputs of one scale at run time' "$W/x" 'vllm inputs null' 'sglang inputs null'
broken int8
edit config.json '.quantization_config.config_groups.group_0 |= (.weights.type = "float" | .input_activations.type = "float")'
is 'INT8 codes where FP8 is said' 'sglang other-codes
transformers other-codes
vllm other-codes' "$(said "$W/x" | grep other-codes | cut -d ' ' -f 1,2 | sort -u)"
broken mixed
edit config.json '.quantization_config.config_groups |= ([.group_0.targets, .group_1.targets] as $t |
    .group_0.targets = $t[1] | .group_1.targets = $t[0])'
is 'groups that have changed places' 'sglang other-codes
transformers other-codes
vllm other-codes' "$(said "$W/x" | grep other-codes | cut -d ' ' -f 1,2 | sort -u)"
broken mixed
edit config.json '.quantization_config.config_groups |= del(.group_2)'
is 'codes that no group names' 'codes-excluded' "$(said "$W/x" | grep layers.4 | cut -d ' ' -f 2 | sort -u)"
broken mixed
edit config.json '.quantization_config.format = "mixed-precision"'
is 'the format mixed-precision: a note' 'note mixed' "$(check-ckpt --json --engine sglang "$W/x" |
    jq -r '.engines[0].findings[] | select(.effect == "note") | "\(.effect) \(.rule)"')"

# ModelOpt's own layout of INT8 with smoothing: what its files say of themselves.
broken int8-modelopt
for ((i = 0; i < 192; i++)); do printf '\x80\x3f'; done | put $P.pre_quant_scale BF16 '[192]'
is "smoothing in ModelOpt's layout" '' "$(said "$W/x" | grep ^files)"
drop $P.pre_quant_scale
printf '\x80\x3f' | put $P.pre_quant_scale BF16 '[1]'
is 'one smoothing scale for all channels' "files scale-shape $Q.pre_quant_scale" "$(said "$W/x" | grep ^files)"
drop $P.pre_quant_scale
for ((i = 0; i < 192; i++)); do printf '\x80\x3f'; done | put model.layers.2.self_attn.q_proj.pre_quant_scale BF16 '[192]'
is 'smoothing of q alone' 'files pre-scales-differ language_model.layers.2.self_attn.q_proj' "$(said "$W/x" | grep ^files)"
drop model.layers.2.self_attn.q_proj.pre_quant_scale
for ((i = 0; i < 192; i++)); do printf '\x80\x3f'; done | put model.layers.0.mlp.up_proj.pre_quant_scale BF16 '[192]'
is 'smoothing beside 16-bit bytes' 'files pre-scales-differ language_model.layers.0.mlp.gate_proj
files stray-scale language_model.layers.0.mlp.up_proj.pre_quant_scale' "$(said "$W/x" | grep ^files | sort)"

K=language_model.layers.3.self_attn
broken kv
drop model.layers.3.self_attn.k_proj.k_scale
is 'a KV scale that is missing' 'files kv-incomplete null
vllm kv-incomplete null' "$(said "$W/x" | grep kv-incomplete)"
is 'a KV scale that is missing: how many' '11 scales, 6 layers need 12' "$(check-ckpt --json "$W/x" | jq -r '.files[0].detail')"
one | put model.layers.3.self_attn.q_proj.k_scale F32 '[]'
is 'a KV scale of q_proj' "files unexpected $K.q_proj.k_scale" "$(said "$W/x" | grep '^files unexpected')"
broken kv
drop model.layers.3.self_attn.v_proj.v_scale
zeros 4 | put model.layers.3.self_attn.v_proj.v_scale F32 '[]'
is 'a KV scale that is 0' "files scale-value $K.v_proj.v_scale" "$(said "$W/x" | grep ^files)"
broken kv
one | put model.layers.9.self_attn.v_proj.v_scale F32 '[]'
is 'a KV scale of a layer that is not there' 'files unexpected language_model.layers.9.self_attn.v_proj.v_scale' \
    "$(said "$W/x" | grep ^files)"
broken kv
edit config.json 'del(.quantization_config.kv_cache_scheme)'
is 'a KV cache that one configuration alone knows of' 'files configs-disagree null' "$(said "$W/x" | grep ^files)"
edit hf_quant_config.json '.quantization.kv_cache_quant_algo = null'
is 'a KV cache that no configuration knows of' 'note kv-undeclared' "$(check-ckpt --json --engine vllm "$W/x" |
    jq -r '.engines[0].findings[] | select(.rule == "kv-undeclared") | "\(.effect) \(.rule)"')"
broken kv-compressed
rename 'sub("self_attn[.]k_scale$"; "self_attn.k_proj.k_scale") | sub("self_attn[.]v_scale$"; "self_attn.v_proj.v_scale")'
is "ModelOpt's names of KV scales in compressed-tensors" 'sglang kv-language
transformers kv-language' "$(said "$W/x" | cut -d ' ' -f 1,2 | sort -u)"
broken lm-top10
edit config.json '.quantization_config.kv_cache_scheme = {num_bits: 8, type: "float", dynamic: false}'
edit hf_quant_config.json '.quantization.kv_cache_quant_algo = "FP8"'
is 'a KV cache without its scales: a note' 'note kv-missing' "$(check-ckpt --json --engine vllm "$W/x" |
    jq -r '.engines[0].findings[] | select(.rule == "kv-missing") | "\(.effect) \(.rule)"')"

finish
