#!/usr/bin/env python3
"""perplexity.py - TorchMetrics' perplexity of kept logits

  perplexity.py FOLDER NAME... [--check FILE.json]

Prints {"NAME": perplexity, ...} of the logits in FOLDER/NAME.oracle.safetensors and the labels in
FOLDER/NAME.samples.msgpack, by torchmetrics.text.Perplexity in float64 with the positions that predict no token with loss
as ignore_index.  --check compares with what was kept instead: "ok ..." or "FAILED ...", exit 1.
"""
import argparse, json, os, sys
import numpy as np, torch
from safetensors import safe_open
from torchmetrics.text import Perplexity
from oracle import read_samples

IGNORE = -100


def perplexity(prefix):
    metric = Perplexity(ignore_index=IGNORE).set_dtype(torch.float64)
    samples = read_samples(prefix + ".samples.msgpack")
    with safe_open(prefix + ".oracle.safetensors", framework="pt") as f:
        for i in range(sum(k.startswith("logits.") for k in f.keys())):
            ids = torch.from_numpy(np.frombuffer(samples[i]["ids"], "<i4").astype(np.int64))
            loss = torch.from_numpy(np.frombuffer(samples[i]["loss"], np.uint8).astype(bool))
            target = torch.where(loss, ids, torch.tensor(IGNORE))
            metric.update(f.get_tensor(f"logits.{i}")[None, :-1].double(), target[None, 1:])
    return metric.compute().item()


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("folder"); ap.add_argument("name", nargs="+"); ap.add_argument("--check")
    a = ap.parse_args()
    got = {n: perplexity(os.path.join(a.folder, "" if n.startswith("tiny") else "models", n)) for n in a.name}
    if not a.check:
        json.dump(got, sys.stdout, indent=1)
        print()
        return
    want = json.load(open(a.check))
    good = want.keys() == got.keys() and all(abs(got[n] / want[n] - 1) <= 1e-9 for n in got)
    print(("ok " if good else "FAILED ") + "TorchMetrics' perplexity: " + ", ".join(f"{n} {v:.6f}" for n, v in got.items()))
    sys.exit(not good)


if __name__ == "__main__":
    main()
