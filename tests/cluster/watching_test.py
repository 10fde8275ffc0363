"""Does whoever watches a cluster hear the truth, from any gateway, whatever dies? Through the two routes of docs/cluster.md, with real
processes that are killed.
"""
import contextlib
import http.client
import json
import unittest

import cases
from cluster import SIGKILL, SIGTERM, Cluster, wait_for

SLOW = {"fake": {"step_ms": 4}}


class Watcher:
    """One stream of /cluster/events, read event by event."""

    def __init__(self, cluster, last=None):
        self.connection = http.client.HTTPConnection("127.0.0.1", cluster.gateway.http_port, timeout=60)
        self.connection.request("GET", "/cluster/events", headers={"last-event-id": last} if last else {})
        self.response = self.connection.getresponse()
        assert self.response.status == 200, self.response.read()
        self.id = last

    def next(self):
        """(name, data) of the next event; None at the end of the stream."""
        name, data = None, None
        while line := self.response.readline().decode():
            field, _, value = line.rstrip("\n").partition(": ")
            if field == "event":
                name = value
            elif field == "id":
                self.id = value
            elif field == "data":
                data = json.loads(value)
            elif not line.strip() and data is not None:
                return name, data
        return None

    def until(self, wanted):
        """The first event for which wanted(name, data) holds; those before it are dropped."""
        while event := self.next():
            if wanted(*event):
                return event[1]
        raise AssertionError("the stream ended")

    def happened(self, kind):
        return self.until(lambda name, data: name == "happened" and data["kind"] == kind)

    def view(self, wanted):
        return self.until(lambda name, data: name == "view" and wanted(data["view"]))["view"]

    def close(self):
        with contextlib.suppress(OSError):
            self.connection.close()


def state(cluster):
    status, body = cluster.gateway.get("/cluster/state")
    return status, json.loads(body)


def by_state(view, name):
    return [worker["address"] for worker in view["workers"] if worker["state"] == name]


class Watching(unittest.TestCase):
    def test_a_killed_decode_worker_is_down_in_the_view_and_in_an_event(self):
        with Cluster(("prefill", "decode", "decode"), worker=SLOW) as cluster:
            watcher = Watcher(cluster)
            answers = [cluster.complete([3 + (i * 7 + k) % 400 for k in range(60)], 400) for i in range(6)]
            view = watcher.view(lambda view: view["requests"]["decoding"] >= 4)
            self.assertGreater(sum(worker["blocks_reserved"] for worker in view["workers"]), 0)
            moved = watcher.happened("moved")
            self.assertIn(moved["peer"], [worker["address"] for worker in view["workers"] if worker["role"] == "prefill"])
            busy = next(worker for worker in cluster.workers[1:] if worker.metric("fathom_worker_sequences") > 0)
            busy.signal(SIGKILL)
            busy.wait()
            down = watcher.happened("worker_down")
            recovered = watcher.happened("recovered")
            self.assertEqual(recovered["worker"], down["worker"])
            self.assertGreater(recovered["count"], 0)
            view = watcher.view(lambda view: len(by_state(view, "down")) == 1)
            self.assertEqual(by_state(view, "down"), [down["worker"]])
            for answer in answers:
                self.assertEqual(len(answer.read_all().token_ids()), 400)
            busy.start()
            self.assertEqual(watcher.happened("worker_up")["worker"], down["worker"])
            watcher.close()

    def test_a_router_that_dies_is_lost_and_comes_back_with_rising_numbers(self):
        with Cluster(("both",), worker=SLOW) as cluster:
            cluster.complete([5, 6, 7], 10).read_all()
            watcher = Watcher(cluster)
            watcher.until(lambda name, _: name == "view")
            before = watcher.id
            cluster.router.signal(SIGKILL)
            cluster.router.wait()
            lost = watcher.until(lambda name, _: name == "lost")
            self.assertIn("since", lost)
            status, stale = state(cluster)
            self.assertEqual(status, 200)
            self.assertIsNotNone(stale["lost"])
            cluster.router.start()
            self.assertGreater(watcher.happened("router_started")["number"], int(before.split("-")[1]))
            watcher.view(lambda view: len(by_state(view, "up")) == 1)
            _, fresh = state(cluster)
            self.assertIsNone(fresh["lost"])
            self.assertEqual(fresh["history"]["time"], sorted(set(fresh["history"]["time"])))
            self.assertEqual(sum(fresh["history"]["generated_tokens"]), 10)  # the gateway kept what the old router told
            watcher.close()

    def test_a_watcher_that_was_away_misses_no_event(self):
        with Cluster(("prefill", "decode"), worker=SLOW) as cluster:
            watcher = Watcher(cluster)
            watcher.until(lambda name, _: name == "view")
            last = watcher.id
            watcher.close()
            decode = cluster.by_role("decode")
            decode.signal(SIGKILL)
            decode.wait()
            wait_for("the router noticed", lambda: cluster.router.metric("fathom_router_workers", role="decode") == 0)
            decode.start()
            wait_for("it is back", lambda: cluster.router.metric("fathom_router_workers", role="decode") == 1)
            watcher = Watcher(cluster, last)
            down, up = watcher.happened("worker_down"), watcher.happened("worker_up")
            self.assertLess(down["number"], up["number"])
            watcher.close()

    def test_the_router_says_when_it_is_full(self):
        with Cluster(("both",), worker={"rows_max": 1, "fake": {"step_ms": 20}}, router={"queue_max": 2}) as cluster:
            watcher = Watcher(cluster)
            watcher.until(lambda name, _: name == "view")
            answers = [cluster.complete([5, 6, 7 + i], 200) for i in range(3)]
            wait_for("the queue is full", lambda: cluster.router.metric("fathom_router_requests_waiting") == 2)
            for _ in range(5):
                self.assertEqual(cluster.complete([9], 5).status, 429)
            refused = 0
            while refused < 5:
                refused += watcher.happened("refused")["count"]
            self.assertEqual(refused, 5)
            self.assertEqual(cluster.router.metric("fathom_router_requests_total", outcome="refused"), 5)
            watcher.view(lambda view: view["requests"]["waiting"] == view["requests"]["waiting_max"] == 2)
            for answer in answers:
                answer.close()
            watcher.close()

    def test_a_draining_gateway_ends_the_stream_in_order(self):
        with Cluster(("both",)) as cluster:
            watcher = Watcher(cluster)
            watcher.until(lambda name, _: name == "view")
            cluster.gateway.signal(SIGTERM)
            while watcher.next():
                pass  # a stream that was cut off would raise IncompleteRead
            self.assertEqual(cluster.gateway.wait(), 0)


if __name__ == "__main__":
    cases.main()
