#!/bin/bash
# run.sh - give each of the fuzz targets named FUZZ_SECONDS (20) of libFuzzer, one after the other
#
# Inputs that reach new code stay in $B/corpus/NAME, where the next run goes on.  One that breaks a promise is left as
# $B/found/NAME-*: it belongs into tests/fuzz/corpus/NAME, together with the repair.
set -u
cd "$(dirname "$0")/../.." || exit 4
export OMP_NUM_THREADS=1 ASAN_OPTIONS=allocator_may_return_null=0 UBSAN_OPTIONS=print_stacktrace=1
ulimit -n 64 # a reader that leaves a file open soon cannot open another
mkdir -p "$B/found"
failed=0
for name; do
    mkdir -p "$B/corpus/$name"
    if "$B/tests/fuzz/$name.fuzz" -max_total_time="${FUZZ_SECONDS:-20}" -timeout=10 -malloc_limit_mb=1024 \
        -rss_limit_mb=3072 -max_len=65536 -dict=tests/fuzz/json.dict -print_final_stats=1 \
        -artifact_prefix="$B/found/$name-" \
        "$B/corpus/$name" "tests/fuzz/corpus/$name" >"$B/$name.log" 2>&1; then
        echo "ok   $name: $(sed -n 's/^stat::number_of_executed_units: *//p' "$B/$name.log") runs," \
            "$(grep -ao 'cov: [0-9]*' "$B/$name.log" | tail -n 1)"
    else
        echo "FAIL $name: $B/$name.log says why, $B/found/ has the input"
        failed=1
    fi
done
exit $failed
