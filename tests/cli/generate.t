#!/bin/bash
# generate.t - what a model answers
. tests/lib.sh
M=data/tiny-qwen2_5-vl
V=data/shapes2017/val2017
said='The picture shows a small striped green triangle in the bottom left corner, next to a large red cross on the top right over gray.'
describe="generate -m $M --image $V/000000100001.jpg"

t generate-help 0 'generate --help'
like 'generate: a bad option' 2 '^generate: unknown or ambiguous option .*--help' 'generate --frobnicate'
like 'generate: no model' 2 '^generate: -m MODEL is missing' 'generate hello'
like 'generate: a missing model' 4 "model directory 'no/such': No such file" 'generate -m no/such hello'
like 'generate: a missing picture' 4 "no/such.jpg': No such file" "generate -m $M -i no/such.jpg hello"
like 'generate: a broken picture' 3 'tests/golden/image/cut.png' "generate -m $M -i tests/golden/image/cut.png hello"
like 'generate: a missing scheme' 4 "no/such.json': No such file" "generate -m $M --scheme no/such.json hello"
like 'generate: a scheme is no text' 3 'README.md' "generate -m $M --scheme README.md hello"
like 'generate: an empty operand' 2 '^generate: the prompt is empty$' "generate -m $M ''"
like 'generate: an empty input' 2 '^generate: the prompt is empty$' "generate -m $M"
like 'generate: an empty line' 2 '^generate: the prompt is empty$' "echo | generate -m $M -"
like 'generate: a prompt that is not UTF-8' 3 'the prompt: .*UTF-8.* offset 1$' "printf 'a\\377' | generate -m $M"
like 'generate: two prompts' 2 "unexpected operand 'b'" "generate -m $M a b"
like 'generate: no tokens' 2 '^generate: --count: 0 is not in ' "generate -m $M -n 0 a"
like 'generate: pictures without marks' 3 'has 0 <.image_pad.>, but there are 1 pictures' \
    "generate -m $M --raw -i $V/000000100001.jpg a"
like 'generate: marks without pictures' 3 'has 1 <.image_pad.>, but there are 0 pictures' \
    "generate -m $M 'a <|image_pad|>'"
like 'generate: more than the context holds' 2 'the prompt.s 24 tokens and 4090 more exceed .* ask for 4072 at most' \
    "generate -m $M -n 4090 hi"
yes 'The picture shows a large red circle.' | head -n 700 >"$W/long"
like 'generate: a prompt that fills the context' 3 'tokens fill the model.s context' "generate -m $M <\$W/long"
like 'generate: a text model takes no pictures' 3 'has no vision tower' \
    "generate -m tests/golden/models/qwen2-text --raw -i $V/000000100001.jpg a"

is 'generate: a described picture' "$said" "$($describe 'Describe this image.')"
is 'generate: the prompt on standard input' "$said" "$(echo 'Describe this image.' | $describe)"
is 'generate: the same, as -' "$said" "$(echo 'Describe this image.' | $describe -)"
is 'generate: -n' 'The picture shows a small' "$($describe -n 5 'Describe this image.')"
is 'generate: in little memory' "$said" "$($describe --max-memory 1M 'Describe this image.')"
is 'generate: --raw' ' star in the bottom right corner on a brown background.' \
    "$(generate -m $M --raw --repetition-penalty 1.05 'In the middle there is a tiny yellow')"
ok 'generate: -o' "$describe -q -o \$W/answer 'Describe this image.'"
is 'generate: -o wrote the answer' "$said" "$(cat "$W/answer")"
like 'generate: -o leaves nothing after a failure' 2 'empty' "$describe --raw -o \$W/none ''"
ok 'generate: really nothing' '! ls $W/none* 2>/dev/null'
like 'generate: -o keeps what exists' 2 "answer' exists" "$describe -o \$W/answer 'Describe this image.'"
ok 'generate: but under -f' "$describe -f -n 1 -o \$W/answer 'Describe this image.'"
is 'generate: which wrote it anew' The "$(cat "$W/answer")"
like 'generate: full' 4 '^generate: cannot write standard output: No space left' \
    "$describe 'Describe this image.' >/dev/full"
is 'generate: a closed pipe ends it' T "$($describe 'Describe this image.' 2>"$W/err" | head -c 1)"
is 'generate: silently' '' "$(cat "$W/err")"

# Under FP8 on every layer the answer ends in other words; its checkpoint must end in the same.
ok 'generate: a scheme' "calib-stream -q -m $M -n 4 data/shapes2017/annotations/captions_train2017.json |
    calib-amax -q -m $M | apply-coverage -q --select '*' -o \$W/scheme.json"
quantized=$($describe --scheme "$W/scheme.json" 'Describe this image.')
is 'generate: under a scheme' 'The picture shows a small striped green triangle in the bottom left corner' "${quantized%%,*}"
ok 'generate: which is not the answer without it' "[ '$quantized' != '$said' ]"
ok 'generate: the scheme, exported' "export-ckpt -q -m $M -o \$W/ckpt \$W/scheme.json"
is 'generate: a quantized checkpoint answers as its scheme' "$quantized" \
    "$(generate -m "$W/ckpt" -i $V/000000100001.jpg 'Describe this image.')"

# An FP8 KV cache: keys and values are rounded as they are kept, by a scheme or by its checkpoint.
ok 'generate: a scheme with an FP8 KV cache' "calib-stream -q -m $M -n 4 data/shapes2017/annotations/captions_train2017.json |
    calib-amax -q -m $M --kv | apply-coverage --preset fp8-lm-kv -o \$W/kv.json"
ok 'generate: exported' "export-ckpt -q -m $M -o \$W/kv \$W/kv.json"
kept=$($describe --scheme "$W/kv.json" 'Describe this image.')
is 'generate: over it, the checkpoint answers as its scheme' "$kept" \
    "$(generate -m "$W/kv" -i $V/000000100001.jpg 'Describe this image.')"
ok 'generate: at length' "[ ${#kept} -gt 20 ]"
finish
