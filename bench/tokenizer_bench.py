#!/usr/bin/env python3
"""How does our encoder compare with Hugging Face's `tokenizers`, on the same texts, in the same run?

Runs the binary tokenizer_bench and the Python library (one thread each) on English (the licences of the system) and
code (the C++ library's headers), checks that the ids are the same, and prints both speeds and their ratio.
Needs tokenizers==0.21.0 (pip). Usage: bench/tokenizer_bench.py BENCH_BINARY TOKENIZER_JSON
"""

import glob
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time

os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["RAYON_NUM_THREADS"] = "1"

PINNED = "0.21.0"
PASSES = 5
TEXTS = {
    "english": "/usr/share/common-licenses/*",
    "code": "/usr/include/c++/*/bits/*.h",
}


def text_of(pattern):
    parts = []
    for path in sorted(glob.glob(pattern)):
        if os.path.isfile(path) and not os.path.islink(path):
            with open(path, encoding="utf-8", errors="replace", newline="") as file:
                parts.append(file.read())
    return "".join(parts)


def checksum(ids):
    total = 0
    for one in ids:
        total = (total * 31 + one) & 0xFFFFFFFF
    return f"{total:08x}"


def ours(binary, tokenizer, path):
    out = subprocess.run([binary, tokenizer, path], check=True, capture_output=True, text=True).stdout
    found = re.search(r"tokens (\d+) MB/s ([\d.]+) checksum (\w+)", out)
    return int(found[1]), float(found[2]), found[3]


def theirs(library, text):
    """The faster of the library's two ways: with offsets (encode) and without (encode_batch_fast)."""
    ways = {
        "encode": lambda: library.encode(text, add_special_tokens=False),
        "encode_batch_fast": lambda: library.encode_batch_fast([text], add_special_tokens=False)[0],
    }
    best = None
    for name, way in ways.items():
        seconds = []
        for _ in range(PASSES):
            start = time.perf_counter()
            encoding = way()
            seconds.append(time.perf_counter() - start)
        speed = len(text.encode()) / 1e6 / statistics.median(seconds)
        if best is None or speed > best[1]:
            best = (name, speed, encoding.ids)
    return best


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    import tokenizers

    if tokenizers.__version__ != PINNED:
        sys.exit(f"tokenizers {tokenizers.__version__} is installed, this comparison is with {PINNED}")
    binary, path = sys.argv[1:]
    library = tokenizers.Tokenizer.from_file(path)
    same = True
    print(f"{'text':8} {'bytes':>9} {'tokens':>8} {'fathom MB/s':>12} {'tokenizers MB/s':>16} {'ratio':>6}  ids")
    for name, pattern in TEXTS.items():
        text = text_of(pattern)
        with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="utf-8", newline="") as file:
            file.write(text)
            file.flush()
            count, speed, digest = ours(binary, path, file.name)
        way, their_speed, ids = theirs(library, text)
        equal = count == len(ids) and digest == checksum(ids)
        same = same and equal
        print(
            f"{name:8} {len(text.encode()):9} {count:8} {speed:12.1f} {their_speed:16.2f} "
            f"{speed / their_speed:6.1f}  {'same' if equal else 'DIFFERENT'} ({way})"
        )
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
