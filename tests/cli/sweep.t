#!/bin/bash
# sweep.t - make sweep on the bundled model: resumes, repeats itself, and its checkpoints differ as their schemes do
. tests/lib.sh
unset MAKEFLAGS # of make -j check, whose job server is not for the make below

# Few samples: this is about the pipeline, not about the numbers.
sweep() { # sweep OUT [ARG...]
    local out=$1
    shift
    make --no-print-directory -s -f pipelines/sweep.mk TOOLS="$B/tools" OUT="$out" SAMPLES=4 "$@" sweep
}
export -f sweep

run "sweep $W/a COVERAGE=10..100"
is "a sweep of ten points ends well" 0 "$status"
is "it prints nothing on standard error" "" "$(cat "$W/.err")"
is "it ends with its table" "$(head -n 1 "$W/a/summary.md")" "$(head -n 1 "$W/.out")"
is "ten rows, ascending" "10 20 30 40 50 60 70 80 90 100" "$(jq -r '[.points[].coverage] | join(" ")' "$W/a/summary.json")"
is "each row has the whole group count of its coverage" \
    "5 9 13 17 21 26 30 34 38 42" "$(jq -r '[.points[].groups] | join(" ")' "$W/a/summary.json")"
is "checkpoints shrink from point to point" true \
    "$(jq '[.points[].checkpoint_bytes] | . == (sort | reverse) and (unique | length) == 10' "$W/a/summary.json")"
is "two scales for every quantized module" true "$(jq 'all(.points[]; .scales_applied == 2 * .fp8_modules)' "$W/a/summary.json")"

# Calibration, pictures of the evaluation and its texts: no picture is in two of them, and none twice in one of these two.
ids() { jq -r '.image_relpath | capture("(?<n>[0-9]+)[.]").n | tonumber' "$1" | sort; }
sqlite3 "$W/a/calib.db" 'SELECT DISTINCT image_id FROM vlm_calib_samples' | sort >"$W/calib.ids"
is "pictures of calibration, evaluation and texts are disjoint" "4 4 " \
    "$(ids "$W/a/eval.jsonl" | wc -l) $(ids "$W/a/eval-text.jsonl" | wc -l) $({ cat "$W/calib.ids"; ids "$W/a/eval.jsonl"; ids "$W/a/eval-text.jsonl"; } | sort | uniq -d)"
is "and are those of the seed" "$(coco-subset -q -a data/shapes2017/annotations/captions_val2017.json --one-per-picture -n 4 \
    --disjoint "$W/a/calib.db" --eval - | sha256sum)" "$(sha256sum <"$W/a/eval.jsonl")"
evaluated() { make -n --no-print-directory -f pipelines/sweep.mk TOOLS="$B/tools" OUT="$W/g" "$@" sweep | sed -nE 's/^coco-subset .*-n ([0-9]+) .*--eval .*eval.jsonl/\1/p'; }
mkdir -p "$W/large/annotations"
jq '.images |= [.[], .[], .[]]' data/shapes2017/annotations/captions_val2017.json >"$W/large/annotations/captions_val2017.json"
is "few pictures: as many as for calibration; enough: 100; or as told" "40 100 7" \
    "$(evaluated) $(evaluated DATA="$W/large") $(evaluated DATA="$W/large" EVAL=7)"

# Each step is judged, as if all points had been measured in one run; and everything measured is kept.
run "eval-logits -q --ref data/tiny-qwen2_5-vl $(for p in 10 20 30; do echo -n "-m $W/a/top$p/checkpoint "; done) $W/a/eval-text.samples $W/a/eval.samples"
is "every step but the first is judged" "[10,null]" "$(jq -c '[.points[] | select(.step == null) | .coverage] + [.points[0].step]' "$W/a/summary.json")"
is "as in one run" "$(jq -c '[.pairs[0, 2] | [.verdict, .kl_answer.difference, .kl_answer.interval, .samples_needed]]' "$W/.out")" \
    "$(jq -c '[.points[1, 2].step | [.verdict, .difference, .interval, .samples_needed]]' "$W/a/summary.json")"
