"""What does Minnow compute? DeepSeek V3's forward pass, written for training one tiny model fast.

A batch is one long stream of whole conversations; attention never crosses their borders. All experts
are computed densely as one wide MLP whose columns carry the router's weights (most are zero): for 8
experts that is faster than any gathering. Weights live twice: float32 masters at the optimizer and
bf16 working copies here, which went through the FP8 rounding of the export, so training sees exactly
the weights that will be shipped.
"""
import math
from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F

BLOCK = 128  # of the FP8 scales, both ways


@dataclass(frozen=True)
class Shape:
    vocab: int = 1024
    hidden: int = 256
    layers: int = 7
    dense: int = 1
    heads: int = 8
    q_rank: int = 128
    kv_rank: int = 128
    nope: int = 32
    rope: int = 32
    value: int = 32
    inter: int = 768
    expert_inter: int = 128
    experts: int = 8
    shared: int = 1
    groups: int = 4
    groups_kept: int = 2
    chosen: int = 3
    routed_scale: float = 2.5
    theta: float = 10000.0
    context: int = 4096
    mtp: int = 1

    def config(self):
        """The config.json of the checkpoint, keys as DeepSeek V3 publishes them."""
        return {
            "architectures": ["DeepseekV3ForCausalLM"], "attention_bias": False, "attention_dropout": 0.0,
            "bos_token_id": 0, "eos_token_id": 1, "ep_size": 1, "first_k_dense_replace": self.dense,
            "hidden_act": "silu", "hidden_size": self.hidden, "initializer_range": 0.02,
            "intermediate_size": self.inter, "kv_lora_rank": self.kv_rank,
            "max_position_embeddings": self.context, "model_type": "deepseek_v3",
            "moe_intermediate_size": self.expert_inter, "moe_layer_freq": 1, "n_group": self.groups,
            "n_routed_experts": self.experts, "n_shared_experts": self.shared, "norm_topk_prob": True,
            "num_attention_heads": self.heads, "num_experts_per_tok": self.chosen,
            "num_hidden_layers": self.layers, "num_key_value_heads": self.heads,
            "num_nextn_predict_layers": self.mtp, "q_lora_rank": self.q_rank,
            "qk_nope_head_dim": self.nope, "qk_rope_head_dim": self.rope,
            "quantization_config": {"activation_scheme": "dynamic", "fmt": "e4m3", "quant_method": "fp8",
                                    "weight_block_size": [BLOCK, BLOCK]},
            "rms_norm_eps": 1e-6, "rope_scaling": None, "rope_theta": int(self.theta),
            "routed_scaling_factor": self.routed_scale, "scoring_func": "sigmoid",
            "tie_word_embeddings": False, "topk_group": self.groups_kept, "topk_method": "noaux_tc",
            "torch_dtype": "bfloat16", "use_cache": True, "v_head_dim": self.value, "vocab_size": self.vocab}

    def asdict(self):
        return asdict(self)


def weights(s: Shape):
    """Name -> (shape, kind). Kinds: fp8 (rounded as exported, trained by Muon), mat (bf16 matrix, Muon),
    norm, router, embed, head. Experts are stacked: [experts, out, in]."""
    table = {"embed": ((s.vocab, s.hidden), "embed"), "norm": ((s.hidden,), "norm"),
             "head": ((s.vocab, s.hidden), "head")}
    for i in range(s.layers + s.mtp):
        p, qk = f"l{i}.", s.nope + s.rope
        table |= {p + "in_norm": ((s.hidden,), "norm"), p + "post_norm": ((s.hidden,), "norm"),
                  p + "q_a": ((s.q_rank, s.hidden), "fp8"), p + "q_norm": ((s.q_rank,), "norm"),
                  p + "q_b": ((s.heads * qk, s.q_rank), "fp8"),
                  p + "kv_a": ((s.kv_rank + s.rope, s.hidden), "fp8"),
                  p + "kv_norm": ((s.kv_rank,), "norm"),
                  p + "kv_b": ((s.heads * (s.nope + s.value), s.kv_rank), "fp8"),
                  p + "o": ((s.hidden, s.heads * s.value), "fp8")}
        if i < s.dense:
            table |= {p + "gate": ((s.inter, s.hidden), "fp8"), p + "up": ((s.inter, s.hidden), "fp8"),
                      p + "down": ((s.hidden, s.inter), "fp8")}
        else:
            e, m, w = s.experts, s.expert_inter, s.expert_inter * s.shared
            table |= {p + "router": ((e, s.hidden), "router"),
                      p + "e_gate": ((e, m, s.hidden), "fp8"), p + "e_up": ((e, m, s.hidden), "fp8"),
                      p + "e_down": ((e, s.hidden, m), "fp8"),
                      p + "s_gate": ((w, s.hidden), "fp8"), p + "s_up": ((w, s.hidden), "fp8"),
                      p + "s_down": ((s.hidden, w), "fp8")}
        if i >= s.layers:
            table |= {p + "enorm": ((s.hidden,), "norm"), p + "hnorm": ((s.hidden,), "norm"),
                      p + "head_norm": ((s.hidden,), "norm"),
                      p + "eh": ((s.hidden, 2 * s.hidden), "mat")}
    return table


