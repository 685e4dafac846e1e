# summary.jq - [scheme, metrics, scheme, metrics, ...] of the coverage points, $bytes, a line for each checkpoint's, and
# $pairs, what points are to their neighbours -> summary.json
($pairs[0].pairs // []) as $steps | ($bytes | split("\n") | map(tonumber)) as $sizes |
[.[range(0; length; 2):] | .[0] as $s | .[1].candidates[0] as $m | {
   coverage: $s.top_percent, groups: $s.num_layers_selected, groups_total: $s.num_layers_total,
   bytes_fraction: $s.bytes_fraction, effective_bits: $s.effective_bits, checkpoint_bytes: null,
   predicted_kl: $s.predicted_kl, kl_answer: $m.kl_answer, kl_answer_interval: $m.uncertainty.kl_answer.interval, kl: $m.kl,
   kl_last: $m.kl_last, mse: $m.mse, mse_last: $m.mse_last, top1: $m.top1, ppl: $m.ppl, ppl_ref: $m.ppl_ref,
   delta_ppl: ($m.ppl - $m.ppl_ref), fp8_modules: $m.fp8_modules, int8_modules: ($m.int8_modules // 0),
   scales_applied: $m.scales_applied
 }] |
{schema: "octet-summary/1",
 points: ([., $sizes] | transpose | map(.[1] as $size | .[0] | .checkpoint_bytes = $size) | sort_by(.coverage) |
   map(. as $p | . + {step: (
     [$steps[] | select(.b == "top\($p.coverage)/checkpoint")][0] |
     if . then {verdict, difference: .kl_answer.difference, interval: .kl_answer.interval, samples_needed} else . end)})),
 resolution: (if $pairs[0].resolution then {samples: $pairs[0].samples.count} + $pairs[0].resolution else null end)}
