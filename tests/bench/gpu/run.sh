#!/bin/bash
# run.sh - speed on a GPU as CSV on stdout, benchmark,value,unit; the first lines say on what, with clocks before and after
#
#   run.sh DEVICE [MODEL]    operations; with MODEL whole passes, and the tools over files: calibration stream, scoring,
#                            evaluation, export against a copy of the same bytes, and the memory that scoring takes
#
# MODEL is a directory of make-model; it gets the bundled tokenizer.  With PEERS_PYTHON, an interpreter that has PyTorch, what
# the libraries take for the same work comes after it (tests/peers/speed.py).
set -eu
B=${B:-build}
export PATH=$PWD/$B/tools:$B/tools:$PATH OMP_WAIT_POLICY=passive LC_ALL=C
device=$1 model=${2:-}
W=$(mktemp -d "${TMPDIR:-/tmp}/octet-bench.XXXXXX")
trap 'rm -rf "$W"' EXIT

state() {
    nvidia-smi --query-gpu=name,driver_version,clocks.sm,clocks.mem,temperature.gpu,power.draw --format=csv,noheader |
        sed "s/^/# $1: /" || true
}

seconds() { # seconds NAME CMD...
    local name=$1 t=$EPOCHREALTIME
    shift
    "$@" >"$W/log" 2>&1 || { cat "$W/log" >&2; exit 1; }
    echo "$name,$(awk "BEGIN { printf \"%.2f\", $EPOCHREALTIME - $t }"),s"
}

# anonymous CMD...: the most memory of its own, in GiB, that a command had, mapped files left out
anonymous() {
    local most=0 now pid
    "$@" >"$W/log" 2>&1 &
    pid=$!
    while now=$(awk '/^RssAnon/ { print $2 }' /proc/$pid/status 2>/dev/null) && [ -n "$now" ]; do
        [ "$now" -le "$most" ] || most=$now
        sleep 0.02
    done
    wait $pid
    awk "BEGIN { printf \"%.2f\", $most / 1048576 }"
}

copy() {
    cp -L "$model"/*.json "$model"/*.safetensors "$W/copy/"
    sync "$W"/copy/*
}

tools() {
    cp data/qwen2-tokenizer/*.json data/qwen2-tokenizer/merges.txt "$model/"
    seconds 'calib-stream 4096 captions' calib-stream -q -f -m "$model" --style text -o "$W/text" data/coco2017/coco2017_captions.txt
    seconds 'layer-score 4096 captions' layer-score -q -f -m "$model" --device "$device" -o "$W/layers" "$W/text"
    seconds 'rank-layers' rank-layers -f -o "$W/ranking" "$W/layers"
    seconds 'apply-coverage' apply-coverage -f 50 -o "$W/scheme" "$W/ranking"
    seconds 'eval-ppl 4096 captions' eval-ppl -q -f -m "$model" --device "$device" -o "$W/ppl" "$W/text"
    seconds 'eval-logits 4096 captions against the model' eval-logits -q -f --ref "$model" --scheme "$W/scheme" \
        --device "$device" -o "$W/metrics" "$W/text"
    echo "export-ckpt memory,$(anonymous export-ckpt -q -f -m "$model" -o "$W/export" "$W/scheme"),GiB"
    mkdir "$W/copy"
    for i in 1 2 3; do
        rm -rf "$W/export" "$W/copy"/*
        seconds "export-ckpt $i" export-ckpt -q -m "$model" -o "$W/export" "$W/scheme"
        seconds "cp and sync of the model $i" copy
    done
    rm -rf "$W/copy"
}

# While eight samples are scored again and again: the device's memory, all that the process holds included, and its clocks.
scoring() {
    "$B/tests/bench/gpu/speed" "$device" "$model" "$1" >/dev/null &
    local pid=$! sample
    while kill -0 $pid 2>/dev/null; do
        sample=$(nvidia-smi --query-gpu=memory.used,clocks.sm,power.draw,clocks_event_reasons.active \
            --format=csv,noheader,nounits) || break
        echo "$sample" | head -n 1
    done >"$W/samples"
    wait $pid
    awk -F', ' -v what="$1" '
        $1 > most { most = $1 }
        $3 > power { power = $3; clock = $2; why = $4 }
        END { printf "device memory of scoring %s,%.1f,GiB\n", what, most / 1024
              printf "# scoring %s: at most %d W, SM clock then %d MHz, throttle reasons %s\n", what, power, clock, why }' "$W/samples"
}

echo "# $(git describe --always --dirty 2>/dev/null || cat VERSION 2>/dev/null || echo unknown), $(date -u +%F), $(nproc) cores"
state before
"$B/tests/bench/gpu/speed" "$device" ${model:+"$model"}
if [ -n "$model" ]; then
    if [ "$device" != cpu ]; then
        scoring text
        scoring pictures
    fi
    tools
fi
if [ -n "${PEERS_PYTHON:-}" ]; then
    HF_HUB_OFFLINE=1 TRANSFORMERS_VERBOSITY=error "$PEERS_PYTHON" tests/peers/speed.py ${model:+"$model"} 2>"$W/log" ||
        { tail -n 20 "$W/log" >&2; exit 1; }
fi
state after
