#!/bin/bash
# golden-exports.t - presets on the command line give ModelOpt's checkpoints of the tiny model, every tensor to the bit
#
# Ranges are those of the bf16 model, tests/golden/modelopt-tiny/channels.json; ModelOpt made the exports without a GPU.
. tests/lib.sh
golden=tests/golden/modelopt-tiny

# Name and SHA-256 of every tensor of a checkpoint of one file.
tensors() {
    local file=$1/model.safetensors header name at bytes
    header=$(od -An -tu8 -N 8 "$file" | tr -d ' ')
    tail -c +9 "$file" | head -c "$header" |
        jq -r 'del(.__metadata__) | to_entries[] | [.key, .value.data_offsets[0], .value.data_offsets[1] - .value.data_offsets[0]] | @tsv' |
        while IFS=$'\t' read -r name at bytes; do
            echo "$name $(tail -c +$((header + 9 + at)) "$file" | head -c "$bytes" | sha256sum | cut -d' ' -f1)"
        done | sort
}

golden() { # golden EXPORT OPTION...: apply-coverage's options
    local name=$1
    shift
    run "apply-coverage $* --rounding modelopt --fused-ranges own $golden/channels.json |
        export-ckpt -q -m data/tiny-qwen2_5-vl --format modelopt --rounding modelopt-cpu -o $W/$name"
    is "$name: exported" 0 "$status"
    awk -F'\t' 'NR > 1 { print $1, $4 }' "$golden/exports/$name/tensors.tsv" | sort >"$W/want"
    tensors "$W/$name" >"$W/got"
    is "$name: all $(wc -l <"$W/want") tensors" '' "$(diff "$W/want" "$W/got")"
}

selected=$(jq -r '.selected["int8-sq-lm-top50"][] | "--select " + .' $golden/exports/selection.json | tr '\n' ' ')
golden fp8-lm-kv --preset fp8-lm-kv
golden int8-sq-alpha05-stock --preset int8-sq-lm --smooth-at input --smooth-quant 0.5
golden int8-sq-lm-top50 "$selected" --format int8 --smooth-at input --smooth-quant 1
finish
