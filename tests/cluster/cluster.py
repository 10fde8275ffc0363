"""How does a test run a real cluster? Every service is a process of the built program with its own settings file, on free
ports of 127.0.0.1, with its log in a temporary folder. Whatever a test does, its processes end with it. Standard library
only; waiting is always for an event, within a bound, never for a time.
"""
import contextlib
import http.client
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROGRAM = os.environ.get("FATHOM", str(ROOT / "build/release/services/cli/fathom"))
GOLDEN = ROOT / "tests/golden/data"
TINY = GOLDEN / "v3-tiny-bf16"
# Generous: the bound of a wait only matters when something is broken. Sanitizers are slow.
PATIENCE = 120.0


def free_ports(count):
    """As services/net/ports.h: free ports below those that the system gives to connections. A service connects to its peers
    before all of them listen, so a port of that range may be taken by a neighbour's connection before its service binds it."""
    end = int(pathlib.Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    span = end - 10000
    ports, sockets = [], [socket.socket()]
    try:
        sockets[0].bind(("127.0.0.1", 0))
        start = sockets[0].getsockname()[1]  # the system's own random choice
        for port in (10000 + (start + i) % span for i in range(span)):
            if len(ports) == count:
                break
            sockets.append(socket.socket())
            with contextlib.suppress(OSError):
                sockets[-1].bind(("127.0.0.1", port))
                ports.append(port)
        while len(ports) < count:
            sockets.append(socket.socket())
            sockets[-1].bind(("127.0.0.1", 0))
            ports.append(sockets[-1].getsockname()[1])
        return ports
    finally:
        for each in sockets:
            each.close()


def wait_for(what, condition, patience=PATIENCE):
    """The first true value of condition(); an error naming `what` when it never comes."""
    end = time.monotonic() + patience
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"never happened within {patience} s: {what}")
        time.sleep(0.005)  # between two looks, not instead of one


class Service:
    """One process and its settings; it can be killed and started again with the same ones."""

    def __init__(self, folder, kind, name, settings, http_port):
        self.kind, self.name, self.http_port = kind, name, http_port
        self.log_path = folder / f"{name}.log"
        self.settings_path = folder / f"{name}.yaml"
        self.settings_path.write_text(json.dumps(settings))  # JSON is YAML
        self.process = None

    def start(self):
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen([PROGRAM, self.kind, "--config", str(self.settings_path)], stdin=subprocess.DEVNULL,
                                            stdout=log, stderr=log, start_new_session=True)
        return self

    def signal(self, number):
        self.process.send_signal(number)

    def kill(self):
        if self.process and self.process.poll() is None:
            self.process.kill()
        if self.process:
            self.process.wait(PATIENCE)

    def wait(self, patience=PATIENCE):
        try:
            return self.process.wait(patience)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.name} does not end\n{self.log()}") from None

    def alive(self):
        return self.process is not None and self.process.poll() is None

    def log(self):
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def get(self, path):
        """(status, body), or (0, reason) when nobody answers."""
        try:
            connection = http.client.HTTPConnection("127.0.0.1", self.http_port, timeout=10)
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        except OSError as error:
            return 0, str(error)
        finally:
            connection.close()

    def ready(self):
        if not self.alive():
            raise AssertionError(f"{self.name} ended with {self.process.poll()}\n{self.log()}")
        return self.get("/health/ready")[0] == 200

    def metrics(self):
        status, text = self.get("/metrics")
        assert status == 200, f"{self.name}: {status} {text}"
        return text

    def metric(self, name, **labels):
        """Sum of all samples of this name whose labels contain `labels`."""
        return sum(value for sample, with_labels, value in samples(self.metrics())
                   if sample == name and labels.items() <= with_labels.items())


def samples(text):
    """(name, labels, value) of every line of a Prometheus text."""
    for line in text.splitlines():
        if not line or line.startswith("#"):
            continue
        head, value = line.rsplit(" ", 1)
        name, _, rest = head.partition("{")
        labels = {}
        for part in rest.rstrip("}").split('",'):
            key, _, label = part.partition('="')
            if key:
                labels[key] = label.rstrip('"')
        yield name, labels, float(value)


class Answer:
    """A streamed answer: events as they come, and what they add up to."""

    def __init__(self, connection, response):
        self.connection, self.response = connection, response
        self.status, self.events, self.done = response.status, [], False

    def next(self):
        """The next event, or None at the end."""
        while True:
            line = self.response.readline()
            if not line:
                return None
            line = line.strip()
            if not line.startswith(b"data:"):
                continue
            payload = line[5:].strip()
            if payload == b"[DONE]":
                self.done = True
                return None
            self.events.append(json.loads(payload))
            return self.events[-1]

    def read_all(self):
        while self.next() is not None:
            pass
        self.close()
        return self

    def close(self):
        """Ends the connection at once, whatever is still to come."""
        if self.connection.sock is not None:
            with contextlib.suppress(OSError):
                self.connection.sock.shutdown(socket.SHUT_RDWR)
        self.response.close()
        self.connection.close()

    def choices(self, index=0):
        return [choice for event in self.events for choice in event.get("choices", []) if choice["index"] == index]

    def token_ids(self, index=0):
        return [token for choice in self.choices(index) for token in choice.get("token_ids") or []]

    def text(self, index=0):
        parts = [choice.get("text") or (choice.get("delta") or {}).get("content") or "" for choice in self.choices(index)]
        return "".join(parts)

    def reasoning(self, index=0):
        return "".join((choice.get("delta") or {}).get("reasoning_content") or "" for choice in self.choices(index))

    def finish_reason(self, index=0):
        reasons = [choice["finish_reason"] for choice in self.choices(index) if choice.get("finish_reason")]
        assert len(reasons) == 1, f"ended {len(reasons)} times: {self.events[-3:]}"
        return reasons[0]

    def usage(self):
        return next(event["usage"] for event in reversed(self.events) if event.get("usage"))


