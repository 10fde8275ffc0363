// Who may ask, and what may they see? Without a keys file everybody, everything. With one, who
// shows a key of it that has not expired; what concerns all clients is for keys of operators. The
// file is looked at again while the gateway runs: a change holds from the next request on, a
// request that runs is left alone, and a file that can not be read changes nothing.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/result.h"
#include "gateway/api_error.h"
#include "gateway/keys.h"
#include "net/http_server.h"
#include "process/metrics.h"

namespace fathom {

struct Generate;

// What one key was used for.
struct KeyUse {
  prometheus::Counter& requests;
  prometheus::Counter& prompt_tokens;
  prometheus::Counter& cached_tokens;
  prometheus::Counter& generated_tokens;
};

// Who asks.
struct Asker {
  const KeyUse* use = nullptr;  // null: no keys are asked for; otherwise lives as long as Admission
  std::string tenant;           // the key's; empty without keys
  bool is_operator = true;

  // Whose share of the queue the request takes: with a key, its tenant's, which the `user` that the
  // client wrote divides and never adds to.
  void claim(Generate& request) const;
};

// The places where a client may show its key; empty where it did not.
struct Shown {
  std::string_view authorization;  // "Bearer KEY"
  std::string_view x_api_key;
  std::string_view api_key;
};
Shown shown_in(const ServerRequest& request);

// Any thread.
class Admission {
 public:
  // `keys_file` empty: everybody is admitted. Errors are those of the file.
  static Result<std::unique_ptr<Admission>> open(const std::string& keys_file, const Clock& clock,
                                                 Metrics& metrics);

  // The refusal (401), or nothing and who it is. Counts the request for its key.
  std::optional<ApiError> admit(const Shown& shown, Asker& out) const;

  // May this request see what concerns all clients, such as workers and others' traffic? Nothing
  // when it may: always without a keys file, else with a key that says operator. The refusal is 401
  // where `admit` would refuse, else 403. Counts nothing.
  std::optional<ApiError> refuse_operator_data(const ServerRequest& request) const;

  bool asks_for_keys() const { return !path_.empty(); }
  // Reads the file again if it changed. One thread at a time.
  void look();

 private:
  struct Read {  // the file as it was read
    KeyRing ring;
    std::map<std::string, const KeyUse*, std::less<>> uses;  // by the key's name
  };

  Admission(std::string path, const Clock& clock, Metrics& metrics);
  Status read();
  const KeyUse& use_of(const std::string& name);
  std::shared_ptr<const Read> current() const;
  // The key that is shown, or why it does not open the door. `counted`: the refusal is.
  std::optional<ApiError> find(const Read& read, const Shown& shown, bool counted,
                               const ApiKey*& out) const;

  const std::string path_;
  const Clock& clock_;
  Metrics& metrics_;
  prometheus::Gauge& keys_;
  prometheus::Counter& unread_;
  prometheus::Counter& missing_;
  prometheus::Counter& unknown_;
  prometheus::Counter& expired_;
  std::map<std::string, KeyUse> uses_;  // of all keys there ever were; touched by look() alone
  std::string stamp_;                   // of the file at the last look
  bool settled_ = true;                 // it was read since it stopped changing
  std::string text_;                    // what was read last
  std::string failure_;                 // why it could not be read since
  mutable std::mutex mutex_;
  std::shared_ptr<const Read> read_;
};

}  // namespace fathom
