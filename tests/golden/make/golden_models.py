#!/usr/bin/env python3
"""golden_models.py - tiny random Qwen2.5-VL / Qwen2.5 models in hub layout, a samples stream each, and the oracle's numbers.

  golden_models.py --root DIR --out DIR [--only NAME] [--spec FILE.py]

--root is the folder that holds data/ and tests/peers/. For every spec (SPECS below, or SPECS of the file --spec names):
OUT/NAME/ (config, weights, tokenizer), OUT/NAME.samples.msgpack, OUT/NAME.oracle.{json,safetensors} (oracle.py --kl).
Weights are random and every parameter is drawn again (biases and norms too): the models know nothing, they only make
every term of the forward and backward pass matter. Needs torch, transformers >= 5.6, safetensors, msgpack, numpy.
"""
import argparse, importlib.util, json, os, shutil, subprocess, sys
import numpy as np, torch
from PIL import Image
from safetensors.torch import save_file

def load(path, name):
    s = importlib.util.spec_from_file_location(name, path); m = importlib.util.module_from_spec(s); s.loader.exec_module(m); return m

MEAN = [0.48145466, 0.4578275, 0.40821073]; STD = [0.26862954, 0.26130258, 0.27577711]
IDS = dict(bos_token_id=507, eos_token_id=509, vision_start_token_id=516, vision_end_token_id=517, vision_token_id=518, image_token_id=519, video_token_id=520)

def text_keys(s):
    t = s["text"]
    return dict(hidden_size=t["h"], intermediate_size=t["i"], num_hidden_layers=t["L"], num_attention_heads=t["heads"], num_key_value_heads=t["kv"],
                rms_norm_eps=s.get("eps", 1e-6), max_position_embeddings=t.get("max_pos", 4096), hidden_act="silu", vocab_size=s["vocab"],
                attention_dropout=0.0, initializer_range=0.02, max_window_layers=t["L"], use_cache=True, use_sliding_window=False)

def vision_keys(s):
    v = s["vision"]
    return dict(depth=v["depth"], hidden_size=v["width"], hidden_act="silu", intermediate_size=v["inter"], num_heads=v["heads"], patch_size=v.get("patch", 14),
                spatial_merge_size=2, temporal_patch_size=2, tokens_per_second=2, window_size=v["window"], out_hidden_size=s["text"]["h"], fullatt_block_indexes=v["full"])

def hub_config(s):
    """config.json in the layout the spec asks for: flat (as published), nested4 (transformers 4.5x), nested5 (5.x), qwen2."""
    dt = {"bf16": "bfloat16", "fp32": "float32"}[s["dtype"]]; T = text_keys(s); lay = s["layout"]; theta = s.get("theta", 1000000.0)
    if lay == "qwen2":
        return dict(architectures=["Qwen2ForCausalLM"], bos_token_id=507, eos_token_id=509, **T, rope_theta=theta, sliding_window=32768, model_type="qwen2",
                    tie_word_embeddings=s["tied"], torch_dtype=dt, transformers_version="4.43.1")
    if lay == "qwen2-5":
        return dict(architectures=["Qwen2ForCausalLM"], bos_token_id=507, eos_token_id=509, pad_token_id=None, **T, rope_parameters=dict(rope_theta=theta, rope_type="default"),
                    sliding_window=None, layer_types=["full_attention"] * T["num_hidden_layers"], model_type="qwen2", tie_word_embeddings=s["tied"], dtype=dt, transformers_version="5.6.0")
    V = vision_keys(s); arch = ["Qwen2_5_VLForConditionalGeneration"]
    if lay == "flat":
        return dict(architectures=arch, **IDS, **T, model_type="qwen2_5_vl", rope_theta=theta, sliding_window=32768, tie_word_embeddings=s["tied"], torch_dtype=dt,
                    transformers_version="4.41.2", vision_config=dict(V, in_chans=3, spatial_patch_size=V["patch_size"]), rope_scaling=dict(type="mrope", mrope_section=s["section"]))
    t = dict(T, model_type="qwen2_5_vl_text", sliding_window=None, layer_types=["full_attention"] * T["num_hidden_layers"], bos_token_id=507, eos_token_id=509)
    ids = {k: v for k, v in IDS.items() if k not in ("bos_token_id", "eos_token_id", "vision_token_id")}
    if lay == "nested4":
        t.update(rope_theta=theta, rope_scaling=dict(mrope_section=s["section"], rope_type="default", type="default"), torch_dtype=dt)
        top = dict(architectures=arch, **ids, model_type="qwen2_5_vl", text_config=t, vision_config=dict(V, in_channels=3, in_chans=3, initializer_range=0.02, model_type="qwen2_5_vl"),
                   torch_dtype=dt, transformers_version="4.53.0")
        if s.get("stale"):  # the 4.52..4.57 writers leave a copy of the text fields at top level; s["stale"] overrides some, to show which one counts
            top.update({**{k: T[k] for k in ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "rms_norm_eps", "vocab_size", "hidden_act")}, **s["stale"]})
    else:
        t.update(rope_parameters=dict(mrope_section=s["section"], rope_theta=theta, rope_type="default"), dtype=dt)
        top = dict(architectures=arch, **ids, model_type="qwen2_5_vl", text_config=t, vision_config=dict(V, in_channels=3, initializer_range=0.02, model_type="qwen2_5_vl_vision"), dtype=dt, transformers_version="5.6.0")
    if s.get("tie_at") == "text": t["tie_word_embeddings"] = s["tied"]
    else: top["tie_word_embeddings"] = s["tied"]
    return top

