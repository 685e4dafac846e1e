#!/bin/bash
# export.sh - one export against a synced copy of the same model; CSV: benchmark,value,unit.  From the repository root.
#
# BENCH_MODEL and BENCH_SCHEME name another model and a scheme of it; five runs each, the fastest counts.
set -eu
export LC_ALL=C
B=${B:-build}
model=${BENCH_MODEL:-data/tiny-qwen2_5-vl}
scheme=${BENCH_SCHEME:-tests/golden/export/fp8-lm-top100.scheme.json}
scratch=$(mktemp -d "${TMPDIR:-/tmp}/octet-bench.XXXXXX")
trap 'rm -rf "$scratch"' EXIT

best() { # best COMMAND...: seconds of the fastest of five runs; each starts without its output
    for _ in 1 2 3 4 5; do
        rm -rf "$scratch/out"
        start=$(date +%s%N)
        "$@" >/dev/null
        echo $(($(date +%s%N) - start))
    done | sort -n | awk 'NR == 1 { printf "%.4f", $1 / 1e9 }'
}

copy() {
    cp -rL "$model" "$scratch/out"
    sync "$scratch"/out/*
}

bytes=$(du -bcL "$model"/* | awk 'END { print $1 }')
export=$(best "$B/tools/export-ckpt" -q -m "$model" -o "$scratch/out" "$scheme")
copy=$(best copy)
echo benchmark,value,unit
echo "export-ckpt,$export,s"
echo "export-cp-and-sync,$copy,s"
awk -v b="$bytes" -v e="$export" -v c="$copy" 'BEGIN {
    printf "export-ckpt-read,%.3f,GB/s\nexport-over-copy,%.2f,x\n", b / e / 1e9, e / c }'
