#!/usr/bin/env python3
"""golden_generate.py - greedy answers of the bundled model, from transformers' own generate().

  golden_generate.py --model DIR --images DIR --out DIR

Writes OUT/generate.json: a list of cases {"text", "images", "raw", "penalty", "ids" (of the prompt, pictures expanded),
"answer" (ids, the stop token included when there is one), "decoded" (of the answer, without special tokens)}. fp32, eager, CPU,
do_sample=False, 24 tokens at most. images are names in DIR.
"""
import argparse, json, os
os.environ["HF_HUB_OFFLINE"] = "1"
import torch
from PIL import Image
from transformers import AutoProcessor, Qwen2_5_VLForConditionalGeneration

ONE = "<|vision_start|><|image_pad|><|vision_end|>"
# text, pictures, raw, repetition penalty
CASES = [("Describe this image.", ["000000100001.jpg"], False, 1.0),
         ("Describe this image.", ["000000100004.png"], False, 1.0),
         ("Describe this image.", ["000000100002.jpg", "000000100007.jpg"], False, 1.0),
         ("What is in the top left corner?", ["000000100011.jpg"], False, 1.3),
         ("Hello! Who are you?", [], False, 1.0),
         ("The picture shows a", [], True, 1.0),
         ("In the middle there is a tiny yellow", [], True, 1.05),
         ("First " + ONE + " and then " + ONE + " show a large", ["000000100003.jpg", "000000100005.jpg"], True, 1.0)]

def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("model", "images", "out"):
        ap.add_argument("--" + name, required=True)
    a = ap.parse_args()
    processor = AutoProcessor.from_pretrained(a.model)
    model = Qwen2_5_VLForConditionalGeneration.from_pretrained(a.model, dtype=torch.float32, attn_implementation="eager").eval()
    out = []
    for text, names, raw, penalty in CASES:
        content = [{"type": "image"} for _ in names] + [{"type": "text", "text": text}]
        rendered = text if raw else processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
        pictures = [Image.open(os.path.join(a.images, n)).convert("RGB") for n in names] or None
        x = processor(text=[rendered], images=pictures, return_tensors="pt")
        with torch.no_grad():
            y = model.generate(**x, do_sample=False, temperature=None, repetition_penalty=penalty, max_new_tokens=24)
        n = x["input_ids"].shape[1]
        answer = y[0][n:].tolist()
        out.append({"text": text, "images": names, "raw": raw, "penalty": penalty, "ids": x["input_ids"][0].tolist(), "answer": answer,
                    "decoded": processor.tokenizer.decode(answer, skip_special_tokens=True)})
    with open(os.path.join(a.out, "generate.json"), "w") as f:
        f.write("[\n" + ",\n".join(json.dumps(c) for c in out) + "\n]\n")

if __name__ == "__main__":
    main()
