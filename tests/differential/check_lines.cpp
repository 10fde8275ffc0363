// Is this answer right? One JSON object a line on standard input, true or false a line on standard
// output, so that a Python test can ask the checks that Minnow was trained with the same:
//   {"question": {...}, "answer": text, "call": {"name", "arguments": text} or null}
#include <boost/json.hpp>
#include <iostream>
#include <string>

#include "cli/eval_check.h"

int main() {
  namespace json = boost::json;
  using namespace fathom;
  std::ios::sync_with_stdio(false);
  for (std::string line; std::getline(std::cin, line);) {
    const json::value asked = json::parse(line, {}, {.max_depth = 128});
    const auto questions = parse_eval_questions(json::serialize(asked.at("question")), "input");
    if (!questions.ok()) {
      std::cout << questions.error().text() << "\n" << std::flush;
      continue;
    }
    EvalAnswer answer;
    answer.content = asked.at("answer").as_string();
    if (const auto* call = asked.at("call").if_object())
      answer.calls.push_back({.name = std::string(call->at("name").as_string()),
                              .arguments = std::string(call->at("arguments").as_string())});
    std::cout << (is_right(questions->front().check, answer) ? "true" : "false") << "\n"
              << std::flush;
  }
  return 0;
}
