#!/usr/bin/env python3
"""golden_subset.py - what the Python system would write for 50 captions of data/shapes2017 under seed 7:
golden_subset.py > tests/golden/samples/shapes-50-seed7.sha256, from the repository root.

Captions of train, then val, in annotation order; random.Random(7).sample(); first line: SHA-256 of the caption list, second:
of the evaluation list.
"""
import hashlib, json, random

rows = []
for split in ("train2017", "val2017"):
    doc = json.load(open(f"data/shapes2017/annotations/captions_{split}.json"))
    files = {i["id"]: i["file_name"] for i in doc["images"]}
    rows += [(split, f"{split}/{files[a['image_id']]}", a["caption"]) for a in doc["annotations"]]
rows = random.Random(7).sample(rows, 50)
captions = "".join(r[2].replace("\n", " ").strip() + "\n" for r in rows)
lines = "".join(json.dumps({"split": r[0], "image_relpath": r[1], "caption": r[2]}, ensure_ascii=False) + "\n" for r in rows)
for text in (captions, lines):
    print(hashlib.sha256(text.encode()).hexdigest(), " -")
