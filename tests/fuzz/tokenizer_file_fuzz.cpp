// Is every tokenizer.json either refused with a reason or a tokenizer that works? One that loads
// must encode anything into ids it knows, and must not let text become an added token.
#include <cstdint>
#include <string>
#include <vector>

#include "base/check.h"
#include "text/tokenizer.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace fathom;
  const auto loaded = Tokenizer::parse({reinterpret_cast<const char*>(data), size}, "fuzz.json");
  if (!loaded.ok()) {
    CHECK(!loaded.error().message.empty() && loaded.error().field == "fuzz.json",
          "refused without a reason");
    return 0;
  }
  const Tokenizer& tokenizer = **loaded;
  for (const std::string_view text :
       {"Hello <s>  world's 12345\n\n", "\xff\xc3\xa9 e\xcc\x81 <think> \xe4\xb8\xad"}) {
    std::vector<TokenId> ids;
    tokenizer.encode(text, Specials::as_text, ids);
    for (const TokenId id : ids) CHECK(!tokenizer.is_added(id), "text became an added token");
    tokenizer.encode(text, Specials::parse, ids);
    for (const TokenId id : ids)
      CHECK(id >= 0 && id < tokenizer.vocab_size() && !tokenizer.bytes(id).empty(),
            "an unknown id");
    tokenizer.decode(ids, true);
  }
  return 0;
}
