# int8.sh - the INT8 runs of the tiny model that tests compare with the reference library; sourced after lib.sh
#
# A test sets `on`, the options of all tools that run the model, and `oracle`, the reference's figures.
#
#   ranges REL             calib-amax, and the ranges of keys and values, right within REL
#   score NAME OPTION...   layer-score into $W/NAME.json
#   choose                 selections of 10, 50 and 100 % of static, dynamic and smooth, which are tests; sets `schemes`,
#                          --scheme options of these nine and of 10 % of dynamic over an FP8 KV cache
# shellcheck disable=SC2034
samples='--shard 0/5 tests/golden/tiny-describe.samples.msgpack'

ranges() {
    calib-amax $on -m data/tiny-qwen2_5-vl --per-channel --kv -o "$W/ranges.json" $samples
    is 'ranges of keys and values' true "$(jq -n --slurpfile got "$W/ranges.json" --slurpfile want "$oracle" --argjson rel "$1" '
        [$got[0].modules[].kv_amax | values] as $g | [$want[0].kv.amax[][]] as $w | ($w | length) == 12 and
        ($g | length) == 12 and all(range(12); ($g[.] - $w[.] | fabs) <= $rel * $w[.])')"
}

score() {
    layer-score $on -m data/tiny-qwen2_5-vl --formats int8 --ranges "$W/ranges.json" -o "$W/$1.json" "${@:2}" $samples
}

choose() {
    local run p
    schemes=()
    for run in static dynamic smooth; do
        rank-layers -o "$W/$run.ranked" "$W/$run.json"
        for p in 10 50 100; do
            apply-coverage $p -o "$W/$run-$p.json" "$W/$run.ranked"
            schemes+=(--scheme "$W/$run-$p.json")
            is "$run: selection of $p %" \
                "$(jq -c --argjson p $p ".$run.coverage[] | select(.percent == \$p).selected | sort" "$oracle")" \
                "$(jq -c '.selected_layers | sort' "$W/$run-$p.json")"
        done
    done
    apply-coverage 10 --kv fp8 -o "$W/kv.json" "$W/dynamic.ranked"
    schemes+=(--scheme "$W/kv.json")
}
