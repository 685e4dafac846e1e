#!/usr/bin/env python3
"""seeds.py - write the hand-made seeds of tests/fuzz/corpus: small valid inputs for every target (run from the root)"""
import hashlib
import json
import shutil
import sqlite3
import struct
from pathlib import Path

CORPUS = Path("tests/fuzz/corpus")
LINE = b"\n%%\n"


def put(target, name, data):
    path = CORPUS / target / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data if isinstance(data, bytes) else data.encode())


def text(v):
    return json.dumps(v, separators=(",", ":")).encode()


SIZE = {"BF16": 2, "F32": 4, "U8": 1, "F8_E4M3": 1, "I64": 8}


def safetensors(tensors, metadata=None):
    """tensors: name -> (dtype, shape) or (dtype, shape, bytes)."""
    header, data = {}, b""
    if metadata:
        header["__metadata__"] = metadata
    for name, (dtype, shape, *given) in tensors.items():
        n = SIZE[dtype]
        for d in shape:
            n *= d
        body = given[0] if given else (b"\x80\x3f" if dtype == "BF16" else b"\x38") * (n // SIZE[dtype])
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(body)]}
        data += body
    head = text(header)
    head += b" " * (-len(head) % 8)
    return struct.pack("<Q", len(head)) + head + data


def language(prefix, h, i, kv):
    p = prefix + "layers.0."
    shapes = {prefix + "embed_tokens.weight": [4, h], prefix + "norm.weight": [h],
              p + "input_layernorm.weight": [h], p + "post_attention_layernorm.weight": [h],
              p + "self_attn.q_proj.weight": [h, h], p + "self_attn.q_proj.bias": [h],
              p + "self_attn.k_proj.weight": [kv, h], p + "self_attn.k_proj.bias": [kv],
              p + "self_attn.v_proj.weight": [kv, h], p + "self_attn.v_proj.bias": [kv],
              p + "self_attn.o_proj.weight": [h, h], p + "mlp.gate_proj.weight": [i, h],
              p + "mlp.up_proj.weight": [i, h], p + "mlp.down_proj.weight": [h, i]}
    return {k: ("BF16", v) for k, v in shapes.items()}


def vision(h, i, out):
    p = "visual.blocks.0."
    shapes = {"visual.patch_embed.proj.weight": [h, 1, 1, 2, 2], p + "norm1.weight": [h], p + "norm2.weight": [h],
              "visual.merger.ln_q.weight": [h]}
    for name, o, k in ((p + "attn.qkv", 3 * h, h), (p + "attn.proj", h, h), (p + "mlp.gate_proj", i, h),
                       (p + "mlp.up_proj", i, h), (p + "mlp.down_proj", h, i),
                       ("visual.merger.mlp.0", h, h), ("visual.merger.mlp.2", out, h)):
        shapes[name + ".weight"], shapes[name + ".bias"] = [o, k], [o]
    return {k: ("BF16", v) for k, v in shapes.items()}


CONFIG = {"architectures": ["Qwen2ForCausalLM"], "hidden_size": 4, "intermediate_size": 3, "num_hidden_layers": 1,
          "num_attention_heads": 2, "num_key_value_heads": 1, "rms_norm_eps": 1e-6, "max_position_embeddings": 64,
          "hidden_act": "silu", "vocab_size": 4, "rope_theta": 1e4, "model_type": "qwen2", "use_sliding_window": False,
          "tie_word_embeddings": True}
# The rotation's frequencies are shared out in halves of a head, so a vision model needs heads of at least 6.
VISION = CONFIG | {"architectures": ["Qwen2_5_VLForConditionalGeneration"], "model_type": "qwen2_5_vl", "hidden_size": 6,
                   "num_attention_heads": 1, "vision_start_token_id": 1, "image_token_id": 2, "video_token_id": 3,
                   "rope_scaling": {"type": "mrope", "mrope_section": [1, 1, 1]},
                   "vision_config": {"depth": 1, "hidden_size": 4, "hidden_act": "silu", "intermediate_size": 3,
                                     "num_heads": 1, "patch_size": 2, "spatial_merge_size": 1, "temporal_patch_size": 1,
                                     "window_size": 4, "out_hidden_size": 6, "fullatt_block_indexes": [0],
                                     "in_chans": 1}}


