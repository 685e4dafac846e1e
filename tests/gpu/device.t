#!/bin/bash
# device.t - what a tool says when the GPU that it is asked for is not there
. tests/lib.sh
amax="calib-amax -m data/tiny-qwen2_5-vl tests/golden/tiny-describe.samples.msgpack"
like "a GPU that is none" 2 '^calib-amax: --device cuda:99: this machine has [0-9]+ GPUs?, 0' "$amax --device cuda:99"
like "an index that is no number" 2 "^calib-amax: --device: 'cuda:x' is not cuda or cuda:N$" "$amax --device cuda:x"
like "no GPU" 4 '^calib-amax: --device cuda: there is no NVIDIA GPU; use --device cpu$' "CUDA_VISIBLE_DEVICES= $amax --device cuda"
like "a dtype that is none" 2 "^calib-amax: --dtype: 'fp16' is not one of" "$amax --device cuda --dtype fp16"
ranges() { $amax "$@" | jq -cS .modules | sha256sum; }
cpu=$(ranges --device cpu)
is "auto without a GPU is the CPU" "$cpu" "$(CUDA_VISIBLE_DEVICES='' ranges)"
ok "auto with one is the GPU, which rounds to bf16" "[ '$cpu' != '$(ranges)' ]"
finish
