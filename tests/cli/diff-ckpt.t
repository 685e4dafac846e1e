#!/bin/bash
# diff-ckpt.t - the command line of diff-ckpt: what it finds, expects and refuses (pairs of tensors: tests/unit/diff.c)
. tests/lib.sh
M=data/tiny-qwen2_5-vl
G=tests/golden/export
S10=$G/fp8-lm-top10.scheme.json
S50=$G/fp8-lm-top50.scheme.json

# Offset of a tensor's data in a file.
at() { # at FILE TENSOR
    local n
    n=$(od -An -t u8 -N 8 "$1" | tr -d ' ')
    echo $((8 + n + $(tail -c +9 "$1" | head -c "$n" | jq ".[\"$2\"].data_offsets[0]")))
}

# A byte of a tensor's data becomes another one.
poke() { # poke DIR TENSOR BYTE VALUE
    printf '%b' "$4" | dd of="$1/model.safetensors" bs=1 conv=notrunc status=none \
        seek=$(($(at "$1/model.safetensors" "$2") + $3))
}

t diff-ckpt-help 0 'diff-ckpt --help'
like diff-ckpt-bad-option 2 "unknown .*option '--bogus'" 'diff-ckpt --bogus'
like diff-ckpt-one-directory 2 'operand is missing' "diff-ckpt $M"
like diff-ckpt-three-directories 2 'unexpected operand' "diff-ckpt $M $M $M"
like diff-ckpt-one-scheme 2 'given 1 times' "diff-ckpt --expect $S10 $M $M"
like diff-ckpt-three-schemes 2 'given 3 times' "diff-ckpt --expect $S10 --expect $S10 --expect $S10 $M $M"
like diff-ckpt-missing 4 "'absent'.*No such file" "diff-ckpt $M absent"
like diff-ckpt-not-a-directory 3 'not a directory' "diff-ckpt $M/config.json $M"
like diff-ckpt-no-weights 3 'neither model.safetensors' \
    "mkdir $W/empty && cp $M/config.json $W/empty && diff-ckpt $M $W/empty"
cp -r $M "$W/cut" && truncate -s 3000000 "$W/cut/model.safetensors"
like diff-ckpt-truncated 3 'cut/model.safetensors.*truncated' "diff-ckpt $W/cut $M"
like diff-ckpt-truncated-b 3 'cut/model.safetensors.*truncated' "diff-ckpt --json -o $W/x $M $W/cut"
truncate -s 20 "$W/cut/model.safetensors"
like diff-ckpt-truncated-header 3 'cut/model.safetensors.*truncated' "diff-ckpt $M $W/cut"
: >"$W/cut/model.safetensors"
like diff-ckpt-empty-file 3 'cut/model.safetensors' "diff-ckpt $M $W/cut"
like diff-ckpt-cut-scheme 3 'not valid JSON' "head -c 700 $S10 | diff-ckpt --expect - --expect $S10 $M $M"
like diff-ckpt-scheme-without-ranges 3 'has no ranges' \
    "jq 'del(.modules)' $S10 | diff-ckpt --expect $S10 --expect - $M $M"
is diff-ckpt-nothing-left '' "$(find "$W" -name 'x*')"

# Equal, and one byte.
cp -r $M "$W/copy"
t diff-ckpt-equal 0 "diff-ckpt --exit-code $M $W/copy"
poke "$W/copy" model.layers.3.mlp.up_proj.weight 1001 '\x3f'
t diff-ckpt-byte 0 "diff-ckpt $M $W/copy"
t diff-ckpt-exit-code 1 "diff-ckpt --exit-code $W/copy $M"
poke "$W/copy" model.layers.3.mlp.up_proj.weight 1001 '\x7f'
poke "$W/copy" model.layers.3.mlp.up_proj.weight 1000 '\xc0'
t diff-ckpt-nan 0 "diff-ckpt $M $W/copy"
cp -r $M "$W/config" && echo >>"$W/config/config.json"
t diff-ckpt-config 1 "diff-ckpt --exit-code $M $W/config"
like diff-ckpt-full 4 'cannot write standard output: No space left' "diff-ckpt --exit-code $M $W/copy >/dev/full"
like diff-ckpt-json-full 4 'cannot write standard output: No space left' "diff-ckpt --json $M $W/copy >/dev/full"
is diff-ckpt-head 1 "$(diff-ckpt $M "$W/copy" 2>"$W/err" | head -n 1 | wc -l)$(cat "$W/err")"
ok diff-ckpt-output "diff-ckpt -o $W/table $M $W/copy && diff-ckpt $M $W/copy | cmp - $W/table"
like diff-ckpt-output-exists 2 "table' exists: .* -f" "diff-ckpt -o $W/table $M $M"
ok diff-ckpt-output-force "diff-ckpt -f -o $W/table $M $M && diff-ckpt $M $M | cmp - $W/table"
like diff-ckpt-written-before-status 1 'do not differ as the schemes do' \
    "diff-ckpt --json -o $W/answer --expect $S10 --expect $S10 $M $M"
