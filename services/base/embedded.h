// Which files travel inside the executable? The build puts them there (cmake/Embed.cmake), so that
// a page or a list of questions needs no folder beside the program. A set called NAME is listed by
// embedded_NAME(), which whoever embeds it declares: the bytes live as long as the program.
#pragma once

#include <span>
#include <string_view>

namespace fathom {

struct EmbeddedFile {
  std::string_view path;  // below the folder it was taken from, with '/'
  std::string_view bytes;
};

}  // namespace fathom
