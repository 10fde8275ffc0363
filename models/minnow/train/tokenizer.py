"""Which tokens does Minnow read? A byte-level BPE in DeepSeek's layout, trained on the generated tasks:
bos, eos, pad, the 256 bytes, merges, and at the end the markers. Every digit is a token of its own."""
import json
import random
import sys

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from tokenizers.pre_tokenizers import ByteLevel, Sequence, Split
from tokenizers import Regex

import render

# DeepSeek V3's sequence of splits, with digits one by one in place of three by three.
SPLITS = (r"\p{N}", "[一-龥\u3040-ゟ゠-ヿ]+",
          "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+")


def splitter():
    return Sequence([Split(Regex(p), "isolated") for p in SPLITS] + [ByteLevel(add_prefix_space=False, use_regex=False)])


def added(content, number, special):
    return {"id": number, "content": content, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": special}


def train(texts, vocab):
    """The content of tokenizer.json for exactly `vocab` ids."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = splitter()
    alphabet = sorted(ByteLevel.alphabet())
    room = vocab - len(render.FIRST) - len(render.ADDED)
    bpe.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=room, initial_alphabet=alphabet, show_progress=False, min_frequency=2))
    learned = json.loads(bpe.to_str())
    order = [t for t, _ in sorted(learned["model"]["vocab"].items(), key=lambda kv: kv[1])]
    assert len(order) == room, f"{len(order)} tokens were learned, not {room}: give more text"
    names = list(render.FIRST) + order
    markers = [added(t, i, True) for i, t in enumerate(render.FIRST)]
    markers += [added(t, len(names) + i, t == "<|EOT|>") for i, t in enumerate(render.ADDED)]
    return {"version": "1.0", "truncation": None, "padding": None, "added_tokens": markers,
            "normalizer": {"type": "Sequence", "normalizers": []},
            "pre_tokenizer": {"type": "Sequence", "pretokenizers":
                              [{"type": "Split", "pattern": {"Regex": p}, "behavior": "Isolated", "invert": False} for p in SPLITS]
                              + [{"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}]},
            "post_processor": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": False, "use_regex": True},
            "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
            "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None, "end_of_word_suffix": None,
                      "fuse_unk": False, "byte_fallback": False, "vocab": {t: i for i, t in enumerate(names)}, "merges": learned["model"]["merges"]}}


def config(context):
    def token(content):
        return {"__type": "AddedToken", "content": content, "lstrip": False, "normalized": True, "rstrip": False, "single_word": False}
    return {"add_bos_token": True, "add_eos_token": False, "bos_token": token(render.BOS), "clean_up_tokenization_spaces": False,
            "eos_token": token(render.EOS), "legacy": True, "model_max_length": context, "pad_token": token(render.EOS),
            "sp_model_kwargs": {}, "unk_token": None, "tokenizer_class": "LlamaTokenizerFast", "chat_template": render.TEMPLATE}


def sample_texts(seed, documents):
    import data
    rng = random.Random(f"tokenizer {seed}")
    for _ in range(documents):
        for piece, _ in data.document(rng):
            if piece and piece not in render.ADDED and piece not in render.FIRST:
                yield piece


def write(path, seed, vocab, context, documents=40000):
    with open(f"{path}/tokenizer.json", "w") as f:
        json.dump(train(sample_texts(seed, documents), vocab), f, ensure_ascii=False)
    with open(f"{path}/tokenizer_config.json", "w") as f:
        json.dump(config(context), f, ensure_ascii=False, indent=1)


if __name__ == "__main__":
    write(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