def weights():
    plain = language("model.", 4, 3, 2)
    files = lambda config, quant, index, one, two, whole: LINE.join((text(config), quant, index, one, two, whole))
    put("weights", "text", files(CONFIG, b"", b"", b"", b"", safetensors(plain)))
    put("weights", "untied", files(CONFIG | {"tie_word_embeddings": False}, b"", b"", b"", b"",
                                   safetensors(plain | {"lm_head.weight": ("BF16", [4, 4])})))
    names = list(plain)
    one, two = {k: plain[k] for k in names[:7]}, {k: plain[k] for k in names[7:]}
    index = {"metadata": {"total_size": 1}, "weight_map": {k: "model-1.safetensors" for k in one} |
             {k: "model-2.safetensors" for k in two}}
    put("weights", "shards", files(CONFIG, b"", text(index), safetensors(one), safetensors(two), b""))
    put("weights", "vision", files(VISION, b"", b"", b"", b"",
                                   safetensors(language("model.", 6, 3, 6) | vision(4, 3, 6))))
    fp8, bare = {}, ["lm_head"]
    for k, v in plain.items():
        if "mlp" in k:
            fp8[k] = ("F8_E4M3", v[1])
            fp8[k[:-6] + "weight_scale"] = fp8[k[:-6] + "input_scale"] = ("F32", [], struct.pack("<f", 0.5))
        else:
            fp8[k] = v
            if "proj.weight" in k:
                bare.append(k[:-7])
    quant = {"producer": {"name": "modelopt"}, "quantization": {"quant_algo": "FP8", "kv_cache_quant_algo": None,
                                                                "exclude_modules": bare}}
    config = CONFIG | {"quantization_config": {"quant_method": "modelopt", "quant_algo": "FP8", "ignore": bare}}
    put("weights", "fp8", files(config, text(quant), b"", b"", b"", safetensors(fp8)))


def msgpack(v):
    """The few forms that a stream of samples has."""
    if v is None:
        return b"\xc0"
    if isinstance(v, int):
        return bytes([v]) if v < 128 else b"\xcd" + struct.pack(">H", v)
    if isinstance(v, str):
        return (bytes([0xa0 | len(v)]) if len(v) < 32 else bytes([0xd9, len(v)])) + v.encode()
    if isinstance(v, bytes):
        return bytes([0xc4, len(v)]) + v
    if isinstance(v, list):
        return bytes([0x90 | len(v)]) + b"".join(map(msgpack, v))
    return bytes([0x80 | len(v)]) + b"".join(msgpack(k) + msgpack(x) for k, x in v.items())


def samples():
    head = {"schema": "octet-samples/1", "tool": "calib-stream", "tokenizer": "a" * 64, "processor": None, "count": 1}
    one = {"id": "x/1", "ids": struct.pack("<3i", 7, 8, 9), "loss": b"\0\1\1", "images": []}
    two = one | {"images": [{"grid": [1, 2, 2], "rgb": bytes(range(48))}]}
    join = lambda *v: b"".join(map(msgpack, v))
    put("samples", "text", join(head, one, {"end": 1}))
    put("samples", "picture", join(head | {"count": None}, one, two, {"end": 2}))
    put("samples", "none", join(head | {"count": 0}, {"end": 0}))


