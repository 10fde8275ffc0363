#include "net/grpc_status.h"

namespace fathom::wire {
namespace {

constexpr int kPingAfterMs = 5000;
constexpr int kPingTimeoutMs = 3000;
constexpr const char kFieldKey[] = "fathom-field";

// Metadata holds printable ASCII only; a field may quote what a client wrote.
std::string printable(std::string text) {
  for (char& c : text)
    if (c < ' ' || c > '~') c = '?';
  return text;
}

}  // namespace

grpc::Status to_grpc(const Error& error, grpc::ServerContextBase& context) {
  const auto code =
      static_cast<grpc::StatusCode>(error.code == Code::ok ? Code::unknown : error.code);
  if (error.field.empty()) return {code, error.message};
  context.AddTrailingMetadata(kFieldKey, printable(error.field));
  return {code, error.message + " (" + error.field + ")"};
}

grpc::Status to_grpc(const Status& status, grpc::ServerContextBase& context) {
  return status.ok() ? grpc::Status::OK : to_grpc(status.error(), context);
}

Error from_grpc(const grpc::Status& status, const grpc::ClientContext& context) {
  const int number = static_cast<int>(status.error_code());
  Error error{number > 0 && number <= 16 ? static_cast<Code>(number) : Code::unknown,
              status.error_message(),
              {}};
  const auto& trailing = context.GetServerTrailingMetadata();
  if (const auto it = trailing.find(kFieldKey); it != trailing.end()) {
    error.field.assign(it->second.data(), it->second.size());
    const std::string shown = " (" + error.field + ")";
    if (error.message.ends_with(shown)) error.message.resize(error.message.size() - shown.size());
  }
  return error;
}

void set_keepalive(grpc::ServerBuilder& builder) {
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, kPingAfterMs);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kPingTimeoutMs);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  // Our clients ping every 5 s; the default would call that abuse and close the connection.
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 1000);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MAX_PING_STRIKES, 0);
}

void set_keepalive(grpc::ChannelArguments& args) {
  args.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, kPingAfterMs);
  args.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kPingTimeoutMs);
  args.SetInt(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  args.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
}

}  // namespace fathom::wire