is diff-ckpt-answer 'false 3' "$(jq -r '.expect | "\(.holds) \(.not_as_scheme_b | length)"' "$W/answer")"

# Exports of two schemes.
export-ckpt -q -m $M -o "$W/10" $S10 && export-ckpt -q -m $M -o "$W/50" $S50
t diff-ckpt-model 0 "diff-ckpt $M $W/10"
# The version is in what export-ckpt writes, too, and so in the digests.
t diff-ckpt-json 0 "diff-ckpt --json --expect $S10 --expect $S50 $W/10 $W/50 | jq 'del(.version, .from.a, .from.b)'"
is diff-ckpt-from "$(printf '%s\n' $S10 $S50 | xargs sha256sum | cut -d ' ' -f 1)" \
    "$(jq -r '.from | .scheme_a, .scheme_b' tests/golden/cli/diff-ckpt-json.out)"
is diff-ckpt-digests true "$(diff-ckpt --json $M $M/ | jq '.from | .a == .b and (.a | test("^[0-9a-f]{64}$"))')"
is diff-ckpt-layers-are-the-schemes "$(jq -r '.modules | keys[]' $S10 $S50 | sort | uniq -u)" \
    "$(diff-ckpt --json "$W/10" "$W/50" | jq -r '.layers[].name' | sort)"
t diff-ckpt-held 0 "diff-ckpt --expect $S10 --expect $S50 $W/10 $W/50"
ok diff-ckpt-held-back "diff-ckpt --expect $S50 --expect $S10 -o $W/x $W/50 $W/10"
ok diff-ckpt-held-equal "diff-ckpt -f --expect $S50 --expect $S50 -o $W/x $W/50 $W/50"

# What went unnoticed once: one checkpoint under two names.
t diff-ckpt-same-twice 1 "diff-ckpt --expect $S10 --expect $S50 $W/10 $W/10"
like diff-ckpt-swapped 1 ' 0 layers differ in the schemes only, 0 in the files only; 15 of A and 15 of B are not' \
    "diff-ckpt --expect $S50 --expect $S10 $W/10 $W/50 >$W/out"
like diff-ckpt-never-quantized 1 ' 15 layers .* 0 in the files only; 3 of A and 18 of B are not' \
    "diff-ckpt --expect $S10 --expect $S50 $M $M >$W/out"
like diff-ckpt-equal-schemes 1 ' 0 layers .*, 15 in the files only; 0 of A and 15 of B are not' \
    "diff-ckpt --expect $S10 --expect $S10 $W/10 $W/50 >$W/out"

# Ranges: those that lead to other scales, and those that do not.
o=language_model.layers.1.self_attn.o_proj
jq ".modules[\"$o\"].input_amax *= 2" $S10 >"$W/input.json"
jq ".modules[\"$o\"].weight_amax *= 2" $S10 >"$W/weight.json"
export-ckpt -q -m $M -o "$W/input" "$W/input.json" && export-ckpt -q -m $M -o "$W/weight" "$W/weight.json"
t diff-ckpt-input-range 0 "diff-ckpt --expect $S10 --expect $W/input.json $W/10 $W/input"
t diff-ckpt-weight-range 0 "diff-ckpt --expect $S10 --expect $W/weight.json $W/10 $W/weight"
like diff-ckpt-range-not-written 1 ' 1 layers differ in the schemes only, 0 in the files only; 0 of A and 0 of B' \
    "diff-ckpt --expect $S10 --expect $W/weight.json $W/10 $W/10 >$W/out"
like diff-ckpt-range-not-asked 1 ' 0 layers .*, 1 in the files only; 0 of A and 0 of B' \
    "diff-ckpt --expect $S10 --expect $S10 $W/10 $W/weight >$W/out"
