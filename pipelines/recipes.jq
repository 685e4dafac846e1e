# recipes.jq - recipes.json -> the table for people, in Markdown
include "format";
["recipe", "size", "KL", "KL 95 %", "top-1 %", "ppl", "Δppl"] as $head |
($head | row),
($head | to_entries | map(if .key == 0 then ":---" else "---:" end) | row),
(["unquantized", (.bytes | size), "-", "-", "-", (.recipes[0].ppl_ref | fixed(5)), "-"] | row),
(.recipes[] | [
    .recipe, (.bytes | size), (.kl_answer | sci), (.kl_answer_interval | map(sci) | join("..")), (100 * .top1 | fixed(2)),
    (.ppl | fixed(5)), (.delta_ppl | sci)
  ] | row),
"",
"KL: mean KL(reference ‖ quantized) in nats per answer token; KL 95 %: interval over samples (bootstrap).",
"top-1: share of tokens for which both models expect the same next one."
