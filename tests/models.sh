# models.sh - what the tests of the tools that run a model share; sourced after lib.sh
#
# A test defines `cmd MODEL SAMPLES`, which prints a command line of its tool, and then calls
#
#   contract TOOL    --help, bad options, damaged samples and models, full and closed outputs, and the same bytes twice
#
# copy NAME [MODEL] makes a changeable copy of a golden model as $W/NAME.
M=tests/golden/models/nested4-gqa8
S=$M.samples.msgpack
SHARDED=tests/golden/models/nested5-sharded
TINY=data/tiny-qwen2_5-vl
DESCRIBE=tests/golden/tiny-describe.samples.msgpack
export M S SHARDED TINY DESCRIBE

copy() {
    cp -r "${2:-$M}" "$W/$1" && chmod -R u+w "$W/$1"
}

flip() { # flip FILE OFFSET: all bits of one byte
    local byte
    byte=$(od -An -tu1 -j "$2" -N 1 "$1")
    # shellcheck disable=SC2059
    printf "\\x$(printf '%02x' $((255 - byte)))" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}

# kill_at FILE BYTES CMD: kill -9 the command as soon as FILE has so many bytes; false when it ends before that.
kill_at() {
    local pid
    bash -c "exec $3" >"$W/null" 2>&1 &
    pid=$!
    while kill -0 $pid 2>"$W/null"; do
        if [ "$(command stat -c %s "$1" 2>"$W/null" || echo 0)" -ge "$2" ]; then
            kill -9 $pid
            wait $pid 2>"$W/null"
            return 0
        fi
        sleep 0.01
    done
    return 1
}

# resumes BYTES CMD: a run of CMD, which writes $W/after*, is killed when its partial file, kept as $W/half.part, has so many
# bytes; the next one ends with the documents of a run that was not killed, $W/before*.
resumes() {
    local tool=${2%% *} whole
    ${2//after/before}
    whole=$(cd "$W" && echo before*)
    is "$tool: a run is killed" killed "$(kill_at "$W/after.json.part" "$1" "$2" && echo killed)"
    is "$tool: what it had done is beside its output" after.json.part "$(cd "$W" && echo after*)"
    cp "$W/after.json.part" "$W/half.part"
    like "$tool: the next one goes on" 0 "going on with '.*after.json.part'$" "${2/-q/}"
    ok "$tool: to the same document" "cmp <(jq 'del(.argv)' $W/before.json) <(jq 'del(.argv)' $W/after.json)"
    is "$tool: and leaves nothing beside it" "${whole//before/after}" "$(cd "$W" && echo after*)"
}

# Byte of a safetensors file at which a tensor's data begin.
tensor_at() {
    local header
    header=$(od -An -tu8 -N 8 "$1" | tr -d ' ')
    tail -c +9 "$1" | head -c "$header" | jq --arg t "$2" --argjson h "$header" '.[$t].data_offsets[0] + 8 + $h'
}

contract_samples() {
    local tool=$1 at
    like "$tool: missing samples" 4 "cannot open '.*none': No such file or directory" "$(cmd $M "$W/none")"
    : >"$W/empty.samples"
    like "$tool: empty samples" 3 "empty.samples' is empty: an octet-samples stream was expected" \
        "$(cmd $M "$W/empty.samples")"
    like "$tool: no samples on standard input" 3 'standard input.* is empty' "$(cmd $M -)"
    head -c 30000 $S >"$W/cut.samples"
    like "$tool: truncated samples" 3 'cut.samples., after 2 samples: truncated' "$(cmd $M "$W/cut.samples")"
    head -c -3 $S >"$W/endless.samples"
    like "$tool: samples without their end record" 3 'after 4 samples: truncated' "$(cmd $M "$W/endless.samples")"
    # In the header's schema, at the header's front, in the end record.
    for at in 0 12 $(($(wc -c <$S) - 1)); do
        cp $S "$W/flip.samples"
        chmod u+w "$W/flip.samples"
        flip "$W/flip.samples" "$at"
        like "$tool: samples with byte $at flipped" 3 "flip.samples'" "$(cmd $M "$W/flip.samples")"
    done
    like "$tool: samples that are no samples" 3 "config.json'" "$(cmd $M $M/config.json)"
    like "$tool: pictures for a model without a vision tower" 3 "sample '[^']*' has a picture" \
        "$(cmd tests/golden/models/qwen2-text $S)"
}

contract_model() {
    local tool=$1
    like "$tool: no such model" 4 "'.*nowhere': No such file or directory" "$(cmd "$W/nowhere" $S)"
    copy noconfig
    rm "$W/noconfig/config.json"
    like "$tool: a model without config.json" 4 'noconfig/config.json' "$(cmd "$W/noconfig" $S)"
    copy short
    truncate -s -100 "$W/short/model.safetensors"
    like "$tool: a truncated weight file" 3 "short/model.safetensors.: tensor .*truncated" "$(cmd "$W/short" $S)"
    copy nan
    printf '\x00\x00\xc0\x7f' | dd of="$W/nan/model.safetensors" bs=1 conv=notrunc status=none \
        seek="$(tensor_at $M/model.safetensors model.language_model.layers.1.mlp.down_proj.weight)"
    like "$tool: a weight that is NaN" 3 "tensor '.*layers.1.mlp.down_proj.weight' .*NaN" "$(cmd "$W/nan" $S)"
    copy nannorm
    printf '\x00\x00\xc0\x7f' | dd of="$W/nannorm/model.safetensors" bs=1 conv=notrunc status=none \
        seek="$(tensor_at $M/model.safetensors model.language_model.norm.weight)"
    like "$tool: a norm that is NaN" 3 "tensor '.*language_model.norm.weight' .*NaN" "$(cmd "$W/nannorm" $S)"
    copy shardless $SHARDED
    rm "$W/shardless/model-00003-of-00004.safetensors"
    like "$tool: a missing weight file" 4 'model-00003-of-00004.safetensors.: No such file' \
        "$(cmd "$W/shardless" $SHARDED.samples.msgpack)"
    copy shape
    sed -i 's/"intermediate_size": *[0-9]*/"intermediate_size": 13/' "$W/shape/config.json"
    like "$tool: a shape that config.json does not have" 3 "is \[[0-9]+, [0-9]+\], its config.json asks for" \
        "$(cmd "$W/shape" $S)"
    rm -r "$W/noconfig" "$W/short" "$W/nan" "$W/nannorm" "$W/shardless" "$W/shape"
}

contract_options() {
    local tool=$1 shard
    t "$tool-help" 0 "$tool --help"
    like "$tool: a bad option" 2 'unknown or ambiguous option .*--frobnicate' "$(cmd $M $S) --frobnicate"
    like "$tool: -o without its value" 2 "needs a value" "$(cmd $M $S) -o"
    case $("$tool" --version) in
    *cuda*) like "$tool: --device cuda without a GPU" 4 '--device cuda: .*; use --device cpu$' \
        "$(cmd $M $S) --device cuda" ;;
    *) like "$tool: a device that this build does not have" 2 \
        '^[a-z-]+: --device cuda: this build has no CUDA backend; use --device cpu$' "$(cmd $M $S) --device cuda" ;;
    esac
    like "$tool: a device that is none" 2 "'gpu' is not auto, cpu or cuda" "$(cmd $M $S) --device gpu"
    like "$tool: bf16 on the CPU" 2 '^[a-z-]+: --dtype bf16: the CPU computes in fp32.*; use --dtype fp32' \
        "$(cmd $M $S) --device cpu --dtype bf16"
    like "$tool: fp64 on a GPU" 2 '^[a-z-]+: --dtype fp64: .*; use --device cpu$' "$(cmd $M $S) --device cuda --dtype fp64"
    like "$tool: a dtype that is none" 2 "--dtype: 'int4' is not one of auto\|bf16\|fp32\|fp64" "$(cmd $M $S) --dtype int4"
    like "$tool: a batch of nothing" 2 '--batch-tokens' "$(cmd $M $S) --batch-tokens 0"
    for shard in 2/2 3/2 0/0 1 1/ /2 a/b -1/2 +1/2 ' 1/2' 1/2x 0x0/2 99999999999999999999/3; do
        like "$tool: --shard '$shard'" 2 'is not I/N with 0 <= I < N' "$(cmd $M $S) --shard='$shard'"
    done
    like "$tool: --max-memory that is no size" 2 'is not a size' "$(cmd $M $S) --max-memory=much"
}

