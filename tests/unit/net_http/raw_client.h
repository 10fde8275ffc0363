// How does a test speak to a server byte by byte? A plain socket that sends what it is told and
// reads until something is there; every wait ends after ten seconds, so a broken server fails a
// test instead of hanging it.
#pragma once

#include <map>
#include <string>
#include <string_view>

namespace fathom {

struct RawResponse {
  int status = 0;
  std::map<std::string, std::string> headers;  // names in lower case
  std::string body;                            // chunked coding removed
  bool complete = false;                       // it ended as it should
};

class RawClient {
 public:
  explicit RawClient(const std::string& address, int receive_buffer = 0);  // "127.0.0.1:port"
  ~RawClient();
  RawClient(const RawClient&) = delete;
  RawClient& operator=(const RawClient&) = delete;

  void send(std::string_view bytes);  // ignores a closed peer
  void half_close();                  // no more from us
  void close();
  std::string read_until(std::string_view marker);  // all bytes so far, up to and with the marker
  std::string read_to_end();                        // until the server closes
  RawResponse read_response();
  bool at_end();  // waits for the server to close; false if bytes come instead

 private:
  bool receive();  // more bytes into buffer_; false at the end or after ten seconds
  std::string take(size_t bytes);
  int socket_ = -1;
  bool ended_ = false;
  std::string buffer_;
};

// A whole request with a body.
std::string raw_request(std::string_view method, std::string_view target, std::string_view body,
                        std::string_view extra_headers = "");
RawResponse ask(const std::string& address, std::string_view method, std::string_view target,
                std::string_view body = "", std::string_view extra_headers = "");

}  // namespace fathom
