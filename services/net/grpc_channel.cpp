#include "net/grpc_channel.h"

#include <grpcpp/support/client_callback.h>

#include "net/grpc_server.h"
#include "net/grpc_status.h"
#include "worker.grpc.pb.h"

namespace fathom::wire {
namespace {

// gRPC 1.51 runs callbacks on threads that it joins when the last channel of the process goes; a
// channel let go of in a callback would then join its own thread. One call that is never started
// keeps them for good: no connection is made for it.
struct CallbackThreads final : grpc::ClientBidiReactor<v1::EditBatch, v1::Report> {
  CallbackThreads() { stub->async()->Drive(&context, this); }
  std::shared_ptr<grpc::Channel> channel =
      grpc::CreateChannel("ipv4:127.0.0.1:9", grpc::InsecureChannelCredentials());
  std::unique_ptr<v1::Worker::Stub> stub = v1::Worker::NewStub(channel);
  grpc::ClientContext context;
};

}  // namespace

std::shared_ptr<grpc::Channel> open_channel(const std::string& target) {
  static const CallbackThreads* const kept = new CallbackThreads;  // for the life of the process
  (void)kept;
  grpc::ChannelArguments args;
  set_keepalive(args);
  args.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  args.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
  args.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 2000);  // also the time one attempt may take
  args.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 2000);
  args.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  args.SetMaxReceiveMessageSize(static_cast<int>(kInternalMessageBytesMax));
  args.SetMaxSendMessageSize(static_cast<int>(kInternalMessageBytesMax));
  return grpc::CreateCustomChannel(target, grpc::InsecureChannelCredentials(), args);
}

}  // namespace fathom::wire
