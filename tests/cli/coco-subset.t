#!/bin/bash
# coco-subset.t - choose captions of COCO
. tests/lib.sh
A=data/shapes2017/annotations
t coco-subset-help 0 'coco-subset --help'
like 'coco-subset: a bad option' 2 '^coco-subset: unknown or ambiguous option .*--help' 'coco-subset --frobnicate'
like 'coco-subset: no annotations' 2 'annotations FILE is missing' 'coco-subset --captions "$W/x"'
like 'coco-subset: no output' 2 'give --calib-db, --captions or --eval' "coco-subset -a $A/captions_val2017.json"
like 'coco-subset: a missing file' 4 "cannot open 'no/such.json': No such file" \
    'coco-subset -a no/such.json --captions "$W/x"'
: >"$W/captions_empty.json"
like 'coco-subset: an empty file' 3 'captions_empty.json. holds no captions' \
    'coco-subset -a "$W/captions_empty.json" --captions "$W/x"'
head -c 5000 $A/captions_val2017.json >"$W/captions_cut.json"
like 'coco-subset: truncated annotations' 3 'captions_cut.json.: line 1 is not valid JSON' \
    'coco-subset -a "$W/captions_cut.json" --captions "$W/x"'
cp $A/captions_val2017.json "$W/val.json"
like 'coco-subset: a name without its split' 3 'must be named captions_SPLIT.json' \
    'coco-subset -a "$W/val.json" --captions "$W/x"'
sed 's/"image_id": 100001/"image_id": 777/' $A/captions_val2017.json >"$W/captions_x.json"
like 'coco-subset: a caption of an unlisted picture' 3 'annotations\[0\]: picture 777 is not in' \
    'coco-subset -a "$W/captions_x.json" --captions "$W/x"'
like 'coco-subset: captions are no annotations' 3 'is not an annotation file' \
    'coco-subset -a data/coco2017/coco2017_captions_small.txt --captions "$W/x"'
t coco-subset-full 4 "coco-subset -q -a $A/captions_val2017.json --captions - >/dev/full"
is 'coco-subset: a closed pipe ends it' 1 \
    "$(coco-subset -q -n 0 -a data/shapes2017 --captions - 2>"$W/err" | head -c 1 | wc -c)"
is 'coco-subset: nothing is left of a failed run' '' "$(ls "$W" | grep '^x')"

# The reference: random.Random(7).sample() of CPython 3.11 over train then val, written by its sqlite3 and json.
both="-a $A/captions_train2017.json -a $A/captions_val2017.json"
ok 'coco-subset: three outputs of one choice' \
    "coco-subset -q $both -n 50 --seed 7 --calib-db \$W/a.db --captions \$W/a.txt 2>&1 &&
     coco-subset -q $both -n 50 --seed 7 --eval \$W/a.jsonl"
is 'coco-subset: the captions are those of the reference' "$(head -n 2 tests/golden/samples/shapes-50-seed7.sha256)" \
    "$(sha256sum <"$W/a.txt"; sha256sum <"$W/a.jsonl")"
ok 'coco-subset: the same again' "coco-subset -q $both -n 50 --seed 7 --calib-db \$W/b.db"
ok 'coco-subset: the database has the same bytes' 'cmp "$W/a.db" "$W/b.db"'
like 'coco-subset: a file that exists' 2 "a.db' exists: remove it or use -f" "coco-subset $both --calib-db \$W/a.db"
ok 'coco-subset: -f' "coco-subset -qf $both -n 50 --seed 8 --calib-db \$W/b.db && ! cmp -s \$W/a.db \$W/b.db"
is 'coco-subset: -n 0 keeps the order' "$(coco-subset -q -a data/shapes2017 -n 0 --captions - | head -n 1)" \
    'We can see a large red circle in the top right corner in front of a gray background.'
like 'coco-subset: more than there are' 0 'only 160 captions are there, 500 were asked for' \
    "coco-subset -q -a $A/captions_val2017.json -n 500 --captions \$W/500.txt"

# Evaluation pictures are never calibration pictures.
ok 'coco-subset: disjoint from a database' \
    "coco-subset -q $both -n 0 --disjoint \$W/a.db --eval \$W/e.jsonl && coco-subset -q $both -n 20 --disjoint \$W/e.jsonl --eval \$W/f.jsonl"
pictures() { grep -o '"image_relpath": "[^"]*"' "$1" | sort -u; }
is 'coco-subset: no picture is in both' '' "$(comm -12 <(pictures "$W/a.jsonl") <(pictures "$W/e.jsonl"))"
is 'coco-subset: what is left of what is left are the first' '' \
    "$(comm -13 <(pictures "$W/a.jsonl") <(pictures "$W/f.jsonl"))"
# A fixed evaluation set: pictures, and captions of others.
val="-q -a $A/captions_val2017.json --one-per-picture -n 30"
ok 'coco-subset: pictures, and others for texts' "coco-subset $val --eval \$W/pictures.jsonl &&
    coco-subset $val --disjoint \$W/pictures.jsonl --eval \$W/texts.jsonl"
is 'coco-subset: they are those of the reference' "$(tail -n 2 tests/golden/samples/shapes-50-seed7.sha256)" \
    "$(sha256sum <"$W/pictures.jsonl"; sha256sum <"$W/texts.jsonl")"
is 'coco-subset: as many pictures as captions, all different' 60 \
    "$(cat "$W/pictures.jsonl" "$W/texts.jsonl" | jq -r .image_relpath | sort -u | wc -l)"
like 'coco-subset: no more than there are pictures' 0 'only 80 captions are there, 100 were asked for' \
    "coco-subset $val -n 100 --eval \$W/all.jsonl"
like 'coco-subset: nothing left' 3 'all pictures are in the --disjoint files' \
    "coco-subset $both --disjoint data/shapes2017 --captions \$W/x"
like 'coco-subset: captions name no pictures' 3 'does not say which pictures' \
    "coco-subset $both --disjoint \$W/a.txt --captions \$W/x"
like 'coco-subset: a warning when calibration and evaluation are one' 0 'evaluation list holds the calibration captions' \
    "coco-subset -q $both -n 3 --captions \$W/g.txt --eval \$W/g.jsonl"
ok 'coco-subset: pictures are there' "coco-subset -q $both --images data/shapes2017 --captions \$W/h.txt -n 9"
like 'coco-subset: a picture is missing' 3 "data/coco2017/val2017/000000100[0-9]*.(jpg|png)' is missing" \
    "coco-subset -q -a $A/captions_val2017.json --images data/coco2017 --captions \$W/x -n 1"
finish
