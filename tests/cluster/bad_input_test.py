"""What does a client read when it asks for something that can not be? A status, an error object that names the field, before any
byte of a 200; and a server that goes on serving. On real connections: broken bytes, slow clients, half-closed sockets.
"""
import json
import socket
import unittest

import cases
from cluster import PATIENCE, Cluster, undisturbed, wait_for

CHAT = {"model": "test-model", "messages": [{"role": "user", "content": "Hello!"}], "max_tokens": 2}
COMPLETION = {"model": "test-model", "prompt": [5, 6, 7], "max_tokens": 2}


class BadInput(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        gateway = {"http": {"header_seconds_max": 1, "body_seconds_max": 1}}
        cls.cluster = cls.enterClassContext(Cluster(("prefill", "decode"), engine="model", worker={"kv_memory_mb": 64},
                                                    gateway=gateway))

    def tearDown(self):
        """Whatever was asked, the next request is served."""
        self.assertEqual(len(undisturbed(self.cluster, [5, 6, 7], 2)), 2)
        self.cluster.wait_blocks_free()

    def raw(self, data, shutdown=False):
        """Sends bytes as they are; everything that comes back until the server closes or answers."""
        with socket.create_connection(("127.0.0.1", self.cluster.gateway.http_port), timeout=PATIENCE) as connection:
            connection.sendall(data)
            if shutdown:
                connection.shutdown(socket.SHUT_WR)
            received = b""
            while piece := connection.recv(65536):
                received += piece
                head, _, body = received.partition(b"\r\n\r\n")
                for line in head.lower().split(b"\r\n"):
                    if line.startswith(b"content-length:") and len(body) >= int(line.split(b":")[1]):
                        return received
            return received

    @staticmethod
    def request(body, path="/v1/completions", length=None):
        return (f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                f"Content-Length: {len(body) if length is None else length}\r\n\r\n").encode() + body

    def refused(self, status, body, path="/v1/completions", param=None, code=None, word=None):
        for stream in (False, True):
            got, answer, _ = self.cluster.post(path, body | {"stream": stream})
            self.assertEqual(got, status, answer)
            error = answer["error"]
            self.assertIsInstance(error["message"], str)
            if param:
                self.assertEqual(error["param"].partition(".")[0], param, error)
            if code:
                self.assertEqual(error["code"], code, error)
            if word:
                self.assertIn(word, error["message"])

    def test_wrong_values_name_their_field(self):
        for field, value in (("temperature", 9), ("temperature", "hot"), ("top_p", 0), ("n", 0), ("max_tokens", -1), ("seed", "x"),
                             ("stop", 5), ("logit_bias", {"5": 1000}), ("frequency_penalty", 3), ("min_p", 2), ("top_k", "many")):
            with self.subTest(field=field, value=value):
                self.refused(400, COMPLETION | {field: value}, param=field)
        self.refused(400, CHAT | {"messages": []}, "/v1/chat/completions", param="messages")
        self.refused(400, CHAT | {"messages": [{"role": "poet", "content": "x"}]}, "/v1/chat/completions")

    def test_token_ids_outside_the_vocabulary(self):
        for bad in ([5, 100_000], [-1], [5, "six"], [[5], [512]]):
            self.refused(400, COMPLETION | {"prompt": bad})

    def test_an_unknown_model_is_404(self):
        self.refused(404, COMPLETION | {"model": "nobody"}, code="model_not_found")
        self.refused(400, {"prompt": [5]}, param="model")

    def test_a_prompt_that_is_too_long_says_how_long_it_may_be(self):
        self.refused(400, COMPLETION | {"prompt": [5] * 200_000}, code="context_length_exceeded", word="maximum context length is")

    def test_a_message_of_1_mb_says_both_numbers(self):
        status, answer, _ = self.cluster.post("/v1/chat/completions", CHAT | {"messages": [{"role": "user", "content": "word " * 200_000}]})
        self.assertEqual(status, 400, answer)
        error = answer["error"]
        self.assertEqual((error["type"], error["code"], error["param"]), ("invalid_request_error", "context_length_exceeded", "messages"))
        self.assertRegex(error["message"], r"^This model's maximum context length is \d+ tokens\. However, you asked for \d{6,} tokens "
                                           r"\(\d{6,} in the prompt, 2 for the answer\)\. Please shorten the request\.$")

    def test_a_message_of_40_mb_is_413_and_its_sender_reads_it(self):
        status, answer, headers = self.cluster.post("/v1/chat/completions",
                                                    CHAT | {"messages": [{"role": "user", "content": "x" * (40 << 20)}]})
        self.assertEqual(status, 413, answer)
        self.assertEqual(answer["error"]["code"], "request_too_large")
        self.assertIn(str(32 << 20), answer["error"]["message"])
        self.assertEqual(headers["Connection"], "close")

    def test_an_empty_message_is_a_message_but_no_messages_are_none(self):
        status, answer, _ = self.cluster.post("/v1/chat/completions", CHAT | {"messages": [{"role": "user", "content": ""}]})
        self.assertEqual(status, 200, answer)
        self.assertGreater(answer["usage"]["prompt_tokens"], 0)
        self.refused(400, CHAT | {"messages": []}, "/v1/chat/completions", param="messages", word="at least one")
        self.refused(400, CHAT | {"messages": [{"role": "user"}]}, "/v1/chat/completions", param="messages[0]")

    def test_what_is_not_there_yet_says_so(self):
        tools = {"tools": [{"type": "function", "function": {"name": "f"}}]}
        self.refused(400, CHAT | tools, "/v1/chat/completions", param="tools")  # its template shows none
        self.refused(400, CHAT | {"response_format": {"type": "json_object"}}, "/v1/chat/completions", param="response_format")
        for path in ("/v1/embeddings", "/v1/responses", "/anthropic/v1/messages", "/nowhere"):
            status, answer, _ = self.cluster.post(path, {"model": "test-model"})
            self.assertEqual(status, 404, answer)
            self.assertIn("message", answer["error"])

    def test_bytes_that_are_not_json(self):
        for body in (b"{", b"", b"[]", b'{"model": "test-model", "prompt": "\xff\xfe"}', b"\x00" * 100, b'{"a":' * 10_000):
            answer = self.raw(self.request(body))
            self.assertTrue(answer.startswith(b"HTTP/1.1 400"), (body[:20], answer[:200]))
            self.assertIn("error", json.loads(answer.partition(b"\r\n\r\n")[2]))

    def test_a_body_that_is_too_large_is_413(self):
        answer = self.raw(self.request(b"{", length=64 << 20))
        self.assertTrue(answer.startswith(b"HTTP/1.1 413"), answer[:200])

    def test_bytes_that_are_not_http(self):
        for data in (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 100 + b"\r\n\r\n", b"GET\r\n\r\n", b"A" * 100_000):
            answer = self.raw(data)
            self.assertRegex(answer[:12], rb"^(HTTP/1.1 4\d\d)?", data[:10])

    def test_a_slow_client_is_given_up(self):
        for data in (b"POST /v1/completions HTTP/1.1\r\nHost:", self.request(b'{"model"', length=1000)):
            answer = self.raw(data)
            self.assertTrue(answer == b"" or answer.startswith(b"HTTP/1.1 408"), answer[:200])

    def test_a_half_closed_client_leaves_nothing_running(self):
        body = json.dumps(COMPLETION | {"max_tokens": 5000, "ignore_eos": True, "stream": True}).encode()
        self.raw(self.request(body), shutdown=True)
        wait_for("the router runs nothing", lambda: self.cluster.router.metric("fathom_router_requests_running") == 0)

    def test_a_client_that_never_reads_is_cut_off_or_served_and_leaks_nothing(self):
        connections = []
        for _ in range(20):
            connection = socket.create_connection(("127.0.0.1", self.cluster.gateway.http_port))
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.sendall(self.request(json.dumps(COMPLETION | {"max_tokens": 300, "ignore_eos": True, "stream": True}).encode()))
            connections.append(connection)
        wait_for("the router runs nothing", lambda: self.cluster.router.metric("fathom_router_requests_running") == 0)
        for connection in connections:
            connection.close()


if __name__ == "__main__":
    cases.main()
