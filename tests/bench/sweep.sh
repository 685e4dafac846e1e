#!/bin/bash
# sweep.sh - make sweep on the bundled model: seconds, and beside it the same work by the reference library
#
# 80 samples to calibrate, score and evaluate on, ten coverage points.  ORACLE_PYTHON names a Python that has torch and
# transformers; without it the reference is left out.
set -eu
B=${B:-build}
W=$(mktemp -d)
trap 'rm -rf "$W"' EXIT
seconds() { # seconds CMD...: wall time
    local t=$EPOCHREALTIME
    "$@" >/dev/null 2>"$W/err" || { cat "$W/err" >&2; exit 1; }
    echo "$EPOCHREALTIME - $t" | awk '{ printf "%.2f", $1 - $3 }'
}
make -s all >/dev/null
ours=$(seconds make -s sweep OUT="$W/out" COVERAGE=10..100 SAMPLES=40)
echo "sweep_10_points,$ours,s"
samples=tests/golden/tiny-describe.samples.msgpack
PATH=$(cd "$B" && pwd)/tools:$PATH
echo "calib_amax_80_samples,$(seconds calib-amax -q -m data/tiny-qwen2_5-vl -o "$W/a.json" $samples),s"
echo "layer_score_80_samples,$(seconds layer-score -q -m data/tiny-qwen2_5-vl -o "$W/l.json" $samples),s"
if [ -n "${ORACLE_PYTHON:-}" ]; then
    theirs=$(seconds env -u OMP_WAIT_POLICY "$ORACLE_PYTHON" tests/peers/oracle.py --device cpu --model data/tiny-qwen2_5-vl --samples $samples --out "$W/o")
    echo "oracle_same_work,$theirs,s"
    echo "sweep_share_of_oracle,$(awk "BEGIN { printf \"%.3f\", $ours / $theirs }"),ratio"
fi
