#!/usr/bin/env python3
"""eval_blocks.py - hidden states of two checkpoints, block by block, by transformers and numpy

  eval_blocks.py REFERENCE CANDIDATE SAMPLES.msgpack [--out FILE.json] [--check METRICS.json]

Both run in fp32.  Per block, over its rows, the mean cosine and the mean of |q - p| / |p| in float64, p being the
reference's row and q the candidate's.  Rows: of the vision tower all, of the language model the positions that predict a
token with loss.  --out writes them as "blocks" of a METRICS document; --check compares the document's first candidate,
prints "ok ..." or "FAILED ..." and exits 1 when it failed.
"""
import argparse, json, os, sys
import numpy as np, torch
from transformers import Qwen2_5_VLForConditionalGeneration
from oracle import inputs, read_samples

REL = 1e-4  # of 1 - cosine and of the relative L2: fp32 sums of another order, over differences of 1e-2 and more
ABS = 1e-9  # of 1 - cosine, where nothing differs


def states(path, samples):
    """Per block name a list of float64 [rows, dim], one per sample that passes it."""
    model = Qwen2_5_VLForConditionalGeneration.from_pretrained(path, dtype=torch.float32, attn_implementation="eager").eval()
    pre = json.load(open(path + "/preprocessor_config.json"))
    mean, std = np.array(pre["image_mean"], np.float32), np.array(pre["image_std"], np.float32)
    visual, text = model.model.visual, model.model.language_model
    blocks = {"visual.patch_embed": visual.patch_embed, **{f"visual.blocks.{i}": b for i, b in enumerate(visual.blocks)},
              "visual.merger": visual.merger, **{f"language_model.layers.{i}": b for i, b in enumerate(text.layers)},
              "language_model.norm": text.norm}
    seen, now = {n: [] for n in blocks}, {}
    for n, b in blocks.items():
        b.register_forward_hook(lambda m, a, y, n=n: now.__setitem__(n, y[0] if isinstance(y, tuple) else y))
    with torch.no_grad():
        for s in samples:
            now.clear()
            _, loss, kw = inputs(s, model, "cpu", mean, std)
            model(**kw)
            at = torch.nonzero(loss[1:])[:, 0]
            for n, y in now.items():
                rows = y.reshape(-1, y.shape[-1])
                seen[n].append((rows[at] if n.startswith("language_model") else rows).double().numpy())
    return seen


def distances(ref, got):
    out = []
    for n in ref:
        if not ref[n]:
            continue
        p, q = np.concatenate(ref[n]), np.concatenate(got[n])
        size = np.sqrt((p * p).sum(-1))
        p, q, size = p[size > 0], q[size > 0], size[size > 0]
        cosine = (p * q).sum(-1) / size / np.maximum(np.sqrt((q * q).sum(-1)), 1e-300)
        out.append(dict(name=n, rows=len(p), cosine=cosine.mean(), relative_l2=(np.sqrt(((q - p) ** 2).sum(-1)) / size).mean()))
    return out


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("reference"); ap.add_argument("candidate"); ap.add_argument("samples")
    ap.add_argument("--out"); ap.add_argument("--check")
    a = ap.parse_args()
    samples = read_samples(a.samples)
    want = distances(states(a.reference, samples), states(a.candidate, samples))
    if a.out:
        json.dump(want, open(a.out, "w"), indent=1)
    if a.check:
        got = json.load(open(a.check))["candidates"][0]["blocks"]
        near = lambda x, y, tol: abs(x - y) <= REL * abs(y) + tol
        same = [(g["name"], g["rows"]) for g in got] == [(w["name"], w["rows"]) for w in want]
        good = same and all(near(1 - g["cosine"], 1 - w["cosine"], ABS) and near(g["relative_l2"], w["relative_l2"], ABS)
                            for g, w in zip(got, want))
        print(("ok " if good else "FAILED ") + f"{a.candidate}: hidden states of {len(want)} blocks, relative L2 "
              f"{', '.join('%.3g' % w['relative_l2'] for w in want)}")
        sys.exit(not good)


if __name__ == "__main__":
    main()