def documents():
    full = json.loads(Path("tests/golden/quant/layers.json").read_text())
    put("layers", "layers", text(full))
    ranked = {k: v for k, v in full.items() if k != "modules"}
    put("layers", "scores", text(ranked | {"sensitivity_ranking": [{"name": "lm_head"}]}))
    put("layers", "ranges", text({k: full[k] for k in ("schema", "model", "samples", "modules")}))
    old = json.loads(Path("data/published/qwen2_5-fp8-all-baseline.json").read_text())
    few = {k: v for k, v in list(old["layer_sensitivity"].items())[:3]}
    put("layers", "manifest", text(old | {"layers": dict(list(old["layers"].items())[:6]), "layer_sensitivity": few,
                                          "sensitivity_ranking": [r for r in old["sensitivity_ranking"]
                                                                  if r["name"] in few]}))
    for g in full["layer_sensitivity"].values():
        g |= {"formats": ["FP8(effective-bits: 8.0)", "INT8(effective-bits: 8.0)", "NONE(effective-bits: 16.0)"],
              "scores": [g["scores"][0], 1, 0], "costs": [g["costs"][0]] + g["costs"], "gradient": [g["scores"][0], 1],
              "kl": None, "predicted_kl": [None, 2]}
    full["quantization"] |= {"formats": ["fp8", "int8"], "activations": "dynamic", "smooth_alpha": "auto", "smooth_at": "norm"}
    for name, m in full["modules"].items():
        m |= {f"{k}_amax_per_channel": [0.5] * m["shape"][1] for k in ("input", "weight")} | {"smooth_alpha": 0.5}
        if name.endswith(("k_proj", "v_proj")):
            m["kv_amax"] = 3
    put("layers", "int8", text(full))
    q = {"format": "int8", "input_amax": 1, "folded": True, "pre_quant_scale": [0.5, 2], "own_scale": [0.25, 4]}
    put("scheme", "int8", text({"scheme_name": "x", "selected_layers": ["layers.0.self_attn.q_proj", "lm_head"],
                                "dropped_layers": [], "modules": {"layers.0.self_attn.q_proj": q, "layers.0.self_attn.k_proj": q,
                                                                  "lm_head": {"format": "int8", "dynamic": True}},
                                "kv_cache": {"format": "fp8", "layers": {"layers.0": {"k_amax": 1, "v_amax": 2}}}}))
    put("preset", "preset", text({"schema": "octet-preset/1", "name": "x", "summary": "y", "disabled": ["*lm_head*"],
                                  "rules": [{"pattern": "*", "format": "fp8"}, {"pattern": "*.mlp.*", "format": "int8"}],
                                  "activations": "dynamic", "smooth_alpha": "auto", "smooth_at": "input", "kv_cache": "fp8"}))
    put("scheme", "scheme", Path("tests/golden/export/fp8-lm-top10.scheme.json").read_bytes())
    old = json.loads(Path("data/published/qwen2_5-fp8-all-baseline.top10.coverage.json").read_text())
    put("scheme", "coverage", text(old | {"num_layers_total": 5, "num_layers_selected": 2, "num_layers_dropped": 3,
                                          "selected_layers": old["selected_layers"][:2],
                                          "dropped_layers": old["dropped_layers"][:3]}))
    settings = json.loads(Path("tests/golden/models/flat-mha/preprocessor_config.json").read_text())
    put("processor", "preprocessor", text(settings))
    put("processor", "processor", text({"image_processor": settings}))
    put("processor", "size", text({"size": {"shortest_edge": 3136, "longest_edge": 9999}, "image_mean": None}))


def tokenizers():
    added = [{"id": 7, "content": "<|im_end|>", "single_word": False, "lstrip": False, "rstrip": False,
              "normalized": False, "special": True}]
    source = json.loads(Path("data/tiny-qwen2_5-vl/tokenizer.json").read_text())
    # A byte-level vocabulary spells the 256 bytes: printable Latin-1 as itself, the others from U+0100 on.
    plain = [b for b in range(256) if 33 <= b <= 126 or 161 <= b <= 172 or 174 <= b]
    other = [b for b in range(256) if b not in plain]
    vocab = {chr(b) if b in plain else chr(256 + other.index(b)): b + 10 for b in range(256)}
    vocab |= {"ab": 3, "\u0120ab": 4}
    source |= {"added_tokens": added, "model": source["model"] | {"vocab": vocab,
               "merges": [["a", "b"], ["\u0120", "ab"]]}}
    tail = [text({"added_tokens_decoder": {"7": added[0]}, "chat_template": "x"}),
            text({"eos_token_id": [7, 0]}), "ab ab<|im_end|>ba".encode()]
    put("tokenizer", "json", LINE.join([text(source), b"", b"", b""] + tail))
    source["model"]["merges"] = ["a b", "\u0120 ab"]
    put("tokenizer", "old", LINE.join([text(source), b"", b"", b"", b"", b"", b"abba"]))
    put("tokenizer", "vocab", LINE.join([b"", json.dumps(vocab, separators=(",", ":"), ensure_ascii=False).encode(), "#version: 0.2\na b\n\u0120 ab\n".encode(),
                                         text({"<|im_end|>": 7})] + tail))
    put("text", "plain", "A man's 3 dogs,\n\n  don't!  <|im_start|>user\n<|vision_start|><|image_pad|><|vision_end|>")
    put("text", "unicode", "e\u0301 \u212b \uac01\u11a8 \U0001f600 \u0939\u093f \ufb01 \u0327\u0301 \u00a0\u2003x\r\n 12\u0663")
    put("text", "broken", b"ok \xc3( \xed\xa0\x80 \xf0\x9f\x98")


