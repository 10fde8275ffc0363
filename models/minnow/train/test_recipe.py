"""Does the recipe hold together? Seconds on a CPU: `python test_recipe.py`, or pytest. The template against
its Python twin, the calculations against Python's own, generation with a cache against the full forward."""
import random
import tempfile

import jinja2
import torch

import data
import evaluate
import model
import optimizer
import render
import tokenizer
from tasks import TASKS, arithmetic
from tasks.checks import right
from tasks.item import held_out


def template():
    env = jinja2.Environment(trim_blocks=True, lstrip_blocks=True)
    env.filters["tojson"] = lambda x: __import__("json").dumps(x, ensure_ascii=False)
    return env.from_string(render.TEMPLATE)


def test_template_is_its_twin():
    rng, chat = random.Random(1), template()
    for make in [m for _, m in TASKS.values()] * 20:
        item = make(rng)
        for thinking in (True, False):
            messages = render.messages_of(item)
            want = "".join(p for p, _ in render.prompt_pieces(messages, item.tools, thinking))
            shown = chat.render(messages=messages, tools=item.tools, bos_token=render.BOS, add_generation_prompt=True, thinking=thinking)
            assert shown == want, (shown, want)


def test_answers_pass_their_own_checks():
    rng = random.Random(2)
    for name, (_, make) in TASKS.items():
        for _ in range(100):
            item = make(rng)
            text = "".join(p for p, _ in render.answer_pieces(None if item.after_tool else item.thought, item.answer, item.call))
            said, call = evaluate.parse(text, not item.after_tool)
            assert right(item.check, said, call), (name, item)


def test_thoughts_are_short_and_sums_are_right():
    rng = random.Random(3)
    for _ in range(300):
        a, b = rng.randrange(10 ** rng.randrange(1, 8)), rng.randrange(10 ** rng.randrange(1, 8))
        digits = [line.split("=")[1] for line in arithmetic.add_lines(a, b)[1:]]
        assert int((digits[-1][0] + "".join(d[1] for d in reversed(digits))) or 0) == a + b
        a, b = max(a, b), min(a, b)
        digits = [line.split("=")[1][0] for line in arithmetic.sub_lines(a, b)[1:]]
        assert int("".join(reversed(digits))) == a - b


def test_nothing_held_out_is_trained():
    rng = random.Random(4)
    assert all(not held_out(data.exercise(rng).key) for _ in range(2000))


def toy():
    return model.Shape(vocab=512, hidden=64, layers=2, heads=2, q_rank=32, kv_rank=32, nope=16, rope=16, value=16, inter=96, expert_inter=32, context=512)


def test_cached_generation_is_the_full_forward():
    s = toy()
    w = optimizer.Weights(s, model.initial(s, 1, "cpu"), "cpu", torch.float32)
    weights = {n: t.detach() for n, t in w.work.items()}
    weights["head"] = torch.randn(s.vocab, s.hidden)
    prompts = [[0, 5, 9, 300], [0, 7], [0] + list(range(10, 40))]
    got = evaluate.Generator(s, weights, w.bias, "cpu")(prompts, 6)
    for p, g in zip(prompts, got):
        ids = list(p)
        for token in g:
            model.Stream.sequences, model.Stream.longest = 1, len(ids)
            logits, _, _ = model.forward(s, weights, w.bias, torch.tensor(ids), torch.arange(len(ids)), torch.tensor([0, len(ids)], dtype=torch.int32))
            assert int(logits[-1].argmax()) == token
            ids.append(token)


def test_conversations_do_not_see_each_other():
    s = toy()
    w = {n: t.detach() for n, t in optimizer.Weights(s, model.initial(s, 1, "cpu"), "cpu", torch.float32).work.items()}
    bias = torch.zeros(3, 8)
    a, b = torch.randint(3, 500, (20,)), torch.randint(3, 500, (30,))
    model.Stream.sequences, model.Stream.longest = 2, 30
    both, both2, _ = model.forward(s, w, bias, torch.cat((a, b)), torch.cat((torch.arange(20), torch.arange(30))), torch.tensor([0, 20, 50, 50], dtype=torch.int32))
    model.Stream.sequences = 1
    alone, alone2, _ = model.forward(s, w, bias, b, torch.arange(30), torch.tensor([0, 30], dtype=torch.int32))
    assert torch.allclose(both[20:], alone, atol=1e-4) and torch.allclose(both2[20:-1], alone2[:-1], atol=1e-4)


def test_tokenizer_has_digits_alone_and_all_ids():
    with tempfile.TemporaryDirectory() as folder:
        tokenizer.write(folder, 1, 512, 1024, 1500)
        e = data.Encoder(folder)
        assert e.tok.get_vocab_size() == 512
        assert len(e.tok.encode("1234", add_special_tokens=False).ids) == 4
        short, long = data.packers(folder, 1, 0, 8192, 1024)
        for p in (short, long):
            tokens, positions, cuts = p.batch()
            assert len(tokens) == len(positions) == cuts[-1] == 8192 and (tokens & 0x7FFF).max() < 512


if __name__ == "__main__":
    for name, test in list(globals().items()):
        if name.startswith("test_"):
            test()
            print(name, "ok")
