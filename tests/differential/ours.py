"""What do our chat templates and tokenizers say? Asks the program text_lines, one JSON object a line."""
import json
import os
import subprocess


class Ours:
    def __init__(self):
        self.process = subprocess.Popen([os.environ["TEXT_LINES"]], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        text=True, encoding="utf-8")

    def ask(self, question):
        self.process.stdin.write(json.dumps(question) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line, "text_lines ended"
        return json.loads(line)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        assert self.process.wait(30) == 0