def initial(s: Shape, seed: int, device):
    """Float32 masters, the same on every machine."""
    g, out = torch.Generator().manual_seed(seed), {}
    for name, (shape, kind) in weights(s).items():
        if kind == "norm":
            w = torch.ones(shape)
        else:
            std = {"embed": 0.5, "head": 0.02, "router": 0.05}.get(kind, 0.5 / math.sqrt(shape[-1]))
            if name.endswith((".o", "down")):
                std *= 0.4
            w = torch.randn(shape, generator=g) * std
        out[name] = w.to(device)
    return out


def fp8_blocks(w):
    """[..., out, in] -> (e4m3 values, float32 scales [..., ceil(out/128), ceil(in/128)])."""
    o, i = w.shape[-2:]
    padded = F.pad(w, (0, -i % BLOCK, 0, -o % BLOCK))
    bo, bi = padded.shape[-2] // BLOCK, padded.shape[-1] // BLOCK
    tiles = padded.reshape(*w.shape[:-2], bo, BLOCK, bi, BLOCK)
    scale = tiles.abs().amax((-3, -1)).clamp_min(1e-12) / 448.0
    q = (tiles / scale[..., :, None, :, None]).to(torch.float8_e4m3fn)
    return q.reshape(padded.shape)[..., :o, :i], scale


def fp8_round(w):
    """What a reader of the exported matrix gets, in float32."""
    q, scale = fp8_blocks(w)
    wide = scale.repeat_interleave(BLOCK, -2).repeat_interleave(BLOCK, -1)
    return q.float() * wide[..., : w.shape[-2], : w.shape[-1]]


def working(masters, s: Shape, dtype=torch.bfloat16):
    """The copies that compute: FP8-rounded matrices, everything in `dtype`."""
    return {n: (fp8_round(masters[n]) if kind == "fp8" else masters[n]).to(torch.bfloat16).to(dtype)
            for n, (_, kind) in weights(s).items()}


# --- attention over a stream of conversations ---------------------------------------------------------

class Stream:
    """How the present batch is cut; read by the operator below, not traced, so lengths never recompile."""
    sequences = 1
    longest = 1


@torch.library.custom_op("minnow::attend", mutates_args=())
def attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, cuts: torch.Tensor,
           scale: float) -> tuple[torch.Tensor, torch.Tensor]:
    """q, k, v [T, H, D] -> out [T, H, D]; causal inside each piece cuts[i]..cuts[i+1]."""
    cu = cuts[: Stream.sequences + 1]
    out, lse, _, _, _ = torch.ops.aten._flash_attention_forward(
        q, k, v, cu, cu, Stream.longest, Stream.longest, 0.0, True, False, scale=scale)
    return out, lse


@attend.register_fake
def _(q, k, v, cuts, scale):
    return torch.empty_like(q), q.new_empty((q.shape[1], q.shape[0]), dtype=torch.float32)


@torch.library.custom_op("minnow::attend_back", mutates_args=())
def attend_back(grad: torch.Tensor, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, out: torch.Tensor,
                lse: torch.Tensor, cuts: torch.Tensor,
                scale: float) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    cu = cuts[: Stream.sequences + 1]
    rng = torch.zeros((2,), dtype=torch.uint64, device=q.device)
    return torch.ops.aten._flash_attention_backward(
        grad.contiguous(), q, k, v, out, lse, cu, cu, Stream.longest, Stream.longest, 0.0, True, rng,
        torch.empty(0, device=q.device), scale=scale)


