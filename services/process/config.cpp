#include "process/config.h"

#include <fstream>
#include <sstream>

namespace fathom::config_detail {

Result<YAML::Node> parse_yaml(const std::string& text, const std::string& where) {
  try {
    YAML::Node root = YAML::Load(text);
    if (!root.IsMap() && !root.IsNull()) return invalid("settings must be a mapping", where);
    return root;
  } catch (const YAML::Exception& e) {
    return invalid(std::string("not valid YAML: ") + e.what(), where);
  }
}

Result<std::string> read_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) return Error{Code::not_found, "can not open the file", path};
  std::ostringstream text;
  text << in.rdbuf();
  return std::move(text).str();
}

}  // namespace fathom::config_detail
