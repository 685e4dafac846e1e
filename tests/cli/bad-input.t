#!/bin/bash
# bad-input.t - samples that do not fit their model, weights that are not finite, disks that are full, pipes that close
. tests/lib.sh
. tests/models.sh
calib-amax -m $M $S | tee "$W/ranges.json" | apply-coverage --select '*.mlp.*' -o "$W/scheme.json"
export-ckpt -q -m $M -o "$W/ckpt" "$W/scheme.json"
layer-score -m $M -o "$W/layers.json" $S

# The tools that run a model over samples, as `$tool MODEL SAMPLES`.
amax() { calib-amax -q -m "$@"; }
score() { layer-score -q -m "$@"; }
ppl() { eval-ppl -q -m "$@"; }
logits() { eval-logits -q --ref "$1" -m "$1" "${@:2}"; }
export -f amax score ppl logits
runners='amax score ppl logits'

# ---- samples that are whole, but not this model's: each sample's pictures against its image tokens ----
# Image tokens are id 519, 07 02 00 00; grids are arrays [1, h, w]; rgb keeps its bytes, so h * w * patch^2 must, too.
bad() { perl -0777 -pe "$2" $S >"$W/$1.samples"; }
bad few 's/\x07\x02\0\0/\x09\0\0\0/'
bad many 's/\x04\x02\0\0\x07\x02\0\0/\x07\x02\0\0\x07\x02\0\0/'
bad none 's/\x07\x02\0\0/\x09\0\0\0/g'
bad patch 's/grid\x93\x01\x04\x04/grid\x93\x01\x02\x02/'
bad odd 's/grid\x93\x01\x04\x04/grid\x93\x01\x01\x10/'
bad vocabulary 's/\x07\x02\0\0/\xff\xff\xff\x7f/'
for tool in $runners; do
    like "$tool: a sample with too few image tokens" 3 \
        "^[a-z-]+: sample 'pictures-3': it has 3 image tokens .* 4 x 4 patches needs 4$" "$tool $M $W/few.samples"
    like "$tool: a sample with too many image tokens" 3 "sample 'pictures-3': it has 5 image tokens .* needs 4$" \
        "$tool $M $W/many.samples"
    like "$tool: a sample without any" 3 "sample 'pictures-3': it has 3 pictures, but image tokens for 0 only$" \
        "$tool $M $W/none.samples"
    like "$tool: a picture in patches of another size" 3 \
        "sample 'pictures-3': its picture of 2 x 2 patches of 28 pixels does not fit this model" "$tool $M $W/patch.samples"
    like "$tool: a picture that cannot be merged" 3 \
        "sample 'pictures-3': its picture of 1 x 16 patches of 14 pixels does not fit this model" "$tool $M $W/odd.samples"
    like "$tool: a token that the model does not have" 3 "sample 'pictures-3': .*2147483647" "$tool $M $W/vocabulary.samples"
done

# ---- samples of another model, by their header ----
calib-stream -q -m $M -n 2 -o "$W/own.samples" data/shapes2017
copy respelled # the same tokenizer and settings, as another program writes them
for f in tokenizer.json preprocessor_config.json; do jq -S . $M/$f >"$W/respelled/$f"; done
copy retrained
jq '.model.merges |= (.[0:-1])' $M/tokenizer.json >"$W/retrained/tokenizer.json"
copy resized
jq '.max_pixels = 3136' $M/preprocessor_config.json >"$W/resized/preprocessor_config.json"
copy mute
rm "$W"/mute/tokenizer*.json
apply-coverage -q 100 "$W/layers.json" -o "$W/all.json"
export-ckpt -q -m $M -o "$W/all" "$W/all.json"
for tool in $runners; do
    ok "$tool: samples of this model" "$tool $M $W/own.samples | jq -e .schema >$W/null"
    ok "$tool: its tokenizer in other words" "$tool $W/respelled $W/own.samples | jq -e .schema >$W/null"
    like "$tool: samples of another tokenizer" 3 \
        "^[a-z-]+: the samples: the tokenizer .* is not that of '.*/retrained' .*calib-stream .*--foreign-samples" \
        "$tool $W/retrained $W/own.samples"
    like "$tool: pictures of other sizes" 3 \
        "^[a-z-]+: the samples: pictures were resized by other settings .* '.*/resized'.*calib-stream" "$tool $W/resized $W/own.samples"
    ok "$tool: --foreign-samples" "$tool $W/retrained $W/own.samples --foreign-samples | jq -e .schema >$W/null"
    ok "$tool: a model without a tokenizer" "$tool $W/mute $W/own.samples | jq -e .schema >$W/null"
done
ok 'eval-ppl: samples of the model that a checkpoint was made of' "eval-ppl -q -m $W/all $W/own.samples | jq -e .schema >$W/null"

# ---- what the model's other readers say of weights and schemes ----
copy nan
printf '\x00\x00\xc0\x7f' | dd of="$W/nan/model.safetensors" bs=1 conv=notrunc status=none \
    seek="$(tensor_at $M/model.safetensors model.language_model.layers.1.mlp.down_proj.weight)"
