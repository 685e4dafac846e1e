#!/usr/bin/env python3
"""int8_sweep.py - reference numbers of INT8, SmoothQuant and an FP8 KV cache, from Hugging Face transformers in fp32.

  int8_sweep.py --model DIR --samples FILE.msgpack --out FILE.json [--stride N] [--double]

Calibrates, scores and evaluates on every N-th sample, as --shard 0/N of the tools takes them.  Written from the formulas,
not from our code: an input is round(x / s) * s, s = amax / 127, of all samples (static) or of a token (dynamic); a weight the
same with s of each row; SmoothQuant's scale is wmax^(1-alpha) / amax^alpha of each channel, the mean over modules that share
an input, in bf16.  Scores smooth at the input; checkpoints run with the scale in the norm's weight, rounded to bf16.  A
cached key (after the rotation) or value is e4m3(x / s) * s, s = amax / 448.  --double computes in fp64 (double.py): what
changes is rounding luck.  Ranges, scales and the quotients of weights stay fp32, so that codes and scales are a checkpoint's.
"""
import argparse
import json
import math
import re

import numpy as np
import torch
from transformers import Qwen2_5_VLForConditionalGeneration
from transformers.models.qwen2_5_vl import modeling_qwen2_5_vl as modeling

import double
from oracle import Linears, fp8, inputs, nll, read_samples

NORMS = {"self_attn.q_proj": "input_layernorm", "mlp.gate_proj": "post_attention_layernorm"}
VISION_NORMS = {"attn.qkv": "norm1", "mlp.gate_proj": "norm2"}
ALPHA = 0.5


def rounded(x, amax, dtype=None):
    """x in INT8 under the range amax, one or one for each row, and back in dtype (x's own); the scale is fp32."""
    scale = torch.where(amax.float() > 0, amax.float() / 127, 1.0)
    return (x / scale).round().clamp(-128, 127).to(dtype or x.dtype) * scale


class Int8(Linears):
    """Every linear module in INT8 where `active` and the mode say so."""

    def __init__(self, model):
        super().__init__(model)
        self.channels = {}  # largest |x| of every input channel
        self.scale = {}     # SmoothQuant's of a module; others have none
        self.folded = False # norms carry it
        self.dynamic = False
        self.dtype = next(model.parameters()).dtype

    def pre(self, n, m, x):
        super().pre(n, m, x)
        if self.mode == "amax":
            amax = self.rows(m, x[0]).abs().amax(0).float()
            self.channels[n] = torch.maximum(self.channels[n], amax) if n in self.channels else amax

    @staticmethod
    def rows(m, x):
        """[rows, in] of an input; the patch embedding's are patches."""
        return x.reshape(x.shape[0], -1) if isinstance(m, torch.nn.Conv3d) else x.reshape(-1, x.shape[-1])

    def weight(self, n, m):
        if n not in self.wq:
            w = m.weight.reshape(m.weight.shape[0], -1).float()
            if n in self.scale:
                w = w / self.scale[n]
            self.wq[n] = rounded(w, w.abs().amax(1, keepdim=True), self.dtype).reshape(m.weight.shape)
        return self.wq[n]

    def q(self, n, m, x):
        v = self.rows(m, x)
        if n in self.scale and not self.folded:
            v = v * self.scale[n]
        amax = self.channels[n] * self.scale[n] if n in self.scale else self.channels[n]
        v = rounded(v, v.abs().amax(1, keepdim=True) if self.dynamic else amax.max())
        return self.run(m, v.reshape(x.shape), self.weight(n, m))

    def smooth(self, alpha):
        """Scales of all groups whose norm can carry them."""
        for first, members in self.group.items():
            if not re.search(r"(q_proj|gate_proj|attn\.qkv)$", first):
                continue
            own = []
            for n in members:
                wmax = self.mods[n].weight.abs().amax(0).double()
                amax = self.channels[n].double()
                s = (wmax ** (1 - alpha) / amax ** alpha).clamp(1e-4, 1e4)
                own.append(torch.where((wmax > 0) & (amax > 0), s, torch.ones_like(s)).float())
            mean = sum(own[1:], own[0]) / len(own)
            for n in members:
                self.scale[n] = mean.bfloat16().float()
        self.wq = {}


class Folded:
    """Norms that carry the scales of the active modules after them, for as long as this lasts."""

    def __init__(self, model, linears):
        self.model, self.l, self.before = model, linears, []

    def __enter__(self):
        for n in self.l.active:
            if n not in self.l.scale:
                continue
            block, leaf = re.match(r"(.*?\.\d+)\.(.*)$", n).groups()
            norm = (VISION_NORMS if n.startswith("visual") else NORMS).get(leaf)
            if norm is None:  # a later member of its group
                continue
            w = self.model.get_submodule(f"model.{block}.{norm}").weight
            self.before.append((w, w.data.clone()))
            w.data = (w.data * self.l.scale[n]).bfloat16().to(w.dtype)
        self.l.folded = True

    def __exit__(self, *why):
        for w, data in self.before:
            w.data = data
        self.l.folded = False


