#!/usr/bin/env python3
"""golden_tokenizer.py - text -> ids, ids -> bytes and chat renderings, from Hugging Face's tokenizers.

  golden_tokenizer.py --root DIR --out DIR [--texts FILE.py] [--avoid FILE.jsonl]

Writes OUT/tokenizer/: encode.{qwen2_5_vl,tiny}.jsonl, decode.*.jsonl, chat.*.jsonl, unicode-classes.json, unicode-nfc.jsonl and
qwen2_5_vl/{added_tokens,tokenizer_config,chat_template}.json: what the Qwen2 folder lacks to be the Qwen2.5-VL tokenizer.
--texts names a module with TEXTS, CHATS, DECODE, SEED and FIRST (the first of its 300 captions), else the lists below.
Every text is also run through a pipeline put together from tokenizers' parts, as the model family documents it,
and every decode through a plain byte table: a difference stops the script.
"""
import argparse, importlib.util, json, os, random, shutil, sys, tempfile, unicodedata
os.environ["HF_HUB_OFFLINE"] = "1"
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import AutoTokenizer

RE = r"""(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"""
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|object_ref_start|>", "<|object_ref_end|>", "<|box_start|>", "<|box_end|>", "<|quad_start|>", "<|quad_end|>",
           "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>", "<|image_pad|>", "<|video_pad|>"]
PLAIN = ["<tool_call>", "</tool_call>", "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>", "<|fim_pad|>", "<|repo_name|>", "<|file_sep|>"]
TEMPLATE = ("{% set image_count = namespace(value=0) %}{% set video_count = namespace(value=0) %}{% for message in messages %}"
            "{% if loop.first and message['role'] != 'system' %}<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n{% endif %}"
            "<|im_start|>{{ message['role'] }}\n{% if message['content'] is string %}{{ message['content'] }}<|im_end|>\n{% else %}"
            "{% for content in message['content'] %}{% if content['type'] == 'image' or 'image' in content or 'image_url' in content %}"
            "{% set image_count.value = image_count.value + 1 %}{% if add_vision_id %}Picture {{ image_count.value }}: {% endif %}<|vision_start|><|image_pad|><|vision_end|>"
            "{% elif content['type'] == 'video' or 'video' in content %}{% set video_count.value = video_count.value + 1 %}{% if add_vision_id %}Video {{ video_count.value }}: {% endif %}"
            "<|vision_start|><|video_pad|><|vision_end|>{% elif 'text' in content %}{{ content['text'] }}{% endif %}{% endfor %}<|im_end|>\n{% endif %}{% endfor %}"
            "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}")

def write_added(d):
    """The Qwen2.5-VL additions to the Qwen2 vocabulary (spec section 5.2)."""
    os.makedirs(d, exist_ok=True); ids = {t: 151643 + k for k, t in enumerate(SPECIAL + PLAIN)}; J = lambda f, o: json.dump(o, open(f"{d}/{f}", "w"), indent=2)
    J("added_tokens.json", {t: i for t, i in ids.items()}); J("chat_template.json", dict(chat_template=TEMPLATE))
    J("tokenizer_config.json", dict(add_bos_token=False, add_prefix_space=False, added_tokens_decoder={str(i): dict(content=t, lstrip=False, normalized=False, rstrip=False, single_word=False, special=t in SPECIAL) for t, i in ids.items()},
        additional_special_tokens=SPECIAL[1:], bos_token=None, chat_template=TEMPLATE, clean_up_tokenization_spaces=False, eos_token="<|im_end|>", errors="replace", model_max_length=131072,
        pad_token="<|endoftext|>", split_special_tokens=False, tokenizer_class="Qwen2Tokenizer", unk_token=None))

def by_parts(vocab, merges, added):
    """The pipeline of spec section 5.1, from vocab.json, merges.txt and (token, special) pairs."""
    m = [tuple(l.rstrip("\n").split(" ")) for l in open(merges, encoding="utf-8") if not l.startswith("#version")]
    t = Tokenizer(models.BPE(vocab=json.load(open(vocab, encoding="utf-8")), merges=m, fuse_unk=False, byte_fallback=False)); t.normalizer = normalizers.NFC()
    t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(RE), "isolated", False), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]); t.decoder = decoders.ByteLevel()
    for tok, sp in added: (t.add_special_tokens if sp else t.add_tokens)([AddedToken(tok, special=sp, normalized=False)])
    return t

