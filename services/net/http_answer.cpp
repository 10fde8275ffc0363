#include "net/http_answer.h"

#include <boost/beast/http/status.hpp>
#include <charconv>

#include "base/check.h"

namespace fathom {

std::string http_head(const ServerResponse& response, std::string_view request_id, bool chunked,
                      bool keep_alive, bool http10) {
  namespace http = boost::beast::http;
  const auto reason =
      http::obsolete_reason(http::int_to_status(static_cast<unsigned>(response.status)));
  std::string head;
  head.reserve(320);
  head += "HTTP/1.1 ";
  head += std::to_string(response.status);
  head += ' ';
  head += reason == "<unknown-status>" ? "Unknown" : std::string_view(reason.data(), reason.size());
  const auto add = [&head](std::string_view name, std::string_view value) {
    head += "\r\n";
    head += name;
    head += ": ";
    head += value;
  };
  add("x-request-id", request_id);
  if (!response.content_type.empty()) add("content-type", response.content_type);
  for (const auto& [name, value] : response.headers) add(name, value);
  if (chunked && !http10) add("transfer-encoding", "chunked");
  // 304 has no body, whatever the length of the one it stands for.
  if (!chunked && response.status != 304)
    add("content-length", std::to_string(response.body.size()));
  if (!keep_alive) add("connection", "close");
  head += "\r\n\r\n";
  return head;
}

void append_chunk(std::string& out, std::string_view bytes) {
  if (bytes.empty()) return;  // an empty chunk would end the stream
  char size[16];
  const auto end = std::to_chars(size, size + sizeof size, bytes.size(), 16).ptr;
  out.append(size, end);
  out += "\r\n";
  out += bytes;
  out += "\r\n";
}

void ServerAnswer::respond(ServerResponse response) {
  if (!session_) return;
  CHECK(!streaming_, "a stream has begun");
  std::string bytes = http_head(response, request_.id, /*chunked=*/false, session_->keep_alive(),
                                session_->http10());
  if (!session_->head_only()) bytes += response.body;
  session_->send(std::move(bytes));
  end();
}

void ServerAnswer::start_stream(ServerResponse head) {
  if (!session_) return;
  CHECK(!streaming_, "a stream has begun");
  streaming_ = true;
  std::string bytes =
      http_head(head, request_.id, /*chunked=*/true, session_->keep_alive(), session_->http10());
  if (session_->http10()) {
    bytes += head.body;
  } else {
    append_chunk(bytes, head.body);
  }
  session_->send(std::move(bytes));
}

bool ServerAnswer::write(std::string_view bytes) {
  if (!session_ || !session_->open()) return false;
  session_->send_piece(bytes);
  return session_->open();
}

void ServerAnswer::finish(std::string_view last) {
  if (!session_) return;
  CHECK(streaming_, "nothing to finish");
  if (session_->http10()) {
    session_->send(std::string(last));
  } else {
    std::string bytes;
    append_chunk(bytes, last);
    bytes += "0\r\n\r\n";
    session_->send(std::move(bytes));
  }
  end();
}

void ServerAnswer::end() {
  closed_ = nullptr;
  auto session = std::move(session_);
  session_ = nullptr;
  session->answer_done();
}

void ServerAnswer::closed(HttpClosed why) {
  if (!session_) return;
  if (auto call = std::move(closed_)) {
    closed_ = nullptr;
    call(why);
  }
  if (session_) end();
}

}  // namespace fathom
