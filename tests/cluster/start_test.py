"""What does a person read when a service can not start? One line on standard error that names the file, setting or address at
fault, and exit code 1; never a crash, never silence.
"""
import ctypes
import json
import pathlib
import shutil
import socket
import subprocess
import tempfile
import unittest

import cases
from cluster import PATIENCE, PROGRAM, TINY, Cluster, free_ports, wait_for


def has_nvidia_driver():
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return True


class StartCase(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="fathom-test-"))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)

    def start(self, kind, settings):
        path = self.folder / "settings.yaml"
        path.write_text(settings if isinstance(settings, str) else json.dumps(settings))
        return subprocess.run([PROGRAM, kind, "--config", str(path)], capture_output=True, text=True, timeout=PATIENCE,
                              stdin=subprocess.DEVNULL)

    def refused(self, kind, settings, *words):
        """It ends with code 1 and its last line holds all the words."""
        run = self.start(kind, settings)
        self.assertEqual(run.returncode, 1, run.stderr)
        last = run.stderr.strip().splitlines()[-1]
        self.assertTrue(last.startswith(f"fathom {kind}: "), run.stderr)
        for word in words:
            self.assertIn(word, last)

    def worker(self, model, **more):
        ports = free_ports(2)
        return {"model": str(model), "listen": f"127.0.0.1:{ports[0]}", "operations_listen": f"127.0.0.1:{ports[1]}",
                "kv_memory_mb": 16} | more

    def copy_of_tiny(self):
        model = self.folder / "model"
        model.mkdir()
        for file in TINY.iterdir():
            (model / file.name).write_bytes(file.read_bytes())
        return model

    def with_config(self, **changes):
        model = self.copy_of_tiny()
        config = json.loads((model / "config.json").read_text()) | changes
        (model / "config.json").write_text(json.dumps({k: v for k, v in config.items() if v is not None}))
        return model


class Settings(StartCase):
    def test_an_unknown_setting_is_named(self):
        for kind in ("gateway", "router", "worker"):
            self.refused(kind, {"colour": "blue"}, "colour")

    def test_a_wrong_type_is_named(self):
        self.refused("worker", {"tensor_parallel": "two"}, "tensor_parallel", "whole number")

    def test_a_file_that_is_not_yaml_or_not_there_is_named(self):
        self.refused("gateway", "listen: [", "settings.yaml")
        run = subprocess.run([PROGRAM, "router", "--config", "/nowhere/settings.yaml"], capture_output=True, text=True)
        self.assertEqual(run.returncode, 1)
        self.assertIn("/nowhere/settings.yaml", run.stderr)

    def test_a_port_in_use_is_named(self):
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            address = f"127.0.0.1:{taken.getsockname()[1]}"
            self.refused("gateway", {"listen": address}, address)
            self.refused("router", {"listen": address, "operations_listen": "127.0.0.1:0", "workers": ["127.0.0.1:1"]}, address)
            self.refused("worker", {"engine": "fake", "listen": address, "operations_listen": "127.0.0.1:0"}, address)

    def test_a_device_there_is_not_is_refused(self):
        self.refused("worker", self.worker(TINY, device="abacus"), "device", "abacus")

    @unittest.skipIf(has_nvidia_driver(), "this machine has an NVIDIA driver")
    def test_a_gpu_asked_for_without_a_driver_says_what_is_missing(self):
        reason = "(no NVIDIA driver found: |this build has no CUDA kernels)"
        up = subprocess.run([PROGRAM, "up", "--device", "cuda"], capture_output=True, text=True, timeout=PATIENCE)
        for name, run in (("up", up), ("worker", self.start("worker", self.worker(TINY, device="cuda")))):
            self.assertEqual(run.returncode, 1, run.stderr)
            self.assertRegex(run.stderr, f"fathom {name}: .*{reason}")
            self.assertIn("device", run.stderr)

    def test_a_group_size_that_does_not_divide_is_refused(self):
        self.refused("worker", self.worker(TINY, tensor_parallel=3), "3")


class Checkpoints(StartCase):
    def test_a_folder_that_is_not_there(self):
        self.refused("worker", self.worker("/nowhere/model"), "/nowhere/model")

    def test_a_folder_without_config(self):
        self.refused("worker", self.worker(self.folder), "config.json")

    def test_a_truncated_shard_is_named(self):
        model = self.copy_of_tiny()
        shard = model / "model-00002-of-000003.safetensors"
        shard.write_bytes(shard.read_bytes()[:-1000])
        self.refused("worker", self.worker(model), shard.name)

    def test_a_shard_with_a_broken_header_is_named(self):
        model = self.copy_of_tiny()
        shard = model / "model-00001-of-000003.safetensors"
        data = bytearray(shard.read_bytes())
        data[0:8] = (1 << 60).to_bytes(8, "little")
        shard.write_bytes(data)
        self.refused("worker", self.worker(model), shard.name)

    def test_a_missing_shard_is_named(self):
        model = self.copy_of_tiny()
        (model / "model-00003-of-000003.safetensors").unlink()
        self.refused("worker", self.worker(model), "model-00003-of-000003.safetensors")

    def test_config_that_is_not_json(self):
        model = self.copy_of_tiny()
        (model / "config.json").write_text("{")
        self.refused("worker", self.worker(model), "config.json")

    def test_missing_and_absurd_fields_are_named(self):
        for changes in ({"hidden_size": None}, {"hidden_size": -4}, {"num_hidden_layers": 10**9}, {"kv_lora_rank": "many"},
                        {"n_routed_experts": 0}, {"vocab_size": 0}, {"num_attention_heads": 2.5}):
            with self.subTest(changes):
                shutil.rmtree(self.folder / "model", ignore_errors=True)
                self.refused("worker", self.worker(self.with_config(**changes)), next(iter(changes)))

    def test_another_architecture_is_refused(self):
        self.refused("worker", self.worker(self.with_config(architectures=["ParrotForCausalLM"], model_type="parrot")), "arrot")

    def test_a_broken_tokenizer_stops_the_gateway(self):
        model = self.copy_of_tiny()
        (model / "tokenizer.json").write_text("{\"model\": 3}")
        self.refused("gateway", {"listen": "127.0.0.1:0", "checkpoint": str(model)}, "tokenizer.json")


class Mismatches(StartCase):
    def test_a_router_refuses_workers_of_different_models(self):
        with Cluster(("both",)) as cluster:
            http = free_ports(2)
            settings = json.loads(cluster.workers[0].settings_path.read_text())
            other = settings | {"fake": {"vocab": 300}, "listen": f"127.0.0.1:{http[0]}", "operations_listen": f"127.0.0.1:{http[1]}"}
            odd = cluster.add("worker", "odd", other, http[1]).start()
            cluster.router.kill()
            router = json.loads(cluster.router.settings_path.read_text())
            router["workers"] = [other["listen"], settings["listen"]]
            cluster.router.settings_path.write_text(json.dumps(router))
            cluster.router.start()
            wait_for("the refusal is logged with its field", lambda: "vocab" in cluster.router.log() or "vocab" in odd.log())
            wait_for("the router works with the other", cluster.gateway.ready)


if __name__ == "__main__":
    cases.main()