def alphabet():
    keep = list(range(33, 127)) + list(range(161, 173)) + list(range(174, 256)); out = {chr(b): b for b in keep}; n = 0
    for b in range(256):
        if b not in keep: out[chr(256 + n)] = b; n += 1
    return out
BYTE = alphabet()

def raw_bytes(tok, ids, skip):
    added = tok.get_added_tokens_decoder(); out = b""
    for i in ids:
        if i in added: out += b"" if skip and added[i].special else added[i].content.encode()
        else:
            t = tok.id_to_token(i)
            if t is not None: out += bytes(BYTE[c] for c in t)
    return out

# ---------------------------------------------------------------- texts
def by_category(offset, per=3):
    """Up to `per` characters of every general category and of many blocks, alone, doubled, next to letters, digits and spaces."""
    cats = {}
    for c in range(0x110000):
        if not 0xD800 <= c < 0xE000: cats.setdefault(unicodedata.category(chr(c)), []).append(chr(c))
    out = []
    for k in sorted(cats):
        v = cats[k]; pick = [v[(offset + j * 977) % len(v)] for j in range(per)]
        out += [f"a{c}b {c}{c} {c}1{c}" for c in pick] + ["".join(pick) + " " + " ".join(pick)]
    for b in range(0x80 + offset % 64, 0x20000, 509):
        if not 0xD800 <= b < 0xE000: out.append(f"x{chr(b)} {chr(b + 1)}{chr(b)}'s")
    return out

POOLS = [list("abcxyzABCZ"), list("0123456789"), list(" \t\n\r") + ["  ", "\r\n", "\u00a0", "\u3000", "\u2028", "\u0085", "\u200b", "\x0b", "\x0c", "\u1680", "\u180e", "\ufeff", "\u2003"],
         list("'\u2019`\"!?.,;:-_()[]{}<>|/\\@#$%^&*+=~"), ["'s", "'S", "'Re", "'LL", "'d", "'T", "'vE", "'M", "\u2019s", "'\u017f"], list("éüñçÅßøİıſKŉǅ"), ["e\u0301", "a\u0308", "\u0301", "\u0300\u0323", "\u1100\u1161\u11a8", "\u0915\u093c", "\u212b", "\u2126", "\ufb01", "\u0344"],
         list("中文字漢字の東京カナ한국어가각"), list("سلاممرحبا١٢٣שלום"), list("สวัสดีครับนี่नमस्ते१२३தமிழ்"), ["😀", "👩‍👩‍👧‍👦", "🏳️‍🌈", "👍🏽", "🇩🇪", "1️⃣", "❤️", "\U0001f9d1\U0001f3fd\u200d\U0001f4bb"],
         ["<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|image_pad|>", "<|vision_start|>", "<|im_", "start|>", "<|", "|>", "<tool_call>", "</tool_call>", "<|file_sep|>"], ["½", "²", "Ⅷ", "①", "৳", "௵", "\u0bf1", "〇", "\U0001d7d8", "\u2150"]]
def fuzz(seed, n):
    r = random.Random(seed); out = []
    for _ in range(n):
        pools = r.sample(POOLS, r.randint(2, 5)); out.append("".join(r.choice(r.choice(pools)) for _ in range(r.randint(3, 40))))
    return out

