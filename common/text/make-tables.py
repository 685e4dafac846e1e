#!/usr/bin/env python3
"""make-tables.py - the tables of unicode.c, from what the reference tokenizer's engines answer

  common/text/make-tables.py tests/golden/tokenizer/unicode-classes.json tests/golden/tokenizer/unicode-nfc.json \
      >common/text/unicode-tables.c

Run by hand, from the repository root, when the reference changes its Unicode version; the output is committed.
"""
import json
import sys
import textwrap

HANGUL_V, HANGUL_T = (0x1161, 0x1175), (0x11A8, 0x11C2)  # jamo that compose with what stands before them


def ranges(value):
    """[first, last, value] for the runs of equal values in {code point: value}."""
    out = []
    for c in sorted(value):
        if out and out[-1][1] == c - 1 and out[-1][2] == value[c]:
            out[-1][1] = c
        else:
            out.append([c, c, value[c]])
    return out


def table(declaration, rows):
    cells = ["{" + ", ".join(row) + "}" if isinstance(row, list) else row for row in rows]
    print(f"\nconst {declaration} = {{")
    print(textwrap.fill(",\0".join(cells).replace(" ", "\1").replace("\0", " "), 109, initial_indent="    ",
                        subsequent_indent="    ", break_long_words=False).replace("\1", " ") + ",")
    print("};")


def count(name, rows):
    print(f"const size_t {name} = {len(rows)};")


def main(classes_path, nfc_path):
    classes, nfc = json.load(open(classes_path)), json.load(open(nfc_path))
    kind = {}
    for key, name in (("L", "UNICODE_LETTER"), ("N", "UNICODE_NUMBER"), ("s", "UNICODE_SPACE")):
        for first, last in classes[key]:
            for c in range(first, last + 1):
                assert c not in kind, "the three classes are disjoint"
                kind[c] = name

    ccc = {c: k for first, last, k in nfc["ccc"] for c in range(first, last + 1)}
    composite = {ab for _, _, ab in nfc["compose"]}
    unsettled = {int(c) for c in nfc["decompose"]} - composite          # never in NFC text
    unsettled |= {b for _, b, _ in nfc["compose"]}                      # may join what stands before
    for first, last in (HANGUL_V, HANGUL_T):
        unsettled |= set(range(first, last + 1))
    marks = {c: (ccc.get(c, 0), int(c in unsettled)) for c in set(ccc) | unsettled}

    pool, maps = [], []
    for c, to in sorted((int(c), to) for c, to in nfc["decompose"].items()):
        maps.append([f"0x{c:x}", str(len(pool)), str(len(to))])
        pool += [f"0x{x:x}" for x in to]

    print("/* unicode-tables.c - made by make-tables.py, which see; not for editing: over 600 lines of data */")
    print('#include "common/text/unicode-tables.h"')
    rows = [[f"0x{a:x}", f"0x{b:x}", k] for a, b, k in ranges(kind)]
    table("struct unicode_span unicode_spans[]", rows)
    count("unicode_spans_n", rows)
    rows = [[f"0x{a:x}", f"0x{b:x}", str(k[0]), str(k[1])] for a, b, k in ranges(marks)]
    table("struct unicode_mark unicode_marks[]", rows)
    count("unicode_marks_n", rows)
    table("struct unicode_map unicode_maps[]", maps)
    count("unicode_maps_n", maps)
    table("uint32_t unicode_pool[]", pool)
    rows = [[f"0x{a:x}", f"0x{b:x}", f"0x{ab:x}"] for a, b, ab in sorted(nfc["compose"])]
    table("struct unicode_pair unicode_pairs[]", rows)
    count("unicode_pairs_n", rows)


main(*sys.argv[1:])
