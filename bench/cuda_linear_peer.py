"""How fast is the vendor's library at the shapes of cuda_linear_bench? torch's bf16 matmul (cuBLAS) in
CUDA graphs over rotating weights, in the same table format; first the two ceilings of the card: a
device copy, and a bf16 product of 8192^3. Needs a GPU machine with torch; arguments pick shapes by
their number of outputs."""

import sys

import torch

SHAPES = [(2112, 7168), (24576, 1536), (7168, 16384), (4096, 7168), (7168, 2048),
          (3072, 1536), (512, 7168), (7168, 256), (129280, 7168)]
BATCHES = [1, 16, 64, 128, 256, 1024, 4096]
PRODUCTS = 24


def microseconds(say, count):
    """Of one call of say(i), i < count, by replays of a graph of `count` calls."""
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        for i in range(min(count, 3)):
            say(i)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for i in range(count):
            say(i)
    graph.replay()
    times = []
    for _ in range(5):
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        graph.replay()
        graph.replay()
        end.record()
        torch.cuda.synchronize()
        times.append(begin.elapsed_time(end) * 1000 / (2 * count))
    return sorted(times)[2]


def ceilings():
    source = torch.empty(1 << 30, dtype=torch.uint8, device="cuda").random_()
    target = torch.empty_like(source)
    us = microseconds(lambda i: target.copy_(source), 4)
    print(f"copy of 1 GiB: {2 * source.numel() / us / 1e6:.2f} TB/s read and written")
    a = torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16)
    b = torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16)
    c = torch.empty_like(a)
    us = microseconds(lambda i: torch.mm(a, b.t(), out=c), 8)
    print(f"bf16 8192^3: {2 * 8192**3 / us / 1e6:.0f} TFLOP/s")


def main():
    print(torch.cuda.get_device_name(), torch.__version__)
    ceilings()
    wanted = {int(word) for word in sys.argv[1:]}
    for outs, cols in SHAPES:
        if wanted and outs not in wanted:
            continue
        size = outs * cols * 2
        copies = 1 if size > 400 << 20 else max(3, min(24, (200 << 20) // size + 1))
        weights = [torch.randn(outs, cols, device="cuda", dtype=torch.bfloat16) for _ in range(copies)]
        for rows in BATCHES:
            if outs * rows > 1 << 28:
                continue
            x = torch.randn(rows, cols, device="cuda", dtype=torch.bfloat16)
            y = torch.empty(rows, outs, device="cuda", dtype=torch.bfloat16)
            us = microseconds(lambda i: torch.mm(x, weights[i % copies].t(), out=y), PRODUCTS)
            moved, operations = size + 2 * rows * cols + 2 * rows * outs, 2 * rows * outs * cols
            floor = max(moved / 4.3e6, operations / 790e6)
            print(f"torch  {outs:6d}x{cols:<5d} M={rows:<5d} {us:9.2f} us {moved / us / 1e6:6.2f} TB/s "
                  f"{operations / us / 1e6:6.1f} TFLOP/s {100 * floor / us:5.1f}% of floor")


if __name__ == "__main__":
    main()