def parameters(s):
    """style B name -> shape, in file order."""
    t = s["text"]; h, i, hd = t["h"], t["i"], t["h"] // t["heads"]; kvd = t["kv"] * hd; P = {}
    if "vision" in s:
        v = s["vision"]; w, n, p = v["width"], v["inter"], v.get("patch", 14)
        P["model.visual.patch_embed.proj.weight"] = (w, 3, 2, p, p)
        for b in range(v["depth"]):
            q = f"model.visual.blocks.{b}."
            for k, sh in (("norm1.weight", (w,)), ("norm2.weight", (w,)), ("attn.qkv.weight", (3 * w, w)), ("attn.qkv.bias", (3 * w,)), ("attn.proj.weight", (w, w)), ("attn.proj.bias", (w,)),
                          ("mlp.gate_proj.weight", (n, w)), ("mlp.gate_proj.bias", (n,)), ("mlp.up_proj.weight", (n, w)), ("mlp.up_proj.bias", (n,)), ("mlp.down_proj.weight", (w, n)), ("mlp.down_proj.bias", (w,))): P[q + k] = sh
        P["model.visual.merger.ln_q.weight"] = (w,)
        for k, o, c in (("0", 4 * w, 4 * w), ("2", h, 4 * w)): P[f"model.visual.merger.mlp.{k}.weight"] = (o, c); P[f"model.visual.merger.mlp.{k}.bias"] = (o,)
    lm = "model.language_model." if "vision" in s else "model."
    P[lm + "embed_tokens.weight"] = (s["vocab"], h)
    for l in range(t["L"]):
        q = f"{lm}layers.{l}."
        for k, sh in (("input_layernorm.weight", (h,)), ("self_attn.q_proj.weight", (h, h)), ("self_attn.q_proj.bias", (h,)), ("self_attn.k_proj.weight", (kvd, h)), ("self_attn.k_proj.bias", (kvd,)),
                      ("self_attn.v_proj.weight", (kvd, h)), ("self_attn.v_proj.bias", (kvd,)), ("self_attn.o_proj.weight", (h, h)), ("post_attention_layernorm.weight", (h,)),
                      ("mlp.gate_proj.weight", (i, h)), ("mlp.up_proj.weight", (i, h)), ("mlp.down_proj.weight", (h, i))): P[q + k] = sh
    P[lm + "norm.weight"] = (h,)
    if not s["tied"] or s.get("stray_head"): P["lm_head.weight"] = (s["vocab"], h)
    return P

def weights(s):
    g = torch.Generator().manual_seed(s["seed"]); W = {}; lo, hi = s.get("std", (0.05, 0.15))
    for k, sh in parameters(s).items():
        x = torch.randn(sh, generator=g)
        if "norm" in k or "ln_q" in k: x = 1 + 0.1 * x
        elif k.endswith("bias"): x = 0.1 * x
        else: x = x * (0.15 if "embed_tokens" in k or "lm_head" in k else min(hi, max(lo, (int(np.prod(sh[1:])) ** -0.5))))
        if s.get("outliers") and "norm" in k and ".norm.weight" not in k: x[torch.randperm(sh[0], generator=g)[:2]] *= s["outliers"]  # a few loud channels
        W[k] = x.to(torch.bfloat16 if s["dtype"] == "bf16" else torch.float32).contiguous()
    if s.get("stray_head"): W["lm_head.weight"] = next(v for k, v in W.items() if "embed_tokens" in k).clone()  # some exporters write the tied head too
    return W

