#!/usr/bin/env python3
"""eval_kl.py - KL and perplexity of a changed model against the model itself, by transformers and numpy

  eval_kl.py MODEL SAMPLES.msgpack [--out FILE.json] [--check METRICS.json]

The change: the first 64 weights of the second language layer's down_proj become 0.25; no rounding is involved, so nothing
depends on the order of sums.  Both models run in fp32, their log-softmax in float64.  --out writes the figures that
eval-logits has of the changed checkpoint; --check compares them with a METRICS document's first candidate, prints "ok ..."
or "FAILED ..." and exits 1 when it failed.
"""
import argparse, json, sys
import numpy as np, torch
from transformers import Qwen2_5_VLForConditionalGeneration
from oracle import inputs, read_samples

REL, ABS = 0.02, 1e-9


def figures(path, samples):
    plain, changed = (Qwen2_5_VLForConditionalGeneration.from_pretrained(path, dtype=torch.float32, attn_implementation="eager").eval()
                      for _ in range(2))
    pre = json.load(open(path + "/preprocessor_config.json"))
    mean, std = np.array(pre["image_mean"], np.float32), np.array(pre["image_std"], np.float32)
    kl, answer, nll, nll_ref = [], [], [], []
    with torch.no_grad():
        changed.model.language_model.layers[1].mlp.down_proj.weight.view(-1)[:64] = 0.25
        for s in samples:
            ids, loss, kw = inputs(s, plain, "cpu", mean, std)
            p, q = (torch.log_softmax(m(**kw).logits[0].double(), -1) for m in (plain, changed))
            row = (p.exp() * (p - q)).sum(-1)
            at = torch.nonzero(loss[1:])[:, 0]
            label = torch.as_tensor(ids)[at + 1]
            kl += row.tolist()
            answer += row[at].tolist()
            nll_ref += (-p[at, label]).tolist()
            nll += (-q[at, label]).tolist()
    return {"kl": float(np.mean(kl)), "kl_answer": float(np.mean(answer)), "ppl": float(np.exp(np.mean(nll))),
            "ppl_ref": float(np.exp(np.mean(nll_ref)))}


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("model"); ap.add_argument("samples")
    ap.add_argument("--out"); ap.add_argument("--check")
    a = ap.parse_args()
    want = figures(a.model, read_samples(a.samples))
    if a.out:
        json.dump(want, open(a.out, "w"), indent=1)
    if a.check:
        got = json.load(open(a.check))["candidates"][0]
        good = all(abs(got[k] - want[k]) <= REL * abs(want[k]) + ABS for k in want)
        print(("ok " if good else "FAILED ") + f"{a.model}, changed: " + ", ".join(f"{k} {got[k]:.9g} ({want[k]:.9g})" for k in want))
        sys.exit(not good)


if __name__ == "__main__":
    main()
