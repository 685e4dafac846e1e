# recipe.jq - one recipe: [scheme, metrics] and $bytes of its checkpoint -> a row of the table
.[0] as $s | .[1].candidates[0] as $m |
{
  recipe: $s.scheme_name, modules: ($s.modules | length), formats: ([$s.modules[].format] | unique),
  kv_cache: ($s.kv_cache.format // null), bytes: $bytes,
  kl_answer: $m.kl_answer, kl_answer_interval: $m.uncertainty.kl_answer.interval, kl: $m.kl, top1: $m.top1,
  ppl: $m.ppl, ppl_ref: $m.ppl_ref, delta_ppl: ($m.ppl - $m.ppl_ref)
}
