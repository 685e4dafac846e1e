#!/bin/bash
# export-pool.t - the two layouts of export-ckpt, and checkpoints that share their files of tensors
# The scratch directory is in memory where that can be: these are many small files, each synced.
other=${TMPDIR:-/tmp}
[ ! -w /dev/shm ] || export TMPDIR=/dev/shm
. tests/lib.sh
M=data/tiny-qwen2_5-vl
G=tests/golden/export
S=$G/fp8-all-top50.scheme.json
SAMPLES=tests/golden/tiny-describe.samples.msgpack
P=$W/pool

sum() { (cd "$1" && find . -type f | sort | xargs sha256sum | sha256sum); } # of all names and bytes in a directory
ppl() { eval-ppl -q --shard 0/8 -m "$@" $SAMPLES | jq '.candidates[0].ppl'; }
disk() { du -s --block-size=1 "$@" | awk '{ n += $1 } END { print n }'; } # each inode once
left() { (cd "$W" && find . -maxdepth 1 -name "$1*" | sort | tr '\n' ' '); } # what is there under names that begin so
broken() { # pool files whose bytes are not those of their names, and whatever else is in the pool
    for f in "$1"/* "$1"/.new-*; do
        [ ! -e "$f" ] || [ "$(sha256sum <"$f" | cut -d' ' -f1).safetensors" = "${f##*/}" ] || echo "${f##*/}"
    done
}
unshared() { # files of tensors in CHECKPOINTS that are not links into the pool
    find "$P" -name '*.safetensors' -printf '%i\n' | sort -u >"$W/inodes"
    find "$@" -name '*.safetensors' -printf '%i %p\n' | sort | join -v 1 - "$W/inodes"
}

# compressed-tensors: no second configuration file, scales of shape [1], and the same codes.
ok pool-modelopt "export-ckpt -q -m $M -o $W/modelopt $S"
ok pool-compressed "export-ckpt -m $M -o $W/compressed --format compressed-tensors $S"
is pool-compressed-files "$(cd "$W/modelopt" && find . -type f ! -name hf_quant_config.json | sort)" \
    "$(cd "$W/compressed" && find . -type f | sort)"
is pool-compressed-config "$(jq -cS . $G/compressed-all-top50.json)" \
    "$(jq -cS .quantization_config "$W/compressed/config.json")"
is pool-compressed-model "$(jq -cS . $M/config.json)" "$(jq -cS 'del(.quantization_config)' "$W/compressed/config.json")"
run "diff-ckpt --json $W/modelopt $W/compressed"
is pool-compressed-same "0 26 0" "$status $(jq -r '[.layers[]] | "\(length) \(map(.max_abs) | max)"' "$W/.out")"
want=$(ppl $M --scheme $S)
is pool-compressed-ppl "$want $want" "$(ppl "$W/modelopt") $(ppl "$W/compressed")"
run "eval-logits -q --shard 0/8 --ref $W/modelopt -m $W/compressed $SAMPLES | jq -c '.candidates[0] | [.kl, .mse, .top1]'"
is pool-compressed-logits '0 [0,0,1]' "$status $(tr -d '. ' <"$W/.out" | sed 's/00*,/0,/g')"
ok pool-compressed-lm "export-ckpt -m $M -o $W/lm --format compressed-tensors $G/fp8-lm-top100.scheme.json"
is pool-compressed-lm-ignore '["lm_head","re:.*visual.*"]' "$(jq -c .quantization_config.ignore "$W/lm/config.json")"
is pool-compressed-lm-ppl "$(ppl $M --scheme $G/fp8-lm-top100.scheme.json)" "$(ppl "$W/lm")"

# -f goes from one layout to the other, and stops before a model that is not quantized.
cp -r "$W/modelopt" "$W/either"
ok pool-force-compressed "export-ckpt -f -m $M -o $W/either --format compressed-tensors $S"
is pool-force-compressed-same "$(sum "$W/compressed")" "$(sum "$W/either")"
ok pool-force-modelopt "export-ckpt -q -f -m $M -o $W/either $S"
is pool-force-modelopt-same "$(sum "$W/modelopt")" "$(sum "$W/either")"
cp -r $M "$W/base"
like pool-force-model 2 'does not look like an earlier result.*quantization_config' "export-ckpt -f -m $M -o $W/base $S"
is pool-force-model-kept "$(sum $M)" "$(sum "$W/base")"

