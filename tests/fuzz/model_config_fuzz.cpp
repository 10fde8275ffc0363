// Is every config.json either refused, naming the file, or one whose sizes a forward can trust?
#include <cstdint>
#include <string_view>

#include "base/check.h"
#include "model/config.h"
#include "model/rope.h"
#include "model/shard.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace fathom;
  const auto got = parse_model_config({reinterpret_cast<const char*>(data), size}, "fuzz.json");
  if (!got.ok()) {
    CHECK(!got.error().message.empty() && got.error().field.starts_with("fuzz.json"),
          "refused without a reason");
    return 0;
  }
  const ModelConfig& c = *got;
  const bool grouped = c.attention == AttentionKind::gqa;
  const int32_t turned = grouped ? c.head_dim : c.rope;
  CHECK(c.layers > 0 && c.heads > 0 && c.hidden > 0 && c.vocab > 0 && turned > 0 && turned % 2 == 0,
        "a size of nothing");
  CHECK(grouped ? c.kv_heads > 0 && c.heads % c.kv_heads == 0 : c.kv_rank > 0, "no keys");
  CHECK(c.experts % c.groups == 0 && c.groups_kept <= c.groups, "groups that do not divide");
  CHECK(c.experts_chosen <= c.groups_kept * (c.experts / c.groups),
        "more experts chosen than there are");
  const RopeTable rope = make_rope_table(turned, c.rope_theta, c.scaling);
  CHECK(rope.frequencies.size() == static_cast<size_t>(turned / 2), "a frequency is missing");
  static_cast<void>(check_shardable(c, 8));
  return 0;
}