class Cluster:
    """Workers by role, one router, one gateway. `worker` and the other dicts are laid over the settings. With `ranks`, each
    worker process has so many ranks that share experts."""

    def __init__(self, roles=("prefill", "decode"), engine="fake", model=TINY, worker=None, router=None, gateway=None,
                 wait=True, ranks=1):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="fathom-test-"))
        self.services = []
        ports = iter(free_ports((1 + ranks) * len(roles) + 4))
        self.workers = []
        addresses = []
        for index, role in enumerate(roles):
            settings = {"role": role, "engine": engine, "listen": f"127.0.0.1:{next(ports)}", "name": "test-model"}
            if engine == "model":
                settings["model"] = str(model)
            else:
                settings |= {"kv_blocks": 256, "block_tokens": 16}
            http = next(ports)
            settings |= {"operations_listen": f"127.0.0.1:{http}"} | (worker or {})
            addresses.append(settings["listen"])
            if ranks > 1:
                settings |= {"expert_parallel": ranks, "rank_listen": [f"127.0.0.1:{next(ports)}" for _ in range(1, ranks)]}
                addresses += settings["rank_listen"]
            self.workers.append(self.add("worker", f"{role}-{index}", settings, http))
        listen, http = f"127.0.0.1:{next(ports)}", next(ports)
        self.router = self.add("router", "router", {"listen": listen, "operations_listen": f"127.0.0.1:{http}",
                                                    "workers": addresses} | (router or {}), http)
        http, grpc = next(ports), next(ports)
        self.grpc_address = f"127.0.0.1:{grpc}"
        settings = {"listen": f"127.0.0.1:{http}", "grpc_listen": self.grpc_address, "router": listen}
        if engine == "model":
            settings["checkpoint"] = str(model)
        self.gateway = self.add("gateway", "gateway", settings | (gateway or {}), http)
        self.url = f"http://127.0.0.1:{http}/v1"
        self.headers = {"content-type": "application/json"}  # of every request
        for service in self.services:
            service.start()
        if wait:
            self.wait_ready()

    def add(self, *words):
        self.services.append(Service(self.folder, *words))
        return self.services[-1]

    def wait_ready(self):
        for service in self.services:
            wait_for(f"{service.name} is ready", service.ready)

    def by_role(self, role):
        return next(worker for worker in self.workers if worker.name.startswith(role))

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        for service in reversed(self.services):
            service.kill()
        if kind is not None:
            for service in self.services:
                print(f"--- {service.name}\n{service.log()[-4000:]}", flush=True)
        shutil.rmtree(self.folder, ignore_errors=True)

    # --- requests

    def connect(self, timeout=PATIENCE):
        return http.client.HTTPConnection("127.0.0.1", self.gateway.http_port, timeout=timeout)

    def post(self, path, body):
        """(status, parsed body, headers) of a request answered in one piece."""
        connection = self.connect()
        connection.request("POST", path, json.dumps(body), self.headers)
        answer = connection.getresponse()
        text = answer.read()
        connection.close()
        return answer.status, json.loads(text), answer.headers

    def stream(self, path, body):
        connection = self.connect()
        connection.request("POST", path, json.dumps(body | {"stream": True, "stream_options": {"include_usage": True}}),
                           self.headers)
        return Answer(connection, connection.getresponse())

    def complete(self, prompt, tokens, **options):
        """A streaming completion of token ids, greedy, of exactly so many tokens."""
        return self.stream("/v1/completions", {"model": "test-model", "prompt": prompt, "max_tokens": tokens, "temperature": 0,
                                               "ignore_eos": True, "return_token_ids": True} | options)

    # --- what must be true when nothing runs

    def held_blocks(self):
        return {worker.name: worker.metric("fathom_worker_kv_blocks") - worker.metric("fathom_worker_kv_blocks_free")
                for worker in self.workers if worker.alive()}

    def wait_blocks_free(self):
        wait_for("no worker holds a block", lambda: not any(self.held_blocks().values()))
        for worker in self.workers:
            if worker.alive():
                leaked = worker.metric("fathom_worker_kv_blocks_of_finished")
                assert leaked == 0, f"{worker.name} leaked {leaked} blocks"


# --- the answers of the fake engine do not matter, only that they do not change: asked of a cluster left in peace

def undisturbed(cluster, prompt, tokens, **options):
    answer = cluster.complete(prompt, tokens, **options).read_all()
    assert answer.status == 200 and answer.done, answer.events[-1:]
    return answer.token_ids()


def shown(text):
    """What a chat shows of a golden text: while the model thinks, a repeated opening marker is dropped."""
    return text.replace("<think>", "")


SIGTERM, SIGKILL, SIGINT = signal.SIGTERM, signal.SIGKILL, signal.SIGINT
SIGSTOP, SIGCONT = signal.SIGSTOP, signal.SIGCONT