# Ten points: the first of ten blocks, the first two, and so on.
block=0
for b in 'language_model.layers.'{0..5}. 'visual.blocks.'{0..3}.; do
    block=$((block + 1))
    re=${re:+$re|}^${b//./[.]}
    jq --arg re "$re" '.modules |= with_entries(select(.key | test($re))) | .selected_layers |= map(select(test($re)))
        | .dropped_layers = [] | .num_layers_selected = (.selected_layers | length)
        | .num_layers_total = .num_layers_selected' $G/fp8-all-top100.scheme.json >"$W/$block.json"
done
for i in {1..10}; do
    export-ckpt -q -m $M -o "$W/point$i" --pool "$P" "$W/$i.json" || echo "point $i failed"
done >"$W/failed" 2>&1
is pool-ten '' "$(cat "$W/failed")"
is pool-ten-differ 10 "$(jq '.modules | length' "$W"/{1..10}.json | sort -u | wc -l)"
is pool-ten-whole '' "$(broken "$P")"
is pool-ten-shared '' "$(unshared "$W"/point*)"
metadata=$(find "$W"/point* -type f -links 1 -exec du --block-size=1 {} + | awk '{ n += $1 } END { print n }')
base=$(disk $M)
used=$(du -sc --block-size=1 "$P" "$W"/point* | awk 'END { print $1 }')
echo "# base $base bytes, ten points $used of disk, of which metadata $metadata: $((100 * (used - metadata) / base)) %"
is pool-ten-disk yes "$([ $((2 * (used - metadata))) -le $((3 * base)) ] && echo yes)"
is pool-ten-metadata-own '' "$(find "$W"/point* -type f ! -name '*.safetensors' -links +1)"

# Each loads by itself, is what an export without a pool is, and survives the others.
ok pool-alone "export-ckpt -q -m $M -o $W/alone $W/7.json"
is pool-alone-indexed "$(jq -r '[.weight_map[]] | unique | length' "$W/point7/model.safetensors.index.json")" \
    "$(find "$W/point7" -name 'model-*-of-*.safetensors' | wc -l)"
run "diff-ckpt --exit-code $W/alone $W/point7 >/dev/null"
is pool-alone-same 0 "$status"
run "diff-ckpt --expect $W/6.json --expect $W/7.json $W/point6 $W/point7 >/dev/null"
is pool-neighbours 0 "$status"
want=$(ppl "$W/alone")
rm -rf "$W"/point{1..6} "$W"/point{8..10}
is pool-survives "$want" "$(ppl "$W/point7")"
find "$P" -name '*.safetensors' -links 1 -delete
is pool-pruned "$(find "$W/point7" -name '*.safetensors' | wc -l)" "$(find "$P" -type f | wc -l)"
rm -rf "$P"
is pool-gone "$want" "$(ppl "$W/point7")"
run "echo x >>'$W/point7/$(cd "$W/point7" && echo *00001-of*)'"
is pool-read-only "444" "$(stat -c %a "$W"/point7/*00001-of*)"
rm -rf "$W/point7"

# Several at once, some with the same scheme.
for i in 1 2 3 4; do
    for s in 3 9; do export-ckpt -q -m $M -o "$W/at$i-$s" --pool "$P" "$W/$s.json" || echo "$i $s"; done &
done >"$W/failed" 2>&1
wait
is pool-at-once '' "$(cat "$W/failed")"
is pool-at-once-whole '' "$(broken "$P")"
is pool-at-once-shared '' "$(unshared "$W"/at*)"
is pool-at-once-same 2 "$(for d in "$W"/at*; do sum "$d"; done | sort -u | wc -l)"
rm -rf "$W"/at[2-4]*

# Killed when the pool has so many files: none of them is half written, nothing is under the name, and the next run
# cleans up and gives the same checkpoint.
seen=0
for files in 0 1 2 9 30 42; do
    rm -rf "$P"
    export-ckpt -q -m $M -o "$W/killed" --pool "$P" "$W/9.json" 2>/dev/null &
    pid=$!
    while kill -0 $pid 2>/dev/null && { set -- "$P"/*.safetensors; [ ! -e "$1" ] || [ $# -lt $files ]; } &&
        { [ $files != 0 ] || [ ! -d "$P" ]; }; do :; done
    kill -9 $pid
    wait $pid
    [ -z "$(broken "$P" | grep -v '^[.]new-')" ] || echo "broken after $files"
    [ -z "$(left killed.tmp)" ] || seen=$((seen + 1))
    if [ -e "$W/killed" ]; then
        [ "$(sum "$W/killed")" = "$(sum "$W/at1-9")" ] || echo "partial after $files"
        rm -rf "$W/killed"
    fi
    : >"$P/.new-abcdef"
    export-ckpt -q -m $M -o "$W/killed" --pool "$P" "$W/9.json"
    [ "$(sum "$W/killed")" = "$(sum "$W/at1-9")" ] || echo "differs after $files"
    [ -z "$(broken "$P")" ] || echo "left after $files: $(broken "$P")"
    [ "$(left killed)" = './killed ' ] || echo "left after $files: $(left killed)"
    rm -rf "$W/killed"
done >"$W/partial" 2>/dev/null
is pool-killed '' "$(cat "$W/partial")"
is pool-kills-hit yes "$([ $seen -gt 0 ] && echo yes)"

# A writer that lives keeps its unfinished file.
: >"$P/.new-living"
(flock -x 9 && : >"$W/locked" && exec sleep 60) 9<"$P/.new-living" &
pid=$!
while [ ! -e "$W/locked" ]; do sleep 0.01; done
ok pool-beside-writer "export-ckpt -q -m $M -o $W/beside --pool $P $W/9.json"
is pool-writer-kept .new-living "$(broken "$P")"
kill $pid
wait $pid 2>/dev/null
rm -rf "$W/beside"

# A file that was changed in place is found out.
f=$(find "$P" -name '*.safetensors' | sort | head -n 1)
chmod u+w "$f" && printf x | dd of="$f" bs=1 seek=200 conv=notrunc status=none
like pool-damaged 3 "$(basename "$f")' was changed: its SHA-256 is [0-9a-f]{64}; remove it" \
    "export-ckpt -m $M -o $W/x --pool $P $W/9.json"
is pool-damaged-left '' "$(left x)"
rm -f "$f"
ok pool-mended "export-ckpt -q -m $M -o $W/mended --pool $P $W/9.json"
is pool-mended-whole '' "$(broken "$P")"

# Both layouts share what is not quantized, and replacing a checkpoint leaves the pool alone.
before=$(find "$P" -type f | wc -l)
ok pool-both "export-ckpt -f -m $M -o $W/mended --pool $P --format compressed-tensors $W/9.json"
quantized=$(jq '.selected_layers | length' "$W/9.json")
is pool-both-files $((before + quantized)) "$(find "$P" -type f | wc -l)"
is pool-both-whole '' "$(broken "$P")"
is pool-both-ppl "$(ppl "$W/at1-9")" "$(ppl "$W/mended")"

# Places.
mkdir "$W/empty" && : >"$W/plain" && ln -s pool "$W/link" && ln -s alone "$W/other" && cp -r $M "$W/model"
like pool-exists 2 "mended' exists: .* -f" "export-ckpt -m $M -o $W/mended --pool $P $W/9.json"
like pool-onto-link 2 'not a directory' "export-ckpt -f -m $M -o $W/other --pool $P $W/9.json"
like pool-plain 2 "plain' exists and is not a directory" "export-ckpt -m $M -o $W/x --pool $W/plain $W/9.json"
like pool-no-parent 4 'No such file' "export-ckpt -m $M -o $W/x --pool $W/absent/pool $W/9.json"
like pool-in-model 2 "model's own directory" "export-ckpt -m $W/model -o $W/x --pool $W/model/pool $W/9.json"
like pool-output-in-model 2 "model's own directory" "export-ckpt -m $W/model -o $W/model/x --pool $P $W/9.json"
like pool-in-checkpoint 2 "checkpoint's own directory" "export-ckpt -m $M -o $W/empty --pool $W/empty/pool $W/9.json"
like pool-is-checkpoint 2 "checkpoint's own directory" "export-ckpt -f -m $M -o $W/empty --pool $W/empty/ $W/9.json"
is pool-places-left '' "$(left x)"
is pool-model-kept "$(sum $M)" "$(sum "$W/model")"
ok pool-by-link "export-ckpt -q -m $M -o $W/bylink --pool $W/link $W/9.json"
is pool-by-link-shared '' "$(unshared "$W/bylink")"
ok pool-around-checkpoint "export-ckpt -q -m $M -o $P/inside --pool $P $W/9.json"
rm -rf "$P/inside"

# Where links are impossible there are copies, and a word about it.
if far=$(mktemp -d "$other/octet-test.XXXXXX") && [ "$(stat -c %d "$far")" != "$(stat -c %d "$W")" ]; then
    like pool-copies 0 'files are copies and not shared, because no link can be made' \
        "export-ckpt -m $M -o $W/copies --pool $far/pool $W/9.json 2>&1 | grep -v 'FP8 vision' >&2"
    is pool-copies-same "$(sum "$W/at1-9")" "$(sum "$W/copies")"
    is pool-copies-own '' "$(find "$W/copies" -type f -links +1)"
    ok pool-copies-quiet "export-ckpt -q -m $M -o $far/copies --pool $P $W/9.json"
    is pool-copies-back "$(sum "$W/at1-9")" "$(sum "$far/copies")"
else
    skip pool-copies 'needs two file systems, /dev/shm and /tmp'
fi
rm -rf "$far"

# Norms that carry smoothing go with their group: what no scheme changes stays shared.
N=tests/golden/models/nested5-sharded
calib-amax -q -m $N --per-channel -o "$W/ranges.json" $N.samples.msgpack
smooth() { # smooth NAME LAYERS: those in INT8
    apply-coverage -q --select "*language_model.layers.$2.*" --format int8 --smooth-quant 0.5 -o "$W/$1.json" "$W/ranges.json"
    export-ckpt -q -m $N --format compressed-tensors --pool "$W/smooth" -o "$W/$1" "$W/$1.json"
}
smooth smooth0 0
smooth smooth1 '[01]'
is 'pool-smoothed: of layer 1 four files' 4 "$(find "$W/smooth1" -name '*.safetensors' -links 2 | wc -l)"
is 'pool-smoothed: all others are in both' 0 \
    "$(find "$W/smooth0" -name '*.safetensors' -links 2 | wc -l | awk '{ print $1 - 4 }')"
ok pool-smoothed-as-told "diff-ckpt -o $W/diff --expect $W/smooth0.json --expect $W/smooth1.json $W/smooth0 $W/smooth1"

# No room: known beforehand, and met on the way.
if unshare -rm true 2>/dev/null; then
    like pool-no-space 4 'small/pool. needs [0-9]+ bytes, the file system has [0-9]+ free' \
        "unshare -rm sh -c 'mkdir $W/small && mount -t tmpfs -o size=2m none $W/small && PATH=$PATH &&
            export-ckpt -m $M -o $W/small/x --pool $W/small/pool $W/9.json; s=\$?; ls $W/small/pool; exit \$s'"
    like pool-no-space-checkpoint 4 'tiny/x. needs [0-9]+ bytes, the file system has [0-9]+ free' \
        "unshare -rm sh -c 'mkdir $W/tiny && mount -t tmpfs -o size=4m none $W/tiny && PATH=$PATH &&
            export-ckpt -m $M -o $W/tiny/x --pool $P $W/9.json; s=\$?; ls $W/tiny; exit \$s'"
else
    skip pool-no-space 'needs a user namespace for a small file system'
fi
like pool-file-limit 4 "cannot write '.*/fresh/.new-.*': File too large" \
    "ulimit -f 200; export-ckpt -m $M -o $W/x --pool $W/fresh $W/9.json"
is pool-file-limit-left '' "$(left x)"
is pool-file-limit-whole '' "$(broken "$W/fresh")"
finish
