"""What is one exercise? A question with what came before it, the thought and answer to learn, and how
to check an answer that somebody else gave."""
import hashlib
from dataclasses import dataclass, field

HELD_OUT_ONE_IN = 40


@dataclass
class Item:
    key: str                # what is asked, without its wording: decides training or held out
    question: str
    thought: str
    answer: str
    check: dict             # see checks.py
    value: object = None    # the bare answer (int or str) where formats may wrap it
    direct: bool = False    # can be answered without a thought
    system: str | None = None
    tools: list | None = None
    before: list = field(default_factory=list)   # messages before the question
    call: dict | None = None                     # the tool call to make in place of an answer
    after_tool: bool = False                     # the question is a tool's result (last of `before`)


def held_out(key):
    """True for 1 in 40 questions: those are never trained on and are what evaluation asks."""
    digest = hashlib.blake2b(key.encode(), digest_size=4).digest()
    return int.from_bytes(digest, "big") % HELD_OUT_ONE_IN == 0


PREFIX = ("Please ", "Can you tell me: ", "Hey Minnow, ", "Hi! ", "Quick question: ", "Tell me, ", "Hello. ",
          "Okay, ", "Now ", "Next: ", "I need to know: ", "Minnow, ", "Help me: ", "So, ")
SUFFIX = (" Thanks.", " Thank you!", " Please.", " please", " Think carefully.", " I am curious.", " Show me.")


def vary(rng, question, keep_case=False):
    """The same question as different people type it."""
    r = rng.random()
    if r < 0.5:
        return question
    if r < 0.62 and not keep_case:
        question = question.lower()
    elif r < 0.74:
        first = question.split(" ", 1)[0]
        if first.isalpha() and not first.isupper() and not keep_case:
            question = question[0].lower() + question[1:]
        return rng.choice(PREFIX) + question
    elif r < 0.8:
        return question + rng.choice(SUFFIX)
    if rng.random() < 0.5 and question[-1] in "?.":
        question = question[:-1]
    return question