export-ckpt -q -m $M -o "$W/exact" --rounding exact $S10
like diff-ckpt-rounding-not-asked 1 ' 0 layers .*, 3 in the files only; 0 of A and 0 of B' \
    "diff-ckpt --expect $S10 --expect $S10 $W/10 $W/exact >$W/out"
jq '.rounding="exact"' $S10 >"$W/exact.json"
ok diff-ckpt-rounding "diff-ckpt -f --expect $S10 --expect $W/exact.json -o $W/x $W/10 $W/exact"

# A bias is no business of schemes, even in a layer in which they differ.
cp -r "$W/50" "$W/bias"
poke "$W/bias" model.layers.2.self_attn.q_proj.bias 1 '\x40'
like diff-ckpt-bias 1 ' 0 layers .*, 1 in the files only; 0 of A and 0 of B' \
    "diff-ckpt --expect $S10 --expect $S50 $W/10 $W/bias >$W/out"
jq '.modules |= with_entries(.key |= sub("layers.1.";"layers.7.")) | .selected_layers[0] |= sub("layers.1.";"layers.7.")' \
    $S10 >"$W/other.json"
like diff-ckpt-unknown-layer 1 ' 0 layers .*, 0 in the files only; 2 of A and 2 of B' \
    "diff-ckpt --expect $W/other.json --expect $W/other.json $W/10 $W/10 >$W/out"

# INT8 and the KV cache: one model in FP8 with an FP8 KV cache, in INT8 smoothed at the norms, at the inputs, and with
# inputs scaled at run time.
N=tests/golden/models/nested5-sharded
calib-amax -q -m $N --per-channel --kv -o "$W/ranges.json" $N.samples.msgpack
point() { # point NAME LAYOUT OPTION...
    local name=$1 layout=$2
    shift 2
    apply-coverage -q "$@" -o "$W/$name.json" "$W/ranges.json" &&
        export-ckpt -q -m $N --format "$layout" -o "$W/$name" "$W/$name.json"
}
point kv modelopt --preset fp8-lm-kv
point nokv modelopt --preset fp8-lm
point norm compressed-tensors --preset int8-sq-lm
point plain compressed-tensors --preset int8-lm
point token compressed-tensors --preset int8-dynamic-lm
point inputs modelopt --preset int8-sq-lm --smooth-at input
expects() { # expects A B: as their schemes do
    diff-ckpt -f -o "$W/x" --expect "$W/$1.json" --expect "$W/$2.json" "$W/$1" "$W/$2"
}
for pair in 'kv nokv' 'nokv norm' 'norm token' 'norm inputs' 'inputs token' 'inputs kv'; do
    # shellcheck disable=SC2086
    expects $pair || echo "$pair"
done >"$W/out" 2>&1
is diff-ckpt-int8-held '' "$(cat "$W/out")"
layers=$(jq '.text_config.num_hidden_layers // .num_hidden_layers' $N/config.json)
like diff-ckpt-kv-missing 1 "0 in the files only; $layers of A and 0 of B" \
    "diff-ckpt --expect $W/kv.json --expect $W/nokv.json $W/nokv $W/nokv >$W/out"
like diff-ckpt-kv-stray 1 ', [1-9][0-9]* in the files only; 0 of A and [1-9][0-9]* of B' \
    "diff-ckpt --expect $W/nokv.json --expect $W/nokv.json $W/nokv $W/kv >$W/out"
like diff-ckpt-int8-for-fp8 1 "; 0 of A and $((8 * layers)) of B" \
    "diff-ckpt --expect $W/kv.json --expect $W/kv.json $W/kv $W/norm >$W/out"
like diff-ckpt-token-for-static 1 "; 0 of A and $((7 * layers)) of B" \
    "diff-ckpt --expect $W/nokv.json --expect $W/norm.json $W/nokv $W/token >$W/out"
# What is folded shows in the norms, too: five layers and two norms of each.
like diff-ckpt-unfolded 1 " $((7 * layers)) layers differ in the schemes only, 0 in the files only; 0 of A and 0 of B" \
    "diff-ckpt --expect $W/plain.json --expect $W/norm.json $W/norm $W/norm >$W/out"
ok diff-ckpt-folded "diff-ckpt -f -o $W/x --expect $W/plain.json --expect $W/norm.json $W/plain $W/norm"
# Codes times both their scales are the weight again, less what rounding to codes took.
is diff-ckpt-int8-values "$((7 * layers)) true" "$(diff-ckpt --json $N "$W/inputs" |
    jq -r '[.layers[].relative] | "\(length) \(all(. != null and . < 0.1))"')"
finish