contract_output() {
    local tool=$1
    like "$tool: a full disk" 4 'No space left on device' "$(cmd $M $S) >/dev/full"
    is "$tool: a reader that had enough" '{' "$(bash -c "$(cmd $M $S) | head -n 1")"
    : >"$W/there"
    like "$tool: an output that exists" 2 "there' exists: remove it or use -f" "$(cmd $M $S) -o '$W/there'"
    like "$tool: an output nowhere" 4 "cannot create '.*/no/where.*No such file" "$(cmd $M $S) -o '$W/no/where'"
    ok "$tool: -f replaces it" "$(cmd $M $S) -f -o '$W/there' && jq -e .schema '$W/there' >'$W/null'"
    like "$tool: a failed run leaves the old one" 3 'truncated' "$(cmd $M "$W/cut.samples") -f -o '$W/there'"
    ok "$tool: and nothing beside it" "jq -e .schema '$W/there' >'$W/null' && ! ls '$W' | grep -q tmp"
    bash -c "$(cmd $M $S)" >"$W/one"
    bash -c "$(cmd $M $S)" >"$W/two"
    ok "$tool: two runs write the same bytes" "test -s '$W/one' && cmp '$W/one' '$W/two'"
    bash -c "$(cmd $M -) <$S" >"$W/piped"
    ok "$tool: samples from a pipe give the same" \
        "cmp <(jq 'del(.argv)' '$W/one') <(jq 'del(.argv)' '$W/piped')"
    bash -c "$(cmd $M $S) --max-memory=200K" >"$W/small"
    ok "$tool: weights that come and go give the same" \
        "cmp <(jq 'del(.argv)' '$W/one') <(jq 'del(.argv)' '$W/small')"
    ok "$tool: no host, clock or directory in the document" "! grep -q '$W' '$W/one'"
}

contract() {
    contract_options "$1"
    contract_samples "$1"
    contract_model "$1"
    contract_output "$1"
}
