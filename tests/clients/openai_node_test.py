"""Does the official OpenAI client for JavaScript work, unchanged? Starts a cluster and runs openai_node.mjs against it."""
import os
import pathlib
import shutil
import subprocess
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "cluster"))
import cases  # noqa: E402
from cluster import TINY, Cluster  # noqa: E402


class OpenAINode(unittest.TestCase):
    def test_the_official_client_works(self):
        script = pathlib.Path(os.environ["NODE_FOLDER"]) / "openai_node.mjs"
        shutil.copy(pathlib.Path(__file__).with_name("openai_node.mjs"), script)  # beside its node_modules
        with Cluster(("prefill", "decode"), engine="model", worker={"kv_memory_mb": 64}) as cluster:
            run = subprocess.run(["node", str(script), cluster.url, str(TINY / "e2e.json"), str(TINY / "cases.json")],
                                 capture_output=True, text=True, timeout=300)
            print(run.stdout)
            self.assertEqual(run.returncode, 0, run.stderr)
            self.assertIn("all held", run.stdout)
            cluster.wait_blocks_free()


if __name__ == "__main__":
    cases.main()
