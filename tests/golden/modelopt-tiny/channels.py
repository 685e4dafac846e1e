#!/usr/bin/env python3
"""channels.py - ranges of every input channel and of the KV cache of a bf16 model, as ModelOpt's calibration sees them

  OMP_NUM_THREADS=1 ONEDNN_MAX_CPU_ISA=AVX512_CORE channels.py --model DIR --samples FILE.msgpack --oracle-dir DIR --out LAYERS.json

One sample a batch, attn eager, bf16, one CPU thread without bf16 units: a LAYERS document (octet-layers/1) of the language
model, by torch and transformers alone. Every pre_quant_scale, input_scale, k_scale and v_scale of exports/ follows from it.
--oracle-dir is the folder with oracle.py (the reader of octet-samples/1). Needs torch, transformers.
"""
import argparse, json, sys, warnings
warnings.filterwarnings("ignore")
import torch, transformers

ap = argparse.ArgumentParser()
for o in ("model", "samples", "oracle-dir", "out"): ap.add_argument("--" + o, required=True)
a = ap.parse_args()
sys.path.insert(0, a.oracle_dir)
import oracle as O
torch.set_num_threads(1)
m = transformers.Qwen2_5_VLForConditionalGeneration.from_pretrained(a.model, dtype=torch.bfloat16, attn_implementation="eager").eval()
canon = lambda n: n[6:] if n.startswith("model.") else n
lin = {canon(n): x for n, x in m.named_modules() if isinstance(x, torch.nn.Linear) and not n.startswith("model.visual.patch")}
amax, tokens, kv = {}, {}, {}

def see(name):
    def hook(mod, args):
        x = args[0].detach().abs().reshape(-1, args[0].shape[-1]).float()
        amax[name] = torch.maximum(amax.get(name, torch.zeros(x.shape[1])), x.amax(0)); tokens[name] = tokens.get(name, 0) + x.shape[0]
    return hook
for n, x in lin.items(): x.register_forward_pre_hook(see(n))

import transformers.models.qwen2_5_vl.modeling_qwen2_5_vl as Q
eager = Q.eager_attention_forward
def attention(module, q, k, v, *args, **kw):
    n = names.get(id(module))
    if n and n.startswith("language_model."):
        for p, t in (("k", k), ("v", v)):
            kv[f"{n}.{p}_proj"] = max(kv.get(f"{n}.{p}_proj", 0.0), t.abs().amax().float().item())
    return eager(module, q, k, v, *args, **kw)
names = {id(x): canon(n) for n, x in m.named_modules()}
Q.eager_attention_forward = attention
import numpy as np
pre = json.load(open(f"{a.model}/preprocessor_config.json"))
mean, std = np.array(pre["image_mean"], np.float32), np.array(pre["image_std"], np.float32)
samples = O.read_samples(a.samples)
with torch.no_grad():
    for s in samples:
        ids, loss, kw = O.inputs(s, m, "cpu", mean, std)
        if "pixel_values" in kw: kw["pixel_values"] = kw["pixel_values"].to(m.dtype)
        m(**kw)
short = lambda t: [float("%.9g" % v) for v in t.tolist()]
mods = {}
for n, x in lin.items():
    if not n.startswith("language_model."): continue
    w = x.weight.detach().float().abs()
    d = dict(shape=list(w.shape), weight_amax=w.max().item(), input_amax=amax[n].max().item(), tokens=tokens[n])
    if n in kv: d["kv_amax"] = kv[n]
    d["input_amax_per_channel"] = short(amax[n]); d["weight_amax_per_channel"] = short(w.amax(0))
    mods[n] = d
doc = dict(schema="octet-layers/1", tool="channels.py", modules=mods)
with open(a.out, "w") as f:
    f.write(json.dumps(doc).replace('}, "', '},\n"') + "\n")
print(len(mods), "modules,", len(samples), "samples")
