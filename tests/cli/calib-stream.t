#!/bin/bash
# calib-stream.t - captions and pictures to samples
. tests/lib.sh
M=data/tiny-qwen2_5-vl
V=data/shapes2017/annotations/captions_val2017.json
cs() { calib-stream -q -m $M "$@"; }
list() { "$B/tests/unit/samples" "$@"; } # one line per sample: id, tokens, digests of every field
export M V
export -f cs list

t calib-stream-help 0 'calib-stream --help'
like 'calib-stream: a bad option' 2 '^calib-stream: unknown or ambiguous option .*--help' 'calib-stream --frobnicate'
like 'calib-stream: no model' 2 'MODEL is missing' "calib-stream $V"
like 'calib-stream: no source is standard input' 3 'standard input. holds no captions' "calib-stream -m $M"
like 'calib-stream: a bad style' 2 'describe.caption.text' "cs --style poem $V"
like 'calib-stream: a missing source' 4 "cannot open 'no/such.db': No such file" 'cs no/such.db'
like 'calib-stream: a missing model' 3 'no/such: there is neither' "calib-stream -m no/such $V"
: >"$W/empty"
like 'calib-stream: an empty source' 3 'holds no captions' 'cs "$W/empty"'
head -c 20000 data/coco2017/coco2017_vlm_calib_medium.db >"$W/cut.db"
like 'calib-stream: a truncated database' 3 'cut.db.*malformed' 'cs --style text "$W/cut.db"'
head -c 1000 data/coco2017/coco2017_vlm_eval_100.jsonl >"$W/cut.jsonl"
like 'calib-stream: a truncated evaluation list' 3 'cut.jsonl.: line [0-9]* is not valid JSON' 'cs --style text "$W/cut.jsonl"'
t calib-stream-full 4 "cs $V >/dev/full"
is 'calib-stream: a closed pipe ends it' 1 "$(cs $V | head -c 1 | wc -c)"
like 'calib-stream: an output that exists' 2 "empty' exists: remove it or use -f" 'cs -o "$W/empty" $V'

# What transformers' own tokenizer, template and image processor give, field by field.
ok 'calib-stream: text and describe' 'cs --style text -n 40 $V -o "$W/text" && cs -n 40 $V -o "$W/describe"'
list tests/golden/tiny-describe.samples.msgpack >"$W/golden.tsv"
ok 'calib-stream: 40 texts and 40 pictures equal the reference' 'list "$W/text" "$W/describe" | diff "$W/golden.tsv" -'
ok 'calib-stream: the form with the caption in the question' \
    'cs --style caption -n 40 $V | list - | diff tests/golden/samples/caption-val2017-40.tsv -'
ok 'calib-stream: as a pipe' 'cs -n 40 $V | cmp - <(sed "s/x/x/" "$W/describe")'

# The same bytes whatever the number of threads, and in every run.
ok 'calib-stream: one thread' 'OMP_NUM_THREADS=1 cs data/shapes2017 -o "$W/one"'
ok 'calib-stream: five threads' 'OMP_NUM_THREADS=5 cs data/shapes2017 -o "$W/five" && cmp "$W/one" "$W/five"'
is 'calib-stream: a directory is all its pictures' 240 "$(list "$W/one" | wc -l)"

# Other sources.
is 'calib-stream: captions are text' 'text/1 16' "$(cs data/coco2017/coco2017_captions_small.txt | list - | awk '{ print $1, NR }' | sed -n '1s/ .*//p;$s/.* //p' | paste -sd' ')"
ok 'calib-stream: a database and its captions give the same tokens but for blanks' \
    '[ "$(cs --style text -n 1 data/coco2017/coco2017_vlm_calib_small.db | list - | cut -f3)" = \
       "$(cs -n 1 data/coco2017/coco2017_captions_small.txt | list - | cut -f3)" ]'
like 'calib-stream: doubled rows are used once' 0 'says 4096 samples and holds 8192 rows, 4096 of them repeats' \
    'cs --style text data/coco2017/coco2017_vlm_calib.db -o "$W/db"'
