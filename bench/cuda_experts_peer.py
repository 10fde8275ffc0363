"""What does PyTorch take for the same mixture of experts? torch._grouped_mm over bf16 weights: tokens
sorted by expert, gate and up in one product, SwiGLU, down, weighted sum. Replays of a CUDA graph,
median; beside bench/cuda_experts_bench.cpp on the same machine. FP8 shapes run in bf16 here, with
twice the bytes.

    python3 bench/cuda_experts_peer.py [v3|tp8|lite]...
"""

import statistics
import sys

import torch

SHAPES = {
    "v3": (256, 7168, 2048, 8),
    "tp8": (256, 7168, 256, 8),
    "lite": (64, 2048, 1408, 6),
}
SETS = 4  # calls of one graph, each with its own tokens


def mixture(x, ids, weights, gate_up, down, experts):
    rows, chosen = ids.shape
    order = torch.argsort(ids.flatten(), stable=True)
    counts = torch.zeros(experts, dtype=torch.int32, device=x.device)
    counts.index_add_(0, ids.flatten(), torch.ones(rows * chosen, dtype=torch.int32, device=x.device))
    ends = torch.cumsum(counts, 0).to(torch.int32)
    gathered = x[order // chosen]
    both = torch._grouped_mm(gathered, gate_up.transpose(1, 2), offs=ends)
    gate, up = both.chunk(2, dim=1)
    y = torch._grouped_mm(torch.nn.functional.silu(gate) * up, down.transpose(1, 2), offs=ends)
    place = torch.empty_like(order)
    place[order] = torch.arange(rows * chosen, device=x.device)
    return (y[place].view(rows, chosen, -1).float() * weights.unsqueeze(-1)).sum(1)


def microseconds(call, sets):
    for tokens in sets:
        call(*tokens)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for tokens in sets:
            call(*tokens)
    times = []
    for _ in range(7):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        graph.replay()
        end.record()
        torch.cuda.synchronize()
        times.append(begin.elapsed_time(end) * 1000 / len(sets))
    return statistics.median(times[2:])


def main():
    for name in sys.argv[1:] or SHAPES:
        experts, hidden, width, chosen = SHAPES[name]
        make = lambda *shape: torch.empty(shape, dtype=torch.bfloat16, device="cuda").normal_(0, 0.02)
        gate_up, down = make(experts, 2 * width, hidden), make(experts, hidden, width)
        popular = torch.randn(experts, device="cuda") * 0.4
        for rows in (1, 8, 32, 128, 512, 1024, 4096):
            sets = []
            for _ in range(SETS):
                ids = (torch.randn(rows, experts, device="cuda") + popular).topk(chosen).indices
                sets.append((make(rows, hidden), ids, torch.rand(rows, chosen, device="cuda")))
            us = microseconds(lambda x, i, w: mixture(x, i, w, gate_up, down, experts), sets)
            distinct = statistics.mean(len(s[1].unique()) for s in sets)
            read = distinct * 3 * hidden * width * 2 / us / 1e6
            print(f"peer {name} T {rows:5} {distinct:6.1f} experts {us:9.1f} us {read:6.2f} TB/s (bf16)", flush=True)
        del gate_up, down


if __name__ == "__main__":
    main()
