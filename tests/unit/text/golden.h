// Where is the golden data, and what is in it? Tokenizers are loaded once per test program; one
// that only lies beside the project, for its licence, may be missing, and then its tests say so and
// are skipped.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <vector>

#include "text/chat_format.h"
#include "text/tokenizer.h"

namespace fathom::testing {

inline std::string golden_root() { return FATHOM_SOURCE_DIR "/tests/golden/data/tokenizer/"; }
inline std::string golden_beside() { return FATHOM_SOURCE_DIR "/../shared/golden/tokenizer/"; }

// The path of a golden file, in the project or beside it; empty if it is nowhere.
inline std::string golden_path(const std::string& name) {
  for (const std::string& root : {golden_root(), golden_beside()})
    if (std::filesystem::exists(root + name)) return root + name;
  return {};
}

inline std::string read_text(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  EXPECT_TRUE(in.good()) << path;
  return {std::istreambuf_iterator<char>(in), {}};
}

inline std::vector<std::string> read_lines(const std::string& path) {
  std::vector<std::string> lines;
  std::ifstream in(path);
  for (std::string line; std::getline(in, line);)
    if (!line.empty()) lines.push_back(line);
  return lines;
}

// A golden tokenizer, loaded on first use; null if its file is nowhere.
std::shared_ptr<const Tokenizer> golden_tokenizer(const std::string& name);

// The chat format of a published template, with the special tokens of its family.
inline std::map<std::string, std::string> golden_tokens(const std::string& name) {
  if (name.starts_with("llama"))
    return {{"bos_token", "<|begin_of_text|>"}, {"eos_token", "<|eot_id|>"}};
  if (name.starts_with("qwen"))
    return {{"bos_token", "<|endoftext|>"}, {"eos_token", "<|im_end|>"}};
  return {{"bos_token", "<｜begin▁of▁sentence｜>"}, {"eos_token", "<｜end▁of▁sentence｜>"}};
}
inline std::shared_ptr<const ChatFormat> golden_chat(const std::string& name,
                                                     const std::string& tokenizer) {
  auto format = ChatFormat::parse(read_text(golden_path("templates/" + name + ".jinja")),
                                  golden_tokens(name), golden_tokenizer(tokenizer));
  EXPECT_TRUE(format.ok()) << format.error().text();
  return format.ok() ? *format : nullptr;
}

// The name of a parameter as GoogleTest allows it.
inline std::string test_name(const ::testing::TestParamInfo<const char*>& one) {
  std::string name = one.param;
  for (char& c : name)
    if (c == '-' || c == '.') c = '_';
  return name;
}

inline std::vector<TokenId> encoded(const Tokenizer& tokenizer, std::string_view text,
                                    Specials specials) {
  std::vector<TokenId> ids;
  tokenizer.encode(text, specials, ids);
  return ids;
}

}  // namespace fathom::testing
