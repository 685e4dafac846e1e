#!/bin/bash
# golden-fp64-int8.t - INT8, SmoothQuant and an FP8 KV cache in fp64 against the reference library in fp64
#
# The runs of golden-int8.t, where fp32 lets codes flip, at the tolerances of golden-fp64.t.  Measured: perplexity 2e-8, KL
# 2e-5 (of 5e-8 nats; our logits are fp32), gradient scores 2e-7, that of lm_head 8e-6, KL scores 5e-5.
. tests/lib.sh
. tests/int8.sh
if sanitized; then
    skip 'INT8 in fp64' 'numbers alone; tests/unit/operations.c runs the same operations'
    finish
fi
on='-q --dtype fp64'
oracle=tests/golden/tiny-describe.fp64.int8.json

against() { # against NAME DOCUMENT RUN KEY ORACLE_KEY REL: of how many of the groups the number is right
    is "$1" '44 44' "$(jq -r -n --slurpfile got "$W/$2" --slurpfile want $oracle --arg run "$3" --arg k "$4" --arg o "$5" \
        --argjson rel "$6" '$got[0].layer_sensitivity as $g | $want[0][$run].groups | to_entries | "\(length) \([.[] |
            $g[.key] as $s | select($s.members == .value.members and ($s[$k] / .value[$o] - 1 | fabs) <= $rel)] | length)"')"
}
ranges 6e-8
score static
score dynamic --activations dynamic
score smooth --smooth-quant 0.5
score static-kl --method kl
for run in static dynamic smooth; do against "$run: gradient scores" $run.json $run gradient score 1e-4; done
against 'static: KL scores' static-kl.json static kl kl_sum 5e-4

choose
run "eval-logits $on --ref data/tiny-qwen2_5-vl ${schemes[*]} -o $W/metrics.json $samples"
is 'ten points evaluated' '0 10' "$status $(jq '.candidates | length' "$W/metrics.json")"
check() { # check NAME JQ: a condition over {want, got}: 10, 50 and 100 % of each run, and the KV cache
    is "$1" true "$(jq -n --slurpfile o $oracle --slurpfile m "$W/metrics.json" "
        def near(a; b; rel): ((a - b) | fabs) <= rel * b;
        [\$o[0] | .static, .dynamic, .smooth | .coverage[]] + [\$o[0].kv] |
            [range(10) as \$i | {want: .[\$i], got: \$m[0].candidates[\$i]}] | length == 10 and all(.[]; $2)")"
}
is 'perplexity, unquantized' true "$(jq -n --slurpfile o $oracle --slurpfile m "$W/metrics.json" \
    '($m[0].candidates[0].ppl_ref / $o[0].ppl_ref - 1 | fabs) <= 2e-7')"
check 'perplexity' 'near(.got.ppl; .want.ppl; 2e-7)'
check 'KL' 'near(.got.kl; .want.kl; 2e-4)'
check 'top-1' '.got.top1 == .want.top1'
finish
