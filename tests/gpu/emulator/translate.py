"""How does CUDA C++ become C++ of the host? The preprocessor of the host's compiler runs first, with the emulator's headers in
place of the toolkit's; in its output a few things that no host compiler reads are rewritten, and nothing else:

  __global__ void k(...) {     says its name and its launch bounds to the emulator when a thread enters
  __shared__ T x[n];           a reference into the memory of the thread's block; `extern`: into its dynamic memory
  k<<<grid, block, ...>>>(a)   a call
  asm("PTX" : out : in)        a call per PTX instruction: "mbarrier.init.shared::cta.b64 [%0], %1;" calls
                               ptx::mbarrier_init_shared_cta_b64(%0, %1), so the text of the kernels is what runs
  %%name                       ptx::special_name()
  threadIdx.x                  emulated::threadIdx().x, and so for blockIdx, blockDim and gridDim

An instruction that the emulator does not know is an error of the compiler that names it. Lines keep their numbers.

Usage: translate.py COMPILER SOURCE OUTPUT DEPFILE FLAGS...   (the flags of the preprocessor)
"""

import pathlib
import re
import subprocess
import sys

TOKEN = re.compile(
    r'(?P<string>"(?:[^"\\\n]|\\.)*")'
    r"|(?P<number>\b\.?[0-9](?:[0-9a-zA-Z_.]|'[0-9a-fA-F])*)"
    r"|(?P<char>'(?:[^'\\\n]|\\.)+')"
    r"|(?P<word>[A-Za-z_]\w*)"
    r"|(?P<launch><<<)"
    r"|(?P<other>.)",
    re.S,
)
PLACES = {"threadIdx", "blockIdx", "blockDim", "gridDim"}
OPEN, CLOSE = "([{", ")]}"


class Unreadable(Exception):
    pass


def end_of_group(text, at):
    """Where the bracket that opens at `at` has been closed: the place behind it."""
    depth = 0
    for match in TOKEN.finditer(text, at):
        if match.lastgroup != "other":
            continue
        if match[0] in OPEN:
            depth += 1
        elif match[0] in CLOSE:
            depth -= 1
            if depth == 0:
                return match.end()
    raise Unreadable("a bracket that is never closed: " + text[at : at + 80])


def split(text, separator):
    """Pieces between separators that stand outside of all brackets and strings."""
    pieces, begin, depth = [], 0, 0
    for match in TOKEN.finditer(text):
        if match.lastgroup != "other":
            continue
        if match[0] in OPEN:
            depth += 1
        elif match[0] in CLOSE:
            depth -= 1
        elif match[0] == separator and depth == 0:
            pieces.append(text[begin : match.start()])
            begin = match.end()
    return pieces + [text[begin:]]


def plain(literals):
    """The text of adjacent string literals."""
    strings = [m["string"] for m in TOKEN.finditer(literals) if m.lastgroup == "string"]
    joined = "".join(s[1:-1] for s in strings)
    return joined.replace("\\n", "\n").replace("\\t", " ").replace('\\"', '"')


def ptx_operand(text):
    """Arguments of the call that stand for one operand."""
    text = text.strip()
    if text == "_":
        return []
    if text[0] == "[":
        return [a for inner in split(text[1:-1], ",") for a in ptx_operand(inner)]
    if text[0] == "{":
        inner = [a for piece in split(text[1:-1], ",") for a in ptx_operand(piece)]
        return ["::ptx::list(" + ", ".join(inner) + ")"]
    if text.startswith("%%"):
        return ["::ptx::special_" + text[2:].replace(".", "_") + "()"]
    if text[0] == "%":
        return ["ptx_" + text[1:]]
    return [text]


def ptx_statement(text):
    """One instruction, label or declaration as C++."""
    label = re.match(r"(\w+)\s*:(?!:)", text)
    if label:
        return label[1] + ": " + ptx_statement(text[label.end() :].strip())
    if text.startswith(".reg"):
        kind, name = re.fullmatch(r"\.reg\s+\.(\w+)\s+(\w+)", text).groups()
        return ("bool " if kind == "pred" else "uint32_t ") + name + " = {};"
    guard = re.match(r"@(!?)(\w+)\s+", text)
    if guard:
        return f"if ({guard[1]}{guard[2]}) {{ {ptx_statement(text[guard.end() :])} }}"
    name, _, operands = text.partition(" ")
    if name == "bra":
        return f"goto {operands.strip()};"
    operands = [a for o in split(operands, ",") if o.strip() for a in ptx_operand(o)]
    function = re.sub(r"[.:]+", "_", name)
    width = re.search(r"_m64n(\d+)(k\d+_)", function)  # one template for all widths of wgmma
    if width:
        function = function.replace(width[0], "_m64nN" + width[2]) + f"<{width[1]}>"
    return f"::ptx::{function}({', '.join(operands)});"


