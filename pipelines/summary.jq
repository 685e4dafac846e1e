# summary.jq - the rows of all coverage points, and $pairs, what they are to their neighbours -> summary.json
($pairs[0].pairs // []) as $steps |
{schema: "octet-summary/1",
 points: (sort_by(.coverage) | map(. as $p | . + {step: (
   [$steps[] | select(.b == "top\($p.coverage)/checkpoint")][0] |
   if . then {verdict, difference: .kl_answer.difference, interval: .kl_answer.interval, samples_needed} else . end)})),
 resolution: (if $pairs[0].resolution then {samples: $pairs[0].samples.count} + $pairs[0].resolution else null end)}