is 'calib-stream: 4096 samples of 8192 rows' 4096 "$(list "$W/db" | wc -l)"
is 'calib-stream: their ids' 4096 "$(list "$W/db" | cut -f1 | sort -u | wc -l)"
like 'calib-stream: captions have no pictures' 2 'is a list of captions alone' \
    'cs --style describe data/coco2017/coco2017_captions_small.txt'
coco-subset -q -a data/shapes2017 -n 9 --calib-db "$W/shapes.db"
coco-subset -q -a data/shapes2017 -n 9 --eval "$W/shapes.jsonl"
ok 'calib-stream: a database finds its pictures' 'cs "$W/shapes.db" | list - | cut -f2- >"$W/a"'
ok 'calib-stream: an evaluation list with --images' \
    'cs --images data/shapes2017 "$W/shapes.jsonl" | list - | cut -f2- | diff "$W/a" -'
like 'calib-stream: an evaluation list without' 2 'does not say where its pictures are: give --images' 'cs "$W/shapes.jsonl"'
like 'calib-stream: --prompt elsewhere' 2 'belongs to --style describe' "cs --style text --prompt x $V"
ok 'calib-stream: --prompt, the default spelled out' \
    'cs --prompt "Describe this image." "$W/shapes.db" | list - | cut -f2- | diff "$W/a" -'
is 'calib-stream: --prompt, another' 9 \
    "$(cs --prompt 'What is this?' "$W/shapes.db" | list - | cut -f2- | diff "$W/a" - | grep -c '^>')"
like 'calib-stream: a caption that is not UTF-8' 3 "sample 'text/2'.*(UTF-8|utf-8)" 'printf "one\ntw\377o\n" | cs - >/dev/null'

# Pictures that are not there, or not pictures.
like 'calib-stream: a missing picture' 4 "'data/coco2017/../coco2017/source-data/train2017/000000448463.jpg'.*sample 'train2017/000000448463.jpg#54008'" \
    'cs data/coco2017/coco2017_vlm_calib.db 2>&1 | tail -n 1 >&2; exit ${PIPESTATUS[0]}'
mkdir -p "$W/root/val2017"
cp data/shapes2017/val2017/00000010000[13].jpg "$W/root/val2017"
t calib-stream-skip 0 'cs --images "$W/root" --skip-missing -n 4 $V | list - | cut -f1'
like 'calib-stream: all missing' 3 'no sample is left' \
    'cs --images "$W" --skip-missing -n 2 $V 2>&1 | tail -n 1 >&2; exit ${PIPESTATUS[0]}'
head -c 2000 data/shapes2017/val2017/000000100001.jpg >"$W/root/val2017/000000100002.jpg"
like 'calib-stream: a truncated picture' 3 "root/val2017/000000100002.jpg'" 'cs --images "$W/root" -n 2 $V >/dev/null'
echo '{"image_relpath": "aspect-201.png", "caption": "a line"}' >"$W/long.jsonl"
like 'calib-stream: a picture over 200:1' 3 'aspect-201.png' 'cs --images tests/golden/image "$W/long.jsonl" >/dev/null'

# Cuts.
is 'calib-stream: --max-length cuts captions' '8 8' \
    "$(cs --max-length 8 --style text -n 2 $V | list - | cut -f2 | paste -sd' ')"
like 'calib-stream: --max-length never cuts a picture' 3 \
    "sample 'val2017/000000100001.jpg' needs 101 tokens .* --max-length 90; --skip-long" 'cs --max-length 90 $V -o "$W/out"'
is 'calib-stream: a failed run leaves no file' '' "$(ls "$W" | grep '^out')"
like 'calib-stream: --skip-long' 0 '[0-9]+ samples exceed --max-length' 'cs --max-length 90 --skip-long $V -o "$W/short"'
is 'calib-stream: what is left is not too long' 90 "$(list "$W/short" | cut -f2 | sort -n | tail -n 1)"
finish
