"""Does `fathom up` do what its help says? A whole cluster from one command, in front and in the background, with a reason on
standard error whenever it does not come, and nothing left running afterwards.
"""
import http.client
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import unittest

import cases
from cluster import PATIENCE, PROGRAM, TINY, free_ports, wait_for


def children(pid):
    """Every process below this one."""
    try:
        listed = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [int(child) for child in listed] + [below for child in listed for below in children(child)]


def alive(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


class Up(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="fathom-test-"))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.port = free_ports(1)[0]

    def command(self, *words, up="up"):
        return [PROGRAM, up, "--port", str(self.port), "--run-dir", str(self.folder / "run"), *words]

    def run_up(self, *words):
        return subprocess.run(self.command(*words), capture_output=True, text=True, timeout=PATIENCE, stdin=subprocess.DEVNULL)

    def start_up(self, *words):
        process = subprocess.Popen(self.command(*words), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                   stdin=subprocess.DEVNULL, start_new_session=True)
        self.addCleanup(process.stdout.close)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        lines = []
        for line in process.stdout:
            lines.append(line.rstrip())
            if line.startswith("ready"):
                return process, lines
        self.fail("\n".join(lines))

    def get(self, path):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        connection.request("GET", path)
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        return answer.status, body

    def refused(self, option, *words):
        run = self.run_up(*words)
        self.assertNotEqual(run.returncode, 0)
        self.assertIn(option, run.stderr)
        self.assertEqual(len(run.stderr.strip().splitlines()), 1, run.stderr)

    def test_in_front_it_asks_answers_and_stops_on_ctrl_c(self):
        process, lines = self.start_up()
        text = "\n".join(lines)
        self.assertIn("question: ", text)
        self.assertIn("391", text)  # the shipped model can multiply
        self.assertRegex(text, r"\(\d+ tokens, stop\)")
        for name in ("gateway", "router", "prefill-0", "decode-0"):
            self.assertRegex(text, rf"metrics +{name} +http://127.0.0.1:\d+/metrics")
        self.assertEqual(self.get("/v1/models")[0], 200)
        below = children(process.pid)
        self.assertEqual(len(below), 4)
        process.send_signal(signal.SIGINT)
        self.assertEqual(process.wait(PATIENCE), 0)
        self.assertIn("stopped", process.stdout.read())
        self.assertFalse([pid for pid in below if alive(pid)])

    def test_ranks_that_share_experts_answer_as_one_engine_does(self):
        process, lines = self.start_up("--expert-parallel", "2", "--both", "1")
        self.assertIn("391", "\n".join(lines))
        self.assertEqual(len(children(process.pid)), 3)  # both ranks are one process
        process.send_signal(signal.SIGINT)
        self.assertEqual(process.wait(PATIENCE), 0)

    def test_detached_it_returns_when_ready_and_down_stops_it(self):
        run = self.run_up("--detach", "--both", "1", "--tensor-parallel", "1", "--no-question")
        self.assertEqual(run.returncode, 0, run.stderr)
        self.addCleanup(subprocess.run, self.command(up="down"), capture_output=True)
        self.assertEqual(self.get("/health/ready")[0], 200)
        self.assertNotIn("question", run.stdout)
        self.assertIn("stop it with: fathom down", run.stdout)
        second = self.run_up("--detach")
        self.assertNotEqual(second.returncode, 0)
        self.assertIn("--port", second.stderr)
        down = subprocess.run(self.command(up="down"), capture_output=True, text=True, timeout=PATIENCE)
        self.assertEqual(down.returncode, 0, down.stderr)
        with self.assertRaises(OSError):
            self.get("/health/ready")
        again = subprocess.run(self.command(up="down"), capture_output=True, text=True, timeout=PATIENCE)
        self.assertNotEqual(again.returncode, 0)
        self.assertIn("no cluster runs", again.stderr)

    def test_a_lost_worker_is_started_again(self):
        process, lines = self.start_up("--engine", "fake", "--no-question")
        victim = next(pid for pid in children(process.pid) if b"decode-0" in pathlib.Path(f"/proc/{pid}/cmdline").read_bytes())
        os.kill(victim, signal.SIGKILL)
        seen = []
        for line in process.stdout:
            seen.append(line)
            if "started again" in line:
                break
        self.assertTrue(any("decode-0 was killed by signal 9" in line for line in seen), seen)
        wait_for("the cluster is ready again", lambda: self.get("/health/ready")[0] == 200)
        process.send_signal(signal.SIGTERM)
        self.assertEqual(process.wait(PATIENCE), 0)

    def test_its_children_never_outlive_it(self):
        process, _ = self.start_up("--engine", "fake", "--no-question")
        below = children(process.pid)
        process.kill()
        process.wait()
        wait_for("all children have ended", lambda: not [pid for pid in below if alive(pid)])

    def test_a_second_signal_kills_at_once(self):
        process, _ = self.start_up("--engine", "fake", "--no-question")
        below = children(process.pid)
        for pid in below:
            os.kill(pid, signal.SIGSTOP)  # they will never drain
        process.send_signal(signal.SIGINT)
        for line in process.stdout:
            if line.startswith("stopping"):
                break
        process.send_signal(signal.SIGINT)
        self.assertEqual(process.wait(PATIENCE), 130)
        wait_for("all children have ended", lambda: not [pid for pid in below if alive(pid)])

    def test_bad_options_are_named_in_one_line(self):
        self.refused("--model", "--model", "/nowhere")
        self.refused("--model", "--model", str(self.folder))
        self.refused("--compute", "--compute", "int3")
        self.refused("--device", "--device", "abacus")
        self.refused("--prefill", "--prefill", "0")
        self.refused("--decode", "--decode", "-3")
        self.refused("--tensor-parallel", "--tensor-parallel", "0")
        self.refused("--expert-parallel", "--expert-parallel", "3")  # of eight experts

    def test_a_port_in_use_is_named(self):
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", self.port))
            taken.listen()
            self.refused("--port")
            self.refused("--port", "--detach")

    def broken_model(self):
        model = self.folder / "model"
        model.mkdir()
        for file in TINY.iterdir():
            (model / file.name).write_bytes(file.read_bytes())
        shard = model / "model-00002-of-000003.safetensors"
        shard.write_bytes(shard.read_bytes()[:-1000])
        return model

    def test_a_worker_that_can_not_start_ends_it_with_its_reason(self):
        model = self.broken_model()
        for mode in ((), ("--detach",)):
            run = self.run_up("--model", str(model), *mode)
            self.assertEqual(run.returncode, 1, run.stdout + run.stderr)
            self.assertRegex(run.stderr, r"fathom up: (prefill|decode)-0 exited with code 1")
            self.assertIn("model-00002-of-000003.safetensors", run.stderr)

    def test_a_worker_that_never_comes_is_given_up(self):
        """Its config.json is a pipe that nobody writes to, so it reads for ever."""
        model = self.folder / "model"
        model.mkdir()
        os.mkfifo(model / "config.json")
        run = self.run_up("--model", str(model), "--ready-timeout", "1")
        self.assertEqual(run.returncode, 1)
        self.assertIn("not ready after 1 s (--ready-timeout)", run.stderr)
        self.assertIn("prefill-0", run.stderr)


if __name__ == "__main__":
    cases.main()