is "and the table says so" "$(jq -r '.points[1:][].step.verdict' "$W/a/summary.json")" \
    "$(awk -F' [|] ' '/^\| [0-9]/ && NR > 3 { sub(/ .*/, "", $9); print $9 }' "$W/a/summary.md")"
is "and how many steps are clear" "$(jq -r '.resolution | "\(.samples) samples tell \(.told_apart) of \(.neighbours) steps"' "$W/a/summary.json")" \
    "$(grep -o '^8 samples tell [0-9] of 9 steps' "$W/a/summary.md")"
is "all that was measured is in the database" "$(sha256sum "$W"/a/top*/metrics.json | cut -d ' ' -f 1 | sort)" \
    "$(sqlite3 "$W/results.db" 'SELECT digest FROM document ORDER BY 1')"

bad=0
pairs=0
points=(10 20 30 40 50 60 70 80 90 100)
for ((i = 0; i < 10; i++)); do
    for ((k = i + 1; k < 10; k++)); do
        x=$W/a/top${points[i]} y=$W/a/top${points[k]}
        pairs=$((pairs + 1))
        diff-ckpt --expect "$x/scheme.json" --expect "$y/scheme.json" "$x/checkpoint" "$y/checkpoint" >/dev/null || bad=$((bad + 1))
    done
done
is "all 45 pairs of checkpoints differ in exactly the modules in which their schemes do" "45 0" "$pairs $bad"
run "diff-ckpt --expect $W/a/top10/scheme.json --expect $W/a/top20/scheme.json $W/a/top10/checkpoint $W/a/top10/checkpoint"
is "the same checkpoint twice does not pass for two" 1 "$status"
mkdir "$W/bad" && cp -r "$W"/a/top[123]0 "$W/bad/"
run "pipelines/neighbours.sh $W/bad 10 20 30"
is "neighbours.sh passes what differs as it should" "0 2" "$status $(wc -l <"$W/.out")"
rm -r "$W/bad/top20/checkpoint" && cp -r "$W/bad/top10/checkpoint" "$W/bad/top20/checkpoint"
run "pipelines/neighbours.sh $W/bad 10 20 30"
is "and stops a sweep whose checkpoints are copies" 1 "$status"

# An export measures what its scheme measures, to the last bit.
figures='.candidates[] | del(.name, .scheme, .scheme_digest, .tensors, .model_digest)'
for p in 10 50 100; do
    eval-logits -q --ref data/tiny-qwen2_5-vl --scheme "$W/a/top$p/scheme.json" "$W/a/eval-text.samples" "$W/a/eval.samples" >"$W/s.json"
    is "top$p: checkpoint and scheme give the same figures" "$(jq -cS "$figures" "$W/a/top$p/metrics.json")" "$(jq -cS "$figures" "$W/s.json")"
done

touch "$W/mark"
run "sweep $W/a COVERAGE=10..100"
is "a second sweep does nothing" "" "$(find "$W/a" -newer "$W/mark")"
rm -r "$W/a/top50/checkpoint" "$W/a/top70/check.txt"
run "sweep $W/a COVERAGE=10..100"
is "what is missing is made again, and nothing else is scored" "0 1" \
    "$status $(find "$W/a" -newer "$W/mark" -name 'checkpoint' | wc -l)"

run "sweep $W/b COVERAGE=10..100 -j2"
is "side by side, another sweep ends well" 0 "$status"
is "its files are the same bytes" "" "$(diff -rq "$W/a" "$W/b" | grep -v '/settings')"

is "and add nothing to the database" "10 results.db" \
    "$(sqlite3 "$W/results.db" 'SELECT count(*) FROM document') $(cd "$W" && echo results.db*)"

