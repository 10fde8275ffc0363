#include "net/grpc_server.h"

#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/grpcpp.h>

#include <mutex>

#include "net/grpc_status.h"

namespace fathom {
namespace {

class Server final : public GrpcServer {
 public:
  Server(std::unique_ptr<grpc::Server> server, std::string host, int port)
      : server_(std::move(server)), host_(std::move(host)), port_(port) {
    set_serving(false);
  }
  ~Server() override { stop(Duration{}); }

  int port() const override { return port_; }
  std::string address() const override { return host_ + ":" + std::to_string(port_); }

  void set_serving(bool serving) override {
    std::lock_guard lock(mutex_);
    if (!stopped_) server_->GetHealthCheckService()->SetServingStatus(serving);
  }

  void stop(Duration grace) override {
    {
      std::lock_guard lock(mutex_);
      if (stopped_) return;
      server_->GetHealthCheckService()->Shutdown();  // watchers hear NOT_SERVING and end
      stopped_ = true;
    }
    const auto deadline = std::chrono::system_clock::now() + std::chrono::nanoseconds(grace.ns);
    server_->Shutdown(deadline);
    server_->Wait();
  }

 private:
  std::unique_ptr<grpc::Server> server_;
  const std::string host_;
  const int port_;
  std::mutex mutex_;
  bool stopped_ = false;
};

// "127.0.0.1:8000" -> "127.0.0.1"; "[::1]:8000" -> "[::1]".
std::string host_of(const std::string& address) { return address.substr(0, address.rfind(':')); }

}  // namespace

Result<std::unique_ptr<GrpcServer>> start_grpc_server(const GrpcServerOptions& options) {
  if (options.listen.rfind(':') == std::string::npos)
    return invalid("not an address of the form host:port: " + options.listen, "listen");
  static std::once_flag once;  // registers with the library's own global lists
  std::call_once(once, [] { grpc::EnableDefaultHealthCheckService(true); });
  if (options.reflection) grpc::reflection::InitProtoReflectionServerBuilderPlugin();

  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort(options.listen, grpc::InsecureServerCredentials(), &port);
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  const int bytes_max = static_cast<int>(options.message_bytes_max);
  builder.SetMaxReceiveMessageSize(bytes_max);
  builder.SetMaxSendMessageSize(bytes_max);
  wire::set_keepalive(builder);
  for (grpc::Service* service : options.services) builder.RegisterService(service);
  std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  if (!server || port == 0) {
    return Error{Code::unavailable,
                 "cannot listen on " + options.listen + ": in use, not permitted or not ours",
                 "listen"};
  }
  return std::unique_ptr<GrpcServer>(
      std::make_unique<Server>(std::move(server), host_of(options.listen), port));
}

}  // namespace fathom
