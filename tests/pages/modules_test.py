"""Do the JavaScript modules of the pages hold on their own? Runs every modules/*.test.mjs in node's test runner and counts its cases."""
import pathlib
import re
import subprocess
import sys

FILES = sorted(str(path) for path in pathlib.Path(__file__).with_name("modules").glob("*.test.mjs"))


def main():
    run = subprocess.run(["node", "--test", *FILES], capture_output=True, text=True, timeout=500)
    counts = {name: int(number) for name, number in re.findall(r"^\S+ (pass|fail|cancelled) (\d+)$", run.stdout, re.MULTILINE)}
    failed = counts.get("fail", 0) + counts.get("cancelled", 0)
    if run.returncode or failed or not counts.get("pass"):
        print(run.stdout, run.stderr)
        failed = max(failed, 1)
    print(f"{counts.get('pass', 0)} passed, {failed} failed", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
