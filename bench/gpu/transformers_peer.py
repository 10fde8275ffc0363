#!/usr/bin/env python3
"""How fast does Hugging Face transformers decode the same checkpoint on the same GPU? Greedy, bf16, its own cache.

transformers_peer.py DIR [--batches 1,32,128] [--prompt 128] [--tokens 32]
Prints tokens/s of all streams and the time of a step, from the second generated token to the last.
"""
import argparse
import time

import torch
from transformers import AutoModelForCausalLM


def main():
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("dir")
    words.add_argument("--batches", default="1,32,128")
    words.add_argument("--prompt", type=int, default=128)
    words.add_argument("--tokens", type=int, default=32)
    said = words.parse_args()
    began = time.time()
    model = AutoModelForCausalLM.from_pretrained(said.dir, dtype=torch.bfloat16, device_map="cuda").eval()
    print(f"transformers loads in {time.time() - began:.1f} s")
    for batch in map(int, said.batches.split(",")):
        ids = torch.randint(3, 256, (batch, said.prompt), device="cuda")
        with torch.inference_mode():
            def steps(count):
                out = model(ids, use_cache=True)
                token, past, times = out.logits[:, -1].argmax(-1, keepdim=True), out.past_key_values, []
                for _ in range(count):
                    torch.cuda.synchronize()
                    start = time.perf_counter()
                    out = model(token, past_key_values=past, use_cache=True)
                    token = out.logits[:, -1].argmax(-1, keepdim=True)
                    torch.cuda.synchronize()
                    times.append(time.perf_counter() - start)
                return sorted(times)[len(times) // 2]
            steps(2)
            step = steps(said.tokens)
        print(f"transformers  batch {batch:4}  step {step * 1e3:9.2f} ms  {batch / step:10.1f} tokens/s", flush=True)


if __name__ == "__main__":
    main()
