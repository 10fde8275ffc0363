"""What does torch reach at the shapes of cuda_prefill_bench?

Scaled dot-product attention of torch (cuDNN and FlashAttention-2, each where it takes the shape) on
keys and values that lie expanded and contiguous: no expansion out of latents, no paging, inputs in
bf16 already. The same count of operations as the benchmark: 640 per (query, key, head) for 192 / 128
columns, 4 * dim for grouped queries. Where a backend needs one width, values are padded to 192 and
the line says so; the padding's operations are not counted.
"""
import sys

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.attention.bias import causal_lower_right

BACKENDS = {"cudnn": SDPBackend.CUDNN_ATTENTION, "flash2": SDPBackend.FLASH_ATTENTION}


def microseconds(work):
    for _ in range(3):
        work()
    torch.cuda.synchronize()
    times = []
    for _ in range(5):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        for _ in range(3):
            work()
        end.record()
        torch.cuda.synchronize()
        times.append(start.elapsed_time(end) / 3 * 1e3)
    return sorted(times)[len(times) // 2]


def row(name, heads, kv_heads, key, value, rows, position, flops_each, pads=False):
    context = rows + position
    q = torch.randn(1, heads, rows, key, device="cuda", dtype=torch.bfloat16)
    k = torch.randn(1, kv_heads, context, key, device="cuda", dtype=torch.bfloat16)
    v = torch.randn(1, kv_heads, context, value, device="cuda", dtype=torch.bfloat16)
    pairs = rows * position + rows * (rows + 1) / 2
    for backend, which in BACKENDS.items():
        mask = {"is_causal": True}
        if position > 0:
            mask = {"attn_mask": causal_lower_right(rows, context)}
        if rows == 1:
            mask = {}
        for padded in (False, True) if pads else (False,):
            v_used = torch.nn.functional.pad(v, (0, key - value)) if padded else v
            try:
                with sdpa_kernel(which):
                    attend = torch.nn.functional.scaled_dot_product_attention
                    us = microseconds(
                        lambda: attend(q, k, v_used, enable_gqa=heads != kv_heads, **mask))
            except (RuntimeError, ValueError) as error:
                print(f"{name} {backend}{' padded' if padded else ''}: {str(error).splitlines()[0][:80]}")
                continue
            rate = flops_each * heads * pairs / us * 1e-6
            print(f"{name} {backend:6}{' values padded' if padded else '':14} {us:10.1f} us "
                  f"{rate:6.1f} TFLOP/s {rate / 7.9:5.1f} % of 790", flush=True)
            break


def main(words):
    print(torch.__version__, torch.cuda.get_device_name())
    if not words or "mla" in words:
        for heads in (16, 128):
            for rows, position in ((4096, 0), (8192, 0), (2048, 30720)):
                row(f"mha 192/128 heads {heads:3} {rows:5} rows after {position:5}", heads, heads, 192,
                    128, rows, position, 640, pads=True)
    if not words or "gqa" in words:
        for heads, kv_heads, dim, rows, position in (
                (32, 8, 128, 4096, 0), (32, 8, 128, 2048, 14336), (16, 2, 64, 4096, 0),
                (32, 8, 128, 1, 32767)):
            row(f"gqa {heads}/{kv_heads} dim {dim:3} {rows:5} rows after {position:5}", heads, kv_heads,
                dim, dim, rows, position, 4 * dim)


if __name__ == "__main__":
    main(sys.argv[1:])
