#!/usr/bin/env python3
"""eval_stats.py - statistics of two sets of logits in float64, by their definitions

  eval_stats.py LOGITS.safetensors SAMPLES.msgpack OUT.json

LOGITS holds what transformers answered for the first samples ("logits.0", "logits.1", ... [tokens, vocab], F32, as
oracle.py writes them): the reference.  The candidate is the same rounded to bfloat16, nearest, ties to even.  Rows are
those that predict a token with loss.  OUT has the keys of statistics.all in a METRICS document.  Needs numpy and msgpack.
"""
import json, struct, sys
import msgpack, numpy as np

POINTS = {"min": 0, "0.1": .001, "1": .01, "5": .05, "10": .1, "25": .25, "50": .5, "75": .75, "90": .9, "95": .95, "99": .99, "99.9": .999, "max": 1}
TOPS = (1, 2, 3, 4, 5, 10)
BUCKETS = (0, .25, .5, .75, .95, 1)

def tensors(path):
    data = open(path, "rb").read()
    n = struct.unpack("<Q", data[:8])[0]
    for name, t in json.loads(data[8:8 + n]).items():
        if name.startswith("logits."):
            a, b = t["data_offsets"]
            yield name, np.frombuffer(data[8 + n + a:8 + n + b], "<f4").reshape(t["shape"])

def bf16(x):
    u = x.view(np.uint32).astype(np.uint64)
    return ((u + 0x7fff + (u >> 16 & 1)) >> 16 << 16).astype(np.uint32).view(np.float32)

def rows(logits, samples):
    recs = list(msgpack.Unpacker(open(samples, "rb"), raw=False, max_bin_len=1 << 30))[1:-1]
    all_logits, P, L, tokens = dict(tensors(logits)), [], [], []
    for i in range(len(all_logits)):
        ids, loss = np.frombuffer(recs[i]["ids"], "<i4"), np.frombuffer(recs[i]["loss"], np.uint8)
        at = np.flatnonzero(loss[1:])
        P.append(all_logits[f"logits.{i}"][at]); L.append(ids[at + 1]); tokens.append(len(at))
    return np.concatenate(P), np.concatenate(L), np.array(tokens)

def mean(x):
    n = len(x); m = x.mean()
    return dict(value=m, error=np.sqrt(max((x * x).mean() - m * m, 0) / (n - 1)) if n > 10 else 0.0)

def statistics(p32, q32, label, tokens):
    p, q, n, at = p32.astype(np.float64), q32.astype(np.float64), len(label), np.arange(len(label))
    lp, lq = (z - z.max(-1, keepdims=True) for z in (p, q))
    lp, lq = (z - np.log(np.exp(z).sum(-1, keepdims=True)) for z in (lp, lq))
    P, Q = np.exp(lp), np.exp(lq); lm = np.log((P + Q) / 2)
    kl, back = (P * (lp - lq)).sum(-1), (Q * (lq - lp)).sum(-1)
    js = ((P * (lp - lm)).sum(-1) + (Q * (lq - lm)).sum(-1)) / 2
    nb, nq = -lp[at, label], -lq[at, label]
    macro = lambda x: np.mean([part.mean() for part in np.split(x, np.cumsum(tokens)[:-1]) if len(part)])
    mq, mb, mr = mean(nq), mean(nb), mean(nq - nb)
    cov = ((nq * nb).mean() - nq.mean() * nb.mean()) / (n - 1)
    U = lambda m: dict(value=np.exp(m["value"]), error=np.exp(m["value"]) * m["error"])
    ppl, ref = U(mq), U(mb)
    ratio_error = np.sqrt(mq["error"] ** 2 + mb["error"] ** 2 - 2 * cov)
    difference = np.sqrt(ppl["error"] ** 2 + ref["error"] ** 2 - 2 * ppl["value"] * ref["value"] * cov)
    points = lambda x: {k: np.quantile(x, f) for k, f in POINTS.items()}
    dp = np.exp(-nq) - np.exp(-nb); sq = mean(dp * dp); rms = np.sqrt(sq["value"])
    order_p, order_q = (np.argsort(-z, axis=-1, kind="stable")[:, :10] for z in (p, q))
    same = order_p == order_q; top = P.max(-1)
    in_top = lambda order, k: float((order[:, :k] == label[:, None]).any(-1).mean())
    agree = {str(k): float(same[:, :k].all(-1).mean()) for k in TOPS}
    d = q - p; pc, qc = (z - z.mean(-1, keepdims=True) for z in (p, q)); dc = qc - pc
    cos = lambda a, b: ((a * b).sum(-1) / np.sqrt((a * a).sum(-1) * (b * b).sum(-1))).mean()
    bucket = []
    for a, b in zip(BUCKETS, BUCKETS[1:]):
        x = kl[(top >= a) & ((top < b) | (b == 1))]
        bucket.append({"from": a, "to": b, "tokens": len(x), **(dict(mean=x.mean(), median=np.median(x)) if len(x) else {})})
    s1 = agree["1"]
    return dict(
        samples=int((tokens > 0).sum()), tokens=n,
        perplexity=dict(ppl=ppl, ppl_ref=ref, correlation=cov / (mq["error"] * mb["error"]) if n > 10 else 0.0,
                        ln_ppl_ratio=dict(value=mr["value"], error=ratio_error),
                        ppl_ratio=dict(value=np.exp(mr["value"]), error=np.exp(mr["value"]) * ratio_error),
                        ppl_difference=dict(value=ppl["value"] - ref["value"], error=difference),
                        ppl_macro=np.exp(macro(nq)), ppl_ref_macro=np.exp(macro(nb))),
        kl_divergence=dict(mean=mean(kl), macro=macro(kl), reverse=back.mean(), jensen_shannon=js.mean(), percentiles=points(kl), by_confidence=bucket),
        probability=dict(delta_p=mean(dp), rms_delta_p=dict(value=rms, error=.5 / rms * sq["error"]), max_abs_delta_p=np.abs(dp).max(), percentiles=points(dp)),
        top_k=dict(same_top=dict(value=s1, error=np.sqrt(s1 * (1 - s1) / (n - 1))), same_top_macro=macro(same[:, 0].astype(float)), agreement=agree,
                   label_in_ref={str(k): in_top(order_p, k) for k in TOPS}, label_in={str(k): in_top(order_q, k) for k in TOPS}),
        logits=dict(mse=(d * d).mean(), rmse=np.sqrt((d * d).mean()), max_abs=np.abs(d).max(), cosine=cos(p, q),
                    mse_centred=(dc * dc).mean(), rmse_centred=np.sqrt((dc * dc).mean()), cosine_centred=cos(pc, qc)))

def main():
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    p, label, tokens = rows(sys.argv[1], sys.argv[2])
    with open(sys.argv[3], "w") as f:
        json.dump(statistics(p, bf16(p), label, tokens), f, indent=1)
        f.write("\n")

if __name__ == "__main__":
    main()
