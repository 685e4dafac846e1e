#!/bin/bash
# compare-metrics.t - candidates that were measured apart
. tests/lib.sh
. tests/models.sh
t compare-metrics-help 0 'compare-metrics --help'
like 'compare-metrics: a bad option' 2 'unknown or ambiguous option .*--frobnicate' 'compare-metrics --frobnicate'
like 'compare-metrics: no such file' 4 "cannot open 'no/such.json': No such file" 'compare-metrics no/such.json'
like 'compare-metrics: nothing on standard input' 3 'standard input' 'compare-metrics'

layer-score -q -m $TINY --fused-ranges own $DESCRIBE | rank-layers >"$W/ranked.json"
mkdir "$W/top10" "$W/top50" "$W/top100" "$W/other"
for p in 10 50 100; do
    apply-coverage $p --include-unservable --fused-ranges own -o "$W/top$p.json" "$W/ranked.json"
    eval-logits -q --ref $TINY --scheme "$W/top$p.json" --shard 0/4 -o "$W/top$p/metrics.json" $DESCRIBE
done
eval-logits -q --ref $TINY --scheme "$W/top10.json" --scheme "$W/top50.json" --scheme "$W/top100.json" --shard 0/4 $DESCRIBE >"$W/one.json"
all="$W/top10/metrics.json $W/top50/metrics.json $W/top100/metrics.json"

# ---- as in one run ----
run "compare-metrics $all -o $W/apart.json"
is 'compare-metrics: all is well' 0 "$status"
is 'compare-metrics: what is measured apart is what is measured together' "$(jq -cS 'del(.argv, .tool)' "$W/one.json")" \
    "$(jq -cS 'del(.argv, .tool)' "$W/apart.json")"
ok 'compare-metrics: the same again' "compare-metrics $all 2>\$W/hint | cmp - $W/apart.json"
is 'compare-metrics: what is not told apart is said' 1 "$(grep -c '^compare-metrics: 20 samples tell 1 of 2 neighbouring' "$W/hint")"
is 'compare-metrics: neighbours only' "$(jq -c '[.pairs[0, 2]], .resolution' "$W/one.json")" \
    "$(compare-metrics -q --neighbours $all | jq -c '.pairs, .resolution')"
is 'compare-metrics: documents of several candidates, and a pipe' "$(jq -c .pairs "$W/apart.json")" \
    "$(compare-metrics -q - <"$W/one.json" | jq -c .pairs)"
is 'compare-metrics: samples of a document make its figures' true "$(jq '.samples.per_sample as $s | .candidates | all(
    (((.per_sample.kl_answer | add) / ($s.loss_tokens | add) / .kl_answer - 1) | fabs) < 1e-12 and
    (((.per_sample.nll | add) / ($s.loss_tokens | add) | exp) / .ppl - 1 | fabs) < 1e-12 and
    (.per_sample.same_top | add) / ($s.tokens | add) == .top1)' "$W/one.json")"
is 'compare-metrics: whose ids and kinds they name' '[20,10,["text/100001","val2017/000000100001.jpg"]]' \
    "$(jq -c '.samples.per_sample | [(.id | length), (.picture | map(select(.)) | length), [.id[0], .id[10]]]' "$W/one.json")"

# ---- for people ----
run "compare-metrics --table $all"
is 'compare-metrics: a line for each candidate, and one for neighbours' '3 2' \
    "$(grep -cE '^top[0-9]+.json: [0-9.e-]+ \[[0-9.e-]+, [0-9.e-]+\]$' "$W/.out") $(grep -cE '^top[0-9]+.json (is|equals).* top[0-9]+.json: ' "$W/.out")"
is 'compare-metrics: its intervals are the documents'"'" "$(jq -r '.candidates[] | .uncertainty.kl_answer.interval[0] * 1e9 | round' "$W/one.json")" \
    "$(sed -nE 's/^top[0-9]+.json: [^ ]+ \[([^,]+),.*/\1/p' "$W/.out" | awk '{ printf "%.0f\n", $1 * 1e9 }')"
is 'compare-metrics: it states what is worse' 'top50.json is worse than top10.json' \
    "$(grep -o 'top50.json is worse than top10.json' "$W/.out")"

