#!/usr/bin/env python3
"""Which model shows what guessing ahead is worth? A random V3-shaped checkpoint with a multi-token-prediction module whose
guesses are good by construction: the next token is mostly a fixed permutation of the current one, and the module knows it.

  make_drafty_checkpoint.py DIR [--layers 12] [--branch 0.02] [--seed 1]

lm_head is the embedding with its rows permuted, and every layer adds little (`--branch`: the scale of what attention and MLP
add to the stream), so the likeliest token after t is perm(t). The module's eh_proj passes the embedding half on, so it says
perm of the token it is given: right unless the layers of the main model tipped the choice, which a larger `--branch` does
more often. Sizes are those of the 1.1 B parameter (314 M active) model of the other measurements, plus the module's layer.
Weights are a function of the seed and the tensor's name. Needs numpy; writes about 2.4 GB.
"""
import argparse
import json
import pathlib
import struct
import zlib

import numpy as np

CONFIG = dict(
    architectures=["DeepseekV3ForCausalLM"], model_type="deepseek_v3", torch_dtype="bfloat16",
    vocab_size=32000, hidden_size=1536, intermediate_size=4096, num_hidden_layers=12,
    num_attention_heads=16, num_key_value_heads=16, q_lora_rank=768, kv_lora_rank=512,
    qk_nope_head_dim=128, qk_rope_head_dim=64, v_head_dim=128,
    n_routed_experts=32, n_shared_experts=1, num_experts_per_tok=4, moe_intermediate_size=512,
    n_group=4, topk_group=2, first_k_dense_replace=1, moe_layer_freq=1, scoring_func="sigmoid",
    topk_method="noaux_tc", norm_topk_prob=True, routed_scaling_factor=2.5,
    hidden_act="silu", rms_norm_eps=1e-6, rope_theta=10000, max_position_embeddings=163840,
    rope_scaling=dict(type="yarn", factor=40, original_max_position_embeddings=4096,
                      beta_fast=32, beta_slow=1, mscale=1.0, mscale_all_dim=1.0),
    attention_bias=False, tie_word_embeddings=False, num_nextn_predict_layers=1,
    bos_token_id=0, eos_token_id=1, use_cache=True)


def layer_tensors(c, i, moe):
    """(name, shape) of one decoder layer."""
    h, heads, experts = c["hidden_size"], c["num_attention_heads"], c["n_routed_experts"]
    kv, rope, nope, value = c["kv_lora_rank"], c["qk_rope_head_dim"], c["qk_nope_head_dim"], c["v_head_dim"]
    p = f"model.layers.{i}."

    def mlp(prefix, width):
        for part, shape in (("gate", (width, h)), ("up", (width, h)), ("down", (h, width))):
            yield f"{prefix}.{part}_proj.weight", shape

    yield p + "input_layernorm.weight", (h,)
    yield p + "self_attn.q_a_proj.weight", (c["q_lora_rank"], h)
    yield p + "self_attn.q_a_layernorm.weight", (c["q_lora_rank"],)
    yield p + "self_attn.q_b_proj.weight", (heads * (nope + rope), c["q_lora_rank"])
    yield p + "self_attn.kv_a_proj_with_mqa.weight", (kv + rope, h)
    yield p + "self_attn.kv_a_layernorm.weight", (kv,)
    yield p + "self_attn.kv_b_proj.weight", (heads * (nope + value), kv)
    yield p + "self_attn.o_proj.weight", (h, heads * value)
    yield p + "post_attention_layernorm.weight", (h,)
    if not moe:
        yield from mlp(p + "mlp", c["intermediate_size"])
        return
    yield p + "mlp.gate.weight", (experts, h)
    yield p + "mlp.gate.e_score_correction_bias", (experts,)
    for e in range(experts):
        yield from mlp(p + f"mlp.experts.{e}", c["moe_intermediate_size"])
    yield from mlp(p + "mlp.shared_experts", c["moe_intermediate_size"] * c["n_shared_experts"])


def tensors(c):
    h, layers = c["hidden_size"], c["num_hidden_layers"]
    yield "model.embed_tokens.weight", (c["vocab_size"], h)
    for i in range(layers + 1):
        yield from layer_tensors(c, i, i >= c["first_k_dense_replace"])
    module = f"model.layers.{layers}."
    yield module + "enorm.weight", (h,)
    yield module + "hnorm.weight", (h,)
    yield module + "eh_proj.weight", (h, 2 * h)
    yield module + "shared_head.norm.weight", (h,)
    yield "model.norm.weight", (h,)
    yield "lm_head.weight", (c["vocab_size"], h)


class Values:
    def __init__(self, config, seed, branch):
        self.config, self.seed, self.branch = config, seed, branch

    def random(self, name, shape, std):
        generator = np.random.Generator(np.random.SFC64([self.seed, zlib.crc32(name.encode())]))
        return generator.standard_normal(shape, np.float32) * np.float32(std)

    def of(self, name, shape):
        if len(shape) == 1:
            return np.zeros(shape, np.float32) if name.endswith("bias") else np.ones(shape, np.float32)
        if name == "model.embed_tokens.weight":
            return self.random(name, shape, 1)
        if name == "lm_head.weight":  # row perm(t) is the embedding of t
            vocab = shape[0]
            embedding = self.of("model.embed_tokens.weight", shape) * np.float32(8 / shape[1])
            out = np.empty_like(embedding)
            out[np.random.Generator(np.random.SFC64([self.seed, 7])).permutation(vocab)] = embedding
            return out
        if name.endswith("eh_proj.weight"):  # [embedding | hidden]
            return np.concatenate([np.eye(shape[0], dtype=np.float32), np.zeros((shape[0], shape[0]), np.float32)], 1)
        # What a layer adds to the stream leaves through o_proj and down_proj.
        last = name.endswith(("o_proj.weight", "down_proj.weight"))
        return self.random(name, shape, shape[1] ** -0.5 * (self.branch if last else 1))


def stored(name, values):
    if name.endswith("bias"):
        return values.tobytes()
    bits = values.view(np.uint32)
    return ((bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)).astype("<u2").tobytes()


def write(folder, config, values):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config, indent=1))
    header, at = {"__metadata__": {"format": "pt"}}, 0
    for name, shape in tensors(config):
        wide = name.endswith("bias")
        size = int(np.prod(shape)) * (4 if wide else 2)
        header[name] = dict(dtype="F32" if wide else "BF16", shape=shape, data_offsets=[at, at + size])
        at += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 64)
    with open(folder / "model.safetensors", "wb") as out:
        out.write(struct.pack("<Q", len(text)) + text)
        for name, shape in tensors(config):
            out.write(stored(name, values.of(name, shape)))


def main():
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("folder", type=pathlib.Path)
    words.add_argument("--layers", type=int, default=12)
    words.add_argument("--branch", type=float, default=0.02)
    words.add_argument("--seed", type=int, default=1)
    o = words.parse_args()
    config = dict(CONFIG, num_hidden_layers=o.layers)
    write(o.folder, config, Values(config, o.seed, o.branch))


if __name__ == "__main__":
    main()
