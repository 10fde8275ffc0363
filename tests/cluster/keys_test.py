"""Who may ask a real cluster? Keys come from `fathom key new`, go into the file of a gateway that runs, and work from then on;
one that is taken out stops working, one that expires says when, and none of them is ever in a log.
"""
import http.client
import json
import pathlib
import shutil
import subprocess
import tempfile
import unittest

import cases
from cluster import PATIENCE, PROGRAM, Cluster, free_ports, wait_for

COMPLETION = {"model": "test-model", "prompt": [5, 6, 7], "max_tokens": 2}


def key_new(*words):
    return subprocess.run([PROGRAM, "key", "new", *map(str, words)], capture_output=True, text=True, timeout=PATIENCE)


class WithFile(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="fathom-test-"))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.file = self.folder / "keys"

    def fresh(self, name, *words):
        """A key whose entry was appended to the file."""
        made = key_new(name, "--file", self.file, *words)
        self.assertEqual(made.returncode, 0, made.stderr)
        self.assertNotIn("sk-", made.stderr)
        return made.stdout.strip()

    def replace(self, text):
        (self.folder / "next").write_text(text)
        (self.folder / "next").rename(self.file)


class NewKeys(WithFile):
    def test_a_key_is_printed_once_and_its_entry_has_only_the_digest(self):
        made = key_new("alice", "--days", 30, "--tenant", "red", "--operator")
        self.assertEqual(made.returncode, 0, made.stderr)
        key, line = made.stdout.splitlines()
        self.assertRegex(key, r"^sk-[0-9a-f]{64}$")
        self.assertNotIn(key[3:], line)
        entry = json.loads(line)
        self.assertEqual((entry["name"], entry["tenant"], entry["operator"]), ("alice", "red", True))
        self.assertRegex(entry["expires"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")
        self.assertNotEqual(key, key_new("alice").stdout.splitlines()[0])

    def test_entries_are_appended_whole_to_a_file_for_its_owner_alone(self):
        self.fresh("alice")
        self.assertEqual(self.file.stat().st_mode & 0o777, 0o600)
        self.file.write_text(self.file.read_text().rstrip("\n"))  # as an editor may leave it
        self.fresh("bob")
        self.assertEqual([json.loads(line)["name"] for line in self.file.read_text().splitlines()], ["alice", "bob"])

    def test_what_would_break_the_file_is_refused_and_changes_nothing(self):
        self.fresh("alice")
        before = self.file.read_text()
        for words in (("alice",), ("al ice",), ("bob", "--tenant", "a/b"), ("bob", "--days", "-1"), ("bob", "--days", "nan")):
            made = key_new(*words, "--file", self.file)
            self.assertNotEqual(made.returncode, 0, words)
            self.assertEqual(made.stdout, "", words)
        self.assertEqual(self.file.read_text(), before)
        self.replace("{")
        made = key_new("bob", "--file", self.file)
        self.assertNotEqual(made.returncode, 0)
        self.assertIn(f"{self.file}:1", made.stderr)
        self.assertNotEqual(key_new("bob", "--file", self.folder).returncode, 0)


class Keys(WithFile):
    def ask(self, cluster, key, header="authorization"):
        connection = cluster.connect()
        shown = f"Bearer {key}" if header == "authorization" else key
        headers = {"content-type": "application/json"} | ({header: shown} if key else {})
        connection.request("POST", "/v1/completions", json.dumps(COMPLETION), headers)
        answer = connection.getresponse()
        body = json.loads(answer.read())
        connection.close()
        return answer.status, body, answer.headers

    def status(self, cluster, key):
        return self.ask(cluster, key)[0]

    def test_keys_come_and_go_while_the_cluster_runs(self):
        first = self.fresh("first")
        with Cluster(("both",), gateway={"keys_file": str(self.file)}) as cluster:
            for header in ("authorization", "x-api-key", "api-key"):
                self.assertEqual(self.ask(cluster, first, header)[0], 200, header)
            self.assertEqual(cluster.gateway.metric("fathom_gateway_key_generated_tokens_total", key="first"), 6)
            self.assertEqual(cluster.gateway.get("/v1/models")[0], 401)
            for path in ("/health", "/health/ready", "/version", "/metrics", "/", "/cluster"):
                self.assertEqual(cluster.gateway.get(path)[0], 200, path)

            second = self.fresh("second")
            wait_for("the new key works", lambda: self.status(cluster, second) == 200)
            old = self.fresh("old", "--days", "0.000001")
            wait_for("the short-lived key is known and has expired",
                     lambda: self.ask(cluster, old)[1].get("error", {}).get("code") == "expired_api_key")
            status, body, headers = self.ask(cluster, old)
            self.assertEqual(status, 401)
            self.assertRegex(body["error"]["message"], r"^this key expired on \d{4}-\d\d-\d\d; ask for a new one$")
            self.assertIn("invalid_token", headers["WWW-Authenticate"])

            lines = self.file.read_text().splitlines(keepends=True)
            self.replace("".join(lines[1:]))
            wait_for("the first key is taken back", lambda: self.status(cluster, first) == 401)
            self.replace("{ broken")
            wait_for("the broken file is noticed", lambda: cluster.gateway.metric("fathom_gateway_keys_unread_total") == 1)
            self.assertEqual(self.status(cluster, second), 200)

            self.assertGreaterEqual(cluster.gateway.metric("fathom_gateway_key_requests_total", key="second"), 2)
            for service in cluster.services:
                for key in (first, second, old):
                    self.assertNotIn(key[3:], service.log())
                    self.assertNotIn(key[3:], service.metrics())

    def test_the_load_generator_shows_a_key_from_a_file(self):
        (self.folder / "shown").write_text(self.fresh("load") + "\nonly the first line counts\n")
        (self.folder / "none").write_text("")
        with Cluster(("both",), gateway={"keys_file": str(self.file)}) as cluster:
            def bench(*words):
                run = subprocess.run([PROGRAM, "bench", "serve", "--url", cluster.url.removesuffix("/v1"), "--requests", "3",
                                      "--prompt-tokens", "4", "--output-tokens", "5", *map(str, words)],
                                     capture_output=True, text=True, timeout=PATIENCE)
                return run.returncode, run.stderr
            self.assertEqual(bench("--key-file", self.folder / "shown")[0], 0)
            self.assertEqual(cluster.gateway.metric("fathom_gateway_key_generated_tokens_total", key="load"), 15)
            for words, name in (((), "401 "), (("--key", "sk-wrong"), "401 "), (("--model", "test-model"), "some requests failed"),
                                (("--key-file", self.folder / "none"), "is empty"), (("--key-file", "/nowhere"), "--key-file"),
                                (("--key", "a b"), "--key")):
                code, said = bench(*words)
                self.assertEqual(code, 1, words)
                self.assertIn(name, said)

    def test_only_an_operator_sees_the_cluster(self):
        keys = {None: 401, self.fresh("alice"): 403, self.fresh("root", "--operator"): 200}
        with Cluster(("both",), gateway={"keys_file": str(self.file)}) as cluster:
            for key, status in keys.items():
                connection = cluster.connect()
                connection.request("GET", "/cluster/state", headers={"x-api-key": key} if key else {})
                answer = connection.getresponse()
                body = json.loads(answer.read())
                connection.close()
                self.assertEqual(answer.status, status, body)
                self.assertEqual("error" in body, status != 200)

    def test_a_gateway_with_a_broken_file_does_not_start(self):
        self.replace("sk-this-is-no-entry\n")
        (self.folder / "gateway.yaml").write_text(json.dumps({"listen": "127.0.0.1:0", "keys_file": str(self.file)}))
        run = subprocess.run([PROGRAM, "gateway", "--config", str(self.folder / "gateway.yaml")], capture_output=True, text=True,
                             timeout=PATIENCE)
        self.assertEqual(run.returncode, 1)
        self.assertIn(f"{self.file}:1", run.stderr)
        self.assertNotIn("sk-this", run.stderr)


class UpWithKeys(WithFile):
    def test_a_whole_cluster_asks_for_keys_and_tells_its_prices(self):
        key = self.fresh("me")
        port = free_ports(1)[0]
        run = ["--port", str(port), "--run-dir", str(self.folder / "run")]
        up = subprocess.run([PROGRAM, "up", "--engine", "fake", "--detach", "--keys", str(self.file), "--price-input", "0.27",
                             "--price-cached-input", "0.07", "--price-output", "1.10", *run], capture_output=True, text=True,
                            timeout=PATIENCE, stdin=subprocess.DEVNULL)
        self.addCleanup(subprocess.run, [PROGRAM, "down", *run], capture_output=True, timeout=PATIENCE)
        self.assertEqual(up.returncode, 0, up.stderr)
        for shown, status in ((key, 200), (None, 401)):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
            connection.request("GET", "/v1/models", headers={"authorization": f"Bearer {shown}"} if shown else {})
            answer = connection.getresponse()
            body = json.loads(answer.read())
            connection.close()
            self.assertEqual(answer.status, status, body)
            if status == 200:
                self.assertEqual(body["data"][0]["pricing"], {"currency": "USD", "input_per_million": "0.27",
                                                              "cached_input_per_million": "0.07", "output_per_million": "1.1"})

    def test_what_is_wrong_is_refused_before_anything_starts(self):
        self.replace("{}\n")
        for option, words in (("--keys", ("--keys", str(self.file))), ("--keys", ("--keys", "/nowhere/keys")),
                              ("--price-output", ("--price-output", "cheap")), ("--currency", ("--currency", "$"))):
            run = subprocess.run([PROGRAM, "up", "--engine", "fake", "--port", str(free_ports(1)[0]), "--run-dir",
                                  str(self.folder / "run"), *words], capture_output=True, text=True, timeout=PATIENCE)
            self.assertNotEqual(run.returncode, 0, words)
            self.assertIn(option, run.stderr)
            self.assertEqual(len(run.stderr.strip().splitlines()), 1, run.stderr)


if __name__ == "__main__":
    cases.main()
