#!/bin/sh
# plan.sh - what each scheme would take, before any checkpoint is written: plan.sh MODEL SCHEME...
set -eu
model=$1
shift
echo '| coverage % | groups | bytes % | effective bits | predicted size | predicted KL |'
echo '| ---: | ---: | ---: | ---: | ---: | ---: |'
for s; do
    bytes=$(export-ckpt -q --dry-run -m "$model" "$s" | awk '$1 == "total" { print $NF }')
    jq -r -L "$(dirname "$0")" --argjson bytes "$bytes" 'include "format"; [.top_percent,
        "\(.num_layers_selected)/\(.num_layers_total)", (100 * .bytes_fraction | fixed(1)), (.effective_bits | fixed(3)),
        ($bytes | size), (.predicted_kl | sci)] | row' "$s"
done
