"""Does any kernel keep data in local memory? Reads what ptxas decided for each, with cuobjdump, from the built library.

A stack frame is memory of a thread that lies in the caches at best: registers that were spilled, or an array whose index
the compiler could not know. Either costs more than what the kernel then computes with it, and comes unnoticed with a
small change; so it fails here. Needs no GPU. Usage: resources_test.py CUOBJDUMP LIBRARY
"""
import re
import subprocess
import sys

# Argued exceptions: a pattern of the demangled name, the most bytes of stack, and why it does not matter there.
ALLOWED = []

FUNCTION = re.compile(r"^\s*Function (\S+):\s*\n\s*REG:(\d+) STACK:(\d+) SHARED:(\d+) LOCAL:(\d+)", re.MULTILINE)


def main():
    cuobjdump, library = sys.argv[1:]
    report = subprocess.run([cuobjdump, "-res-usage", library], check=True, capture_output=True, text=True).stdout
    found = FUNCTION.findall(report)
    names = subprocess.run(["c++filt"], input="\n".join(f[0] for f in found), check=True, capture_output=True,
                           text=True).stdout.splitlines()
    bad = 0
    for name, (_, registers, stack, _, local) in sorted(zip(names, found)):
        used = int(stack) + int(local)
        if used > max((most for pattern, most, _ in ALLOWED if re.search(pattern, name)), default=0):
            bad += 1
            print(f"{used} bytes of local memory and {registers} registers: {name}")
    for pattern, _, why in ALLOWED:
        if not any(re.search(pattern, name) for name in names):
            bad += 1
            print(f"no kernel is named {pattern} any more ({why})")
    print(f"{len(found)} kernels, {bad} complaints")
    return 1 if bad or not found else 0


if __name__ == "__main__":
    sys.exit(main())
