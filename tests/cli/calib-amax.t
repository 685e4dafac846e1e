#!/bin/bash
# calib-amax.t - ranges of inputs and weights
. tests/lib.sh
. tests/models.sh
cmd() { echo "calib-amax -m $1 $2"; }
contract calib-amax
like 'calib-amax: no model' 2 '^calib-amax: -m MODEL is missing$' "calib-amax $S"

# The oracle's ranges; fp32 sums in another order move an input by some ulp.
calib-amax -m $M $S >"$W/layers.json"
ok 'calib-amax: the ranges are the reference'"'"'s' "jq -e -n --slurpfile got '$W/layers.json' \
    --slurpfile want $M.oracle.json '
        def near(\$a; \$b): (\$a - \$b | fabs) <= 2e-5 * (\$b | fabs);
        \$want[0].amax as \$w | \$got[0].modules as \$g | (\$w | length) > 10 and
            all(\$w | keys[]; . as \$k | near(\$g[\$k].input_amax; \$w[\$k].input) and
                near(\$g[\$k].weight_amax; \$w[\$k].weight))' >'$W/null'"
is 'calib-amax: one range for every linear module' "$(jq '.amax | length' $M.oracle.json)" \
    "$(jq '.modules | length' "$W/layers.json")"
is 'calib-amax: what it was measured on' '4 107' "$(jq -r '"\(.samples.count) \(.samples.tokens)"' "$W/layers.json")"
is 'calib-amax: the samples by their digest' "$(sha256sum <$S | cut -d ' ' -f 1)" \
    "$(jq -r .from.samples "$W/layers.json")"
is 'calib-amax: nothing is scored' null "$(jq .layer_sensitivity "$W/layers.json")"

# Ranges of shards merge by max, tokens by sum: exactly the whole.
for i in 0 1; do calib-amax -m $M --shard $i/2 $S >"$W/shard$i.json"; done
is 'calib-amax: ranges and tokens of the shards are those of the whole' "$(jq -S .modules "$W/layers.json")" \
    "$(jq -S -s '.[0].modules as $a | .[1].modules as $b | $a | with_entries(.key as $k | .value |= (
        .input_amax = ([.input_amax, $b[$k].input_amax] | max) | .tokens += $b[$k].tokens))' \
        "$W/shard0.json" "$W/shard1.json")"

# Text alone never reaches the vision tower: listed, without an input range.
calib-amax -m $TINY --shard 0/80 $DESCRIBE >"$W/text.json"
is 'calib-amax: a module that no data reached' '{"shape":[288,96],"weight_amax":0.30078125,"tokens":0}' \
    "$(jq -c '.modules["visual.blocks.0.attn.qkv"]' "$W/text.json")"
is 'calib-amax: a shard past the last sample is empty, not an error' '0 0' \
    "$(calib-amax -m $M --shard 7/8 $S | jq -r '"\(.samples.count) \([.modules[].tokens] | add)"')"
finish
