#!/usr/bin/env python3
"""How does a checkpoint in block-scaled FP8 become one in BF16? The reverse of quantise_fp8.py: every matrix with a
NAME_scale_inv becomes value * scale, the scales go, everything else stays. The product of a 4-bit significand and a float32
does not fit into the 8 bits of BF16, so BF16 rounds it (to nearest even); with --float32 it is kept in float32, where it loses
at most the last bit. Standard library only. Usage: bench/dequantise_fp8.py FROM_DIR TO_DIR [--float32]
"""
import argparse
import json
import pathlib
import shutil
import struct

BLOCK = 128


def e4m3(code):
    sign, exponent, mantissa = -1.0 if code & 0x80 else 1.0, code >> 3 & 15, code & 7
    if exponent == 15 and mantissa == 7:
        return float("nan")
    return sign * (mantissa * 2.0 ** -9 if exponent == 0 else (8 + mantissa) * 2.0 ** (exponent - 10))


VALUES = [e4m3(code) for code in range(256)]


def float32_bits(value):
    return struct.unpack("<I", struct.pack("<f", value))[0]


def bfloat16_bits(value):
    bits = float32_bits(value)
    return (bits + 0x7FFF + (bits >> 16 & 1)) >> 16


def tables(scale, size):
    """For each byte of a result, low first: 256 bytes that say it for every code."""
    bits = [bfloat16_bits(value * scale) if size == 2 else float32_bits(value * scale) for value in VALUES]
    return [bytes(b >> 8 * i & 255 for b in bits) for i in range(size)]


def dequantise(codes, scales, rows, cols, size):
    """codes: rows * cols bytes; scales: one float for each block of 128 x 128, row by row."""
    wide = -(-cols // BLOCK)
    made = [tables(scale, size) for scale in scales]
    out = bytearray(rows * cols * size)
    for row in range(rows):
        for block in range(wide):
            begin, end = row * cols + block * BLOCK, row * cols + min(cols, (block + 1) * BLOCK)
            for i, table in enumerate(made[row // BLOCK * wide + block]):
                out[begin * size + i:end * size:size] = codes[begin:end].translate(table)
    return bytes(out)


def read(path):
    """{name: (dtype, shape, bytes)} of one safetensors file."""
    data = path.read_bytes()
    size = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:8 + size])
    header.pop("__metadata__", None)
    return {name: (entry["dtype"], entry["shape"], data[8 + size + entry["data_offsets"][0]:8 + size + entry["data_offsets"][1]])
            for name, entry in header.items()}


def write(path, tensors):
    header, at = {}, 0
    for name, (dtype, shape, data) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + len(data)]}
        at += len(data)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for _, _, data in tensors.values():
            file.write(data)


def export(source, target, float32=False):
    """One file, model.safetensors, as small checkpoints have it."""
    source, target = pathlib.Path(source), pathlib.Path(target)
    target.mkdir(parents=True, exist_ok=True)
    size, dtype = (4, "F32") if float32 else (2, "BF16")
    tensors, out = read(source / "model.safetensors"), {}
    for name, (kind, shape, data) in tensors.items():
        scale = tensors.get(name + "_scale_inv")
        if name.endswith("_scale_inv"):
            continue
        if scale is None:
            out[name] = (kind, shape, data)
            continue
        if kind != "F8_E4M3" or scale[0] != "F32":
            raise SystemExit(f"{name}: {kind} with scales in {scale[0]}; only F8_E4M3 with F32 is read")
        scales = struct.unpack(f"<{len(scale[2]) // 4}f", scale[2])
        out[name] = (dtype, shape, dequantise(data, scales, *shape, size))
    write(target / "model.safetensors", out)
    config = json.loads((source / "config.json").read_text())
    config.pop("quantization_config", None)
    (target / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    for other in ("tokenizer.json", "tokenizer_config.json", "generation_config.json"):
        if (source / other).exists():
            shutil.copy(source / other, target / other)


def main():
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("source", type=pathlib.Path)
    options.add_argument("target", type=pathlib.Path)
    options.add_argument("--float32", action="store_true")
    options = options.parse_args()
    export(options.source, options.target, options.float32)


if __name__ == "__main__":
    main()
