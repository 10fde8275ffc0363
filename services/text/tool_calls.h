// Which part of the answer is text, and which calls a tool? A state machine over the decoded stream
// behind the reasoning parser. Names and arguments are told as they come, arguments byte for byte
// as the model wrote them. What begins like a call and is none stays text: nothing is lost. How the
// text is cut into pushes changes nothing.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "text/call_json.h"
#include "text/tool_format.h"

namespace fathom {

// One thing that became certain, in the order of the answer.
struct AnswerPiece {
  enum class Kind : uint8_t { text, call, arguments } kind = Kind::text;
  std::string text;  // of the answer; the name of a call that begins; a part of its arguments
  int call = 0;      // which one, from 0; of text: how many calls stand before it
  int64_t at = 0;    // text: where it stands in all that was pushed, in bytes
};

class ToolCallParser {
 public:
  // `names` are those of the request: Llama's form has no markers, so only a call of one of them is
  // one.
  ToolCallParser(ToolFormat format, std::vector<std::string> names);
  // Appends what is certain now. White space right before a call, up to 64 bytes, is no text.
  void push(std::string_view text, std::vector<AnswerPiece>& out);
  // The end of the output: what was held back is text, or the last of the arguments.
  void flush(std::vector<AnswerPiece>& out);

  int begun() const { return begun_; }  // calls told of
  int ended() const { return ended_; }  // of these with all of their arguments
  // Bytes pushed of which it is certain what they are.
  int64_t certain() const { return at_; }

 private:
  enum class Mode : uint8_t {
    text,       // looking for a marker
    head,       // held_ begins with white space and a marker: will it become a call?
    block,      // Hermes: a { that is no head of ours, up to the closing tag
    arguments,  // DeepSeek's, up to a marker
    object,     // Hermes' and Llama's, up to their last }
    tail,       // what closes the call behind it
    plain,      // Llama: the rest is text
  };
  // Each returns true if the rest of held_ must be looked at again.
  bool step(bool last);
  bool read_text(bool last);
  bool read_head(bool last);
  bool read_block(bool last);
  bool read_arguments(bool last);
  bool read_object();
  bool read_tail(bool last);

  bool deepseek() const {
    return format_ == ToolFormat::deepseek_v3 || format_ == ToolFormat::deepseek_v31;
  }
  CallHead head() const;
  void begin_call(std::string name);
  void end_call();
  // What the first bytes of held_ are.
  void tell_text(size_t size);
  void tell_arguments(size_t size);
  void drop(size_t size);  // markup

  const ToolFormat format_;
  const std::vector<std::string> names_;
  std::vector<std::string_view> openers_;  // markers that a call may begin with
  Mode mode_;
  std::string held_;       // what is not certain yet
  size_t marker_ = 0;      // head: where the marker ends in held_
  size_t searched_ = 0;    // block: up to here there is no closing tag
  bool fenced_ = false;    // DeepSeek's arguments stand in a code fence
  bool in_list_ = false;   // DeepSeek: the end of the list of calls is still to come
  bool text_last_ = true;  // text was told of since the last call
  JsonExtent extent_;      // of the arguments
  int begun_ = 0, ended_ = 0;
  int64_t at_ = 0;  // where held_ begins in all that was pushed
  std::vector<AnswerPiece>* out_ = nullptr;
};

}  // namespace fathom
