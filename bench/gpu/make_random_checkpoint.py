#!/usr/bin/env python3
"""What can a serving system be measured on without anybody's weights? A checkpoint of a published shape with random ones.

make_random_checkpoint.py v2-lite DIR     DeepSeek-V2-Lite: 15.7 G parameters, 2.4 G active, bf16, 31 GB
make_random_checkpoint.py v3-slice DIR    4 layers of DeepSeek V3 at true width (1 dense, 3 of 256 experts), block FP8
Options: --layers N, --seed N. Needs torch and safetensors; uses a GPU for the random numbers where there is one.
"""
import argparse
import json
import pathlib

import torch
from safetensors.torch import save_file

YARN = {"beta_fast": 32, "beta_slow": 1, "factor": 40, "mscale": 0.707, "mscale_all_dim": 0.707,
        "original_max_position_embeddings": 4096, "type": "yarn"}
SHARED = {"attention_bias": False, "bos_token_id": 0, "eos_token_id": 1, "hidden_act": "silu", "moe_layer_freq": 1,
          "max_position_embeddings": 163840, "kv_lora_rank": 512, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64,
          "v_head_dim": 128, "rms_norm_eps": 1e-6, "rope_theta": 10000, "tie_word_embeddings": False,
          "torch_dtype": "bfloat16", "initializer_range": 0.02}
PRESETS = {
    "v2-lite": SHARED | {
        "architectures": ["DeepseekV2ForCausalLM"], "model_type": "deepseek_v2", "hidden_size": 2048, "vocab_size": 102400,
        "num_hidden_layers": 27, "num_attention_heads": 16, "num_key_value_heads": 16, "q_lora_rank": None,
        "intermediate_size": 10944, "moe_intermediate_size": 1408, "n_routed_experts": 64, "n_shared_experts": 2,
        "num_experts_per_tok": 6, "first_k_dense_replace": 1, "n_group": 1, "topk_group": 1, "topk_method": "greedy",
        "scoring_func": "softmax", "norm_topk_prob": False, "routed_scaling_factor": 1.0, "rope_scaling": YARN,
        "aux_loss_alpha": 0.001, "seq_aux": True},
    "v3-slice": SHARED | {
        "architectures": ["DeepseekV3ForCausalLM"], "model_type": "deepseek_v3", "hidden_size": 7168, "vocab_size": 129280,
        "num_hidden_layers": 4, "num_attention_heads": 128, "num_key_value_heads": 128, "q_lora_rank": 1536,
        "intermediate_size": 18432, "moe_intermediate_size": 2048, "n_routed_experts": 256, "n_shared_experts": 1,
        "num_experts_per_tok": 8, "first_k_dense_replace": 1, "n_group": 8, "topk_group": 4, "topk_method": "noaux_tc",
        "scoring_func": "sigmoid", "norm_topk_prob": True, "routed_scaling_factor": 2.5,
        "rope_scaling": YARN | {"mscale": 1.0, "mscale_all_dim": 1.0}, "num_nextn_predict_layers": 0,
        "quantization_config": {"activation_scheme": "dynamic", "fmt": "e4m3", "quant_method": "fp8",
                                "weight_block_size": [128, 128]}},
}


def tensors(c, layer):
    """Names and shapes of one layer; True where V3 stores FP8."""
    h, heads = c["hidden_size"], c["num_attention_heads"]
    key = c["qk_nope_head_dim"] + c["qk_rope_head_dim"]
    p = f"model.layers.{layer}."
    yield p + "input_layernorm.weight", (h,), False
    yield p + "post_attention_layernorm.weight", (h,), False
    a = p + "self_attn."
    if c["q_lora_rank"]:
        yield a + "q_a_proj.weight", (c["q_lora_rank"], h), True
        yield a + "q_a_layernorm.weight", (c["q_lora_rank"],), False
        yield a + "q_b_proj.weight", (heads * key, c["q_lora_rank"]), True
    else:
        yield a + "q_proj.weight", (heads * key, h), True
    yield a + "kv_a_proj_with_mqa.weight", (c["kv_lora_rank"] + c["qk_rope_head_dim"], h), True
    yield a + "kv_a_layernorm.weight", (c["kv_lora_rank"],), False
    yield a + "kv_b_proj.weight", (heads * (c["qk_nope_head_dim"] + c["v_head_dim"]), c["kv_lora_rank"]), True
    yield a + "o_proj.weight", (h, heads * c["v_head_dim"]), True
    mlps = [("mlp.", c["intermediate_size"])]
    if layer >= c["first_k_dense_replace"]:
        yield p + "mlp.gate.weight", (c["n_routed_experts"], h), False
        if c["topk_method"] == "noaux_tc":
            yield p + "mlp.gate.e_score_correction_bias", (c["n_routed_experts"],), False
        mlps = [("mlp.shared_experts.", c["moe_intermediate_size"] * c["n_shared_experts"])]
        mlps += [(f"mlp.experts.{e}.", c["moe_intermediate_size"]) for e in range(c["n_routed_experts"])]
    for name, width in mlps:
        yield p + name + "gate_proj.weight", (width, h), True
        yield p + name + "up_proj.weight", (width, h), True
        yield p + name + "down_proj.weight", (h, width), True


def fill(name, shape, fp8, device, out):
    if name.endswith("norm.weight"):
        out[name] = torch.ones(shape, dtype=torch.bfloat16)
    elif name.endswith("correction_bias"):
        out[name] = torch.zeros(shape)
    elif fp8:
        blocks = [-(-n // 128) for n in shape]
        out[name] = (torch.randn(shape, device=device) * 60).clamp(-448, 448).to(torch.float8_e4m3fn).cpu()
        out[name + "_scale_inv"] = torch.full(blocks, 0.02 / 60)
    else:
        out[name] = (torch.randn(shape, device=device) * 0.02).bfloat16().cpu()


def main():
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("preset", choices=PRESETS)
    words.add_argument("dir", type=pathlib.Path)
    words.add_argument("--layers", type=int)
    words.add_argument("--seed", type=int, default=1)
    said = words.parse_args()
    c = dict(PRESETS[said.preset])
    if said.layers:
        c["num_hidden_layers"] = said.layers
    torch.manual_seed(said.seed)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    said.dir.mkdir(parents=True, exist_ok=True)
    places, total = {}, 0
    for part in range(c["num_hidden_layers"] + 1):
        out = {}
        if part == c["num_hidden_layers"]:
            table = (c["vocab_size"], c["hidden_size"])
            for name, shape in (("model.embed_tokens.weight", table), ("lm_head.weight", table),
                                ("model.norm.weight", (c["hidden_size"],))):
                fill(name, shape, False, device, out)
        else:
            for name, shape, quantised in tensors(c, part):
                fill(name, shape, quantised and "quantization_config" in c, device, out)
        file = f"model-{part:05}.safetensors"
        save_file(out, said.dir / file, metadata={"format": "pt"})
        places |= dict.fromkeys(out, file)
        total += sum(t.numel() * t.element_size() for t in out.values())
    (said.dir / "config.json").write_text(json.dumps(c, indent=1))
    index = {"metadata": {"total_size": total}, "weight_map": places}
    (said.dir / "model.safetensors.index.json").write_text(json.dumps(index))
    print(f"{said.dir}: {total / 1e9:.1f} GB in {c['num_hidden_layers'] + 1} files")


if __name__ == "__main__":
    main()
