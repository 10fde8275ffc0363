"""How does a conversation become tokens? The chat template that ships (Jinja), and the same rendering in
Python as pieces that say which of them are learned. test_recipe.py holds the two to each other.

The format is R1's and V3's: their markers, `<think>` opened by the prompt, the thoughts of earlier turns
left out, tool calls as V3 writes them. Two things differ from the published R1 template: tools are listed
behind the system prompt, and a call is always closed.
"""
import json

BOS, EOS, PAD = "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜▁pad▁｜>"
USER, ASSISTANT = "<｜User｜>", "<｜Assistant｜>"
CALLS, CALLS_END = "<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>"
CALL, CALL_END, SEP = "<｜tool▁call▁begin｜>", "<｜tool▁call▁end｜>", "<｜tool▁sep｜>"
OUTPUTS, OUTPUTS_END = "<｜tool▁outputs▁begin｜>", "<｜tool▁outputs▁end｜>"
OUTPUT, OUTPUT_END = "<｜tool▁output▁begin｜>", "<｜tool▁output▁end｜>"
THINK, THINK_END = "<think>", "</think>"
FIRST = (BOS, EOS, PAD)
ADDED = (THINK, THINK_END, "<｜fim▁hole｜>", "<｜fim▁begin｜>", "<｜fim▁end｜>", USER, ASSISTANT, "<|EOT|>", CALLS, CALLS_END, CALL, CALL_END,
         OUTPUTS, OUTPUTS_END, OUTPUT, OUTPUT_END, SEP)

TEMPLATE = """
{%- if not add_generation_prompt is defined %}{% set add_generation_prompt = false %}{% endif -%}
{%- if not thinking is defined %}{% set thinking = true %}{% endif -%}
{%- set ns = namespace(system='', first=true, is_tool=false) -%}
{%- for message in messages %}{% if message['role'] == 'system' -%}
{%- if ns.first %}{% set ns.system = message['content'] %}{% set ns.first = false -%}
{%- else %}{% set ns.system = ns.system + '\\n\\n' + message['content'] %}{% endif -%}
{%- endif %}{% endfor -%}
{{- bos_token }}{{ ns.system -}}
{%- if tools is defined and tools -%}
{%- if not ns.first %}{{ '\\n\\n' }}{% endif -%}
{{- '## Tools' -}}
{%- for tool in tools %}{% set f = tool['function'] -%}
{{- '\\n\\n### ' + f['name'] -}}
{%- if f['description'] %}{{ '\\n' + f['description'] }}{% endif -%}
{%- if f['parameters'] %}{{ '\\n' }}{{ f['parameters'] | tojson }}{% endif -%}
{%- endfor -%}
{%- endif -%}
{%- for message in messages -%}
{%- if message['role'] == 'user' %}{% set ns.is_tool = false -%}
{{- '<｜User｜>' + message['content'] -}}
{%- elif message['role'] == 'assistant' -%}
{%- if ns.is_tool %}{{ '<｜tool▁outputs▁end｜>' }}{% else %}{{ '<｜Assistant｜>' }}{% endif -%}
{%- set ns.is_tool = false -%}
{%- if message['content'] -%}
{%- set content = message['content'] -%}
{%- if '</think>' in content %}{% set content = content.split('</think>')[-1] %}{% endif -%}
{{- content -}}
{%- endif -%}
{%- if message['tool_calls'] -%}
{{- '<｜tool▁calls▁begin｜>' -}}
{%- for call in message['tool_calls'] -%}
{%- if not loop.first %}{{ '\\n' }}{% endif -%}
{{- '<｜tool▁call▁begin｜>function<｜tool▁sep｜>' + call['function']['name'] + '\\n```json\\n' + call['function']['arguments'] + '\\n```<｜tool▁call▁end｜>' -}}
{%- endfor -%}
{{- '<｜tool▁calls▁end｜>' -}}
{%- endif -%}
{{- '<｜end▁of▁sentence｜>' -}}
{%- elif message['role'] == 'tool' -%}
{%- if ns.is_tool %}{{ '\\n' }}{% else %}{{ '<｜tool▁outputs▁begin｜>' }}{% endif -%}
{%- set ns.is_tool = true -%}
{{- '<｜tool▁output▁begin｜>' + message['content'] + '<｜tool▁output▁end｜>' -}}
{%- endif -%}
{%- endfor -%}
{%- if ns.is_tool %}{{ '<｜tool▁outputs▁end｜>' }}
{%- elif add_generation_prompt %}{{ '<｜Assistant｜>' }}{% if thinking %}{{ '<think>\\n' }}{% endif %}
{%- endif -%}
""".strip("\n")


def call_pieces(name, arguments, learn):
    return [(CALL, learn), ("function", learn), (SEP, learn), (f"{name}\n```json\n{arguments}\n```", learn), (CALL_END, learn)]


def prompt_pieces(messages, tools=None, thinking=True):
    """[(text or marker, learned)] up to where the answer begins. Messages with "learn" are learned as they
    stand in the history: without a thought."""
    system = "\n\n".join(m["content"] for m in messages if m["role"] == "system")
    if tools:
        listed = ["## Tools"]
        for tool in tools:
            f = tool["function"]
            listed.append(f"### {f['name']}" + (f"\n{f['description']}" if f.get("description") else "")
                          + (f"\n{json.dumps(f['parameters'], ensure_ascii=False)}" if f.get("parameters") else ""))
        system = "\n\n".join(([system] if any(m["role"] == "system" for m in messages) else []) + listed)
    out, is_tool = [(BOS, False), (system, False)], False
    for m in messages:
        learn = bool(m.get("learn"))
        if m["role"] == "user":
            is_tool = False
            out += [(USER, False), (m["content"], False)]
        elif m["role"] == "assistant":
            out.append((OUTPUTS_END if is_tool else ASSISTANT, False))
            is_tool = False
            out.append((m.get("content") or "", learn))
            calls = m.get("tool_calls") or []
            if calls:
                out.append((CALLS, learn))
                for i, c in enumerate(calls):
                    out += ([("\n", learn)] if i else []) + call_pieces(c["function"]["name"], c["function"]["arguments"], learn)
                out.append((CALLS_END, learn))
            out.append((EOS, learn))
        elif m["role"] == "tool":
            out.append(("\n", False) if is_tool else (OUTPUTS, False))
            is_tool = True
            out += [(OUTPUT, False), (m["content"], False), (OUTPUT_END, False)]
    if is_tool:
        return out + [(OUTPUTS_END, False)]
    return out + [(ASSISTANT, False)] + ([(THINK, False), ("\n", False)] if thinking else [])


def answer_pieces(thought, answer, call=None):
    """What is to be learned behind the prompt; thought None where the prompt opened none."""
    out = []
    if thought is not None:
        out += [(f"{thought}\n", True), (THINK_END, True), ("\n\n" + (answer if not call else ""), True)]
    elif answer:
        out.append((answer, True))
    if call:
        out += [(CALLS, True)] + call_pieces(call["name"], json.dumps(call["arguments"], ensure_ascii=False), True) + [(CALLS_END, True)]
    return out + [(EOS, True)]


def messages_of(item):
    """The conversation of an item up to the answer."""
    out = [{"role": "system", "content": item.system}] if item.system is not None else []
    out += item.before
    return out if item.after_tool else out + [{"role": "user", "content": item.question}]


def pieces_of(item, thinking=True):
    prompt = prompt_pieces(messages_of(item), item.tools, thinking)
    thought = None if item.after_tool or not thinking else item.thought
    return prompt + answer_pieces(thought, item.answer, item.call)
