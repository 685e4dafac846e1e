# row.jq - one coverage point: [scheme, metrics] and $bytes of its checkpoint -> a row of the summary
.[0] as $s | .[1].candidates[0] as $m |
{
  coverage: $s.top_percent, groups: $s.num_layers_selected, groups_total: $s.num_layers_total,
  bytes_fraction: $s.bytes_fraction, effective_bits: $s.effective_bits, checkpoint_bytes: $bytes,
  predicted_kl: $s.predicted_kl, kl_answer: $m.kl_answer, kl_answer_interval: $m.uncertainty.kl_answer.interval, kl: $m.kl, kl_last: $m.kl_last, mse: $m.mse,
  mse_last: $m.mse_last, top1: $m.top1, ppl: $m.ppl, ppl_ref: $m.ppl_ref, delta_ppl: ($m.ppl - $m.ppl_ref),
  fp8_modules: $m.fp8_modules, int8_modules: ($m.int8_modules // 0), scales_applied: $m.scales_applied
}