def captions():
    db = Path("/tmp/octet-seed.db")
    db.unlink(missing_ok=True)
    c = sqlite3.connect(db)
    c.executescript("PRAGMA page_size = 512; VACUUM; CREATE TABLE vlm_calib_samples (id INTEGER PRIMARY KEY, split TEXT, "
                    "image_relpath TEXT, image_id INTEGER, caption_id INTEGER, caption TEXT); "
                    "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT); "
                    "INSERT INTO vlm_calib_samples VALUES (1, 'x2017', 'x2017/1.jpg', 1, 2, 'a cat'), "
                    "(2, 'x2017', 'x2017/1.jpg', 1, 2, 'a cat'), (3, 'x2017', 'x2017/2.jpg', 2, 3, 'a dog'); "
                    "INSERT INTO meta VALUES ('num_samples', '3'), ('coco_root_relative', 'data/x');")
    c.close()
    put("calib", "db", db.read_bytes())
    db.unlink()
    put("calib", "eval", '{"split": "x", "image_relpath": "x/1.jpg", "caption": "a cat "}\n\n'
                         '{"split": "x", "image_relpath": "x/2.jpg", "caption": "a\\ndog"}\n')
    put("calib", "captions", " a cat\n\na dog\r\nno newline")
    put("calib", "coco", text({"images": [{"id": 5, "file_name": "5.jpg"}, {"id": 4, "file_name": "4.png"}],
                               "annotations": [{"id": 1, "image_id": 4, "caption": "a cat"},
                                               {"id": 2, "image_id": 5, "caption": "a dog"},
                                               {"id": 3, "image_id": 4, "caption": "the cat"}]}))


def chunked(magic, version, head, chunks, end=True):
    """A file of common/io/chunks.h; chunks: (kind, payload)."""
    out = magic + struct.pack("<II", version, 0)
    digest = hashlib.sha256(out).digest()
    for kind, payload in [(1, text(head))] + chunks + ([(0, b"")] if end else []):
        check = hashlib.sha256(digest + struct.pack("<IQ", kind, len(payload))).digest()[:4]
        body = struct.pack("<I", kind) + check + struct.pack("<Q", len(payload)) + payload
        digest = hashlib.sha256(digest + body).digest()
        out += body + digest
    return out


def files():
    two = [(1, b""), (2, b"payload")]
    put("chunks", "whole", chunked(b"OCTTEST\n", 1, {"key": "value"}, two))
    put("chunks", "unfinished", chunked(b"OCTTEST\n", 1, {}, two, False))
    put("chunks", "torn", chunked(b"OCTTEST\n", 1, {}, two, False)[:-9])
    put("chunks", "damaged", chunked(b"OCTTEST\n", 1, {}, two).replace(b"load", b"lead"))
    put("safetensors", "none", safetensors({}))
    put("safetensors", "three", safetensors({"a": ("F32", [2, 2], bytes(16)), "scalar": ("BF16", []),
                                             "empty": ("I64", [0, 3])}, {"format": "pt"}))
    states = {"schema": "octet-states/2", "version": "1", "arithmetic": "cpu/fp32", "dtype": "BF16", "tokens": 3, "hidden": 2,
              "vocab": 9, "model": "a" * 64, "head": "b" * 64, "samples": "c" * 64, "tokenizer": None, "processor": "d" * 64}
    rows = lambda n, width: (2, bytes(width * 2 * n) + struct.pack(f"<{n}f{n}i", *range(n), *range(n)))
    put("states", "bf16", chunked(b"OCTSTATE", 2, states, [rows(2, 2), rows(1, 2)]))
    put("states", "fp32", chunked(b"OCTSTATE", 2, states | {"dtype": "F32"}, [rows(3, 4)]))
    put("states", "short", chunked(b"OCTSTATE", 2, states, [rows(2, 2)]))
    put("states", "payloads", LINE.join([text(states), rows(2, 2)[1], rows(1, 2)[1]]))
    put("states", "wide", LINE.join([text(states | {"hidden": 1 << 24})] + [rows(2, 2)[1]]))
    put("states", "ragged", chunked(b"OCTSTATE", 2, states, [(2, bytes(35))]))
    for order, mark in (("<", b"II"), (">", b"MM")): # TIFF: one directory, its entries sorted by tag
        entries = [(0x0100, 4, 1, 77), (0x0112, 3, 1, 6 if order == "<" else 6 << 16)]
        put("exif", mark.decode(), mark + struct.pack(order + "HIH", 42, 8, len(entries)) +
            b"".join(struct.pack(order + "HHII", *x) for x in entries) + bytes(4))
    for name in ("1x1.jpg 420-odd.jpg cmyk-adobe.jpg exif5-gray.jpg exif-big-endian-8.jpg progressive-gray.jpg "
                 "restart-rows-progressive.jpg quality-1.jpg one-pixel.png tiny-adam7.png gray1-adam7.png palette2-short.png "
                 "palette4-trns.png gray-alpha16.png stripes-99x97.png cut.png bad-crc.png exif6.png").split():
        source = Path("tests/golden/image") / name
        if source.exists():
            (CORPUS / "image").mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, CORPUS / "image" / name)


weights()
samples()
documents()
tokenizers()
captions()
files()
