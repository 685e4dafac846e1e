#!/bin/bash
# calib-stream.sh - speed of the whole tool with the real vocabulary, loading included: CSV on stdout
#
# Captions on one core in megabytes of text, pictures of 900 x 700 on one core and on all.
set -eu
B=${B:-build}
PATH=$(cd "$B" && pwd)/tools:$PATH
W=$(mktemp -d "${TMPDIR:-/tmp}/octet-bench.XXXXXX")
trap 'rm -rf "$W"' EXIT

model=$W/model
mkdir "$model"
for f in data/qwen2-tokenizer/{vocab.json,merges.txt} tests/golden/tokenizer/qwen2_5_vl/*.json \
    data/tiny-qwen2_5-vl/preprocessor_config.json; do
    ln -s "$PWD/$f" "$model/${f##*/}"
done

# seconds CMD...: the best of three
seconds() {
    local best='' s
    for _ in 1 2 3; do
        s=$(date +%s%N)
        "$@" >"$W/out"
        s=$(($(date +%s%N) - s))
        if [ -z "$best" ] || [ "$s" -lt "$best" ]; then best=$s; fi
    done
    awk "BEGIN { print $best / 1e9 }"
}

for _ in $(seq 50); do cat data/coco2017/coco2017_captions.txt; done >"$W/captions.txt"
bytes=$(wc -c <"$W/captions.txt")
s=$(OMP_NUM_THREADS=1 seconds calib-stream -q -m "$model" "$W/captions.txt")
awk "BEGIN { printf \"calib-stream captions one core,%.2f,MB/s\n\", $bytes / 1e6 / $s }"

# What loading the vocabulary takes of that.
head -n 1 "$W/captions.txt" >"$W/one.txt"
s=$(OMP_NUM_THREADS=1 seconds calib-stream -q -m "$model" "$W/one.txt")
awk "BEGIN { printf \"calib-stream start,%.1f,ms\n\", 1e3 * $s }"

mkdir "$W/pictures"
jpg=tests/golden/image/large-700x900.jpg
for i in $(seq 200); do
    echo "{\"image_relpath\": \"${jpg##*/}\", \"caption\": \"Picture $i.\"}"
done >"$W/pictures.jsonl"
for threads in 1 "$(nproc)"; do
    s=$(OMP_NUM_THREADS=$threads seconds calib-stream -q -m "$model" --images "${jpg%/*}" "$W/pictures.jsonl")
    awk "BEGIN { printf \"calib-stream pictures $threads threads,%.1f,1/s\n\", 200 / $s }"
done
