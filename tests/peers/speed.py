#!/usr/bin/env python3
"""speed.py - what PyTorch, transformers, TorchMetrics and ModelOpt take for the work that tests/bench/gpu/speed measures

  speed.py [MODEL [products | attention | passes | evaluation | modelopt]...]

Prints "benchmark,value,unit" for the GPU that PyTorch sees: of products and attention, with MODEL, a directory of
make-model, of all parts or of those that are named, each in a process of its own.  What a library cannot do, or is not
there for, is a line that begins with "#".  Each figure is the median of several measurements after some that are not
counted; a measurement ends when the device has finished.  Products and attention are replayed from a CUDA graph, so that
Python's own time does not count in them.

Shapes, lengths and the type (bf16) are those of speed.  transformers runs with SDPA attention and makes all logits for the
loss.  ModelOpt's figures are steps of its AutoQuantize search by gradients, FP8_DEFAULT_CFG beside no quantization,
without its calibration and solver.
"""
import contextlib, statistics, subprocess, sys, time
import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
GRID = (1, 34, 46)  # patches of a picture of 476x644
PRODUCTS = ((4096, 2048, 2048), (4096, 2048, 256), (4096, 2048, 11008), (4096, 11008, 2048), (220, 2048, 151936),
            (6256, 1280, 3840), (6256, 1280, 3420), (6256, 3420, 1280))
ATTENTION = (("8x512 16:2x128 causal", 8, 512, 16, 2, 128, True), ("8x2048 16:2x128 causal", 8, 2048, 16, 2, 128, True),
             ("195x21 16:2x128 causal", 195, 21, 16, 2, 128, True), ("4x1564 16x80 full", 4, 1564, 16, 16, 80, False),
             ("98x64 16x80 windows", 98, 64, 16, 16, 80, False))


def put(line):
    print(line, file=sys.__stdout__, flush=True)


def say(name, value, unit):
    put(f"{name},{value:.{0 if value >= 1000 else 1 if value >= 100 else 2}f},{unit}")


def finish():
    if DEVICE == "cuda":
        torch.cuda.synchronize()


def seconds(f, counted=5, first=3):
    t = []
    for _ in range(first + counted):
        finish()
        start = time.perf_counter()
        f()
        finish()
        t.append(time.perf_counter() - start)
    return statistics.median(t[first:])


def replayed(f):
    """Seconds of f() in a CUDA graph that takes some 10 ms, as a chip under load for a fifth of a second has it."""
    once = seconds(f)
    if DEVICE != "cuda":
        return once
    calls = max(1, min(200, round(0.01 / once)))
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=torch.cuda.current_stream()):
        for _ in range(calls):
            f()
    return seconds(graph.replay, counted=9, first=10) / calls


def products():
    for rows, n_in, n_out in PRODUCTS:
        x, w, dy = (torch.rand(shape, device=DEVICE, dtype=torch.bfloat16).mul_(2).sub_(1)
                    for shape in ((rows, n_in), (n_out, n_in), (rows, n_out)))
        tflop = 2e-12 * rows * n_in * n_out
        say(f"PyTorch linear {rows}x{n_in}->{n_out}", tflop / replayed(lambda: F.linear(x, w)), "TFLOP/s")
        say(f"PyTorch linear_dx {rows}x{n_in}->{n_out}", tflop / replayed(lambda: torch.mm(dy, w)), "TFLOP/s")


def attention():
    for kind, backend in ("flash", SDPBackend.FLASH_ATTENTION), ("cuDNN", SDPBackend.CUDNN_ATTENTION):
        for name, segments, rows, heads, kv_heads, dim, causal in ATTENTION:
            q, k, v, g = (torch.randn(segments, rows, h, dim, device=DEVICE, dtype=torch.bfloat16).transpose(1, 2)
                          for h in (heads, kv_heads, kv_heads, heads))
            operands = [t.requires_grad_() for t in (q, k, v)]

            def forward():
                return F.scaled_dot_product_attention(*operands, is_causal=causal, enable_gqa=heads != kv_heads)

            try:
                with sdpa_kernel(backend):
                    with torch.no_grad():
                        say(f"PyTorch {kind} attention {name}", 1e6 * replayed(forward), "us")
                    o = forward()
                    say(f"PyTorch {kind} attention_dx {name}",
                        1e6 * replayed(lambda: torch.autograd.grad(o, operands, g, retain_graph=True)), "us")
            except RuntimeError as e:
                put(f"# PyTorch {kind} attention {name}: {str(e).splitlines()[0]}")


