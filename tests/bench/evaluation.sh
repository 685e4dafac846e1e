#!/bin/bash
# evaluation.sh - what comparing two models costs beside running both; CSV: benchmark,value,unit.  From the repository root.
#
# The bundled model and its golden FP8 export; user and system time on one thread, seven runs each, the least counts.
# eval-ppl stands for a forward pass: it loads the model, runs it and takes the likelihood of each token.
set -eu
export LC_ALL=C OMP_NUM_THREADS=1
B=${B:-build}
model=data/tiny-qwen2_5-vl
samples=tests/golden/tiny-describe.samples.msgpack
scratch=$(mktemp -d "${TMPDIR:-/tmp}/octet-bench.XXXXXX")
trap 'rm -rf "$scratch"' EXIT
TIMEFORMAT='%U %S'

least() { # least COMMAND...: seconds of processor time of the cheapest of seven runs
    for _ in 1 2 3 4 5 6 7; do
        { time "$@" -q -f -o "$scratch/out" $samples; } 2>&1
    done | awk '{ print $1 + $2 }' | sort -n | head -n 1
}

"$B/tools/export-ckpt" -q -m $model -o "$scratch/candidate" tests/golden/export/fp8-lm-top100.scheme.json
reference=$(least "$B/tools/eval-ppl" -m $model --device cpu)
candidate=$(least "$B/tools/eval-ppl" -m "$scratch/candidate" --device cpu)
both=$(least "$B/tools/eval-logits" --ref $model -m "$scratch/candidate" --device cpu)
echo benchmark,value,unit
echo "eval-ppl of the reference,$reference,s"
echo "eval-ppl of the candidate,$candidate,s"
echo "eval-logits of both,$both,s"
awk -v r="$reference" -v c="$candidate" -v b="$both" 'BEGIN { printf "eval-logits over two forwards,%.2f,x\n", b / (r + c) }'
