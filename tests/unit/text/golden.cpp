#include "tests/unit/text/golden.h"

#include <map>

namespace fathom::testing {

std::shared_ptr<const Tokenizer> golden_tokenizer(const std::string& name) {
  static std::map<std::string, std::shared_ptr<const Tokenizer>> loaded;
  if (loaded.contains(name)) return loaded[name];
  const std::string path = golden_path(name + "/tokenizer.json");
  if (path.empty()) return nullptr;
  auto tokenizer = Tokenizer::load(path);
  EXPECT_TRUE(tokenizer.ok()) << tokenizer.error().text();
  loaded[name] = tokenizer.ok() ? *tokenizer : nullptr;
  return loaded[name];
}

}  // namespace fathom::testing