def style(k, naming):
    if naming == "A": return k.replace("model.visual.", "visual.").replace("model.language_model.", "model.")
    return k

def write_model(s, d, data):
    os.makedirs(d, exist_ok=True); W = {style(k, s.get("naming", "A")): v for k, v in weights(s).items()}
    n = s.get("shards", 1); J = lambda f, o: json.dump(o, open(f"{d}/{f}", "w"), indent=2)
    if n == 1: save_file(W, f"{d}/model.safetensors", metadata={"format": "pt"})
    else:
        keys = list(W); r = np.random.RandomState(s["seed"]); where = {k: int(r.randint(n)) if s.get("scatter") else min(n - 1, j * n // len(keys)) for j, k in enumerate(keys)}
        name = lambda j: f"model-{j + 1:05d}-of-{n:05d}.safetensors"
        for j in range(n): save_file({k: W[k] for k in keys if where[k] == j}, f"{d}/{name(j)}", metadata={"format": "pt"})
        J("model.safetensors.index.json", dict(metadata=dict(total_size=sum(v.numel() * v.element_size() for v in W.values())), weight_map={k: name(where[k]) for k in sorted(keys)}))
    J("config.json", hub_config(s))
    tiny = f"{data}/tiny-qwen2_5-vl"; files = ["tokenizer_config.json", "generation_config.json"] + (["vocab.json", "merges.txt"] if s.get("tok") == "bpe" else ["tokenizer.json"])
    if "vision" in s:
        files.append("chat_template.json")
        pre = dict(patch_size=s["vision"].get("patch", 14), temporal_patch_size=2, merge_size=2, image_mean=s.get("mean", MEAN), image_std=s.get("std_px", STD), image_processor_type="Qwen2VLImageProcessor", processor_class="Qwen2_5_VLProcessor")
        pre.update(dict(size=dict(shortest_edge=3136, longest_edge=1003520)) if s["layout"] == "nested5" else dict(min_pixels=3136, max_pixels=1003520)); J("preprocessor_config.json", pre)
    for f in files: shutil.copyfile(f"{tiny}/{f}", f"{d}/{f}")
    return sum(v.numel() for v in W.values())

def picture(r, gh, gw, p, kind):
    """u8 [gh*p, gw*p, 3]: smooth colour fields with noise, pure noise, black, or stripes of one pixel."""
    H, W = gh * p, gw * p
    if kind == "noise": return r.randint(0, 256, (H, W, 3)).astype(np.uint8)
    if kind == "black": return np.zeros((H, W, 3), np.uint8)
    if kind == "stripes": return np.broadcast_to(((np.arange(W) & 1) * 255)[None, :, None], (H, W, 3)).astype(np.uint8).copy()
    a = np.asarray(Image.fromarray(r.randint(0, 256, (4, 5, 3)).astype(np.uint8)).resize((W, H), Image.BICUBIC), np.float32) + r.normal(0, 8, (H, W, 3))
    y, x = r.randint(H), r.randint(W); a[y:y + max(1, H // 3), x:x + max(1, W // 3)] = r.randint(0, 256, 3)
    return np.clip(a, 0, 255).astype(np.uint8)

SYS = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
def record(tok, s, d, r):
    """d: id, parts (str | (gh, gw[, kind])), loss: 'all' text but the first token | 'answer' tokens after the last part | 'odd' every other text token."""
    ids, loss, images = [], [], []
    if "repeat" in d:  # long text from captions
        ids = tok.encode(" ".join(d["parts"])).ids
        while len(ids) < d["repeat"]: ids = ids + ids
        ids = ids[: d["repeat"]]; loss = [1] * len(ids)
    else:
        for k, part in enumerate(d["parts"]):
            if isinstance(part, str): t = tok.encode(part).ids; f = 1
            else:
                n = part[0] * part[1] // 4; t = [516] + [519] * n + [517]; f = 0
                images.append(dict(grid=[1, part[0], part[1]], rgb=picture(r, part[0], part[1], s["vision"].get("patch", 14), part[2] if len(part) > 2 else "scene").tobytes()))
            if d["loss"] == "answer": f = int(k == len(d["parts"]) - 1)
            ids += t; loss += [f] * len(t)
    if d["loss"] == "odd": loss = [f & (j & 1) for j, f in enumerate(loss)]
    loss[0] = 0
    if d["loss"] == "last": loss = [0] * (len(ids) - 1) + [1]
    return dict(id=d["id"], ids=ids, loss=loss, images=images)

def chat(q, *imgs): return [SYS + "<|im_start|>user\n", *imgs, q + "<|im_end|>\n<|im_start|>assistant\n"]

def check(d, s):
    """transformers must load exactly what was written: every tensor, the right theta and sections."""
    from transformers import AutoConfig, Qwen2_5_VLForConditionalGeneration, Qwen2ForCausalLM
    cls = Qwen2_5_VLForConditionalGeneration if "vision" in s else Qwen2ForCausalLM
    m, info = cls.from_pretrained(d, dtype=torch.float32, output_loading_info=True); W = weights(s); sd = m.state_dict()
    bad = {k: sorted(v) for k, v in info.items() if v and not (k == "unexpected_keys" and set(v) <= {"lm_head.weight"})}
    assert not bad, bad
    for k, v in W.items():
        if k == "lm_head.weight" and s["tied"]: continue
        assert torch.equal(sd[k], v.float()), k
    tc = m.config.text_config if "vision" in s else m.config
    assert tc.rope_parameters["rope_theta"] == s.get("theta", 1000000.0) and tc.rope_parameters.get("mrope_section") == s.get("section"), tc.rope_parameters
    assert tc.rms_norm_eps == s.get("eps", 1e-6) and bool(m.config.tie_word_embeddings) == s["tied"], (tc.rms_norm_eps, m.config.tie_word_embeddings)

def make(s, a):
    from tokenizers import Tokenizer
    data = f"{a.root}/data"; d = f"{a.out}/{s['name']}"; n = write_model(s, d, data); check(d, s)
    tok = Tokenizer.from_file(f"{data}/tiny-qwen2_5-vl/tokenizer.json"); r = np.random.RandomState(s["seed"] + 1)
    recs = [record(tok, s, x, r) for x in s["samples"]]
    load(f"{a.root}/tests/peers/samples.py", "samples").write(f"{a.out}/{s['name']}.samples.msgpack", recs)
    print(s["name"], n, "parameters;", [(len(x["ids"]), sum(x["loss"]), [i["grid"] for i in x["images"]]) for x in recs], flush=True)
    subprocess.run([sys.executable, f"{a.root}/tests/peers/oracle.py", "--model", d, "--samples", f"{a.out}/{s['name']}.samples.msgpack", "--out", f"{a.out}/{s['name']}.oracle", "--kl", "--coverage", "10,50,100", "--device", "cpu"],
                   check=True, stdout=subprocess.DEVNULL)
    o = json.load(open(f"{a.out}/{s['name']}.oracle.json"))
    print("  ppl", round(o["ppl_ref"], 2), "KL/token", [f"{c['kl_all']:.3g}" for c in o["coverage"]], "scores", min((g["score"] for g in o["groups"].values() if g["tokens"]), default=0), max(g["score"] for g in o["groups"].values()),
          "min kl", min(g["kl_sum"] for g in o["groups"].values() if "kl_sum" in g), flush=True)

def run(specs):
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--root", required=True); ap.add_argument("--out", required=True); ap.add_argument("--only"); ap.add_argument("--spec")
    a = ap.parse_args(); os.environ["HF_HUB_OFFLINE"] = "1"; os.makedirs(a.out, exist_ok=True)
    for s in load(a.spec, "spec").SPECS if a.spec else specs:
        if not a.only or a.only == s["name"]: make(s, a)

CAP = ["A small red circle in the top left corner on a gray background.", "There is a large striped blue square over teal.", "We can see a green star, next to a black ring on a pink background.",
       "The picture shows a small purple triangle at the bottom right, all in front of a brown background."]
SPECS = [
    # the published layout; untied; every query head has its own key head; pictures that fill windows only in part; MLP widths not multiples of 8
    dict(name="flat-mha", layout="flat", naming="A", dtype="bf16", seed=11, vocab=528, tied=False, theta=10000.0, section=[2, 3, 3], tok="bpe",
         text=dict(h=64, i=92, L=3, heads=4, kv=4), vision=dict(depth=4, width=48, heads=3, inter=60, window=112, full=[1, 3]),
         samples=[dict(id="partial-window", parts=chat("Describe this image.", (6, 10)) + [CAP[0] + "<|im_end|>"], loss="answer"),
                  dict(id="two-sizes", parts=["Left: ", (2, 2), " right: ", (10, 4), " which one is larger?"], loss="all"),
                  dict(id="text", parts=[CAP[1]], loss="all"), dict(id="text-700", parts=CAP, repeat=700, loss="all"), dict(id="one-answer-token", parts=["What color is it? ", (4, 4, "noise"), "Red"], loss="last")]),
    # transformers 4.5x nested config with stale top-level copies; in-memory names; 8 query heads per key head; fp32 file
    dict(name="nested4-gqa8", layout="nested4", naming="B", dtype="fp32", seed=12, vocab=521, tied=False, theta=1000000.0, section=[2, 3, 3], stale={}, eps=1e-5,
         text=dict(h=128, i=75, L=2, heads=8, kv=1), vision=dict(depth=3, width=32, heads=2, inter=44, window=56, full=[2]),
         samples=[dict(id="pictures-3", parts=[(4, 4), (2, 6), "and", (6, 2, "stripes"), "differ."], loss="all"), dict(id="text", parts=[CAP[2]], loss="odd"),
                  dict(id="chat", parts=chat("How many objects are there?", (6, 6)) + ["Three.<|im_end|>"], loss="answer"), dict(id="black", parts=[(4, 2, "black"), CAP[3]], loss="all")]),
    # transformers 5.x config; four shards; tied; head_dim 64; a few loud channels
    dict(name="nested5-sharded", layout="nested5", naming="B", dtype="bf16", seed=13, vocab=544, tied=True, theta=500000.0, section=[8, 12, 12], shards=4, outliers=6.0,
         text=dict(h=128, i=176, L=3, heads=2, kv=1), vision=dict(depth=3, width=40, heads=2, inter=54, window=112, full=[0, 2]),
         samples=[dict(id="chat", parts=chat("Describe this image.", (8, 12)) + [CAP[2] + "<|im_end|>"], loss="answer"), dict(id="text", parts=[CAP[3]], loss="all"),
                  dict(id="caption", parts=chat(CAP[1], (4, 10)), loss="all"), dict(id="wide", parts=["Wide: ", (2, 24), CAP[0]], loss="all")]),
    # no windows at all (every block full); patch 8; head_dim 32; long text
    dict(name="full-only-patch8", layout="flat", naming="A", dtype="bf16", seed=14, vocab=600, tied=True, theta=1000000.0, section=[4, 6, 6],
         text=dict(h=128, i=136, L=2, heads=4, kv=2), vision=dict(depth=2, width=64, heads=2, inter=85, window=48, full=[0, 1], patch=8),
         samples=[dict(id="chat", parts=chat("Where is the ring?", (10, 10)) + ["At the top left.<|im_end|>"], loss="answer"), dict(id="pair", parts=[(6, 8, "noise"), (8, 6), CAP[2]], loss="all"),
                  dict(id="text", parts=[CAP[0]], loss="all"), dict(id="text-1", parts=["Red square"], loss="all"), dict(id="text-900", parts=CAP[::-1], repeat=900, loss="all")]),
    # windows in every block (none full), window of 2 merged units; sections of unequal shape; odd widths
    dict(name="windows-only", layout="nested5", naming="A", dtype="bf16", seed=15, vocab=523, tied=False, theta=250000.0, section=[1, 2, 5], tok="bpe", std_px=[0.5, 0.25, 0.2],
         text=dict(h=96, i=101, L=3, heads=6, kv=3), vision=dict(depth=3, width=40, heads=2, inter=37, window=56, full=[]),
         samples=[dict(id="ragged", parts=chat("Describe this image.", (10, 6)) + [CAP[3] + "<|im_end|>"], loss="answer"), dict(id="four", parts=[(2, 2), (6, 6), (4, 2), (2, 10), "."], loss="all"),
                  dict(id="text", parts=[CAP[1]], loss="all"), dict(id="image-last", parts=[CAP[0], (4, 4)], loss="all")]),
    # plain Qwen2.5 text
    dict(name="qwen2-text", layout="qwen2", dtype="bf16", seed=16, vocab=530, tied=False, theta=1000000.0, text=dict(h=96, i=130, L=4, heads=6, kv=2),
         samples=[dict(id="text-0", parts=[CAP[0]], loss="all"), dict(id="text-1", parts=[CAP[2]], loss="odd"), dict(id="chat", parts=[SYS + "<|im_start|>user\nHi!<|im_end|>\n<|im_start|>assistant\n", "Hello.<|im_end|>"], loss="answer"),
                  dict(id="text-700", parts=CAP, repeat=700, loss="all")]),
]

if __name__ == "__main__": run(SPECS)
