#!/bin/bash
# golden-fp64.t - scores and ten coverage points of the tiny model in fp64 against the reference library in fp64
#
# In fp32 an input near the edge between two codes falls on either side, as the order of a sum has it, and codes downstream
# with it: golden-sweep.t can ask for little above 50 %.  In fp64 two right implementations agree at every point.
#
# Tolerances.  What is left is that our logits are fp32, some 1e-6 nats off each.  Measured: perplexity 7e-9, KL 2e-6, KL and
# MSE of last positions 6e-5 and 4e-7, scores 1e-7, that of lm_head, whose output is logits, 5e-7.  Asked for: about ten times
# that, where in fp32 the figures are off by 5e-4 and 9 %.
. tests/lib.sh
if sanitized; then
    skip 'ten coverage points' 'numbers alone; tests/unit/operations.c runs the same operations'
    finish
fi
samples=tests/golden/tiny-describe.samples.msgpack
oracle=tests/golden/tiny-describe.fp64.oracle.json
on='-q --dtype fp64'

layer-score $on -m data/tiny-qwen2_5-vl --fused-ranges own $samples | rank-layers -o "$W/layers.json"
points='10 20 30 40 50 60 70 80 90 100'
schemes=()
for p in $points; do
    apply-coverage $p --include-unservable --fused-ranges own -o "$W/top$p.json" "$W/layers.json"
    schemes+=(--scheme "$W/top$p.json")
    is "selection of $p %" "$(jq -c ".ranking[: (.coverage[] | select(.pct == $p).selected)] | sort" $oracle)" \
        "$(jq -c '.selected_layers | sort' "$W/top$p.json")"
done
run "eval-logits $on --ref data/tiny-qwen2_5-vl ${schemes[*]} -o $W/metrics.json $samples"
is 'ten points evaluated' '0 10' "$status $(jq '.candidates | length' "$W/metrics.json")"

check() { # check NAME JQ: a condition over {want, got, ref}, all points
    is "$1" true "$(jq -n --slurpfile o $oracle --slurpfile m "$W/metrics.json" "
        def near(a; b; rel): ((a - b) | fabs) <= rel * b;
        [range(10) | {want: \$o[0].coverage[.], got: \$m[0].candidates[.], ref: \$o[0].ppl_ref}] | length == 10 and all(.[]; $2)")"
}
check 'perplexity, unquantized' 'near(.got.ppl_ref; .ref; 1e-7)'
check 'perplexity' 'near(.got.ppl; .want.ppl; 1e-7)'
check 'KL of all positions' 'near(.got.kl; .want.kl_all; 2e-5)'
check 'KL of last positions' 'near(.got.kl_last; .want.kl_last; 1e-3)'
check 'MSE of last positions' 'near(.got.mse_last; .want.mse_last; 5e-6)'
check 'top-1' '.got.top1 == .want.top1'
is 'gradient scores of all 44 groups' '44 44' "$(jq -r -n --slurpfile got "$W/layers.json" --slurpfile want $oracle '
    $got[0].layer_sensitivity as $g | $want[0].groups | to_entries | "\(length) \([.[] | $g[.key] as $s |
        select($s.members == .value.members and ($s.gradient / .value.score - 1 | fabs) <= 5e-6)] | length)"')"
is 'ranking' "$(jq -c .ranking $oracle)" "$(jq -c '[.sensitivity_ranking[].name]' "$W/layers.json")"
finish