@attend_back.register_fake
def _(grad, q, k, v, out, lse, cuts, scale):
    return torch.empty_like(q), torch.empty_like(k), torch.empty_like(v)


def _save(ctx, inputs, output):
    q, k, v, cuts, ctx.scale = inputs
    ctx.save_for_backward(q, k, v, cuts, *output)


def _backward(ctx, grad, _):
    q, k, v, cuts, out, lse = ctx.saved_tensors
    return *attend_back(grad, q, k, v, out, lse, cuts, ctx.scale), None, None


attend.register_autograd(_backward, setup_context=_save)


def attend_anywhere(q, k, v, cuts, scale):
    if q.is_cuda and q.dtype == torch.bfloat16:
        return attend(q, k, v, cuts, scale)[0]
    ends = cuts.tolist()[1: Stream.sequences + 1]
    q, k, v = (torch.tensor_split(x.transpose(0, 1), ends[:-1], 1) for x in (q, k, v))
    pieces = [F.scaled_dot_product_attention(a[None], b[None], c[None], is_causal=True, scale=scale)[0]
              for a, b, c in zip(q, k, v)]
    return torch.cat(pieces, 1).transpose(0, 1)


# --- the forward pass -----------------------------------------------------------------------------------

def rms(x, w):
    x = x.float()
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) * w.float()


def angles(s: Shape, positions):
    f = s.theta ** (-torch.arange(0, s.rope, 2, device=positions.device, dtype=torch.float32) / s.rope)
    a = positions.float()[:, None] * f
    return a.cos(), a.sin()


def turn(x, cos, sin):
    """Adjacent pairs; x [T, ..., rope], cos [T, rope/2]."""
    while cos.dim() < x.dim():
        cos, sin = cos.unsqueeze(1), sin.unsqueeze(1)
    a, b = x.float().unflatten(-1, (-1, 2)).unbind(-1)
    return torch.stack((a * cos - b * sin, a * sin + b * cos), -1).flatten(-2).to(x.dtype)


def layers_of(s: Shape, w):
    """The weights of each layer under the same names, so that one compiled layer serves all."""
    out = [{} for _ in range(s.layers + s.mtp)]
    for name, tensor in w.items():
        layer_name, dot, part = name.partition(".")
        if dot:
            out[int(layer_name[1:])][part] = tensor
    return out


def largest(x, k):
    """1 for the k largest of the last dimension, else 0; equal ones by lower index. For a handful of
    numbers, counting who is larger is much faster than sorting."""
    n = x.shape[-1]
    at = torch.arange(n, device=x.device)
    above = (x[..., None, :] > x[..., :, None]) | ((x[..., None, :] == x[..., :, None]) & (at[None, :] < at[:, None]))
    return (above.sum(-1) < k).to(x.dtype)


def route(s: Shape, router, bias, x):
    """x [T, h] float32 normed -> weights [T, experts], zero where not chosen; and which were chosen."""
    score = torch.sigmoid(x @ router.float().T)
    with torch.no_grad():
        b = (score + bias).unflatten(-1, (s.groups, -1))
        kept = largest((b * largest(b, 2)).sum(-1), s.groups_kept)
        b = b.masked_fill(kept[..., None] == 0, -torch.inf).flatten(-2)
        mask = largest(b, s.chosen)
    picked = score * mask
    return picked / (picked.sum(-1, keepdim=True) + 1e-20) * s.routed_scale, mask


def feed(s: Shape, w, bias, x):
    """The MLP of one layer on normed x (float32); returns (y, how often each expert was chosen)."""
    dt = w["o"].dtype
    y = x.to(dt)
    if "gate" in w:
        return (F.silu(y @ w["gate"].T) * (y @ w["up"].T)) @ w["down"].T, torch.zeros_like(bias)
    weight, mask = route(s, w["router"], bias, x)
    gate = torch.cat((w["e_gate"].flatten(0, 1), w["s_gate"]))
    up = torch.cat((w["e_up"].flatten(0, 1), w["s_up"]))
    down = torch.cat((w["e_down"].transpose(0, 1).flatten(1), w["s_down"]), 1)
    wide = torch.cat((weight.repeat_interleave(s.expert_inter, -1),
                      weight.new_ones(len(x), s.expert_inter * s.shared)), -1)
    inner = F.silu(y @ gate.T) * (y @ up.T)
    return (inner * wide.to(dt)) @ down.T, mask.sum(0)


