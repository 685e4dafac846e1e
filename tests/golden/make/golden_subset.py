#!/usr/bin/env python3
"""golden_subset.py - what the Python system would write for 50 captions of data/shapes2017 under seed 7, and a fixed
evaluation set: golden_subset.py > tests/golden/samples/shapes-50-seed7.sha256, from the repository root.

Captions of train, then val, in annotation order; random.Random(7).sample(); first line: SHA-256 of the caption list, second:
of the evaluation list.  Then, of the first captions of val2017's pictures in the order of their numbers, under seed 42: the
evaluation lists of 30 pictures, and of 30 others.
"""
import hashlib, json, random

rows = []
for split in ("train2017", "val2017"):
    doc = json.load(open(f"data/shapes2017/annotations/captions_{split}.json"))
    files = {i["id"]: i["file_name"] for i in doc["images"]}
    rows += [(split, f"{split}/{files[a['image_id']]}", a["caption"]) for a in doc["annotations"]]
rows = random.Random(7).sample(rows, 50)
captions = "".join(r[2].replace("\n", " ").strip() + "\n" for r in rows)
listed = lambda rows: "".join(
    json.dumps({"split": r[0], "image_relpath": r[1], "caption": r[2]}, ensure_ascii=False) + "\n" for r in rows)
first = {}
for a in doc["annotations"]:  # val2017's
    first.setdefault(a["image_id"], (split, f"{split}/{files[a['image_id']]}", a["caption"]))
pool = [first[i] for i in sorted(first)]
pictures = random.Random(42).sample(pool, 30)
others = random.Random(42).sample([r for r in pool if r not in pictures], 30)
for text in (captions, listed(rows), listed(pictures), listed(others)):
    print(hashlib.sha256(text.encode()).hexdigest(), " -")