# ---- names ----
for p in 10 50; do jq '.candidates[0].name = "checkpoint"' "$W/top$p/metrics.json" >"$W/top$p/named.json"; done
is 'compare-metrics: of one name, by their folders' 'top10/checkpoint top50/checkpoint' \
    "$(compare-metrics -q "$W"/top10/named.json "$W"/top50/named.json | jq -r '[.candidates[].name] | join(" ")')"
cp "$W/top50/named.json" "$W/top10/other.json"
like 'compare-metrics: of one name in one folder' 3 "two candidates are called 'top10/checkpoint'" \
    "compare-metrics $W/top10/named.json $W/top10/other.json"

# ---- what does not fit ----
like 'compare-metrics: one candidate' 3 'nothing to compare: 1 candidate$' "compare-metrics $W/top10/metrics.json"
eval-logits -q --ref $TINY --scheme "$W/top50.json" --shard 1/4 -o "$W/other/shard.json" $DESCRIBE
like 'compare-metrics: another shard' 3 "other/shard.json' was measured on other samples than '.*top10/metrics.json', or on another shard" \
    "compare-metrics $W/top10/metrics.json $W/other/shard.json"
eval-logits -q --ref $TINY --scheme "$W/top50.json" --shard 0/4 -o "$W/other/samples.json" $DESCRIBE $DESCRIBE
like 'compare-metrics: other samples' 3 'other/samples.json. was measured on other samples' \
    "compare-metrics $W/top10/metrics.json $W/other/samples.json"
jq '.from.reference |= sub("^."; "x")' "$W/top50/metrics.json" >"$W/other/reference.json"
like 'compare-metrics: another reference' 3 "other/reference.json' has another reference than" \
    "compare-metrics $W/top10/metrics.json $W/other/reference.json"
eval-ppl -q -m $TINY --shard 0/4 -o "$W/other/ppl.json" $DESCRIBE
like 'compare-metrics: no reference' 3 'was not measured against a reference: give METRICS of eval-logits' \
    "compare-metrics $W/top10/metrics.json $W/other/ppl.json"
jq 'del(.candidates[0].per_sample)' "$W/top50/metrics.json" >"$W/other/old.json"
like 'compare-metrics: no samples' 3 "other/old.json' has no per_sample: measure again" \
    "compare-metrics $W/top10/metrics.json $W/other/old.json"
jq '.candidates[0].per_sample.kl_answer[3] *= 2' "$W/top50/metrics.json" >"$W/other/changed.json"
like 'compare-metrics: samples that do not add up' 3 'kl_answer is .* where its samples make .*: the document was changed' \
    "compare-metrics $W/top10/metrics.json $W/other/changed.json"
jq '.candidates[0].per_sample.kl |= .[1:]' "$W/top50/metrics.json" >"$W/other/short.json"
like 'compare-metrics: samples that are missing' 3 'per_sample.kl has 19 values for 20 samples' \
    "compare-metrics $W/top10/metrics.json $W/other/short.json"
jq '.candidates[0].per_sample.same_top[0] = -1' "$W/top50/metrics.json" >"$W/other/kind.json"
like 'compare-metrics: a count that is negative' 3 'value 0 of per_sample.same_top is not of its kind' \
    "compare-metrics $W/top10/metrics.json $W/other/kind.json"
like 'compare-metrics: a SCHEME' 3 'is not an octet-metrics document' "compare-metrics $W/top10/metrics.json $W/top10.json"
jq '.schema = "octet-metrics/2"' "$W/top50/metrics.json" >"$W/other/newer.json"
like 'compare-metrics: a newer document' 3 "this version reads up to octet-metrics/1" "compare-metrics $W/other/newer.json"
head -c 4000 "$W/top50/metrics.json" >"$W/other/cut.json"
like 'compare-metrics: a truncated document' 3 'cut.json' "compare-metrics $W/top10/metrics.json $W/other/cut.json"

# ---- outputs ----
like 'compare-metrics: an output that exists' 2 "apart.json' exists: remove it or use -f" "compare-metrics $all -o $W/apart.json"
like 'compare-metrics: a full disk' 4 'No space left' "compare-metrics -q $all >/dev/full"
like 'compare-metrics: a table on a full disk' 4 'No space left' "compare-metrics --table $all >/dev/full"
finish
