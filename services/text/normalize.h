// What does a tokenizer's normalizer make of a text? NFC, a prefix, and strings replaced by others,
// in the order of the file. Marks of typed text stay where they are.
#pragma once

#include <span>

#include "text/marked_text.h"
#include "text/tokenizer_file.h"

namespace fathom {

// Of valid UTF-8. An empty text stays empty.
MarkedText normalized_text(std::span<const NormalizerRule> rules, MarkedText text);

}  // namespace fathom
