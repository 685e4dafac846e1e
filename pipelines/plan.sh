#!/bin/sh
# plan.sh - what each scheme would take, before any checkpoint is written: plan.sh MODEL SCHEME...
set -eu
model=$1
shift
echo '| coverage % | groups | bytes % | effective bits | predicted size | predicted KL |'
echo '| ---: | ---: | ---: | ---: | ---: | ---: |'
for s; do
    bytes=$(export-ckpt -q --dry-run -m "$model" "$s" | awk '$1 == "total" { print $NF }')
    jq -r --argjson bytes "$bytes" '"| \(.top_percent) | \(.num_layers_selected)/\(.num_layers_total) | " +
        "\(1000 * .bytes_fraction | round / 10) | \(1000 * .effective_bits | round / 1000) | " +
        "\($bytes / 10485.76 | round / 100) MiB | \(.predicted_kl) |"' "$s"
done
