// Which text does the served model understand? The tokenizer, chat format and special ids of a
// checkpoint directory, read once. Without tokenizer files the model is served all the same, for
// token-id prompts.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "text/chat_format.h"
#include "text/tokenizer.h"

namespace fathom {

struct ServedModel {
  std::shared_ptr<const Tokenizer> tokenizer;  // null: token-id prompts only
  std::shared_ptr<const ChatFormat> chat;      // null: no chat; chat_missing says why
  std::string chat_missing;
  std::vector<TokenId> eos;
  std::optional<TokenId> bos;  // goes before text prompts
  int32_t vocab = 0;           // of the checkpoint's config.json; 0: not known
  int32_t context_max = 0;     // the same

  // Errors name the file: one that can not be read, or a tokenizer with more tokens than the model.
  static Result<ServedModel> load(const std::string& directory, const std::vector<TokenId>& eos);
};

}  // namespace fathom