TEXTS = ["", " ", "  ", "\n", "\r\n", "\t", "\r", "\u00a0", "a", " a", "a ", "  a", "a  ", "a   b", "a \n b", "a  \n  b", "a\n\n\nb", "\n\na", "a\r\n\r\nb", "a\r\rb", "trailing  ", "tab\ttab\t\ttab", "\t\tif x:\n\t\t\treturn",
    "I'M here, it's 2024!\n\nNext  line", "DON'T don't Don't can'T we'Re WE'LL she'D I'vE he's'S 's 'S s' ' 's's", "it\u2019s they\u2019re DON\u2019T", "'\u017f '\u017ft '\u212a", "'ll'll'd'm", "a's1's 's.", "O'Neill'd've",
    "1234567890 3.14159 1,000,000 -5 1e-9 0x1F", "١٢٣٤٥ 一二三 Ⅷ ½ ² ① ௧௨", "café cafe\u0301 CAFE\u0301", "\u212b \u00c5 A\u030a", "\u1e9b\u0323 \u1e69 s\u0323\u0307 s\u0307\u0323", "\u0958 \u0915\u093c", "\u1100\u1161\u11a8 가각 \u1100\u1161 \u1112\u1173\u11ab", "\u0344 \u0308\u0301 \u0340",
    "a\u0315\u0300\u05ae\u0300\u0062", "\u0301 start", "e\u200d\u0301", "\u2126 \u00b5 \ufb01 \u1e00", "o\u0302\u0301 \u1ed1 \u00f4\u0301", "Ｆｕｌｌｗｉｄｔｈ １２３ ＡＢＣ", "中文分词测试，今天天气很好。", "日本語のテキスト、カタカナとひらがな！", "한국어 텍스트입니다.", "繁體中文與简体中文",
    "مرحبا بالعالم، كيف حالك؟", "שלום עולם", "สวัสดีครับ ยินดีต้อนรับ", "नमस्ते दुनिया", "தமிழ் மொழி", "ខ្មែរ ភាសា", "မြန်မာဘာသာ", "Русский язык и українська", "Ελληνικά ΑΣΣ ς", "İstanbul ıI", "𝒳𝓎𝓏 𝟘𝟙𝟚 𐍈𐌰", "👩‍👩‍👧‍👦 👍🏽 🏳️‍🌈 🇩🇪🇫🇷 1️⃣ ❤️", "😀😀😀", "a😀b 😀 c", "☺︎☺️",
    "\ufffd\ufffe\uffff \ufdd0 \U0010ffff", "\ue000\uf8ff \U000f0000", "zero\u200bwidth\u200djoin\u2060er\ufeffbom", "\ufeffBOM first", "soft\u00adhyphen", "nbsp\u00a0between \u00a0 \u00a0\u00a0x", "ideographic\u3000space\u3000\u3000x", "line\u2028sep\u2029para", "nel\u0085x\u0085\u0085 y", "\u2003em\u2009thin \u1680 ogham",
    "vt\x0bff\x0c \x1c\x1d\x1e\x1f us", "\x00", "a\x00b", "\x00\x00 \x01\x02\x7f", "\x1b[31mred\x1b[0m", "\u0080\u009f", "!!!???...", "...\n\n...", "--\n--", "foo_bar __init__ a_b_c", "x=1;\n\ty", "http://example.com/a?b=c&d=%20e#f", "user.name+tag@example.co.uk", "C:\\path\\to\\file.txt", "$100 €5 £3 ¥7 ₿",
    "a" * 5000, "ab" * 2500, "Zq" * 100 + " " + "é" * 300, "0" * 2000, " " * 3000, " " * 3000 + "x", "\n" * 500, "!" * 1025, "中" * 1500, "=" * 80 + "\n" + "-" * 79, "\t" * 17 + "x", "😀" * 200, "e\u0301" * 400, "\u0301" * 300, " \n" * 100,
    "def f(x):\n    \"\"\"Doc.\"\"\"\n    if x > 0:\n        return x ** 2  # square\n    return -x\n", "#include <stdio.h>\nint main(void)\n{\n\tprintf(\"%d\\n\", 42);\n\treturn 0;\n}\n", "SELECT * FROM t WHERE a='b' AND c<>\"d\";", "<html><body class=\"x\">&nbsp;</body></html>", "{\"k\": [1, 2.5, null, true]}",
    "<|im_start|>", "<|im_start|>user\nHi<|im_end|>\n", "<|im_start|><|im_end|><|endoftext|>", "<|vision_start|><|image_pad|><|image_pad|><|vision_end|>", " <|im_end|> ", "a<|im_end|>b", "<|im_<|im_start|>start|>", "<<|im_end|>>", "<|im_start|", "<|im_start |>", "<|IM_START|>", "|im_start|>", "<|im_start|><|im_start|>", "<|image_pad|" + ">" * 3,
    "e<|im_end|>\u0301", "\u1100<|im_end|>\u1161", "'<|im_end|>s", "\n<|im_end|>\n\n", "<tool_call>\n{\"name\": \"f\"}\n</tool_call>", "</tool_call><tool_call>", "<|fim_prefix|>a<|fim_suffix|>b<|fim_middle|>", "<|repo_name|>x<|file_sep|>y", "<|box_start|>(10,20),(30,40)<|box_end|>", "<|object_ref_start|>the cat<|object_ref_end|>", "<|video_pad|><|vision_pad|><|quad_start|><|quad_end|>",
    "<|extra_0|> <|pad|> <unk> <s> </s> [CLS]", "<|image_pad|>" * 64, "Hello world", " Hello world", "Hello\u00a0world", "ǅ ǈ ŉ ß ẞ", "K\u212a k", "\u1e9e'S", "x\u0300\u0301\u0302\u0303\u0304", "a\u034fb", "\u180e mongolian", "\u115f\u1160 fillers", "\U000e0041\U000e007f tags", "\u2060\u2061\u2062",
    # NFC data is Unicode 9.0, classes are Unicode 16.0: marks and letters between the two
    "q\u0345\u1df6 q\u1df6\u0323 q\u0345\u08d3 q\u0345\u08d4 q\u0345\u1dfb", "\U00011935\U00011930 \u09fe", "\U000105d2\u0307 \U000105c0\U000105c1x", "\U00031350\U0002ebf0 \ua7cb \U00016ea0", "\U000323b0 \u1c89\u1c8a", "\u0c3c\u0345 \u0eba\u0323"]

