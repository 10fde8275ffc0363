"""How do the weights move? Matrices by Muon (orthogonalised momentum), the rest by Adam; float32 masters,
and after every step the bf16 copies that compute, rounded to FP8 as they will be shipped."""
import torch

import model

ADAM_RATE = {"embed": 6e-3, "head": 3e-3, "router": 3e-3, "norm": 3e-3}
MUON_RATE = 0.02
DECAY = 0.05  # of matrices, times the rate


def orthogonal(g):
    """The nearest orthogonal matrices, roughly: five Newton-Schulz steps with Muon's published coefficients."""
    x = g.to(torch.bfloat16 if g.is_cuda else torch.float32)
    tall = x.shape[-2] > x.shape[-1]
    x = x.mT if tall else x
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(5):
        a = x @ x.mT
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * (a @ a)) @ x
    return (x.mT if tall else x).float()


class Weights:
    """Masters, working copies and the state of the optimizer. Matrices of one shape are kept as one stack."""

    def __init__(self, shape, masters, device, dtype):
        self.shape, self.dtype = shape, dtype
        self.kinds = {n: kind for n, (_, kind) in model.weights(shape).items()}
        self.work, self.stacks, self.small = {}, [], []
        groups = {}
        for n, kind in self.kinds.items():
            if kind in ("fp8", "mat"):
                groups.setdefault((kind, masters[n].shape[-2:]), []).append(n)
            else:
                m = masters[n].to(device)
                self.work[n] = m.to(torch.bfloat16).to(dtype).requires_grad_()
                self.small.append((n, m, torch.zeros_like(m), torch.zeros_like(m)))
        for (kind, sizes), names in groups.items():
            flat = [masters[n].to(device).reshape(-1, *sizes) for n in names]
            master = torch.cat(flat)
            stack = dict(kind=kind, names=names, counts=[len(f) for f in flat], master=master, momentum=torch.zeros_like(master),
                         rate=max(1.0, sizes[0] / sizes[1]) ** 0.5)
            self.stacks.append(stack)
            for n, part in zip(names, self.rounded(stack)):
                self.work[n] = part.reshape(masters[n].shape).clone().requires_grad_()
        self.bias = torch.zeros(shape.layers + shape.mtp, shape.experts, device=device)
        self.steps = 0

    def rounded(self, stack):
        wide = model.fp8_round(stack["master"]) if stack["kind"] == "fp8" else stack["master"]
        return wide.to(torch.bfloat16).to(self.dtype).split(stack["counts"])

    @torch.no_grad()
    def step(self, rate, loads, bias_rate):
        """rate: 0..1 of the peak. Loads: how often each expert was chosen."""
        self.steps += 1
        for s in self.stacks:
            g = torch.cat([self.work[n].grad.reshape(-1, *s["master"].shape[1:]) for n in s["names"]]).float()
            s["momentum"].lerp_(g, 0.05)
            g = g.lerp(s["momentum"], 0.95)
            s["master"].mul_(1 - rate * MUON_RATE * DECAY).add_(orthogonal(g), alpha=-rate * MUON_RATE * s["rate"])
            for n, part in zip(s["names"], self.rounded(s)):
                self.work[n].copy_(part.reshape(self.work[n].shape))
        b1, b2 = 0.9, 0.95
        c1, c2 = 1 - b1 ** self.steps, 1 - b2 ** self.steps
        grads = [self.work[n].grad.float() for n, _, _, _ in self.small]
        masters, m1, m2 = ([t[i] for t in self.small] for i in (1, 2, 3))
        torch._foreach_lerp_(m1, grads, 1 - b1)
        torch._foreach_lerp_(m2, torch._foreach_mul(grads, grads), 1 - b2)
        size = torch._foreach_add(torch._foreach_sqrt(torch._foreach_div(m2, c2)), 1e-10)
        change = torch._foreach_div(m1, size)
        torch._foreach_mul_(change, [-rate * ADAM_RATE[self.kinds[n]] / c1 for n, _, _, _ in self.small])
        torch._foreach_add_(masters, change)
        for n, master, _, _ in self.small:
            self.work[n].copy_(master)
        for p in self.work.values():
            p.grad = None
        self.bias += bias_rate * torch.sign(loads.mean(-1, keepdim=True) - loads)

    def masters(self):
        out = {n: m for n, m, _, _ in self.small}
        for s in self.stacks:
            out |= {n: p.reshape(self.work[n].shape) for n, p in zip(s["names"], s["master"].split(s["counts"]))}
        return out

    def state(self):
        return {"small": [(m, a, b) for _, m, a, b in self.small], "stacks": [(s["master"], s["momentum"]) for s in self.stacks],
                "bias": self.bias, "steps": self.steps}

    @torch.no_grad()
    def load(self, state):
        for (_, m, a, b), new in zip(self.small, state["small"]):
            for t, n in zip((m, a, b), new):
                t.copy_(n)
        for s, (master, momentum) in zip(self.stacks, state["stacks"]):
            s["master"].copy_(master)
            s["momentum"].copy_(momentum)
        self.bias.copy_(state["bias"])
        self.steps = state["steps"]
        for n, m, _, _ in self.small:
            self.work[n].copy_(m)
        for s in self.stacks:
            for n, part in zip(s["names"], self.rounded(s)):
                self.work[n].copy_(part.reshape(self.work[n].shape))
