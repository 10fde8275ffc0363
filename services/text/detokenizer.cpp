#include <algorithm>

#include "text/tokenizer.h"
#include "text/utf8.h"

namespace fathom {

void Detokenizer::push(TokenId id, std::string& out) {
  if (skip_special_ && tokenizer_->is_special(id) && std::ranges::find(shown_, id) == shown_.end())
    return;
  held_ += tokenizer_->bytes(id);
  held_.erase(0, append_utf8(held_, false, out));
}

void Detokenizer::flush(std::string& out) {
  append_utf8(held_, true, out);
  held_.clear();
}

}  // namespace fathom
