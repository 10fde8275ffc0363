// How does an answer become bytes? Head and chunks are formatted by hand: a streamed token costs
// one append and one send. Private to net/.
#pragma once

#include <memory>
#include <string>

#include "net/http_session.h"

namespace fathom {

class ServerAnswer final : public HttpExchange {
 public:
  ServerAnswer(std::shared_ptr<HttpSession> session, ServerRequest request)
      : session_(std::move(session)), thread_(session_->thread()), request_(std::move(request)) {}
  const ServerRequest& request() const override { return request_; }
  int thread() const override { return thread_; }
  void respond(ServerResponse response) override;
  void start_stream(ServerResponse head) override;
  bool write(std::string_view bytes) override;
  void finish(std::string_view last) override;
  void on_closed(std::function<void(HttpClosed)> call) override { closed_ = std::move(call); }

  void closed(HttpClosed why);  // by the session; ends the exchange

 private:
  void end();
  std::shared_ptr<HttpSession> session_;  // null once over
  const int thread_;
  ServerRequest request_;
  bool streaming_ = false;
  std::function<void(HttpClosed)> closed_;
};

// The status line and header, up to and with the empty line.
std::string http_head(const ServerResponse& response, std::string_view request_id, bool chunked,
                      bool keep_alive, bool http10);
// One chunk of the chunked coding.
void append_chunk(std::string& out, std::string_view bytes);

}  // namespace fathom
