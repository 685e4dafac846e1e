#!/usr/bin/env python3
"""golden_mt.py - what CPython's random.Random(seed).sample(range(n), k) answers: golden_mt.py > tests/golden/mt/sample.tsv

One line per case: seed, n, k, the sample (the first and last 8 numbers when longer, and the sum of all weighted by
position, modulo 2^64), and the next 32 random bits.
"""
import random

CASES = [(s, n, k) for s in (0, 1, 42, 123, 2**32 - 1, 2**32, 2**63 - 1)
         for n, k in ((1, 1), (5, 0), (5, 5), (21, 5), (22, 5), (85, 6), (86, 6), (277, 21), (278, 22), (1045, 85), (1046, 86),
                      (4096, 16), (70000, 4096), (16405, 4096), (16406, 4096), (591753, 4096))]
print("# seed\tn\tk\tfirst and last 8\tweighted sum\tnext 32 bits")
for seed, n, k in CASES:
    r = random.Random(seed)
    v = r.sample(range(n), k)
    short = v if len(v) <= 16 else v[:8] + v[-8:]
    print(seed, n, k, ",".join(map(str, short)) or "-", sum((i + 1) * x for i, x in enumerate(v)) % 2**64, r.getrandbits(32), sep="\t")
