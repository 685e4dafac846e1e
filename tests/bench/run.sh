#!/bin/sh
# run.sh - every benchmark, as CSV on stdout: benchmark,value,unit; the first lines say on what
set -eu
export OMP_WAIT_POLICY=passive
B=${B:-build}
echo "# $(git describe --always --dirty 2>/dev/null || cat VERSION), $(nproc) cores, $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1), $(date -u +%F)"
for b in "$B"/tests/bench/*; do
    case $b in *.o | *.d) continue ;; esac
    [ -x "$b" ] && "$b"
done
for s in tests/bench/*.sh; do
    [ "$s" = tests/bench/run.sh ] || B=$B bash "$s"
done