def load(path):
    from transformers import Qwen2_5_VLForConditionalGeneration
    model, info = Qwen2_5_VLForConditionalGeneration.from_pretrained(
        path, dtype=torch.bfloat16, attn_implementation="sdpa", output_loading_info=True)
    assert not info["unexpected_keys"] and set(info["missing_keys"]) <= {"lm_head.weight"}, info
    return model.to(DEVICE).eval()


def batch(model, samples, tokens, picture=False):
    """Made-up ids, a picture's places first if it has one; everything else has a loss."""
    c = model.config
    ids = (torch.arange(tokens) * 7919 + torch.arange(samples)[:, None] * 104729 + 1) % 150000 % c.text_config.vocab_size
    labels, kw = ids.clone(), {}
    if picture:
        places = GRID[1] * GRID[2] // 4
        ids[:, 0], ids[:, 1:1 + places] = c.vision_start_token_id, c.image_token_id
        labels[:, :places + 2] = -100
        kw = dict(pixel_values=pixels(model, samples), image_grid_thw=torch.tensor([GRID] * samples, device=DEVICE),
                  mm_token_type_ids=(ids == c.image_token_id).int().to(DEVICE))
    return dict(input_ids=ids.to(DEVICE), labels=labels.to(DEVICE), use_cache=False, **kw)


def pixels(model, samples):
    v = model.config.vision_config
    return torch.randn(samples * GRID[1] * GRID[2], 3 * v.temporal_patch_size * v.patch_size ** 2, device=DEVICE,
                       dtype=torch.bfloat16)


def forward(model, b):
    with torch.no_grad():
        return model(**b).loss


def backward(model, b):
    model(**b).loss.backward()
    model.zero_grad(set_to_none=True)


def passes(path):
    """Forward, and forward and backward with weights' gradients and with activations' alone, which scoring takes."""
    model = load(path)
    text, caption, pictures = batch(model, 8, 512), batch(model, 195, 21), batch(model, 8, 448, picture=True)
    say("transformers forward and loss 8x512", 4096 / seconds(lambda: forward(model, text)), "tokens/s")
    say("transformers forward and backward 8x512", 4096 / seconds(lambda: backward(model, text)), "tokens/s")
    for p in model.parameters():
        p.requires_grad_(False)
    model.enable_input_require_grads()  # so that the backward pass goes through all language blocks
    for name, b, n, unit in (("8x512", text, 4096, "tokens/s"), ("195 captions of 21 tokens", caption, 195, "captions/s")):
        say(f"transformers forward and backward without weight gradients {name}", n / seconds(lambda: backward(model, b)), unit)
    say("transformers forward and loss 8 pictures 476x644 + text", 8 / seconds(lambda: forward(model, pictures)), "samples/s")
    x, grid = pixels(model, 4), torch.tensor([GRID] * 4, device=DEVICE)
    with torch.no_grad():
        say("transformers vision tower of 4 pictures 476x644", 1e3 * seconds(lambda: model.model.visual(x, grid)), "ms")
    for p in model.parameters():
        p.requires_grad_(True)
    say("transformers forward and backward 8 pictures 476x644 + text", 8 / seconds(lambda: backward(model, pictures)),
        "samples/s")


def compare(reference, candidate, b):
    """Perplexity of the candidate and its KL divergence from the reference."""
    from torchmetrics.functional.text import perplexity
    from torchmetrics.functional.regression import kl_divergence
    with torch.no_grad():
        p, q = (m(**b).logits[:, :-1] for m in (reference, candidate))
        labels = b["labels"][:, 1:]
        ppl = perplexity(q.float(), labels)
        rows = (F.log_softmax(x.float().flatten(0, 1), -1) for x in (p, q))
        return ppl.item(), kl_divergence(*rows, log_prob=True).item()


