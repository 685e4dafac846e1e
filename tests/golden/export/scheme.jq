# scheme.jq - evidence.json of a ModelOpt export to the SCHEME that describes it: every module with its own ranges
def canonical: ltrimstr("model.");
def group: sub("\\.(k|v)_proj$"; ".q_proj") | sub("\\.up_proj$"; ".gate_proj");
def once: reduce .[] as $x ([]; if index([$x]) then . else . + [$x] end);
. as $export
| [.enabled_quantizers[] | select(endswith(".weight_quantizer")) | rtrimstr(".weight_quantizer")] as $modules
| [.enabled_quantizers[] | select(endswith(".k_bmm_quantizer")) | rtrimstr(".self_attn.k_bmm_quantizer")] as $caches
| ([$modules[] | canonical | group] | once) as $groups
| {schema: "octet-scheme/1", tool: "scheme.jq", version: "1", argv: [], from: {},
   baseline_dir: "", baseline_manifest: "", scheme_name: .name, top_percent: null, coverage_fraction: null,
   num_layers_total: ($groups | length), num_layers_selected: ($groups | length), num_layers_dropped: 0,
   selected_layers: $groups, dropped_layers: [],
   rounding: "modelopt", fused_ranges: "own", model: {id: "tiny-qwen2_5-vl"},
   modules: ([$modules[] | $export.amax[. + ".weight_quantizer"] as $weight | $export.amax[. + ".input_quantizer"] as $input
              | {key: canonical,
                 value: (if ($weight | type) == "number" then {format: "fp8", weight_amax: $weight, input_amax: $input}
                         else {format: "int8", input_amax: $input} end)}] | from_entries)}
+ if $caches == [] then {} else
   {kv_cache: {format: "fp8",
               layers: ([$caches[] | {key: canonical,
                                      value: {k_amax: $export.amax[. + ".self_attn.k_bmm_quantizer"],
                                              v_amax: $export.amax[. + ".self_attn.v_bmm_quantizer"]}}] | from_entries)}}
  end