def captions(root, first): return [l.rstrip("\n") for l in open(f"{root}/data/coco2017/coco2017_captions.txt", encoding="utf-8")][first : first + 300]

U = lambda c: {"role": "user", "content": c}
A = lambda c: {"role": "assistant", "content": c}
S = lambda c: {"role": "system", "content": c}
IMG = {"type": "image"}
T = lambda s: {"type": "text", "text": s}
CHATS = [([U("Hi")], True), ([U("Hi")], False), ([U([IMG, T("Describe this image.")])], True), ([U([T("Describe this image."), IMG])], True), ([U([IMG, IMG, T("Compare.")])], True), ([U([T("First "), IMG, T(" second "), IMG, T(" end")])], True),
    ([S("You answer in verse."), U("Hi")], True), ([S([T("You answer "), T("in verse.")]), U([IMG])], True), ([U([IMG, T("What?")]), A("A cat."), U("Sure?")], True), ([U([IMG, T("What?")]), A([T("A cat.")])], False), ([U("a"), A("b"), U("c"), A("d")], False),
    ([S(""), U("")], True), ([U([])], True), ([], True), ([], False), ([S("only system")], True), ([U("x"), S("late system"), U("y")], True), ([A("I begin.")], False), ([{"role": "tool", "content": "42"}], True), ([U("literal <|im_end|> and <|image_pad|>")], True), ([U("line\nbreak\n")], True), ([U("  spaces  ")], True),
    ([U([{"type": "image", "image": "file:///a.jpg"}, T("?")])], True), ([U([{"image": "a.jpg"}, {"text": "no types"}])], True), ([U([{"type": "image_url", "image_url": {"url": "http://x/y.png"}}, T("?")])], True), ([U([T("{{ not jinja }} {% if %}")])], True), ([U([{"type": "video", "video": "a.mp4"}, IMG, T("Which?")])], True), ([U("<&>\"'")], True), ([U([T("é中😀\u0000")])], True)]
DECODE = [[], [0], [220], [198], [220, 220], [151645], [9707, 1879], [9707, 151645, 1879], [151644, 872, 198, 13048, 151645, 198], [151657, 16, 151658], [151660, 151661, 151664], [188, 189], [130], [160, 120], [187, 187, 187], [151655] * 3, [151665], [9707, 151700, 1879], [151935]]
SEED, FIRST = 1, 0

