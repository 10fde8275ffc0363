"""How is a trained Minnow written down? As DeepSeek V3 is published: FP8 matrices with a float32 scale for
each block of 128 x 128, everything else in bf16, the router's bias in float32, the module as one more layer."""
import hashlib
import io
import json
import os
import shutil
import tarfile

import torch
from safetensors.torch import save_file

import model

NAMES = {"in_norm": "input_layernorm", "post_norm": "post_attention_layernorm", "q_a": "self_attn.q_a_proj", "q_norm": "self_attn.q_a_layernorm",
         "q_b": "self_attn.q_b_proj", "kv_a": "self_attn.kv_a_proj_with_mqa", "kv_norm": "self_attn.kv_a_layernorm", "kv_b": "self_attn.kv_b_proj",
         "o": "self_attn.o_proj", "gate": "mlp.gate_proj", "up": "mlp.up_proj", "down": "mlp.down_proj", "router": "mlp.gate",
         "s_gate": "mlp.shared_experts.gate_proj", "s_up": "mlp.shared_experts.up_proj", "s_down": "mlp.shared_experts.down_proj",
         "enorm": "enorm", "hnorm": "hnorm", "head_norm": "shared_head.norm", "eh": "eh_proj"}


def tensors(shape, masters, bias):
    out, bf16 = {}, torch.bfloat16

    def put(name, weight, kind):
        weight = weight.detach().float().cpu()
        if kind == "fp8":
            q, scale = model.fp8_blocks(weight)
            out[name + ".weight"], out[name + ".weight_scale_inv"] = q.contiguous(), scale.float().contiguous()
        else:
            out[name + ".weight"] = weight.to(bf16).contiguous()

    for name, (_, kind) in model.weights(shape).items():
        if name == "embed":
            put("model.embed_tokens", masters[name], kind)
        elif name == "head":
            put("lm_head", masters[name], kind)
        elif name == "norm":
            put("model.norm", masters[name], kind)
        else:
            layer, part = name.split(".")
            prefix = f"model.layers.{layer[1:]}."
            if part.startswith("e_"):
                for e in range(shape.experts):
                    put(f"{prefix}mlp.experts.{e}.{part[2:]}_proj", masters[name][e], kind)
            else:
                put(prefix + NAMES[part], masters[name], kind)
            if part == "router":
                out[prefix + "mlp.gate.e_score_correction_bias"] = bias[int(layer[1:])].detach().float().cpu().clone()
    if shape.mtp:
        prefix = f"model.layers.{shape.layers}."
        put(prefix + "embed_tokens", masters["embed"], "embed")
        put(prefix + "shared_head.head", masters["head"], "head")
    return out


def write(folder, shape, masters, bias, tokenizer_folder):
    """config.json, generation_config.json, model.safetensors and the tokenizer's files; returns the digest."""
    os.makedirs(folder, exist_ok=True)
    save_file(tensors(shape, masters, bias), f"{folder}/model.safetensors", metadata={"format": "pt"})
    with open(f"{folder}/config.json", "w") as f:
        json.dump(shape.config(), f, indent=1)
    with open(f"{folder}/generation_config.json", "w") as f:
        json.dump({"_from_model_config": True, "bos_token_id": 0, "eos_token_id": 1, "do_sample": False}, f, indent=1)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(f"{tokenizer_folder}/{name}", f"{folder}/{name}")
    with open(f"{folder}/model.safetensors", "rb") as f:
        return hashlib.sha256(f.read()).hexdigest()


def carry(out, folder, work, masters, piece=15 << 20):
    """Puts the results into `out` as few files below 16 MiB: minnow.tar, the masters in pieces, the records."""
    with tarfile.open(f"{out}/minnow.tar.new", "w") as tar:
        for name in sorted(os.listdir(folder)):
            tar.add(f"{folder}/{name}", arcname=name)
    os.replace(f"{out}/minnow.tar.new", f"{out}/minnow.tar")
    for name in ("log.jsonl", "eval.json", "loss.svg"):
        if os.path.exists(f"{work}/{name}"):
            shutil.copy(f"{work}/{name}", f"{out}/{name}")
    if masters is not None:
        buffer = io.BytesIO()
        torch.save(masters, buffer)
        content = buffer.getvalue()
        for i in range(0, len(content), piece):
            with open(f"{out}/masters.{i // piece}", "wb") as f:
                f.write(content[i: i + piece])


def curve(rows, path):
    """The loss over the steps as an SVG, both heads."""
    rows = [r for r in rows if r["step"] >= 10]
    if len(rows) < 2:
        return
    import math
    width, height, left, top = 640, 320, 50, 20
    low = math.log10(min(min(r["loss"], r["mtp"]) for r in rows) * 0.9)
    high = math.log10(max(max(r["loss"], r["mtp"]) for r in rows) * 1.05)
    end = rows[-1]["step"]

    def at(step, value):
        return f"{left + step / end * (width - left - 10):.1f},{top + (high - math.log10(value)) / (high - low) * (height - top - 40):.1f}"

    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="11">',
           f'<rect width="{width}" height="{height}" fill="white"/>']
    for tick in (5, 2, 1, 0.5, 0.2, 0.1, 0.05, 0.02):
        if low <= math.log10(tick) <= high:
            y = at(0, tick).split(",")[1]
            out.append(f'<line x1="{left}" x2="{width - 10}" y1="{y}" y2="{y}" stroke="#ddd"/><text x="{left - 6}" y="{y}" text-anchor="end" dy="4">{tick}</text>')
    for key, colour, name in (("mtp", "#e08030", "token after the next (MTP)"), ("loss", "#2060c0", "next token")):
        out.append(f'<polyline fill="none" stroke="{colour}" stroke-width="1.5" points="{" ".join(at(r["step"], max(r[key], 1e-6)) for r in rows)}"/>')
    for i, (colour, name) in enumerate((("#2060c0", "next token"), ("#e08030", "token after the next (MTP)"))):
        out.append(f'<text x="{width - 190}" y="{top + 14 + 16 * i}" fill="{colour}">{name}</text>')
    out.append(f'<text x="{width / 2}" y="{height - 8}" text-anchor="middle">step (of {end}); loss in nats, logarithmic</text></svg>')
    with open(path, "w") as f:
        f.write("\n".join(out))