# Plots, where gnuplot is; without it a note.
mkdir "$W/bin" && for c in sh jq mktemp rm sed awk mv; do ln -s "$(command -v $c)" "$W/bin/$c"; done
run "PATH=$W/bin pipelines/report.sh $W/a"
is "without gnuplot there is a note" "0 report: gnuplot is not installed: no plots" "$status $(cat "$W/.err")"
is "and no plot" "" "$(find "$W/a" -name 'kl.*' -o -name 'report*')"
if command -v gnuplot >"$W/null"; then
    run "pipelines/report.sh $W/a"
    is "a report is drawn" "0 " "$status $(cat "$W/.err")"
    is "with ten points in either plot, and one in the key" 21 "$(grep -c "xlink:href='#gpPt6' transform" "$W/a/kl.svg")"
    is "and the table below" "10 1" "$(grep -cE '^<tr><td>[0-9]+</td>' "$W/a/report.html") $(grep -c '<svg' "$W/a/report.html")"
    is "and nothing else is left" "" "$(find "$W/a" -maxdepth 1 -name 'report.*' ! -name report.html)"
    cp -r "$W/a" "$W/damaged" && head -c 300 "$W/a/summary.json" >"$W/damaged/summary.json"
    run "pipelines/report.sh $W/damaged"
    is "a damaged summary is named" "3 report: '\$W/damaged/summary.json' is damaged: remove it and run make sweep OUT=\$W/damaged again" \
        "$status $(cat "$W/.err")"
    # gnuplot does not complain where there is no room: it writes half a picture.
    if unshare -rm true 2>"$W/null"; then
        mkdir "$W/disk"
        run "unshare -rm sh -c 'mount -t tmpfs -o size=20k none $W/disk && cp $W/a/summary.* $W/disk && pipelines/report.sh $W/disk; s=\$?
            ls -A $W/disk | xargs; exit \$s'"
        is "half a picture is none" "4 summary.json summary.md report: cannot write kl.svg whole in '\$W/disk': is there room?" \
            "$status $(cat "$W/.out" "$W/.err" | xargs -d '\n')"
    else
        skip "half a picture is none" "needs a user namespace for a small file system"
    fi
else
    skip "a report is drawn" "gnuplot is not installed"
fi
run "pipelines/report.sh $W/none"
is "no sweep, no report" "4 1" "$status $(grep -c "none/summary.json' is missing" "$W/.err")"

run "sweep $W/c COVERAGE=10,50,100 ONLY=50 RESULTS="
is "one point has no step" "[null,null]" "$(jq -c '[.points[0].step, .resolution]' "$W/c/summary.json")"
is "without a database nothing is kept" "" "$(find "$W/c" -name stored.txt)"
is "ONLY picks points" "50" "$(jq -r '[.points[].coverage] | join(" ")' "$W/c/summary.json")"
run "sweep $W/c COVERAGE=10..100:45 DRY_RUN=1"
is "a dry run prints a plan" "5" "$(wc -l <"$W/.out")"
is "a dry run writes no checkpoint" "1" "$(find "$W/c" -name checkpoint | wc -l)"
run "sweep $W/c COVERAGE=50 SCOPE=vision"
is "new settings start over" "vision" "$(jq -r .scope "$W/c/top50/scheme.json")"

run "sweep $W/g COVERAGE=50,100 SCORE='--formats fp8,int8' EXPORT='--format compressed-tensors'"
is "a sweep over two formats ends well" "0 true" "$status $(jq 'all(.points[]; .fp8_modules + .int8_modules > 0)' "$W/g/summary.json")"
is "both stand in its checkpoints" '["fp8","int8"]' "$(jq -c '[.modules[].format] | unique' "$W/g/top100/scheme.json")"

run "make -n --no-print-directory -f pipelines/sweep.mk TOOLS=$B/tools OUT=$W/d SAMPLES=4 COVERAGE=50 sweep"
is "make -n prints the commands" "13" \
    "$(grep -cE '^(coco-subset|calib-stream|layer-score|rank-layers|apply-coverage|export-ckpt|eval-logits) ' "$W/.out")"
for c in 0..10 abc 10..200 ''; do
    run "sweep $W/e COVERAGE=$c"
    is "COVERAGE='$c' is refused" "2 1" "$status $(grep -c 'names no coverage point' "$W/.err")"
done
run "sweep $W/f MODEL=$W/none COVERAGE=50"
is "a missing model stops it with its name" "2 1" "$status $(grep -c "$(basename "$W")/none\|\$W/none" "$W/.err")"
is "and leaves no summary" "" "$(find "$W/f" -name 'summary*')"
finish