class Cache:
    """Keys and values of the language model on their way into attention: their ranges, then rounded."""

    def __init__(self):
        self.amax, self.mode, plain = {}, "off", modeling.eager_attention_forward

        def attend(module, query, key, value, *args, **kwargs):
            if isinstance(module, modeling.Qwen2_5_VLAttention) and self.mode != "off":
                key, value = self.see(module.layer_idx, "k", key), self.see(module.layer_idx, "v", value)
            return plain(module, query, key, value, *args, **kwargs)

        modeling.eager_attention_forward = attend

    def see(self, layer, what, x):
        if self.mode == "amax":
            self.amax[layer, what] = max(self.amax.get((layer, what), 0.0), x.abs().max().item())
            return x
        return fp8(x, self.amax[layer, what])


def gradient_scores(linears, model, batch):
    linears.mode, linears.score = "score", {n: 0.0 for n in linears.mods}
    for ids, loss, kw in batch:
        logits = model(**kw).logits[0]
        mean = -(torch.log_softmax(logits[:-1], -1).gather(1, ids[1:, None])[:, 0] * loss[1:]).sum() / loss[1:].sum()
        mean.backward()
        model.zero_grad(set_to_none=True)
    linears.mode = "off"
    return {g: sum(linears.score[n] for n in members) for g, members in linears.group.items()}


def compare(model, batch, reference):
    """ppl, mean KL and top-1 of the model as it runs now."""
    sums, kl, top1, rows = [0.0, 0], 0.0, 0, 0
    for (ids, loss, kw), r in zip(batch, reference):
        z = model(**kw).logits[0]
        n, c = nll(z, ids, loss)
        p, q = torch.log_softmax(r, -1), torch.log_softmax(z, -1)
        kl += (p.exp() * (p - q)).double().sum().item()
        top1 += int((z.argmax(-1) == r.argmax(-1)).sum())
        sums, rows = [sums[0] + n, sums[1] + c], rows + len(z)
    return dict(ppl=math.exp(sums[0] / sums[1]), kl=kl / rows, top1=top1 / rows)


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--model", required=True)
    ap.add_argument("--samples", required=True)
    ap.add_argument("--out", required=True)
    ap.add_argument("--stride", type=int, default=1)
    ap.add_argument("--double", action="store_true")
    a = ap.parse_args()
    dtype = torch.float64 if a.double else torch.float32
    if a.double:
        double.install()
    model = Qwen2_5_VLForConditionalGeneration.from_pretrained(a.model, dtype=dtype, attn_implementation="eager").eval()
    pre = json.load(open(f"{a.model}/preprocessor_config.json"))
    mean, std = np.array(pre["image_mean"], np.float32), np.array(pre["image_std"], np.float32)
    samples = read_samples(a.samples)[:: a.stride]
    batch = [inputs(s, model, "cpu", mean, std) for s in samples]
    linears, cache = Int8(model), Cache()
    out = dict(schema="octet-oracle-int8/1", samples=len(samples), alpha=ALPHA)

    with torch.no_grad():
        linears.mode = cache.mode = "amax"
        for ids, loss, kw in batch:
            model(**kw)
        linears.mode = cache.mode = "off"
        reference = [model(**kw).logits[0] for ids, loss, kw in batch]
        out["ppl_ref"] = compare(model, batch, reference)["ppl"]
    out["kv"] = dict(amax=[[cache.amax[i, "k"], cache.amax[i, "v"]] for i in range(len(cache.amax) // 2)])

    for p in model.parameters():
        p.requires_grad_(False)
    model.get_input_embeddings().weight.requires_grad_(True)
    model.model.visual.patch_embed.proj.weight.requires_grad_(True)
    tied = bool(getattr(model.config, "tie_word_embeddings", False))
    for name, dynamic, alpha in (("static", False, None), ("dynamic", True, None), ("smooth", False, ALPHA)):
        linears.dynamic, linears.wq, linears.scale = dynamic, {}, {}
        if alpha is not None:
            linears.smooth(alpha)
        scores = gradient_scores(linears, model, batch)
        run = out[name] = dict(groups={g: dict(members=linears.group[g], score=s) for g, s in scores.items()}, coverage=[])
        with torch.no_grad():
            for g, members in linears.group.items() if name != "dynamic" else ():
                linears.mode, linears.active, kl = "quant", set(members), 0.0
                for (ids, loss, kw), r in zip(batch, reference):
                    p, q = torch.log_softmax(r, -1), torch.log_softmax(model(**kw).logits[0], -1)
                    kl += (p.exp() * (p - q)).double().sum().item()
                run["groups"][g]["kl_sum"] = kl
                linears.mode = "off"
            order = sorted((g for g in scores if not (tied and g == "lm_head") and "patch_embed" not in g), key=scores.get)
            for percent in 10, 50, 100:
                k = max(1, (percent * len(order) + 99) // 100)
                linears.mode, linears.active = "quant", {n for g in order[:k] for n in linears.group[g]}
                with Folded(model, linears):
                    point = compare(model, batch, reference)
                    if (name, percent) == ("dynamic", 10):  # far less than what the cache does
                        cache.mode = "quant"
                        out["kv"].update(compare(model, batch, reference))
                        cache.mode = "off"
                linears.mode = "off"
                run["coverage"].append(dict(point, percent=percent, selected=order[:k]))
                print(name, percent, point, flush=True)
    json.dump(out, open(a.out, "w"), indent=1)


if __name__ == "__main__":
    main()
