#include "text/call_json.h"

#include <algorithm>
#include <boost/json.hpp>

namespace fathom {

namespace json = boost::json;

namespace {

constexpr size_t kNameMax = 512;  // bytes of a string in the head, quotes and all

bool is_blank(char c) { return c == ' ' || c == '\n' || c == '\r' || c == '\t'; }

// Reads the head from left to right; the first thing that does not fit decides.
class HeadReader {
 public:
  HeadReader(std::string_view text, size_t from) : text_(text), at_(from) {}
  size_t at() const { return at_; }

  Match sign(char c) {
    at_ = skip_blank(text_, at_);
    if (at_ == text_.size()) return Match::more;
    if (text_[at_] != c) return Match::no;
    ++at_;
    return Match::yes;
  }

  Match string(std::string& out) {
    const Match quote = sign('"');
    if (quote != Match::yes) return quote;
    const size_t begin = at_ - 1;
    for (bool escaped = false; at_ < text_.size() && at_ - begin < kNameMax; ++at_) {
      const char c = text_[at_];
      if (!escaped && c == '"') return decode(text_.substr(begin, ++at_ - begin), out);
      escaped = !escaped && c == '\\';
    }
    return at_ - begin < kNameMax ? Match::more : Match::no;
  }

 private:
  static Match decode(std::string_view literal, std::string& out) {
    json::error_code error;
    const json::value value = json::parse({literal.data(), literal.size()}, error);
    if (error || !value.is_string()) return Match::no;
    out.assign(value.get_string().data(), value.get_string().size());
    return Match::yes;
  }

  std::string_view text_;
  size_t at_;
};

}  // namespace

size_t skip_blank(std::string_view text, size_t at) {
  const size_t last = std::min(text.size(), at + kBlankMax);
  while (at < last && is_blank(text[at])) ++at;
  return at;
}

size_t blank_tail(std::string_view text) {
  size_t count = 0;
  while (count < std::min(text.size(), kBlankMax) && is_blank(text[text.size() - 1 - count]))
    ++count;
  return count;
}

CallHead match_call_head(std::string_view text, size_t from) {
  HeadReader reader(text, from);
  CallHead head;
  std::string key;
  std::string value;
  if (head.match = reader.sign('{'); head.match != Match::yes) return head;
  for (int member = 0;; ++member) {
    if (head.match = reader.string(key); head.match != Match::yes) return head;
    if (head.match = reader.sign(':'); head.match != Match::yes) return head;
    if (!head.name.empty()) break;
    if (key != "name" && !(key == "type" && member == 0)) return {};
    if (head.match = reader.string(value); head.match != Match::yes) return head;
    if (key == "name") head.name = value;
    if (key == "name" && value.empty()) return {};
    if (head.match = reader.sign(','); head.match != Match::yes) return head;
  }
  if (key != "arguments" && key != "parameters") return {};
  if (head.match = reader.sign('{'); head.match != Match::yes) return head;
  head.arguments = reader.at() - 1;
  return head;
}

std::optional<WholeCall> whole_call(std::string_view text) {
  json::error_code error;
  json::parse_options options;
  options.max_depth = 64;
  const json::value value = json::parse({text.data(), text.size()}, error, {}, options);
  const json::object* object = error ? nullptr : value.if_object();
  const json::value* name = object == nullptr ? nullptr : object->if_contains("name");
  if (name == nullptr || !name->is_string() || name->get_string().empty()) return std::nullopt;
  WholeCall call{.name = std::string(name->get_string().data(), name->get_string().size()),
                 .arguments = "{}"};
  const json::value* arguments = object->if_contains("arguments");
  if (arguments == nullptr) arguments = object->if_contains("parameters");
  if (arguments == nullptr || arguments->is_null()) return call;
  if (const json::string* written = arguments->if_string()) {
    call.arguments.assign(written->data(), written->size());
  } else {
    call.arguments = json::serialize(*arguments);
  }
  return call;
}

size_t JsonExtent::feed(std::string_view text) {
  for (size_t i = 0; i < text.size(); ++i) {
    if (closed()) return i;
    const char c = text[i];
    if (in_string_) {
      if (!escaped_ && c == '"') in_string_ = false;
      escaped_ = !escaped_ && c == '\\';
      continue;
    }
    if (c == '"') in_string_ = true;
    if (c == '{' || c == '[') ++depth_;
    if ((c == '}' || c == ']') && depth_ > 0) --depth_;
    begun_ = begun_ || depth_ > 0;
  }
  return text.size();
}

}  // namespace fathom