def attention(s: Shape, w, x, cos, sin, cuts):
    dt, t = w["o"].dtype, len(x)
    x = x.to(dt)
    q = (rms(x @ w["q_a"].T, w["q_norm"]).to(dt) @ w["q_b"].T).view(t, s.heads, -1)
    a = x @ w["kv_a"].T
    kv = (rms(a[:, : s.kv_rank], w["kv_norm"]).to(dt) @ w["kv_b"].T).view(t, s.heads, -1)
    q = torch.cat((q[..., : s.nope], turn(q[..., s.nope:], cos, sin)), -1)
    k_pe = turn(a[:, s.kv_rank:], cos, sin)[:, None].expand(-1, s.heads, -1)
    k = torch.cat((kv[..., : s.nope], k_pe), -1)
    v = F.pad(kv[..., s.nope:], (0, s.nope + s.rope - s.value))
    o = attend_anywhere(q, k, v, cuts, (s.nope + s.rope) ** -0.5)[..., : s.value]
    return o.reshape(t, -1) @ w["o"].T


def layer(s: Shape, w, bias, x, cos, sin, cuts):
    x = x + attention(s, w, rms(x, w["in_norm"]), cos, sin, cuts).float()
    y, load = feed(s, w, bias, rms(x, w["post_norm"]))
    return x + y.float(), load


def enter(s: Shape, embed, tokens, positions):
    cos, sin = angles(s, positions)
    return F.embedding(tokens, embed.float()), cos, sin


def leave(x, norm, head):
    """(normed state, logits)"""
    h = rms(x, norm)
    return h, h.to(head.dtype) @ head.T


def join(w, embed, h, tokens):
    """The module's input at each position: the next token's embedding and the main model's state."""
    following = F.embedding(torch.cat((tokens[1:], tokens[:1])), embed.float())
    z = torch.cat((rms(following, w["enorm"]), rms(h, w["hnorm"])), -1)
    return (z.to(embed.dtype) @ w["eh"].T).float()


def forward(s: Shape, w, bias, tokens, positions, cuts, run=layer):
    """tokens, positions [T]; cuts int32; bias [layers + mtp, experts]. Returns logits behind each token,
    the module's logits for the token after the next, and the experts' loads [layers + mtp, experts].
    `run` computes a layer: `layer`, or that compiled."""
    parts = layers_of(s, w)
    (x, cos, sin), loads = enter(s, w["embed"], tokens, positions), []
    for i in range(s.layers):
        x, load = run(s, parts[i], bias[i], x, cos, sin, cuts)
        loads.append(load)
    h, logits = leave(x, w["norm"], w["head"])
    last = parts[s.layers]
    y, load = run(s, last, bias[s.layers], join(last, w["embed"], h, tokens), cos, sin, cuts)
    loads.append(load)
    return logits, leave(y, last["head_norm"], w["head"])[1], torch.stack(loads)


def score(logits, tokens, positions, weight, ahead):
    """Mean cross entropy of the tokens `ahead` positions further, and the share of learned ones that are right."""
    target = tokens.roll(-ahead)
    w = weight.roll(-ahead) * (positions.roll(-ahead) >= ahead)
    loss = F.cross_entropy(logits.float(), target, reduction="none")
    learned = (w >= 1).float()
    right = ((logits.argmax(-1) == target) * learned).sum() / learned.sum().clamp_min(1)
    return (loss * w).sum() / w.sum().clamp_min(1), right.detach()


def loss(s: Shape, w, bias, tokens, positions, cuts, weight, mtp_weight, run=layer, judge=score):
    """weight [T]: of each token as a target, 1 for learned ones. Returns (total, main, mtp, right, loads);
    `right` are the shares that the main head and the module have right."""
    logits, guesses, loads = forward(s, w, bias, tokens, positions, cuts, run)
    main, right = judge(logits, tokens, positions, weight, 1)
    ahead, guessed = judge(guesses, tokens, positions, weight, 2)
    return main + mtp_weight * ahead, main.detach(), ahead.detach(), (right, guessed), loads
