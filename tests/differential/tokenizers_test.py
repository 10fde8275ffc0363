"""Do we give the ids that the Hugging Face tokenizers library gives? Tokenizers in the shapes of the family's files, trained
here on a small text, over random texts: the same ids, and the same text back; and files that we do not serve are refused
by the name of a key."""
import json
import os
import random
import sys
import tempfile

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from ours import Ours

WORDS = ["the", "The", "quick", "brown", "def", "return", "x1", "12", "345", "6789", "it's", "don't", "I'LL", "naïve",
         "Größe", "москва", "北京", "你好，世界", "こんにちは", "カナ", "안녕", "مرحبا", "عدد", "हिन्दी", "ไทย", "😀", "👩‍👩‍👧", "é",
         "e\u0301", "//", "==", "();", "{", "}", "\"", "'", "...", "!?", "。", "、", "～", "　", "\u00a0", "\u200d", "½", "Ⅷ", "٣",
         "_", "$", "+", "<", ">", "|", "^", "`", "~", "\u2581", "<0x0A>", "<s>", "</s>", "<unk>", "<think>", "<|User|>", "ſ", "ß"]
SPACES = ["", " ", " ", " ", "  ", "   ", "\n", "\n\n", "\r\n", "\t", " \n ", "\n    "]
# Blocks that Unicode 9 knows whole: the library's tables are of several versions.
BLOCKS = [(0x20, 0x7e), (0xa0, 0x24f), (0x300, 0x36f), (0x3b1, 0x3c9), (0x410, 0x44f), (0x5d0, 0x5ea), (0x621, 0x64a),
          (0x905, 0x939), (0xe01, 0xe30), (0x1e00, 0x1eff), (0x2010, 0x2027), (0x2190, 0x21ff), (0x3041, 0x3096),
          (0x30a1, 0x30fa), (0x4e00, 0x4fff), (0xac00, 0xafff), (0xff01, 0xff5e), (0x1d400, 0x1d454), (0x1f600, 0x1f64f)]


def text(rng, parts):
    out = []
    for _ in range(rng.randrange(parts + 1)):
        out.append(rng.choice(SPACES))
        if rng.random() < 0.75:
            out.append(rng.choice(WORDS))
        else:
            low, high = rng.choice(BLOCKS)
            out.append(chr(rng.randint(low, high)))
    return "".join(out)


def split(pattern, behavior="Isolated"):
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": behavior, "invert": False}


BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
CJK = "[一-龥ࠀ-一가-퟿]+"


def sequence(*stages):
    return {"type": "Sequence", "pretokenizers": list(stages)}