def compared(kind, reference, candidate):
    captions = [batch(reference, 1, 12 + i * 7919 % 19) for i in range(60)]
    text = batch(reference, 8, 512)
    t = iter(captions)
    say(f"{kind} ppl and KL of captions of 12 to 30 tokens one by one",
        1 / seconds(lambda: compare(reference, candidate, next(t)), counted=50, first=10), "captions/s")
    say(f"{kind} ppl and KL 8x512", 4096 / seconds(lambda: compare(reference, candidate, text)), "tokens/s")


def evaluation(path):
    """Two models in bf16; and one against itself in ModelOpt's simulated FP8."""
    reference, candidate = load(path), load(path)
    compared("transformers and TorchMetrics", reference, candidate)
    import modelopt.torch.quantization as mtq
    mtq.quantize(candidate, mtq.FP8_DEFAULT_CFG, lambda m: forward(m, batch(m, 8, 512)))
    compared("transformers and TorchMetrics with ModelOpt's FP8", reference, candidate)


def modelopt(path):
    """One search whose steps are batches of several kinds; a step ends where the next one begins."""
    import modelopt, modelopt.torch.quantization as mtq
    model = load(path)
    kinds = [("1 caption of 21 tokens", batch(model, 1, 21), 1, "captions/s"),
             ("4x512", batch(model, 4, 512), 2048, "tokens/s"), ("8x512", batch(model, 8, 512), 4096, "tokens/s"),
             ("1 picture 476x644 + text", batch(model, 1, 448, picture=True), 1, "samples/s"),
             ("8 pictures 476x644 + text", batch(model, 8, 448, picture=True), 8, "samples/s"),
             ("32x512", batch(model, 32, 512), 16384, "tokens/s")]
    steps = [kind for kind in kinds for _ in range(6)]
    starts, memory = [], []

    def step(model, b):
        finish()
        starts.append(time.perf_counter())
        if DEVICE == "cuda":
            memory.append(torch.cuda.max_memory_allocated() / 2 ** 30)  # of the step before, what that one found included
            torch.cuda.reset_peak_memory_stats()
        return model(**b)

    mtq.auto_quantize(model, constraints={"effective_bits": 12.0}, quantization_formats=[mtq.FP8_DEFAULT_CFG],
                      data_loader=[kind[1] for kind in steps] + [kinds[0][1]], forward_step=step,
                      loss_func=lambda output, b: output.loss, num_calib_steps=1, num_score_steps=len(steps) + 1)
    t = [b - a for a, b in zip(starts[1:], starts[2:])]  # the first was calibration
    most = 0
    for i, (name, _, n, unit) in enumerate(kinds):
        say(f"ModelOpt {modelopt.__version__} gradient scores {name}", n / statistics.median(t[6 * i + 1:6 * i + 6]), unit)
        peak = max(memory[6 * i + 3:6 * i + 8], default=0)
        if peak > most:  # else it may be what a larger batch before it left
            most = peak
            say(f"ModelOpt {modelopt.__version__} device memory of scoring {name}", peak, "GiB")


PARTS = {"products": products, "attention": attention, "passes": passes, "evaluation": evaluation, "modelopt": modelopt}
OF_MODEL = ("passes", "evaluation", "modelopt")


def run(name, model):
    with contextlib.redirect_stdout(sys.stderr), torch.cuda.stream(torch.cuda.Stream() if DEVICE == "cuda" else None):
        try:
            PARTS[name](model) if name in OF_MODEL else PARTS[name]()
        except ImportError as e:
            put(f"# {name}: {e}")


def main():
    model, named = sys.argv[1:2], sys.argv[2:]
    if not set(named) <= set(PARTS):
        sys.exit(f"usage: speed.py [MODEL [{' | '.join(PARTS)}]...]")
    if len(named) == 1:
        return run(*named, *model)
    put(f"# PyTorch {torch.__version__}")
    for name in named or [name for name in PARTS if model or name not in OF_MODEL]:  # what one leaves behind, others pay for
        subprocess.run([sys.executable, __file__, *(model or [""]), name], check=True)


if __name__ == "__main__":
    main()
