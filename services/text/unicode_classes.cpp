#include "text/unicode_classes.h"

#include <unicode/uchar.h>

#include <map>

namespace fathom {
namespace {

uint8_t flags_of(UChar32 c) {
  const uint32_t category = U_GET_GC_MASK(c);
  uint8_t flags = 0;
  if (category & U_GC_L_MASK) flags |= kLetter;
  if (category & U_GC_M_MASK) flags |= kMark;
  if (category & U_GC_N_MASK) flags |= kNumber;
  if (category & U_GC_P_MASK) flags |= kPunct;
  if (category & U_GC_S_MASK) flags |= kSymbol;
  if (category & U_GC_ND_MASK) flags |= kDigit;
  if (u_isUWhiteSpace(c)) flags |= kSpace;
  const bool joiner = c == 0x200C || c == 0x200D;
  if (joiner || u_isUAlphabetic(c) || (category & (U_GC_M_MASK | U_GC_ND_MASK | U_GC_PC_MASK)))
    flags |= kWord;
  return flags;
}

}  // namespace

UnicodeClasses::UnicodeClasses() {
  std::map<std::array<uint8_t, kBlock>, uint16_t> known;
  for (size_t block = 0; block < index_.size(); ++block) {
    std::array<uint8_t, kBlock> flags;
    for (size_t i = 0; i < kBlock; ++i)
      flags[i] = flags_of(static_cast<UChar32>(block * kBlock + i));
    const auto [found, added] = known.try_emplace(flags, static_cast<uint16_t>(blocks_.size()));
    if (added) blocks_.push_back(flags);
    index_[block] = found->second;
  }
}

const UnicodeClasses& UnicodeClasses::get() {
  static const UnicodeClasses classes;
  return classes;
}

}  // namespace fathom