def byte_level(pre_tokenizer, normalizer=None, added=(), post=None):
    """A byte-level BPE trained with plain ByteLevel, then given the stages of the shape."""
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trained.train_from_iterator(corpus(), trainers.BpeTrainer(
        vocab_size=900, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()), show_progress=False))
    file = json.loads(trained.to_str())
    size = len(file["model"]["vocab"])
    contents = ["<s>", "</s>", "<|User|>", "<think>"] + list(added)
    file["added_tokens"] = [
        {"id": size + i, "content": c, "single_word": False, "lstrip": False, "rstrip": False,
         "normalized": c == "<think>", "special": c != "<think>"} for i, c in enumerate(contents)]
    file.update(normalizer=normalizer, pre_tokenizer=pre_tokenizer, post_processor=post,
                decoder={"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True})
    return file


def sentence_piece(normalizer, pre_tokenizer, strip=True, added=()):
    """SentencePiece's kind: characters, a token for every byte, a visible space."""
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always", split=True)
    trained.train_from_iterator(corpus()[:400], trainers.BpeTrainer(vocab_size=700, limit_alphabet=150,
                                                                    show_progress=False))
    model = json.loads(trained.to_str())["model"]
    tokens = ["<unk>", "<s>", "</s>"] + [f"<0x{b:02X}>" for b in range(256)]
    tokens += [t for t, _ in sorted(model["vocab"].items(), key=lambda item: item[1])]
    decoder = [{"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"}]
    if strip:
        decoder.append({"type": "Strip", "content": " ", "start": 1, "stop": 0})
    contents = ["<unk>", "<s>", "</s>"]
    extra = [{"id": len(tokens) + i, "content": c, "single_word": False, "lstrip": False, "rstrip": False,
              "normalized": n, "special": not n} for i, (c, n) in enumerate(added)]
    return {
        "version": "1.0", "truncation": None, "padding": None,
        "added_tokens": [{"id": i, "content": c, "single_word": False, "lstrip": False, "rstrip": False,
                          "normalized": False, "special": True} for i, c in enumerate(contents)] + extra,
        "normalizer": normalizer, "pre_tokenizer": pre_tokenizer, "post_processor": None,
        "decoder": {"type": "Sequence", "decoders": decoder},
        "model": {"type": "BPE", "dropout": None, "unk_token": "<unk>", "continuing_subword_prefix": None,
                  "end_of_word_suffix": None, "fuse_unk": True, "byte_fallback": True, "ignore_merges": False,
                  "vocab": {t: i for i, t in enumerate(tokens)}, "merges": model["merges"]}}


def corpus():
    rng = random.Random(3)
    return [" ".join(rng.choice(WORDS[:45]) for _ in range(12)) for _ in range(800)]


def prepend_and_replace():
    return {"type": "Sequence", "normalizers": [
        {"type": "Prepend", "prepend": "▁"}, {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]}


def metaspace(scheme, splits):
    return {"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": splits}


def shapes():
    gpt4 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
            r"|\s+(?!\S)|\s+")
    qwen = gpt4.replace("{1,3}", "")
    v3 = (r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*"
          r"|\s*[\r\n]+|\s+(?!\S)|\s+")
    llm_letters = r"\s?[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-Ֆ]+"
    return {
        "deepseek-llm": byte_level(sequence(
            split(r"[\r\n]"), split(llm_letters), split(r"\s?[!-/:-~！-／：-～‘-‟　-。]+"), split(r"\s+$"), split(CJK),
            {"type": "Digits", "individual_digits": True}, BYTES), {"type": "Sequence", "normalizers": []}),
        "deepseek-coder": byte_level(sequence(
            split(r"[\r\n]"), split(r"\s?\p{L}+"), split(r"\s?\p{P}+"), split(CJK),
            {"type": "Digits", "individual_digits": True}, BYTES), {"type": "Sequence", "normalizers": []}),
        "deepseek-v3": byte_level(sequence(split(r"\p{N}{1,3}"), split(CJK.replace("ࠀ-一가-퟿", "぀-ゟ゠-ヿ")), split(v3), BYTES)),
        "llama3": byte_level(sequence(split(gpt4), BYTES)),
        "qwen2": byte_level(sequence(split(qwen), BYTES), {"type": "NFC"}, added=["<|im_start|>"]),
        "gpt2": byte_level({"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}),
        "llama2": sentence_piece(prepend_and_replace(), None),
        "llama2-normalized-token": sentence_piece(prepend_and_replace(), None, added=[("<think>", True)]),
        "llama2-metaspace-first": sentence_piece(None, metaspace("first", False), added=[("<|User|>", False)]),
        "llama2-metaspace-always": sentence_piece(None, metaspace("always", False), added=[("<|User|>", False)]),
        "metaspace-split": sentence_piece(None, metaspace("always", True), strip=False),
        "metaspace-never-nfc": sentence_piece({"type": "NFC"}, metaspace("never", False), strip=False),
    }


def compare(ours, folder, name, file, rounds):
    path = os.path.join(folder, name + ".json")
    with open(path, "w", encoding="utf-8") as out:
        json.dump(file, out, ensure_ascii=False)
    theirs = Tokenizer.from_file(path)
    rng = random.Random(name)
    texts = ["", " ", "  ", "a", "\n", " a", "a ", "<s>", "<s> a", " <s>a<s>", "<s><s>", "a" * 300, "ab " * 100] + [
        text(rng, 14) for _ in range(rounds)]
    answer = ours.ask({"tokenizer": path, "texts": texts})
    assert "ids" in answer, f"{name}: {answer}"
    wrong = []
    for one, ids, decoded in zip(texts, answer["ids"], answer["decoded"]):
        encoding = theirs.encode(one, add_special_tokens=False)
        if encoding.ids != ids:
            wrong.append(f"{name}: {one!r}\n  theirs {encoding.tokens}\n  ours   {[theirs.id_to_token(i) for i in ids]}")
        elif theirs.decode(ids, skip_special_tokens=False) != decoded:
            wrong.append(f"{name}: decodes {ids} to {decoded!r}, not {theirs.decode(ids, skip_special_tokens=False)!r}")
    print(f"{name}: {len(texts)} texts, {len(wrong)} differ")
    return wrong


def refusals(ours, folder):
    """What is not served is refused by name."""
    base = sentence_piece(prepend_and_replace(), None)
    changes = {
        "model.type": lambda f: f["model"].update(type="Unigram"),
        "byte_fallback": lambda f: f["model"].update(byte_fallback=False),
        "ignore_merges": lambda f: f["model"].update(ignore_merges=True),
        "dropout": lambda f: f["model"].update(dropout=0.1),
        "normalizer": lambda f: f.update(normalizer={"type": "Lowercase"}),
        "normalizer.pattern": lambda f: f.update(
            normalizer={"type": "Replace", "pattern": {"Regex": " +"}, "content": " "}),
        "pre_tokenizer": lambda f: f.update(pre_tokenizer={"type": "Whitespace"}),
        "prepend_scheme": lambda f: f.update(pre_tokenizer=metaspace("sometimes", False)),
        "decoder": lambda f: f.update(decoder={"type": "WordPiece"}),
        "decoders": lambda f: f["decoder"]["decoders"].reverse(),
        "start": lambda f: f["decoder"]["decoders"][3].update(start=2),
        "byte 65": lambda f: f["model"]["vocab"].pop("<0x41>"),
        "truncation": lambda f: f.update(truncation={"max_length": 5}),
    }
    wrong = []
    for key, change in changes.items():
        file = json.loads(json.dumps(base))
        change(file)
        path = os.path.join(folder, "refused.json")
        with open(path, "w", encoding="utf-8") as out:
            json.dump(file, out)
        answer = ours.ask({"tokenizer": path, "texts": []})
        if key not in answer.get("error", ""):
            wrong.append(f"{key} is not named: {answer}")
    return wrong


def main():
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 1500
    wrong = []
    with Ours() as ours, tempfile.TemporaryDirectory() as folder:
        for name, file in shapes().items():
            wrong += compare(ours, folder, name, file, rounds)
        wrong += refusals(ours, folder)
    for line in wrong[:30]:
        print(line)
    assert not wrong, f"{len(wrong)} differ"


if __name__ == "__main__":
    main()
