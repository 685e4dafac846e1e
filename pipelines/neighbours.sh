#!/bin/sh
# neighbours.sh - compare the checkpoints of neighbouring coverage points: neighbours.sh OUT POINT...
#
# Fails unless each pair differs in exactly the layers in which its schemes differ.
set -eu
out=$1
shift
previous=
for p; do
    if [ -n "$previous" ]; then
        # Not in a pipe, and not within echo: the status of diff-ckpt is what counts.
        text=$(diff-ckpt "$out/top$previous/checkpoint" "$out/top$p/checkpoint" \
            --expect "$out/top$previous/scheme.json" --expect "$out/top$p/scheme.json")
        echo "top$previous top$p: $(echo "$text" | tail -n 1)"
    fi
    previous=$p
done