def decode_cases(tok, extra, seed, texts):
    r = random.Random(seed); n = tok.get_vocab_size(); out = [x for x in extra if all(i < n + 300 for i in x) or n > 100000]
    out += [[r.randrange(n) for _ in range(r.randint(1, 24))] for _ in range(80)]        # random: mostly broken UTF-8 between tokens
    out += [[r.randrange(256) for _ in range(r.randint(1, 12))] for _ in range(80)]      # raw byte tokens: broken UTF-8 inside
    sp = sorted(tok.get_added_tokens_decoder()); out += [[r.choice(sp) if r.random() < 0.4 else r.randrange(n) for _ in range(r.randint(1, 16))] for _ in range(40)]
    for t in texts[::6]:
        ids = tok.encode(t).ids; c = r.randrange(len(ids) + 1) if ids else 0; out += [ids[:160], ids[:c][:160]]
    return out

def classes(tok_re):
    """Code points that tokenizers' regex engine puts in a class, as [first, last] ranges."""
    out = []; sp = pre_tokenizers.Split(Regex(tok_re + "+"), "isolated")
    for base in range(0, 0x110000, 0x4000):
        cs = [c for c in range(base, base + 0x4000) if not 0xD800 <= c < 0xE000]
        if not cs: continue
        for k, (_, (a, b)) in enumerate(sp.pre_tokenize_str("!" + "".join(map(chr, cs)))):
            if k & 1: out += [cs[a - 1], cs[b - 2]],
    merged = []
    for a, b in out:
        a0 = a
        if a < 0xD800 <= b: merged.append([a, 0xD7FF]); a0 = 0xE000
        if merged and merged[-1][1] == a0 - 1: merged[-1][1] = b
        else: merged.append([a0, b])
    return merged

def unicode_tables(out):
    tab = {k: classes(v) for k, v in (("L", r"\p{L}"), ("N", r"\p{N}"), ("s", r"\s"))}
    json.dump(dict(what="code point ranges [first, last] of \\p{L}, \\p{N} and \\s as Hugging Face tokenizers' regex engine sees them", **tab), open(f"{out}/unicode-classes.json", "w"), separators=(",", ":"))
    nfc, nfd = normalizers.NFC(), normalizers.NFD(); rows, ccc, dec, comp = [], [], {}, []
    for c in range(0x110000):
        if 0xD800 <= c < 0xE000 or 0xAC00 <= c < 0xD7A4: continue
        s = chr(c); n = nfc.normalize_str(s); d = nfd.normalize_str(s); k = unicodedata.combining(s); m = nfc.normalize_str(d)
        if n != s: rows.append([[c], [ord(x) for x in n]])
        if d != s: dec[c] = [ord(x) for x in d]
        if d != s and len(d) > 1: rows.append([[ord(x) for x in d], [ord(x) for x in m]])
        if k and (k >= 240 or unicodedata.decomposition(s) or nfc.normalize_str("q\u0345" + s) == "q" + s + "\u0345"):  # reordered before U+0345 (240): its class is known there
            if ccc and ccc[-1][1] == c - 1 and ccc[-1][2] == k: ccc[-1][1] = c
            else: ccc.append([c, c, k])
        one = [int(x, 16) for x in unicodedata.decomposition(s).split() if x[0] != "<"] if not unicodedata.decomposition(s).startswith("<") else []
        if len(one) == 2 and nfc.normalize_str(chr(one[0]) + chr(one[1])) == s: comp.append([*one, c])
    json.dump(dict(what="the data of Hugging Face tokenizers' NFC (Unicode 9.0), Hangul left out: ccc [first, last, class], full canonical decompositions, primary compositions [a, b, ab]", ccc=ccc, decompose=dec, compose=comp), open(f"{out}/unicode-nfc.json", "w"), separators=(",", ":"))
    with open(f"{out}/unicode-nfc.jsonl", "w") as f:
        for r in rows: f.write(json.dumps(r, separators=(",", ":")) + "\n")
    return tab, rows