def assembly(body):
    sections = split(body, ":")
    text = plain(sections[0]).strip()
    if not text:
        return "do {} while (0)"
    declared, number = [], 0
    for outputs in (True, False):
        section = sections[1 if outputs else 2].strip() if len(sections) > (1 if outputs else 2) else ""
        for operand in split(section, ",") if section else []:
            match = re.fullmatch(r'\s*"([=+]?)(\w)"\s*\((.*)\)\s*', operand, re.S)
            if not match:
                raise Unreadable("operand of asm: " + operand)
            take = f"auto& ptx_{number} = ({match[3]});" if outputs else f"const auto ptx_{number} = ::ptx::in_{match[2]}({match[3]});"
            declared.append(take)
            number += 1
    if text[0] == "{" and end_of_group(text, 0) == len(text):
        text = text[1:-1]
    said = [ptx_statement(" ".join(s.split())) for s in text.split(";") if s.strip()]
    return "do { " + " ".join(declared + said) + " } while (0)"


def shared(declaration, external, number):
    """`declaration`: what stands between __shared__ and its semicolon."""
    if external:
        match = re.fullmatch(r"(.*?)(\w+)\s*\[\s*\]\s*", declaration, re.S)
        kind = re.sub(r"(alignas|__align__)\s*\([^()]*\)", "", match[1])
        return f"auto* const {match[2]} = ::emulated::dynamic_shared<{kind.strip()}>()"
    name = re.search(r"(\w+)\s*(\[|$)", declaration.strip())
    if not name:
        raise Unreadable("__shared__ " + declaration)
    kind = f"SharedVariable{number}"
    return f"struct {kind} {{ {declaration}; }}; auto& {name[1]} = ::emulated::shared_variable<{kind}>().{name[1]}"


def kernel(text, at):
    """What follows __global__ at `at`, up to its parameters and the brace behind them: (C++, the place behind)."""
    bounds, out, begin, name = "0", "", at, ""
    for match in TOKEN.finditer(text, at):
        if match.start() < begin:
            continue
        if match.lastgroup == "word":
            name = match[0]
        elif match[0] == "(":
            end = end_of_group(text, match.start())
            if name != "__launch_bounds__":
                parameters = end
                break
            bounds = split(text[match.start() + 1 : end - 1], ",")[0].strip()
            out += text[begin : match.start()].replace("__launch_bounds__", "")
            begin = end
    out += text[begin:parameters]
    brace = re.compile(r"\s*").match(text, parameters).end()
    if text[brace] != "{":
        return out, parameters
    return out + text[parameters:brace] + f"{{ ::emulated::enter(__PRETTY_FUNCTION__, {bounds});", brace + 1


def callee_before(text):
    """Where the name that ends `text`, with its template arguments, begins."""
    at = len(text.rstrip())
    if text[at - 1] == ">":
        depth = 0
        while True:
            at -= 1
            depth += (text[at] == ">") - (text[at] == "<")
            if depth == 0:
                break
    return re.search(r"[\w:]+\s*$", text[:at]).start()


def translate(text):
    out, begin, previous, number = [], 0, "", 0

    def replace(start, end, by):
        nonlocal begin
        lost = text.count("\n", start, end) - by.count("\n")
        out.append(text[begin:start] + by + "\n" * max(0, lost))
        begin = end

    for match in TOKEN.finditer(text):
        kind, word = match.lastgroup, match[0]
        if match.start() < begin or (kind == "other" and word.isspace()):
            continue
        if kind == "word" and word == "asm":
            at = text.index("(", match.end())
            end = end_of_group(text, at)
            replace(match.start(), end, assembly(text[at + 1 : end - 1]))
        elif kind == "word" and word == "__shared__":
            end = text.index(";", match.end())
            external = previous == "extern"
            start = text.rindex("extern", 0, match.start()) if external else match.start()
            replace(start, end, shared(text[match.end() : end], external, number))
            number += 1
        elif kind == "word" and word == "__global__":
            by, end = kernel(text, match.end())
            replace(match.start(), end, by)
        elif kind == "word" and word in PLACES and previous != "." and text[match.end()] == ".":
            replace(match.start(), match.end(), f"::emulated::{word}()")
        elif kind == "launch" and word == "<<<":
            end = text.index(">>>", match.end())
            start = begin + callee_before(text[begin : match.start()])
            open_call = text.index("(", end)
            name, configuration = text[start : match.start()].strip(), text[match.end() : end]
            replace(start, open_call + 1, f"::emulated::plain_launch({name}, {configuration})(")
        previous = word
    return "".join(out) + text[begin:]


def main():
    compiler, source, output, depfile, *flags = sys.argv[1:]
    preprocess = [compiler, "-x", "c++", "-E", "-include", "cuda_runtime.h", *flags, "-MD", "-MF", depfile, "-MT", output, source]
    text = subprocess.run(preprocess, check=True, stdout=subprocess.PIPE, text=True).stdout
    try:
        pathlib.Path(output).write_text(translate(text), encoding="utf-8")
    except Unreadable as error:
        sys.exit(f"{source}: {error}")


if __name__ == "__main__":
    main()
