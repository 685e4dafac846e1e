#!/usr/bin/env python3
"""checkpoint.py - what Hugging Face's own libraries make of checkpoints that export-ckpt wrote.

  checkpoint.py files DIR...
      safetensors reads every file, the index is complete, AutoTokenizer and AutoProcessor load.
  checkpoint.py logits DIR --states STATES --samples FILE.msgpack --dtype float32|bfloat16 [--most 0.02]
      transformers loads the compressed-tensors checkpoint DIR without a missing or unexpected key, with every layer
      that has FP8 codes quantized and no other.  Its logits agree with those of our evaluation, which are the final
      hidden states that `eval-logits --ref DIR --save-ref STATES` wrote, times the head: none is off by more than --most
      of the range of all logits, and in 99 % of the rows our largest one is their largest, too.  In bf16, logits come
      rounded to 8 bits and many are equal: there it is within one such step of their largest.

One line per check: "ok NAME: FIGURES".  Exits 1 when a check fails.
"""
import argparse, glob, json, os, struct, sys
from pathlib import Path
import numpy as np, torch
from safetensors import safe_open
from transformers import AutoProcessor, AutoTokenizer, Qwen2_5_VLForConditionalGeneration
from oracle import inputs, read_samples

LEAST_SAME = 0.99
CODES = {torch.float8_e4m3fn: "FP8", torch.int8: "INT8"}
failed = False


def report(good, text):
    global failed
    failed |= not good
    print(("ok " if good else "FAILED ") + text, flush=True)


def read_tensors(path):
    """All tensors of a checkpoint by safetensors' reader: {name: (dtype, shape)}, and each name's file."""
    found, where = {}, {}
    for file in sorted(glob.glob(path + "/*.safetensors")):
        with safe_open(file, framework="pt") as f:
            for name in f.keys():
                t = f.get_tensor(name)
                found[name], where[name] = (t.dtype, tuple(t.shape)), os.path.basename(file)
    return found, where


def check_files(path):
    found, where = read_tensors(path)
    index = path + "/model.safetensors.index.json"
    complete = not os.path.exists(index) or json.load(open(index))["weight_map"] == where
    codes = {text: sum(d == t for d, _ in found.values()) for t, text in CODES.items()}
    report(bool(found) and complete and sum(codes.values()) > 0,
           f"{path}: safetensors reads {len(found)} tensors in {len(set(where.values()))} files, "
           + ", ".join(f"{n} of {text} codes" for text, n in codes.items() if n))
    text = "A photo of a red square.\n"
    tokenizer, processor = AutoTokenizer.from_pretrained(path), AutoProcessor.from_pretrained(path)
    ids = tokenizer(text)["input_ids"]
    report(tokenizer.decode(ids) == text and processor.tokenizer(text)["input_ids"] == ids,
           f"{path}: {type(tokenizer).__name__} and {type(processor).__name__} load")


def read_states(path):
    """The hidden states of a file of octet-states(5) in fp32: [tokens, hidden]."""
    data = Path(path).read_bytes()
    at, head, rows = 16, None, []
    while at < len(data):
        kind, _, size = struct.unpack_from("<IIQ", data, at)
        payload, at = data[at + 16:at + 16 + size], at + 16 + size + 32
        if kind == 1:
            head = json.loads(payload)
            assert data[:8] == b"OCTSTATE" and head["dtype"] == "F32", "these are not states in fp32"
        elif kind == 2:
            n = size // (4 * head["hidden"] + 8)
            rows.append(np.frombuffer(payload, "<f4", n * head["hidden"]).reshape(n, -1))
    return torch.from_numpy(np.concatenate(rows))


def check_logits(path, states_file, samples_file, dtype, most):
    model, info = Qwen2_5_VLForConditionalGeneration.from_pretrained(path, dtype=dtype, output_loading_info=True)
    model.eval()
    keys = {k: sorted(info[k]) for k in ("missing_keys", "unexpected_keys", "mismatched_keys")}
    # A tied head is made from the embedding: no loader finds it in the files.
    keys["missing_keys"] = [k for k in keys["missing_keys"] if k != "lm_head.weight"]
    report(not any(keys.values()), f"{path}: keys {keys}" if any(keys.values()) else f"{path}: every key found its place")
    want = sum(d in CODES for d, _ in read_tensors(path)[0].values())
    linear = {n: m for n, m in model.named_modules() if isinstance(m, torch.nn.Linear)}
    got = [n for n, m in linear.items() if getattr(m, "quantization_scheme", None) is not None]
    in_codes = [n for n, m in linear.items() if m.weight.dtype in CODES]
    report(len(got) == want and got == in_codes, f"{path}: {len(got)} of {len(linear)} Linear modules are quantized")

    pre = json.load(open(path + "/preprocessor_config.json"))
    mean, std = np.array(pre["image_mean"], np.float32), np.array(pre["image_std"], np.float32)
    states = read_states(states_file)
    head = model.get_output_embeddings().weight.detach().float()
    step = 2.0 ** -8 if dtype == torch.bfloat16 else 0.0
    first, same, off, nats, low, high = 0, 0, 0.0, 0.0, float("inf"), float("-inf")
    with torch.no_grad():
        for s in read_samples(samples_file):
            ids, _, kw = inputs(s, model, "cpu", mean, std)
            theirs = model(**kw).logits[0].float()
            ours = states[first:first + len(ids)] @ head.T
            first += len(ids)
            low, high = min(low, ours.min().item()), max(high, ours.max().item())
            off = max(off, (theirs - ours).abs().max().item())
            largest = theirs.amax(-1)
            same += (theirs.gather(1, ours.argmax(-1)[:, None])[:, 0] >= largest - step * largest.abs()).sum().item()
            p, q = torch.log_softmax(ours, -1), torch.log_softmax(theirs, -1)
            nats += (p.exp() * (p - q)).sum().item()
    assert first == len(states), "the states are of other samples"
    off /= high - low
    report(off <= most and same >= LEAST_SAME * first,
           f"{path}: {str(dtype)[6:]} logits off by at most {100 * off:.2f} % of their range, {100 * same / first:.2f} % of "
           f"{first} rows with the same largest one, KL {nats / first:.2g} nats a token")


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    sub = ap.add_subparsers(dest="what", required=True)
    files = sub.add_parser("files")
    files.add_argument("dir", nargs="+")
    logits = sub.add_parser("logits")
    logits.add_argument("dir")
    logits.add_argument("--states", required=True)
    logits.add_argument("--samples", required=True)
    logits.add_argument("--dtype", choices=("float32", "bfloat16"), required=True)
    logits.add_argument("--most", type=float, default=0.02)
    a = ap.parse_args()
    if a.what == "files":
        for d in a.dir:
            check_files(d)
    else:
        check_logits(a.dir, a.states, a.samples, getattr(torch, a.dtype), a.most)
    sys.exit(failed)


if __name__ == "__main__":
    main()
