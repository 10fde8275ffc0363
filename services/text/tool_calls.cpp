#include "text/tool_calls.h"

#include <algorithm>
#include <tuple>
#include <utility>

#include "text/deepseek_call.h"

namespace fathom {

ToolCallParser::ToolCallParser(ToolFormat format, std::vector<std::string> names)
    : format_(format),
      names_(std::move(names)),
      mode_(format == ToolFormat::llama  ? Mode::head
            : format == ToolFormat::none ? Mode::plain
                                         : Mode::text) {
  if (deepseek()) openers_ = {kCallsBegin, kCallBegin};
  if (format == ToolFormat::hermes) openers_ = {kTagOpen};
}

void ToolCallParser::push(std::string_view text, std::vector<AnswerPiece>& out) {
  out_ = &out;
  held_ += text;
  while (step(false)) {
  }
}

void ToolCallParser::flush(std::vector<AnswerPiece>& out) {
  out_ = &out;
  while (step(true)) {
  }
}

bool ToolCallParser::step(bool last) {
  switch (mode_) {
    case Mode::text:
      return read_text(last);
    case Mode::head:
      return read_head(last);
    case Mode::block:
      return read_block(last);
    case Mode::arguments:
      return read_arguments(last);
    case Mode::object:
      return read_object();
    case Mode::tail:
      return read_tail(last);
    case Mode::plain:
      break;
  }
  tell_text(held_.size());
  return false;
}

bool ToolCallParser::read_text(bool last) {
  size_t begin = std::string::npos;
  std::string_view marker;
  const auto look_for = [&](std::string_view one) {
    const size_t found = held_.find(one);
    if (found < begin) std::tie(begin, marker) = std::pair(found, one);
  };
  for (const std::string_view opener : openers_) look_for(opener);
  if (in_list_) look_for(kCallsEnd);
  if (begin != std::string::npos) {
    const size_t blank = blank_tail(std::string_view(held_).substr(0, begin));
    tell_text(begin - blank);
    marker_ = blank + marker.size();
    if (marker == kCallsEnd) {
      drop(marker_);
      in_list_ = false;
    } else {
      mode_ = Mode::head;
    }
    return true;
  }
  if (last) {
    const bool only_blank = blank_tail(held_) == held_.size();
    if (begun_ > 0 && !text_last_ && only_blank) drop(held_.size());
    tell_text(held_.size());
    return false;
  }
  size_t tail = in_list_ ? marker_tail(held_, kCallsEnd) : 0;
  for (const std::string_view opener : openers_) tail = std::max(tail, marker_tail(held_, opener));
  tail += blank_tail(std::string_view(held_).substr(0, held_.size() - tail));
  tell_text(held_.size() - tail);
  return false;
}

CallHead ToolCallParser::head() const {
  if (deepseek()) return match_deepseek_head(held_, format_ == ToolFormat::deepseek_v3);
  size_t at = skip_blank(held_, marker_);
  if (format_ == ToolFormat::hermes) return match_call_head(held_, at);
  if (begun_ > 0 && at < held_.size() && held_[at] == ';') at = skip_blank(held_, at + 1);
  const std::string_view rest = std::string_view(held_).substr(at);
  if (rest.starts_with(kPythonTag)) at = skip_blank(held_, at + kPythonTag.size());
  if (rest.size() < kPythonTag.size() && kPythonTag.starts_with(rest))
    return {.match = Match::more};
  CallHead head = match_call_head(held_, at);
  if (head.match == Match::yes && std::ranges::find(names_, head.name) == names_.end()) return {};
  return head;
}

bool ToolCallParser::read_head(bool last) {
  CallHead found = head();
  if (found.match == Match::more && !last) return false;
  if (found.match == Match::yes) {
    fenced_ = found.fenced;
    mode_ = deepseek() ? Mode::arguments : Mode::object;
    drop(found.arguments);
    begin_call(std::move(found.name));
    return true;
  }
  if (format_ == ToolFormat::llama) {
    const bool only_blank = held_.find_first_not_of(" \t\r\n;") == std::string::npos;
    if (last && begun_ > 0 && only_blank) drop(held_.size());
    mode_ = Mode::plain;
    return true;
  }
  const size_t brace = skip_blank(held_, marker_);
  const bool object = !deepseek() && brace < held_.size() && held_[brace] == '{';
  if (object) {
    searched_ = marker_;
    mode_ = Mode::block;
  } else {
    tell_text(marker_);
    mode_ = Mode::text;
  }
  return true;
}

bool ToolCallParser::read_block(bool last) {
  const size_t close = held_.find(kTagClose, searched_);
  if (close == std::string::npos && !last) {
    searched_ = std::max(searched_, held_.size() - std::min(held_.size(), kTagClose.size() - 1));
    return false;
  }
  const size_t end = std::min(close, held_.size());
  const size_t size = close == std::string::npos ? end : end + kTagClose.size();
  auto call = whole_call(std::string_view(held_).substr(marker_, end - marker_));
  if (call) {
    drop(size);
    begin_call(std::move(call->name));
    out_->push_back({AnswerPiece::Kind::arguments, std::move(call->arguments), begun_ - 1, 0});
    end_call();
  } else {
    tell_text(size);
  }
  mode_ = Mode::text;
  return true;
}

bool ToolCallParser::read_arguments(bool last) {
  const std::string_view held = held_;
  size_t marker = std::string::npos;
  size_t marker_size = 0;
  for (const std::string_view one : {kCallEnd, kCallsEnd, kCallBegin}) {
    const size_t found = held.find(one);
    if (found < marker) {
      marker = found;
      marker_size = one == kCallEnd ? one.size() : 0;  // the others open and close more than this
    }
  }
  if (marker != std::string::npos) {
    const size_t end = arguments_end(held.substr(0, marker), fenced_, true);
    tell_arguments(end);
    drop(marker - end + marker_size);
    end_call();
    mode_ = Mode::text;
    return true;
  }
  if (last) {
    tell_arguments(arguments_end(held, fenced_, true));
    if (extent_.closed()) {
      drop(held_.size());
      end_call();
    }
    tell_arguments(held_.size());
    return false;
  }
  size_t tail = 0;
  for (const std::string_view one : {kCallEnd, kCallsEnd, kCallBegin})
    tail = std::max(tail, marker_tail(held, one));
  tell_arguments(arguments_end(held.substr(0, held.size() - tail), fenced_, false));
  return false;
}

bool ToolCallParser::read_object() {
  JsonExtent ahead = extent_;
  tell_arguments(ahead.feed(held_));
  if (!extent_.closed()) return false;
  end_call();
  mode_ = Mode::tail;
  return true;
}

bool ToolCallParser::read_tail(bool last) {
  size_t at = skip_blank(held_, 0);
  if (at == held_.size() && !last) return false;
  if (at < held_.size() && held_[at] == '}') ++at;
  if (format_ == ToolFormat::llama) {
    drop(at);
    marker_ = 0;
    mode_ = Mode::head;
    return true;
  }
  const size_t tag = skip_blank(held_, at);
  const std::string_view rest = std::string_view(held_).substr(tag);
  const bool whole = rest.starts_with(kTagClose);
  if (!whole && kTagClose.starts_with(rest) && !last) return false;
  drop(whole ? tag + kTagClose.size() : at);
  mode_ = Mode::text;
  return true;
}

void ToolCallParser::begin_call(std::string name) {
  out_->push_back({AnswerPiece::Kind::call, std::move(name), begun_++, 0});
  extent_ = {};
  in_list_ = deepseek();
  text_last_ = false;
}

void ToolCallParser::end_call() { ++ended_; }

void ToolCallParser::tell_text(size_t size) {
  if (size == 0) return;
  text_last_ = true;
  AnswerPiece* back = out_->empty() ? nullptr : &out_->back();
  if (back != nullptr && back->kind == AnswerPiece::Kind::text && back->call == begun_ &&
      back->at + static_cast<int64_t>(back->text.size()) == at_) {
    back->text.append(held_, 0, size);
  } else {
    out_->push_back({AnswerPiece::Kind::text, held_.substr(0, size), begun_, at_});
  }
  drop(size);
}

void ToolCallParser::tell_arguments(size_t size) {
  if (size == 0) return;
  extent_.feed(std::string_view(held_).substr(0, size));
  AnswerPiece* back = out_->empty() ? nullptr : &out_->back();
  if (back != nullptr && back->kind == AnswerPiece::Kind::arguments && back->call == begun_ - 1) {
    back->text.append(held_, 0, size);
  } else {
    out_->push_back({AnswerPiece::Kind::arguments, held_.substr(0, size), begun_ - 1, 0});
  }
  drop(size);
}

void ToolCallParser::drop(size_t size) {
  held_.erase(0, size);
  at_ += static_cast<int64_t>(size);
}

}  // namespace fathom
