#!/usr/bin/env python3
"""How does a BF16 checkpoint become one in block-scaled FP8, as DeepSeek publishes V3? Every matrix inside the layers is
divided into blocks of 128 x 128, each with one float32 scale (largest magnitude / 448) in NAME_scale_inv; values are rounded to
the nearest e4m3. Embedding, head, norms and the router's gate stay as they are. With --head the head is quantised too,
which DeepSeek does not: for comparisons with formats that do. Needs numpy. Usage: bench/quantise_fp8.py FROM_DIR TO_DIR [--head]
"""
import argparse
import json
import pathlib
import re
import shutil
import struct

import numpy as np

BLOCK = 128
E4M3_MAX = 448.0
QUANTISED = re.compile(r"model\.layers\.\d+\.(self_attn\.(q_proj|[qk]v?_[ab]_proj(_with_mqa)?|o_proj)|mlp\..*_proj)\.weight$")


def e4m3_values():
    """The 127 magnitudes of e4m3, by code: 0x7F is not a number."""
    code = np.arange(127)
    exponent, mantissa = code >> 3, code & 7
    return np.where(exponent == 0, mantissa * 2.0 ** -9, (8 + mantissa) * 2.0 ** (exponent - 10.0)).astype(np.float32)


VALUES = e4m3_values()
BETWEEN = (VALUES[1:] + VALUES[:-1]) / 2


def to_e4m3(x):
    magnitude = np.abs(x)
    code = np.searchsorted(BETWEEN, magnitude, side="left")  # a tie goes to the lower code ...
    tie = (code < len(BETWEEN)) & (code % 2 == 1) & (magnitude == BETWEEN[np.minimum(code, len(BETWEEN) - 1)])
    return (code + tie).astype(np.uint8) | (np.signbit(x) << 7).astype(np.uint8)  # ... unless that is odd


def quantise(bits, shape):
    rows, cols = shape
    x = (bits.astype(np.uint32) << 16).view(np.float32).reshape(shape)
    grid = (-(-rows // BLOCK), -(-cols // BLOCK))
    padded = np.zeros((grid[0] * BLOCK, grid[1] * BLOCK), np.float32)
    padded[:rows, :cols] = x
    tiles = padded.reshape(grid[0], BLOCK, grid[1], BLOCK)
    scale = np.maximum(np.abs(tiles).max(axis=(1, 3)), 1e-12).astype(np.float32) / np.float32(E4M3_MAX)
    codes = to_e4m3(tiles / scale[:, None, :, None]).reshape(padded.shape)[:rows, :cols]
    return np.ascontiguousarray(codes), scale


def read_header(path):
    with open(path, "rb") as file:
        size = struct.unpack("<Q", file.read(8))[0]
        header = json.loads(file.read(size))
    header.pop("__metadata__", None)
    return header, 8 + size


def main():
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("source", type=pathlib.Path)
    options.add_argument("target", type=pathlib.Path)
    options.add_argument("--head", action="store_true")
    options = options.parse_args()
    options.target.mkdir(parents=True, exist_ok=True)
    source = options.source / "model.safetensors"
    header, start = read_header(source)
    out, at = {}, 0

    def place(name, dtype, shape, size):
        nonlocal at
        out[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [at, at + size]}
        at += size

    for name, entry in header.items():
        chosen = QUANTISED.search(name) or (options.head and name == "lm_head.weight")
        if chosen and entry["dtype"] == "BF16":
            rows, cols = entry["shape"]
            grid = (-(-rows // BLOCK), -(-cols // BLOCK))
            place(name, "F8_E4M3", entry["shape"], rows * cols)
            place(name + "_scale_inv", "F32", grid, grid[0] * grid[1] * 4)
        else:
            place(name, entry["dtype"], entry["shape"], entry["data_offsets"][1] - entry["data_offsets"][0])
    text = json.dumps(out, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    data = np.memmap(source, np.uint8, "r")
    with open(options.target / "model.safetensors", "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for name, entry in header.items():
            begin, end = (start + offset for offset in entry["data_offsets"])
            if name + "_scale_inv" in out:
                for part in quantise(np.frombuffer(data[begin:end], np.uint16), entry["shape"]):
                    file.write(part.data)
            else:
                file.write(data[begin:end].data)
    config = json.loads((options.source / "config.json").read_text())
    config["quantization_config"] = {"activation_scheme": "dynamic", "fmt": "e4m3", "quant_method": "fp8",
                                     "weight_block_size": [BLOCK, BLOCK]}
    (options.target / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    for other in ("tokenizer.json", "tokenizer_config.json", "generation_config.json"):
        if (options.source / other).exists():
            shutil.copy(options.source / other, options.target / other)


if __name__ == "__main__":
    main()
