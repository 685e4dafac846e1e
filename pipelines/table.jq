# table.jq - summary.json -> the table for people, in Markdown
include "format";
["coverage %", "groups", "bytes %", "effective bits", "size", "predicted KL", "KL", "KL 95 %", "MSE", "top-1 %", "ppl", "Δppl"] as $head |
($head | row),
($head | map("---:") | row),
(.points[] | [
    (.coverage | tostring), "\(.groups)/\(.groups_total)", (100 * .bytes_fraction | fixed(1)), (.effective_bits | fixed(3)),
    (.checkpoint_bytes | size), (.predicted_kl | sci), (.kl_answer | sci), (.kl_answer_interval | map(sci) | join("..")), (.mse | sci), (100 * .top1 | fixed(2)),
    (.ppl | fixed(5)), (.delta_ppl | sci)
  ] | row),
"",
"KL: mean KL(reference ‖ quantized) in nats per answer token; predicted KL: the same from the scores alone; KL 95 %: interval over samples (bootstrap).",
"MSE: of logits, all tokens.",
"The unquantized model has perplexity \(.points[0].ppl_ref | fixed(5)) on these samples."