nan="nan/model.safetensors.*tensor 'model.language_model.layers.1.mlp.down_proj.weight' .*NaN"
like 'export-ckpt: a weight that is NaN' 3 "$nan" "export-ckpt -q -m $W/nan -o $W/x $W/scheme.json"
like 'generate: a weight that is NaN' 3 "$nan" "generate -q -m $W/nan hello"
copy infinite
printf '\x00\x00\x80\xff' | dd of="$W/infinite/model.safetensors" bs=1 conv=notrunc status=none \
    seek="$(tensor_at $M/model.safetensors model.language_model.embed_tokens.weight)"
like 'generate: an embedding that is infinite' 3 \
    "infinite/model.safetensors.*tensor 'model.language_model.embed_tokens.weight' .*infinity" "generate -q -m $W/infinite hello"
sed 's/layers\.1\.mlp\.down_proj/layers.9.mlp.down_proj/' "$W/scheme.json" >"$W/unknown.json"
like 'generate: a scheme of another model' 3 "'language_model.layers.9.mlp.down_proj'" \
    "generate -q -m $M --scheme $W/unknown.json hello"
is 'nothing was written' '' "$(cd "$W" && ls -d x* 2>&1 | grep -v 'No such')"

# ---- no room for the result: each option that writes a file, under a limit of no bytes at all ----
V=data/shapes2017/annotations/captions_val2017.json
cat >"$W/writers" <<END
coco-subset --calib-db	coco-subset -q -n 4 -a $V --calib-db OUT
coco-subset --captions	coco-subset -q -n 4 -a $V --captions OUT
coco-subset --eval	coco-subset -q -n 4 -a $V --eval OUT
calib-stream -o	calib-stream -q -m $M -n 1 -o OUT $V
calib-amax -o	calib-amax -q -m $M -o OUT $S
layer-score -o	layer-score -q -m $M -o OUT $S
rank-layers -o	rank-layers -q -o OUT $W/layers.json
rank-layers --report, a long one	rank-layers -q --report OUT data/published/qwen2_5-fp8-all-baseline.json >/dev/null
rank-layers --report	rank-layers -q --report OUT $W/layers.json >/dev/null
apply-coverage -o	apply-coverage -q -o OUT 50 $W/layers.json
export-ckpt -o	export-ckpt -q -m $M -o OUT $W/scheme.json
eval-ppl -o	eval-ppl -q -m $M -o OUT $S
eval-logits -o	eval-logits -q --ref $M -m $W/ckpt -o OUT $S
eval-logits --save-ref	eval-logits -q --ref $M --save-ref OUT $S
diff-ckpt -o	diff-ckpt -q -o OUT $M $W/ckpt
generate -o	generate -q -m $TINY -n 2 -o OUT hello
END
mkdir "$W/limit" "$W/disk"
while IFS=$'\t' read -r name command; do
    if ldd "$B/tools/${name%% *}" | grep -q libomp; then
        skip "$name: no room" "LLVM's OpenMP itself writes a file; the full disk below holds for these, too"
        continue
    fi
    # The limit holds for regular files, so messages go through a pipe.
    like "$name: no room" 4 "^${name%% *}: .*limit/out.*(File too large|No space left on device)" \
        "{ (ulimit -f 0; ${command//OUT/$W/limit/out}) 2>&1 1>&3 | cat >&2; } 3>&1"
done <"$W/writers"
is 'no room: nothing is left, under no name' '' "$(ls -A "$W/limit")"
if unshare -rm true 2>/dev/null; then
    while IFS=$'\t' read -r name command; do
        like "$name: a full disk" 4 "^${name%% *}: .*disk/out.*(No space left on device|free)" \
            "unshare -rm bash -c 'mount -t tmpfs -o size=4k none $W/disk && cp /dev/zero $W/disk/full 2>/dev/null;
                ${command//OUT/$W/disk/out}; s=\$?; cd $W/disk && rm full && ls -A; exit \$s'"
    done <"$W/writers"
else
    skip 'a full disk' 'needs a user namespace for a small file system'
fi

# ---- a reader that leaves: silence, and the status of a closed pipe or none ----
while IFS= read -r command; do
    bash -c "$command 2>$W/err | head -n 1 >/dev/null; exit \${PIPESTATUS[0]}"
    status=$?
    is "${command%% *} | head -n 1" 'quiet, 0 or 141' \
        "$([ ! -s "$W/err" ] && echo quiet || head -n 1 "$W/err"), $([ $status = 0 ] || [ $status = 141 ] && echo 0 or 141 || echo $status)"
done <<END
coco-subset -q -n 0 -a data/shapes2017 --captions -
calib-stream -q -m $M data/shapes2017
calib-amax -q -m $M $S
layer-score -q -m $M $S
rank-layers -q data/published/qwen2_5-fp8-all-baseline.json
apply-coverage -q 50 data/published/qwen2_5-fp8-all-baseline.json
export-ckpt -q -m $M --dry-run $W/scheme.json
eval-ppl -q -m $M $S
eval-logits -q --ref $M -m $W/ckpt $S
diff-ckpt -q --json $M $W/ckpt
generate -q -m $TINY -n 2 hello
END
finish