def run(lists):
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--root", required=True); ap.add_argument("--out", required=True); ap.add_argument("--texts"); ap.add_argument("--avoid", help="leave out texts that this encode.*.jsonl holds")
    a = ap.parse_args(); out = f"{a.out}/tokenizer"; os.makedirs(out, exist_ok=True); L = lists
    if a.texts:
        s = importlib.util.spec_from_file_location("texts", a.texts); L = importlib.util.module_from_spec(s); sys.modules["golden_tokenizer"] = sys.modules["__main__"]; s.loader.exec_module(L)
    real, tiny = f"{a.root}/data/qwen2-tokenizer", f"{a.root}/data/tiny-qwen2_5-vl"; added_dir = f"{out}/qwen2_5_vl" if not a.texts else tempfile.mkdtemp()
    write_added(added_dir); tmp = tempfile.mkdtemp()
    for f in ("vocab.json", "merges.txt"): shutil.copyfile(f"{real}/{f}", f"{tmp}/{f}")
    for f in ("added_tokens.json", "tokenizer_config.json"): shutil.copyfile(f"{added_dir}/{f}", f"{tmp}/{f}")
    toks = {"qwen2_5_vl": (AutoTokenizer.from_pretrained(tmp), by_parts(f"{real}/vocab.json", f"{real}/merges.txt", [(t, True) for t in SPECIAL] + [(t, False) for t in PLAIN])),
            "tiny": (AutoTokenizer.from_pretrained(tiny), by_parts(f"{tiny}/vocab.json", f"{tiny}/merges.txt", [(t, True) for t in SPECIAL]))}
    texts = captions(a.root, L.FIRST) + L.TEXTS + by_category(L.SEED) + fuzz(L.SEED, 300); bad = 0
    if a.avoid: seen = {json.loads(l)["text"] for l in open(a.avoid)}; texts = [t for t in texts if t not in seen]
    for name, (hf, parts) in toks.items():
        be = hf.backend_tokenizer
        with open(f"{out}/encode.{name}.jsonl", "w") as f:
            for t in texts:
                ids = hf(t, add_special_tokens=False)["input_ids"]; two = parts.encode(t).ids
                if ids != two: bad += 1; print(name, "pipelines differ:", ascii(t)[:80], ids[:12], two[:12])
                assert hf(t)["input_ids"] == ids
                f.write(json.dumps(dict(text=t, ids=ids)) + "\n")
        with open(f"{out}/decode.{name}.jsonl", "w") as f:
            n = 0
            for ids in decode_cases(be, L.DECODE, L.SEED, texts):
                for skip in (False, True):
                    s = hf.decode(ids, skip_special_tokens=skip); b = raw_bytes(be, ids, skip)
                    if b.decode("utf-8", "replace") != s: bad += 1; print(name, "decode differs:", ids[:12], skip, ascii(s)[:60], b[:40])
                    f.write(json.dumps(dict(ids=ids, skip_special=skip, bytes=b.hex(), text=s)) + "\n"); n += 1
        with open(f"{out}/chat.{name}.jsonl", "w") as f:
            c = 0
            for k, (m, gen) in enumerate(L.CHATS):
                for vid in (False, True) if "image" in json.dumps(m) or "video" in json.dumps(m) else (False,):
                    try: s = hf.apply_chat_template(m, tokenize=False, add_generation_prompt=gen, add_vision_id=vid)
                    except Exception as e: print(name, "chat", k, type(e).__name__, e); continue
                    f.write(json.dumps(dict(messages=m, add_generation_prompt=gen, add_vision_id=vid, text=s, ids=be.encode(s).ids)) + "\n"); c += 1
        print(name, len(texts), "texts,", n, "decodes,", c, "chats")
    if not a.texts:
        tab, rows = unicode_tables(out); py = lambda p: {c for c in range(0x110000) if not 0xD800 <= c < 0xE000 and unicodedata.category(chr(c))[0] == p}
        for p in "LN":
            mine = {c for x, y in tab[p] for c in range(x, y + 1)}; print("class", p, len(mine), "here;", len(mine - py(p)), "not in Unicode", unicodedata.unidata_version, "and", len(py(p) - mine), "only there")
        print("\\s", tab["s"]); print("NFC rows", len(rows))
    sys.exit(bad > 0)

if __name__ == "__main__": run(sys.modules["__main__"])
