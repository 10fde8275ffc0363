"""Can a gRPC client that knows nothing find its way, as grpcurl does? Reflection lists the public service, describes it, and
the health service answers.
"""
import json
import pathlib
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "cluster"))
import grpc  # noqa: E402
from google.protobuf.descriptor_pool import DescriptorPool  # noqa: E402
from google.protobuf.message_factory import GetMessageClass  # noqa: E402
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase  # noqa: E402

import cases  # noqa: E402
from cluster import TINY, Cluster  # noqa: E402

GREEDY = json.loads((TINY / "cases.json").read_text())["prompts"][1]
CHAT = json.loads((TINY / "e2e.json").read_text())["cases"][0]
SERVICE = "fathom.v1.Inference"


class Reflection(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.cluster = cls.enterClassContext(Cluster(("prefill", "decode"), engine="model", worker={"kv_memory_mb": 64}))
        cls.channel = cls.enterClassContext(grpc.insecure_channel(cls.cluster.grpc_address))
        cls.database = ProtoReflectionDescriptorDatabase(cls.channel)
        cls.pool = DescriptorPool(cls.database)

    def call(self, method, stream=False, service=SERVICE, **fields):
        described = self.pool.FindServiceByName(service).methods_by_name[method]
        request, response = GetMessageClass(described.input_type), GetMessageClass(described.output_type)
        make = self.channel.unary_stream if stream else self.channel.unary_unary
        call = make(f"/{service}/{method}", request_serializer=request.SerializeToString,
                    response_deserializer=response.FromString)
        return call(request(**fields), timeout=60)

    def test_the_public_service_is_listed(self):
        services = set(self.database.get_services())
        self.assertIn(SERVICE, services)
        self.assertIn("grpc.health.v1.Health", services)

    def test_the_health_service_answers(self):
        """Built into gRPC, so without a description; HealthCheckResponse{status: SERVING} is these two bytes."""
        check = self.channel.unary_unary("/grpc.health.v1.Health/Check")
        self.assertEqual(check(b"", timeout=60), b"\x08\x01")

    def test_models(self):
        self.assertEqual([model.id for model in self.call("ListModels").models], ["test-model"])

    def test_a_completion_of_token_ids_is_golden(self):
        events = list(self.call("Complete", stream=True, model="test-model", token_ids={"ids": GREEDY["tokens"]},
                                sampling={"temperature": 0, "max_tokens": 32, "ignore_eos": True}))
        self.assertEqual([token for event in events for token in event.token_ids], GREEDY["greedy"])
        self.assertEqual(events[-1].finish_reason, "length")
        self.assertEqual(events[-1].usage.completion_tokens, 32)

    def test_a_chat_streams(self):
        events = list(self.call("Chat", stream=True, model="test-model", messages=CHAT["messages"],
                                sampling={"temperature": 0, "max_tokens": 48, "ignore_eos": True}))
        self.assertEqual([token for event in events for token in event.token_ids], CHAT["greedy_ids"])

    def test_errors_are_canonical_codes(self):
        with self.assertRaises(grpc.RpcError) as caught:
            list(self.call("Complete", stream=True, model="nobody", token_ids={"ids": [5]}))
        self.assertEqual(caught.exception.code(), grpc.StatusCode.NOT_FOUND)
        with self.assertRaises(grpc.RpcError) as caught:
            list(self.call("Complete", stream=True, model="test-model", token_ids={"ids": [5]}, sampling={"temperature": 9}))
        self.assertEqual(caught.exception.code(), grpc.StatusCode.INVALID_ARGUMENT)


if __name__ == "__main__":
    cases.main()
