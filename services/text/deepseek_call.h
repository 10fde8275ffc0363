// Where do a DeepSeek call's name and arguments stand between its markers? V3 and R1 write the name
// on a line and fence the arguments, V3.1 puts a separator between the two; models leave out the
// fence at times, and that is read as well.
#pragma once

#include <string_view>

#include "text/call_json.h"

namespace fathom {

// Of text that begins with white space and the marker of a call or of a list of calls; `named_line`
// is V3's form.
CallHead match_deepseek_head(std::string_view text, bool named_line);

// Where the arguments end in what stands before a marker: before the fence and the white space that
// close them. Not `final`: what may still become that is left out too.
size_t arguments_end(std::string_view text, bool fenced, bool final);

// How much of the end of `text` could be the start of `marker`, but not all of it.
size_t marker_tail(std::string_view text, std::string_view marker);

}  // namespace fathom
