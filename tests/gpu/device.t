#!/bin/bash
# device.t - what a tool says when the GPU that it is asked for is not there, its driver is old, or it cannot hold the weights
. tests/lib.sh
. tests/models.sh
amax="calib-amax -m data/tiny-qwen2_5-vl tests/golden/tiny-describe.samples.msgpack"
like "a GPU that is none" 2 '^calib-amax: --device cuda:99: this machine has [0-9]+ GPUs?, 0' "$amax --device cuda:99"
like "an index that is no number" 2 "^calib-amax: --device: 'cuda:x' is not cuda or cuda:N$" "$amax --device cuda:x"
like "no GPU" 4 '^calib-amax: --device cuda: there is no NVIDIA GPU; use --device cpu$' "CUDA_VISIBLE_DEVICES= $amax --device cuda"
like "a dtype that is none" 2 "^calib-amax: --dtype: 'fp16' is not one of" "$amax --device cuda --dtype fp16"
ranges() { $amax "$@" | jq -cS .modules | sha256sum; }
cpu=$(ranges --device cpu)
is "auto without a GPU is the CPU" "$cpu" "$(CUDA_VISIBLE_DEVICES='' ranges)"
${CC:-cc} -shared -fPIC -o "$W/libcuda.so.1" tests/gpu/parts/old-driver.c || exit 1
like "a driver of CUDA 11" 4 "^calib-amax: --device cuda: the NVIDIA driver is missing or older than this build's CUDA asks for; use --device cpu$" \
    "LD_LIBRARY_PATH=$W $amax --device cuda"
is "auto with such a driver is the CPU" "$cpu" "$(LD_LIBRARY_PATH=$W ranges)"
ok "auto with a GPU is that one, which rounds to bf16" "[ '$cpu' != '$(ranges)' ]"
copy huge
huge=model.language_model.layers.1.mlp.down_proj.weight
printf '\xff\xff\x7f\x7f' | dd of="$W/huge/model.safetensors" bs=1 conv=notrunc status=none \
    seek="$(tensor_at $M/model.safetensors $huge)"
like "a weight that bf16 cannot hold" 3 "tensor '$huge' holds 3.4.*e.38, which is beyond the range of bf16: use --dtype fp32$" \
    "calib-amax -q -m $W/huge $S --device cuda"
finish
