#include "gateway/admission.h"

#include <sys/stat.h>

#include <utility>

#include "base/utc.h"
#include "gateway/request.h"
#include "process/log.h"

namespace fathom {
namespace {

constexpr const char* kRefused = "fathom_gateway_keys_refused_total";
constexpr const char* kRefusedHelp = "Requests without a key that opens the door.";
constexpr std::string_view kRealm = "Bearer realm=\"fathom\"";

// Everything about a file that changes when it is written or replaced; empty when it is not there.
std::string stamp_of(const std::string& path) {
  struct stat info {};
  if (::stat(path.c_str(), &info) != 0) return {};
  std::string out;
  for (const int64_t number : {int64_t(info.st_dev), int64_t(info.st_ino), int64_t(info.st_size),
                               int64_t(info.st_mtim.tv_sec), int64_t(info.st_mtim.tv_nsec)})
    out += std::to_string(number) + " ";
  return out;
}

std::string_view trimmed(std::string_view text) {
  const size_t first = text.find_first_not_of(" \t");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t") + 1 - first);
}

// The KEY of "Bearer KEY"; another scheme shows no key of ours.
std::string_view bearer(std::string_view authorization) {
  constexpr std::string_view kScheme = "bearer ";
  authorization = trimmed(authorization);
  if (authorization.size() < kScheme.size()) return {};
  for (size_t i = 0; i < kScheme.size(); ++i)
    if ((authorization[i] | 0x20) != (kScheme[i] | 0x20)) return {};
  return trimmed(authorization.substr(kScheme.size()));
}

// RFC 6750: what is wrong with the token is said only to who showed one.
ApiError unauthenticated(std::string code, std::string message, bool showed) {
  ApiError out{.status = 401,
               .type = "invalid_request_error",
               .code = std::move(code),
               .message = std::move(message)};
  out.challenge = kRealm;
  if (showed)
    out.challenge += ", error=\"invalid_token\", error_description=\"" + out.message + "\"";
  return out;
}

}  // namespace

void Asker::claim(Generate& request) const {
  if (use == nullptr) return;
  request.user = std::move(request.tenant);
  request.tenant = tenant;
}

Shown shown_in(const ServerRequest& request) {
  return {.authorization = request.header("authorization"),
          .x_api_key = request.header("x-api-key"),
          .api_key = request.header("api-key")};
}

Admission::Admission(std::string path, const Clock& clock, Metrics& metrics)
    : path_(std::move(path)),
      clock_(clock),
      metrics_(metrics),
      keys_(metrics.gauge("fathom_gateway_keys", "API keys in the keys file.")),
      unread_(metrics.counter("fathom_gateway_keys_unread_total",
                              "Changes of the keys file that could not be read.")),
      missing_(metrics.counter(kRefused, kRefusedHelp, {{"reason", "missing"}})),
      unknown_(metrics.counter(kRefused, kRefusedHelp, {{"reason", "unknown"}})),
      expired_(metrics.counter(kRefused, kRefusedHelp, {{"reason", "expired"}})) {}

Result<std::unique_ptr<Admission>> Admission::open(const std::string& keys_file, const Clock& clock,
                                                   Metrics& metrics) {
  auto out = std::unique_ptr<Admission>(new Admission(keys_file, clock, metrics));
  if (!out->asks_for_keys()) return out;
  out->stamp_ = stamp_of(keys_file);
  out->settled_ = false;
  FATHOM_CHECKED(out->read());
  return out;
}

void Admission::look() {
  if (!asks_for_keys()) return;
  const std::string stamp = stamp_of(path_);
  const bool changed = stamp != stamp_;
  if (!changed && settled_) return;
  // A change is read twice, the second time when it is one look old: whoever was writing while we
  // read the first time may have done so within the grain of the file's time stamp.
  stamp_ = stamp;
  settled_ = !changed;
  const Status status = read();
  const std::string before = std::exchange(failure_, status.ok() ? "" : status.error().text());
  if (failure_.empty() || (failure_ == before && !changed)) return;
  unread_.Increment();
  log_error("the keys file can not be read; the keys from before hold",
            {{"why", status.error().message}, {"where", status.error().field}});
}

Status Admission::read() {
  FATHOM_TRY(std::string text, read_keys_file(path_));
  if (read_ && text == text_) return {};
  auto next = std::make_shared<Read>();
  FATHOM_TRY(next->ring, KeyRing::parse(text, path_));
  for (const ApiKey& key : next->ring.keys()) next->uses.emplace(key.name, &use_of(key.name));
  keys_.Set(static_cast<double>(next->ring.keys().size()));
  log_info("keys read", {{"file", path_}, {"keys", next->ring.keys().size()}});
  text_ = std::move(text);
  const std::lock_guard lock(mutex_);
  read_ = std::move(next);
  return {};
}

const KeyUse& Admission::use_of(const std::string& name) {
  const auto counter = [&](const char* metric, const char* help) -> prometheus::Counter& {
    return metrics_.counter(metric, help, {{"key", name}});
  };
  const auto found = uses_.find(name);
  if (found != uses_.end()) return found->second;
  return uses_
      .emplace(
          name,
          KeyUse{counter("fathom_gateway_key_requests_total", "Requests admitted, by key."),
                 counter("fathom_gateway_key_prompt_tokens_total",
                         "Prompt tokens of answered requests, by key."),
                 counter("fathom_gateway_key_cached_tokens_total",
                         "Prompt tokens found in a cache, by key."),
                 counter("fathom_gateway_key_generated_tokens_total", "Tokens delivered, by key.")})
      .first->second;
}

std::shared_ptr<const Admission::Read> Admission::current() const {
  const std::lock_guard lock(mutex_);
  return read_;
}

std::optional<ApiError> Admission::find(const Read& read, const Shown& shown, bool counted,
                                        const ApiKey*& out) const {
  const auto refuse = [&](prometheus::Counter& counter, ApiError error) {
    if (counted) counter.Increment();
    return error;
  };
  const ApiKey* expired = nullptr;
  bool showed = false;
  // Some clients fill several of the places, some of them with a word that is no key.
  for (const std::string_view text :
       {bearer(shown.authorization), trimmed(shown.x_api_key), trimmed(shown.api_key)}) {
    if (text.empty()) continue;
    showed = true;
    const ApiKey* key = read.ring.find(text);
    if (key == nullptr) continue;
    if (!key->expires || clock_.unix_seconds() < *key->expires) {
      out = key;
      return std::nullopt;
    }
    expired = key;
  }
  if (expired != nullptr)
    return refuse(expired_, unauthenticated("expired_api_key",
                                            "this key expired on " + utc_date(*expired->expires) +
                                                "; ask for a new one",
                                            true));
  if (showed)
    return refuse(unknown_,
                  unauthenticated("invalid_api_key",
                                  "this API key is not known here; check it or ask for one", true));
  return refuse(missing_, unauthenticated("invalid_api_key",
                                          "an API key is needed; send it as 'Authorization: Bearer "
                                          "KEY', 'x-api-key: KEY' or 'api-key: KEY'",
                                          false));
}

std::optional<ApiError> Admission::admit(const Shown& shown, Asker& out) const {
  const std::shared_ptr<const Read> read = current();
  if (!read) return std::nullopt;
  const ApiKey* key = nullptr;
  if (auto error = find(*read, shown, true, key)) return error;
  out = {.use = read->uses.find(key->name)->second,
         .tenant = key->tenant,
         .is_operator = key->is_operator};
  out.use->requests.Increment();
  return std::nullopt;
}

std::optional<ApiError> Admission::refuse_operator_data(const ServerRequest& request) const {
  const std::shared_ptr<const Read> read = current();
  if (!read) return std::nullopt;
  const ApiKey* key = nullptr;
  if (auto error = find(*read, shown_in(request), false, key)) return error;
  if (key->is_operator) return std::nullopt;
  return ApiError{.status = 403,
                  .type = "permission_error",
                  .code = "permission_denied",
                  .message =
                      "this key may ask but not see the cluster; that needs the key of an "
                      "operator (operator: true in the keys file)"};
}

}  // namespace fathom
