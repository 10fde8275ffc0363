// Can bytes from a socket break the reading of a message? Whatever parses is either refused by name
// or means something that survives being written and read again.
#include <cstdint>
#include <string>

#include "base/check.h"
#include "net/wire_drive.h"
#include "net/wire_inference.h"
#include "net/wire_serve.h"
#include "net/wire_watch.h"

namespace {

using namespace fathom;

template <class Message>
void reads_or_refuses(const char* data, int size) {
  Message message;
  if (!message.ParseFromArray(data, size)) return;
  const auto first = wire::from_wire(message);
  if (!first.ok()) {
    CHECK(first.error().code == Code::invalid_argument && !first.error().field.empty());
    return;
  }
  Message again;
  wire::to_wire(*first, again);
  const auto second = wire::from_wire(again);
  CHECK(second.ok(), "what was read is refused after being written");
  Message third;
  wire::to_wire(*second, third);
  CHECK(again.SerializeAsString() == third.SerializeAsString(), "it changed on the way");
}

template <class Message>
void reads(const char* data, int size) {
  Message message;
  if (!message.ParseFromArray(data, size)) return;
  const auto result = wire::from_wire(message);
  CHECK(result.ok() || !result.error().field.empty());
}

}  // namespace

// The first byte says which message.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 1 || size > (1u << 20)) return 0;
  const char* bytes = reinterpret_cast<const char*>(data) + 1;
  const int count = static_cast<int>(size) - 1;
  switch (data[0] % 10) {
    case 0:
      reads_or_refuses<v1::EditBatch>(bytes, count);
      break;
    case 1:
      reads_or_refuses<v1::Report>(bytes, count);
      break;
    case 2:
      reads_or_refuses<v1::ToRouter>(bytes, count);
      break;
    case 3:
      reads_or_refuses<v1::FromRouter>(bytes, count);
      break;
    case 4:
      reads_or_refuses<v1::FetchRequest>(bytes, count);
      break;
    case 5:
      reads<v1::ChatRequest>(bytes, count);
      break;
    case 6:
      reads<v1::CompleteRequest>(bytes, count);
      break;
    case 7:
      reads<v1::TokenizeRequest>(bytes, count);
      break;
    case 8:
      reads_or_refuses<v1::WatchRequest>(bytes, count);
      break;
    case 9:
      reads_or_refuses<v1::ClusterUpdate>(bytes, count);
      break;
  }
  return 0;
}
