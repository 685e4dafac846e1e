#!/usr/bin/env python3
"""golden_positions.py - M-RoPE position ids, vision windows and normalised pixels, from transformers' own functions.

  golden_positions.py --root DIR --out DIR [--cases FILE.py]

Writes OUT/positions.json, OUT/windows.json and OUT/pixels.json. --cases names a module with SAMPLES, GRIDS and SEED, else
the lists below. Each result is compared with a second implementation, written from the definition,
3.4 and 4.5; a difference stops the script.
"""
import argparse, importlib.util, json, os, sys
os.environ["HF_HUB_OFFLINE"] = "1"
import numpy as np, torch, transformers
from PIL import Image
from tokenizers import Tokenizer
from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration
from transformers.models.qwen2_vl.image_processing_qwen2_vl import Qwen2VLImageProcessor
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
from transformers.vision_utils import get_vision_attention_seqlens, get_vision_position_ids, get_vision_window_index

VS, VE, IMG = 516, 517, 519      # ids of the tiny tokenizer
SYS = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n"
# a sample is a list of texts and (h, w) patch grids; a picture is written <|vision_start|> image pads <|vision_end|>
SAMPLES = [("one", [SYS, (4, 6), "Describe this image.<|im_end|>\n"]), ("spec-3.4", ["ab", (4, 6), "c", (4, 2), "de"]), ("single-unit", [(2, 2), "x"]), ("picture-last", ["A red square. ", (6, 10)]), ("picture-only", [(10, 4)]),
           ("adjacent", [(4, 4), (2, 8), (8, 2), "end"]), ("wide", ["w", (2, 40), "after the wide one"]), ("tall", ["t", (40, 2), "after the tall one"]), ("large", [SYS, (36, 46), "What?"]), ("five", ["1", (2, 4), "2", (4, 2), "3", (6, 6), "4", (2, 2), "5", (10, 14), "."]), ("text", ["There is no picture here."])]
# window cases: (list of (t, h, w), window_size, patch_size)
GRIDS = [([(1, 10, 14)], 112, 14), ([(1, 8, 8)], 112, 14), ([(1, 8, 12)], 112, 14), ([(1, 4, 6), (1, 10, 4)], 112, 14), ([(2, 4, 10)], 112, 14), ([(1, 2, 2)], 112, 14), ([(1, 16, 16), (1, 2, 2), (1, 18, 6)], 112, 14), ([(1, 34, 46)], 112, 14), ([(1, 2, 58)], 112, 14), ([(1, 10, 6)], 56, 14), ([(1, 6, 10)], 48, 8), ([(1, 6, 6), (1, 6, 6)], 84, 14), ([(1, 4, 4)], 28, 14), ([(3, 6, 10), (1, 10, 6)], 112, 14)]
SEED = 3

def config(window=112, patch=14):
    return Qwen2_5_VLConfig(text_config=dict(vocab_size=528, hidden_size=32, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=1, rope_parameters=dict(rope_type="default", rope_theta=1e6, mrope_section=[2, 3, 3])),
        vision_config=dict(depth=1, hidden_size=16, num_heads=2, intermediate_size=8, out_hidden_size=32, window_size=window, patch_size=patch, tokens_per_second=2), image_token_id=IMG, video_token_id=520, vision_start_token_id=VS, vision_end_token_id=VE)

