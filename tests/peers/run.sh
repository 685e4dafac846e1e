#!/bin/bash
# run.sh - check-peers: Hugging Face's libraries load our checkpoints and compute what our evaluation computes
#
# From the repository root, after a build.  The libraries come from PyPI into B/peers/venv, once; that is all that needs
# the network.  PYTHON names the interpreter (default python3); with PEERS_PYTHON, one that has the libraries already is
# used as it is.
set -eu
export LC_ALL=C OMP_WAIT_POLICY=passive PYTHONDONTWRITEBYTECODE=1 HF_HUB_OFFLINE=1 TRANSFORMERS_VERBOSITY=error
B=${B:-build}
here=tests/peers
model=data/tiny-qwen2_5-vl
samples=tests/golden/tiny-describe.samples.msgpack
work=$B/peers/work

if [ -z "${PEERS_PYTHON:-}" ]; then
    PEERS_PYTHON=$B/peers/venv/bin/python
    if ! cmp -s $here/requirements.txt "$B/peers/installed"; then
        rm -rf "$B/peers/venv"
        mkdir -p "$B/peers"
        "${PYTHON:-python3}" -m venv "$B/peers/venv"
        "$PEERS_PYTHON" -m pip install --quiet -r $here/requirements.txt
        cp $here/requirements.txt "$B/peers/installed"
    fi
fi
"$PEERS_PYTHON" -c 'import compressed_tensors, safetensors, torch, transformers as t
print("# transformers", t.__version__, "compressed-tensors", compressed_tensors.__version__, "safetensors",
      safetensors.__version__, "torch", torch.__version__)'

rm -rf "$work"
mkdir -p "$work"
trap 'rm -rf "$work"' EXIT
failed=0
peer() { # what transformers says on the way is shown only when a check fails
    "$PEERS_PYTHON" $here/checkpoint.py "$@" 2>"$work/talk" || { failed=1; tail -n 20 "$work/talk"; }
}

# INT8 with static and with dynamic inputs, smoothing folded into norms, FP8 beside both, and an FP8 KV cache.  Where every
# layer has static INT8 inputs, whose steps are 1/127 of their range, a code that flips takes single logits off by 3 % of
# their range (KL 1e-5 nats a token): half of the layers are compared.
"$B/tools/calib-amax" -q -m $model --per-channel --kv -o "$work/ranges.json" $samples
int8() { # int8 NAME OPTION... of apply-coverage
    "$B/tools/apply-coverage" -q "${@:2}" -o "$work/$1.json" "$work/ranges.json"
    "$B/tools/export-ckpt" -q -m $model -o "$work/$1" --format compressed-tensors "$work/$1.json"
}
int8 int8-static --select '*language_model.layers.[0-2].*' --select 'visual.blocks.0.*' --format int8
int8 int8-token --preset int8-dynamic-lm
int8 int8-smooth --select '*language_model.layers.[0-2].*' --format int8 --smooth-quant 0.5
int8 fp8-kv --preset fp8-lm-kv
# Layer 0 in FP8, 1 and 2 in INT8 and smoothed, the others in INT8 with inputs scaled at run time.
jq -s '.[0] as $fp8 | .[1] as $int8 | $fp8 | del(.kv_cache) | .modules |= with_entries(
    (.key | capture("layers.(?<i>[0-9])").i | tonumber) as $i |
    if $i < 1 then . elif $i < 3 then .value = $int8.modules[.key]
    else .value = {format: "int8", dynamic: true, input_amax: null} end)' \
    "$work/fp8-kv.json" "$work/int8-smooth.json" >"$work/mixed.json"
"$B/tools/export-ckpt" -q -m $model -o "$work/mixed" --format compressed-tensors "$work/mixed.json"
peer files "$work"/int8-static "$work"/int8-token "$work"/int8-smooth "$work"/fp8-kv "$work"/mixed

# Language only and with vision, in both layouts, alone and from a pool.
for point in lm-top50 lm-top100 all-top50 all-top100; do
    scheme=tests/golden/export/fp8-$point.scheme.json
    "$B/tools/export-ckpt" -q -m $model -o "$work/modelopt-$point" $scheme
    "$B/tools/export-ckpt" -q -m $model -o "$work/$point" --format compressed-tensors $scheme
    "$B/tools/export-ckpt" -q -m $model -o "$work/pool-$point" --format compressed-tensors --pool "$work/pool" $scheme
done
peer files "$work"/*top*

# Logits are off by at most 2 % of their range, in bf16 by 3 % where every layer is FP8: there each rounding of an
# activation flips codes of inputs downstream, and transformers with eager attention is 2.2 % off from itself with its
# other one (2.5 % from itself in fp32; scales that bf16 holds exactly, or powers of two, change nothing: 2.1 to 2.8 %).
logits() { # logits CHECKPOINT DTYPE...; most: how far off they may be
    local checkpoint=$1 dtype
    shift
    "$B/tools/eval-logits" -q -f --ref "$checkpoint" --ref-dtype fp32 --save-ref "$work/states" $samples
    for dtype; do peer logits "$checkpoint" --states "$work/states" --samples $samples --dtype "$dtype" --most "${most:-0.02}"; done
}
logits "$work/lm-top50" float32 bfloat16
logits "$work/all-top50" float32 bfloat16
logits "$work/pool-all-top50" bfloat16
logits "$work/lm-top100" float32
logits "$work/all-top100" float32
most=0.03 logits "$work/lm-top100" bfloat16
most=0.03 logits "$work/all-top100" bfloat16
for x in int8-static int8-token int8-smooth fp8-kv mixed; do logits "$work/$x" float32; done
logits "$work/int8-token" bfloat16

# What the unit tests hold our perplexity to.
"$PEERS_PYTHON" $here/perplexity.py tests/golden nested4-gqa8 nested5-sharded tiny-describe \
    --check tests/golden/eval/torchmetrics.json 2>"$work/talk" || { failed=1; tail -n 20 "$work/talk"; }

# From files to figures: goldens of KL and perplexity that the tests hold eval-logits to.
for golden in models/nested4-gqa8 models/nested5-sharded tiny-describe; do
    dir=tests/golden/$golden
    [ $golden = tiny-describe ] && dir=$model
    "$PEERS_PYTHON" $here/eval_kl.py $dir tests/golden/$golden.samples.msgpack --check \
        <(jq '{candidates: [.]}' "tests/golden/eval/${golden#models/}.kl.json") 2>"$work/talk" || { failed=1; tail -n 20 "$work/talk"; }
done

# Hidden states of every block, of a copy with 64 weights of a vision block and of a language layer changed.
copy=$work/quarter
golden=tests/golden/models/nested4-gqa8
cp -r $golden "$copy" && chmod -R u+w "$copy"
"$PEERS_PYTHON" - "$copy/model.safetensors" <<'END'
import sys
from safetensors.torch import load_file, save_file
t = load_file(sys.argv[1])
for name in "model.visual.blocks.1.attn.qkv.weight", "model.language_model.layers.1.mlp.down_proj.weight":
    t[name].view(-1)[:64] = 0.25
save_file(t, sys.argv[1], metadata={"format": "pt"})
END
"$B/tools/eval-logits" -q --ref $golden -m "$copy" --blocks -o "$work/blocks.json" $golden.samples.msgpack
"$PEERS_PYTHON" $here/eval_blocks.py $golden "$copy" $golden.samples.msgpack --check "$work/blocks.json" 2>"$work/talk" ||
    { failed=1; tail -n 20 "$work/talk"; }
exit $failed
