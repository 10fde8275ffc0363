"""Can Prometheus and the people on call see it all? Every exported name passes promtool and stands in docs/metrics.md, and the
page names nothing that is not exported; probes tell live from ready; no log ever holds what users wrote.
"""
import hashlib
import json
import pathlib
import re
import shutil
import subprocess
import tempfile
import unittest

import cases
from cluster import ROOT, Cluster, samples, wait_for

VLLM_NAMES = {  # of the Gateway API Inference Extension and of dashboards made for vLLM
    "vllm:num_requests_running", "vllm:num_requests_waiting", "vllm:kv_cache_usage_perc", "vllm:cache_config_info",
}


def family(sample, text):
    """The metric a sample belongs to: histogram parts lose their ending."""
    for ending in ("_bucket", "_sum", "_count"):
        if sample.endswith(ending) and f"# TYPE {sample.removesuffix(ending)} histogram" in text:
            return sample.removesuffix(ending)
    return sample


class Operations(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = pathlib.Path(cls.enterClassContext(tempfile.TemporaryDirectory()))
        key = "sk-operations"  # with one, the counts of keys are exported too
        (folder / "keys").write_text(json.dumps({"name": "tests", "sha256": hashlib.sha256(key.encode()).hexdigest()}))
        cls.cluster = cls.enterClassContext(Cluster(("prefill", "decode"), gateway={"keys_file": str(folder / "keys")}))
        cls.cluster.headers["authorization"] = f"Bearer {key}"
        for prompt in ([5, 6, 7], list(range(3, 200))):
            cls.cluster.complete(prompt, 20).read_all()
        cls.cluster.post("/v1/completions", {"model": "nobody", "prompt": [1]})
        cls.texts = {service.name: service.metrics() for service in cls.cluster.services}

    def exported(self):
        return {family(name, text) for text in self.texts.values() for name, _, _ in samples(text)}

    @unittest.skipUnless(shutil.which("promtool"), "promtool is not installed")
    def test_promtool_accepts_every_page(self):
        for name, text in self.texts.items():
            check = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True)
            # vLLM's names hold a colon, which promtool's style check reserves for rules; they are not ours to choose.
            complaints = [line for line in (check.stdout + check.stderr).splitlines() if line and not line.startswith("vllm:")]
            self.assertEqual(complaints, [], name)

    def test_the_page_lists_exactly_what_is_exported(self):
        page = (ROOT / "docs/metrics.md").read_text()
        documented = set(re.findall(r"^\| `([a-z0-9_:]+)` \|", page, re.MULTILINE))
        self.assertEqual(self.exported() - documented, set(), "exported, but not in docs/metrics.md")
        self.assertEqual(documented - self.exported(), set(), "in docs/metrics.md, but not exported")

    def test_the_names_of_the_inference_extension_are_there(self):
        self.assertEqual(VLLM_NAMES - self.exported(), set())

    def test_latencies_and_tokens_were_counted(self):
        gateway = self.cluster.gateway
        generated = sum(v for n, labels, v in samples(self.texts["gateway"]) if n == "vllm:generation_tokens_total")
        self.assertEqual(generated, 40)
        for name in ("vllm:time_to_first_token_seconds_count", "vllm:e2e_request_latency_seconds_count"):
            self.assertEqual(gateway.metric(name), 2, name)
        self.assertGreater(self.cluster.by_role("decode").metric("fathom_worker_transfer_bytes_total", direction="received"), 0)

    def test_nothing_is_owned_by_finished_requests(self):
        self.cluster.wait_blocks_free()
        for name in ("fathom_router_blocks_of_finished", "fathom_router_requests_running", "fathom_router_requests_waiting"):
            self.assertEqual(self.cluster.router.metric(name), 0, name)

    def test_every_process_answers_its_probes(self):
        for service in self.cluster.services:
            self.assertEqual(service.get("/health/live")[0], 200, service.name)
            self.assertEqual(service.get("/health/ready")[0], 200, service.name)
            self.assertEqual(service.get("/nothing")[0], 404, service.name)

    def test_a_cluster_that_lost_its_workers_is_live_but_not_ready(self):
        with Cluster(("both",)) as cluster:
            cluster.workers[0].kill()
            wait_for("the gateway is not ready", lambda: cluster.gateway.get("/health/ready")[0] == 503)
            self.assertEqual(cluster.gateway.get("/health/live")[0], 200)
            cluster.workers[0].start()
            wait_for("it is ready again", lambda: cluster.gateway.get("/health/ready")[0] == 200)


class Logs(unittest.TestCase):
    def test_no_log_holds_what_users_wrote(self):
        secret = "xyzzy-plugh-4711"
        with Cluster(("both",), engine="model", worker={"kv_memory_mb": 64}) as cluster:
            for body in ({"messages": [{"role": "user", "content": secret}], "max_tokens": 4},
                         {"messages": [{"role": secret, "content": "x"}]}, {"messages": secret}):
                cluster.post("/v1/chat/completions", {"model": "test-model"} | body)
            cluster.post("/v1/completions", {"model": "test-model", "prompt": secret, "max_tokens": 4})
            for service in cluster.services:
                self.assertNotIn(secret, service.log(), service.name)


if __name__ == "__main__":
    cases.main()
