#!/usr/bin/env python3
"""golden_channels.py - ranges of the input channels of the tiny model's language linears, as ModelOpt's SmoothQuant saw them.

  OMP_NUM_THREADS=1 ONEDNN_MAX_CPU_ISA=AVX512_CORE golden_channels.py --model DIR --samples FILE.msgpack --out FILE.json

bf16, eager attention, on a CPU, one sample a batch, as tests/golden/modelopt-tiny/make.py calibrated.  bf16 products depend
on the instructions they are made of: with the setting above, the pre_quant_scales of exports/int8-sq-* come out to the bit,
which is how it was found.  Members of a group read one input; it stands under the first one's name.  Numbers are the
shortest that give the bf16 value.
"""
import argparse, json, os, sys
import torch, transformers
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../peers"))
import oracle as O
import numpy as np


def shortest(x):
    want = torch.tensor(x).to(torch.bfloat16)
    for digits in range(1, 10):
        text = f"{x:.{digits}g}"
        if torch.tensor(float(text)).to(torch.bfloat16) == want:
            return text


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for x in ("model", "samples", "out"):
        ap.add_argument("--" + x, required=True)
    a = ap.parse_args()
    torch.set_num_threads(1)
    model = transformers.Qwen2_5_VLForConditionalGeneration.from_pretrained(a.model, dtype=torch.bfloat16,
                                                                            attn_implementation="eager").eval()
    pre = json.load(open(a.model + "/preprocessor_config.json"))
    mean, std = np.array(pre["image_mean"], np.float32), np.array(pre["image_std"], np.float32)
    amax = {}

    def hook(name):
        def see(_, args):
            x = args[0].detach().abs().reshape(-1, args[0].shape[-1]).amax(0)
            amax[name] = torch.maximum(amax[name], x) if name in amax else x
        return see

    for name, m in model.named_modules():
        last = name.rsplit(".", 1)[-1]
        if isinstance(m, torch.nn.Linear) and "language_model" in name and last not in ("k_proj", "v_proj", "up_proj"):
            m.register_forward_pre_hook(hook(O.canon(name)))
    with torch.no_grad():
        for s in O.read_samples(a.samples):
            _, _, kw = O.inputs(s, model, "cpu", mean, std)
            if "pixel_values" in kw:
                kw["pixel_values"] = kw["pixel_values"].to(model.dtype)
            model(**kw)
    rows = [f'"{n}": [{",".join(shortest(v) for v in x.float().tolist())}]' for n, x in amax.items()]
    open(a.out, "w").write("{\n" + ",\n".join(rows) + "\n}\n")


if __name__ == "__main__":
    main()