def spec_positions(ids, grids):
    P, nxt, st = [], 0, 0
    for t, h, w in grids:
        ed = ids.index(IMG, st); P += [[nxt + k] * 3 for k in range(ed - st)]; base = nxt + ed - st
        P += [[base, base + y, base + x] for ti in range(t) for y in range(h // 2) for x in range(w // 2)]
        nxt = base + max(h, w) // 2; st = ed + t * h * w // 4
    P += [[nxt + k] * 3 for k in range(len(ids) - st)]
    return [list(c) for c in zip(*P)], max(map(max, P)) + 1 - len(ids)

def spec_windows(grids, W):
    idx, cu, full, base = [], [0], [0], 0
    for t, h, w in grids:
        H, V = h // 2, w // 2; nh, nw = (H + W - H % W) // W, (V + W - V % W) // W
        for ti in range(t):
            full.append(full[-1] + h * w)
            for a in range(nh):
                for b in range(nw):
                    n = [base + ti * H * V + y * V + x for y in range(a * W, min(H, a * W + W)) for x in range(b * W, min(V, b * W + W))]
                    idx += n
                    if n: cu.append(cu[-1] + 4 * len(n))
        base += t * H * V
    yx = [[hb * 2 + mh, wb * 2 + mw] for t, h, w in grids for _ in range(t) for hb in range(h // 2) for wb in range(w // 2) for mh in range(2) for mw in range(2)]
    return idx, cu, full, yx

def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--root", required=True); ap.add_argument("--out", required=True); ap.add_argument("--cases"); a = ap.parse_args(); L = sys.modules["__main__"]
    if a.cases: s = importlib.util.spec_from_file_location("cases", a.cases); L = importlib.util.module_from_spec(s); s.loader.exec_module(L)
    tok = Tokenizer.from_file(f"{a.root}/data/tiny-qwen2_5-vl/tokenizer.json"); ver = dict(transformers=transformers.__version__, torch=torch.__version__)
    m = Qwen2_5_VLForConditionalGeneration(config()); items = []
    for name, parts in L.SAMPLES:
        ids, grids = [], []
        for p in parts:
            if isinstance(p, str): ids += tok.encode(p).ids
            else: ids += [VS] + [IMG] * (p[0] * p[1] // 4) + [VE]; grids.append([1, *p])
        t = torch.tensor([ids]); kw = dict(image_grid_thw=torch.tensor(grids) if grids else None, attention_mask=torch.ones_like(t))
        pos, delta = m.model.get_rope_index(t, mm_token_type_ids=(t == IMG).int(), **kw); got = pos[:, 0].tolist(); d = int(delta[0, 0]); want = spec_positions(ids, grids)
        assert (got, d) == want, name
        items.append(dict(id=name, ids=ids, grids=grids, position_ids=got, rope_delta=d))
    json.dump(dict(schema="octet-golden-positions/1", made_with=ver, vision_start=VS, image_pad=IMG, merge=2, items=items), open(f"{a.out}/positions.json", "w"), separators=(",", ":"))
    rows = []
    for grids, win, patch in L.GRIDS:
        g = torch.tensor(grids); c = config(win, patch).vision_config; idx, cu = get_vision_window_index(g, 2, win, patch); full = get_vision_attention_seqlens(g, c)[0]; yx = get_vision_position_ids(g, 2)
        yx = yx.tolist() if yx.shape[-1] == 2 else yx.T.tolist(); got = (idx.tolist(), cu.tolist(), full.tolist(), yx); want = spec_windows(grids, win // 2 // patch)
        assert got == want, (grids, [x == y for x, y in zip(got, want)])
        rows.append(dict(grids=grids, window_size=win, patch_size=patch, merge=2, window_index=got[0], cu_window=got[1], cu_full=got[2], reverse=torch.argsort(idx).tolist(), **({"row_yx": yx} if len(yx) <= 200 else {})))
    json.dump(dict(schema="octet-golden-windows/1", made_with=ver, items=rows), open(f"{a.out}/windows.json", "w"), separators=(",", ":"))
    # all 256 values through both processors, and one small picture patch by patch
    mean, std = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]; out = {}; r = np.random.RandomState(L.SEED); pic = r.randint(0, 256, (56, 84, 3)).astype(np.uint8); pic[:16, :16] = np.arange(256).reshape(16, 16)[:, :, None]
    for key, cls in (("torchvision", Qwen2VLImageProcessor), ("pil", Qwen2VLImageProcessorPil)):
        o = cls(min_pixels=3136, max_pixels=1003520, image_mean=mean, image_std=std)(images=[Image.fromarray(pic)], return_tensors="np"); pv = np.asarray(o["pixel_values"], np.float32); assert np.asarray(o["image_grid_thw"]).tolist() == [[1, 4, 6]]
        u = pv.reshape(2, 3, 2, 2, 3, 2, 14, 14).transpose(5, 4, 0, 2, 6, 1, 3, 7).reshape(2, 3, 56, 84)[0]; lut = np.zeros((3, 256), np.float32); v = np.arange(256)
        for c in range(3): lut[c, pic[:, :, c]] = u[c]
        f32 = np.float32
        want = np.stack([((v.astype(f32) - f32(f32(mean[c]) * f32(255))) / f32(f32(std[c]) * f32(255))) if key == "torchvision" else (((v.astype(np.float64) * (1 / 255)).astype(f32) - f32(mean[c])) / f32(std[c])) for c in range(3)])
        seen = np.stack([np.isin(v, pic[:, :, c]) for c in range(3)]); assert seen.all(); print("pixels", key, "differ from the spec's formula:", int((want != lut).sum()))
        out[key] = dict(lut_bits=[[int(x) for x in row.view(np.uint32)] for row in lut], pixel_values_sha256=__import__("hashlib").sha256(pv.tobytes()).hexdigest(), rows_0_and_5=[[float(x) for x in pv[k][:40]] for k in (0, 5)])
    json.dump(dict(schema="octet-golden-pixels/1", made_with=ver, image_mean=mean, image_std=std, what="lut_bits[channel][u8]: float32 bit pattern of the normalised value; picture u8 [56, 84, 3] as hex; pixel_values float32 [24, 1176]", picture=pic.tobytes().hex(), **out), open(f"{a.out}/pixels.json", "w"), separators=(",", ":"))
    print(len(items), "position samples,", len(rows), "window cases")

if __name__ == "__main__": main()
