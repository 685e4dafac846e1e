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
        echo "top$previous top$p: $(diff-ckpt "$out/top$previous/checkpoint" "$out/top$p/checkpoint" \
            --expect "$out/top$previous/scheme.json" --expect "$out/top$p/scheme.json" | tail -n 1)"
    fi
    previous=$p
done
