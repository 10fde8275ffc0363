#include "net/drive_link.h"

#include <algorithm>
#include <condition_variable>
#include <map>

#include "net/backoff.h"
#include "net/client_stream.h"
#include "net/grpc_channel.h"
#include "net/timer_loop.h"
#include "net/wire_drive.h"
#include "process/log.h"
#include "worker.grpc.pb.h"

namespace fathom {
namespace {

constexpr Duration kLookAgain = Duration::ms(5000);  // for new addresses behind a name
constexpr Duration kWelcomeWithin =
    Duration::ms(10000);  // a worker that accepts and then says nothing

// Who hears what a stream has to say. Outlives its streams: Links::stop waits for them.
class StreamOwner {
 public:
  virtual ~StreamOwner() = default;
  virtual void on_report(WorkerId worker, Report report) = 0;
  virtual void on_stream_end(WorkerId worker, const Error& why, bool welcomed) = 0;
};

class DriveClient final : public wire::ClientStream<v1::EditBatch, v1::Report> {
 public:
  DriveClient(WorkerId worker, StreamOwner& owner, std::shared_ptr<grpc::Channel> channel)
      : worker_(worker),
        owner_(owner),
        channel_(std::move(channel)),
        stub_(v1::Worker::NewStub(channel_)) {}

  void start(const std::shared_ptr<DriveClient>& self, const Hello& hello) {
    queue_.push_back(hello);
    begin(self, [this](grpc::ClientContext* context, auto* reactor) {
      stub_->async()->Drive(context, reactor);
    });
  }
  void send(Edits edits) {
    std::lock_guard lock(mutex_);
    if (closed_) return;
    std::move(edits.begin(), edits.end(), std::back_inserter(queue_));
    poke_locked();
  }
  void require_welcome() {
    {
      std::lock_guard lock(mutex_);
      if (welcomed_) return;
    }
    close({Code::deadline_exceeded, "the worker did not say Welcome", "welcome"});
  }

 private:
  bool fill(v1::EditBatch& out) override {
    if (queue_.empty()) return false;
    wire::to_wire(queue_, out);
    queue_.clear();
    return true;
  }
  Status on_message(const v1::Report& in) override {
    FATHOM_TRY(Report report, wire::from_wire(in));
    if (const bool first = !welcomed_; first != report.welcome.has_value())
      return invalid("a Welcome comes first and once", "welcome");
    if (report.welcome) FATHOM_CHECKED(check(*report.welcome));
    owner_.on_report(worker_, std::move(report));
    return {};
  }
  Status check(const Welcome& welcome) {
    if (welcome.protocol != kProtocolVersion) {
      return Error{Code::failed_precondition,
                   "the worker speaks protocol " + std::to_string(welcome.protocol) +
                       ", this router " + std::to_string(kProtocolVersion),
                   "protocol"};
    }
    std::lock_guard lock(mutex_);
    welcomed_ = true;
    return {};
  }
  void on_end(const Error& why) override {
    bool welcomed = false;
    {
      std::lock_guard lock(mutex_);
      welcomed = welcomed_;
    }
    owner_.on_stream_end(worker_, why, welcomed);
  }

  const WorkerId worker_;
  StreamOwner& owner_;
  const std::shared_ptr<grpc::Channel> channel_;
  const std::unique_ptr<v1::Worker::Stub> stub_;
  Edits queue_;
  bool welcomed_ = false;
};

// One configured address.
struct Name {
  std::string host, port;
  bool numeric = false;
  bool failing = false;  // said so in the log
};

// One address a name resolved to, while it has a stream or waits to open one.
struct Endpoint {
  std::string address;  // as events show it
  std::string target;   // as gRPC wants it
  size_t name = 0;
  Backoff backoff;
};

class Links final : public DriveLinks, private StreamOwner {
 public:
  Links(const Hello& hello, WorkerEvents& events) : hello_(hello), events_(events) {}
  ~Links() override { stop(); }

  void add(const std::string& address) override {
    loop_.post([this, address] { add_on_loop(address); });
  }
  void send(WorkerId worker, Edits edits) override {
    if (const auto stream = find(worker)) stream->send(std::move(edits));
  }
  void disconnect(WorkerId worker, const Error& why) override {
    if (const auto stream = find(worker)) stream->close(why);
  }
  void stop() override;

 private:
  struct Live {
    std::shared_ptr<DriveClient> stream;
    Endpoint endpoint;
  };

  // On the loop.
  void add_on_loop(std::string address);
  void look(size_t index);
  void found(size_t index, const std::vector<std::string>& hosts);
  void open(Endpoint endpoint);
  void retry(Endpoint endpoint);

  // On gRPC threads.
  void on_report(WorkerId worker, Report report) override;
  void on_stream_end(WorkerId worker, const Error& why, bool welcomed) override;

  std::shared_ptr<DriveClient> find(WorkerId worker) {
    std::lock_guard lock(mutex_);
    const auto it = live_.find(worker);
    return it == live_.end() ? nullptr : it->second.stream;
  }

  const Hello hello_;
  WorkerEvents& events_;
  std::vector<Name> names_;  // touched on the loop only
  std::map<std::string, bool>
      endpoints_;  // addresses that have a stream or a retry; on the loop only
  std::mutex mutex_;
  std::condition_variable all_ended_;
  std::map<WorkerId, Live> live_;
  uint32_t last_worker_ = 0;
  bool stopped_ = false;
  TimerLoop loop_;
};

void Links::add_on_loop(std::string address) {
  if (address.rfind("dns:///", 0) == 0) address.erase(0, 7);
  const size_t colon = address.rfind(':');
  if (colon == std::string::npos || colon == 0) {
    log_error("worker address is not host:port", {{"address", address}});
    return;
  }
  Name name{address.substr(0, colon), address.substr(colon + 1)};
  if (name.host.front() == '[' && name.host.back() == ']')
    name.host = name.host.substr(1, name.host.size() - 2);
  name.numeric = is_numeric_address(name.host);
  names_.push_back(name);
  look(names_.size() - 1);
}

void Links::look(size_t index) {
  const Name& name = names_[index];
  if (name.numeric) return found(index, {name.host});
  loop_.resolve(name.host, [this, index](const Result<std::vector<std::string>>& hosts) {
    if (!hosts.ok() && !names_[index].failing)
      log_warning("worker name does not resolve", {{"why", hosts.error().text()}});
    names_[index].failing = !hosts.ok();
    if (hosts.ok()) found(index, hosts.value());
    loop_.after(hosts.ok() ? kLookAgain : Backoff::kMax, [this, index] { look(index); });
  });
}

void Links::found(size_t index, const std::vector<std::string>& hosts) {
  for (const std::string& host : hosts) {
    const bool v6 = host.find(':') != std::string::npos;
    const std::string address = (v6 ? "[" + host + "]" : host) + ":" + names_[index].port;
    if (!endpoints_.emplace(address, true).second) continue;
    open({address, (v6 ? "ipv6:" : "ipv4:") + address, index});
  }
}

void Links::open(Endpoint endpoint) {
  // A channel of its own per connection: no shared backoff, and a WorkerId is one TCP connection.
  auto channel = wire::open_channel(endpoint.target);
  std::shared_ptr<DriveClient> stream;
  {
    std::lock_guard lock(mutex_);
    if (stopped_) return;
    const WorkerId worker{++last_worker_};
    stream =
        std::make_shared<DriveClient>(worker, static_cast<StreamOwner&>(*this), std::move(channel));
    live_.emplace(worker, Live{stream, std::move(endpoint)});
  }
  stream->start(stream, hello_);
  loop_.after(kWelcomeWithin, [weak = std::weak_ptr(stream)] {
    if (const auto waiting = weak.lock()) waiting->require_welcome();
  });
}

void Links::retry(Endpoint endpoint) {
  const Duration delay = endpoint.backoff.next();
  loop_.after(delay, [this, endpoint] {
    if (names_[endpoint.name].numeric) return open(endpoint);
    // The name may have moved on: ask again, and only come back if it still leads here.
    loop_.resolve(names_[endpoint.name].host,
                  [this, endpoint](const Result<std::vector<std::string>>& hosts) {
                    if (!hosts.ok()) return retry(endpoint);
                    const auto leads_here = [&](const std::string& host) {
                      return endpoint.address == host + ":" + names_[endpoint.name].port ||
                             endpoint.address == "[" + host + "]:" + names_[endpoint.name].port;
                    };
                    if (std::any_of(hosts->begin(), hosts->end(), leads_here))
                      return open(endpoint);
                    endpoints_.erase(endpoint.address);
                  });
  });
}

void Links::on_report(WorkerId worker, Report report) {
  std::string address;
  {
    std::lock_guard lock(mutex_);
    const auto it = live_.find(worker);
    if (it == live_.end()) return;
    address = it->second.endpoint.address;
  }
  events_.on_worker_report(worker, address, std::move(report));
}

void Links::on_stream_end(WorkerId worker, const Error& why, bool welcomed) {
  Endpoint endpoint;
  bool again = false;
  {
    std::lock_guard lock(mutex_);
    endpoint = live_.at(worker).endpoint;
    again = !stopped_;
  }
  events_.on_worker_down(worker, endpoint.address, why);
  if (welcomed && why.code != Code::failed_precondition) endpoint.backoff.reset();
  if (again)
    loop_.post([this, endpoint = std::move(endpoint)]() mutable { retry(std::move(endpoint)); });
  std::lock_guard lock(mutex_);
  live_.erase(worker);
  if (live_.empty()) all_ended_.notify_all();  // under the lock: stop() may destroy us right after
}

void Links::stop() {
  std::vector<std::shared_ptr<DriveClient>> streams;
  {
    std::lock_guard lock(mutex_);
    stopped_ = true;
    for (const auto& [worker, live] : live_) streams.push_back(live.stream);
  }
  loop_.stop();
  for (const auto& stream : streams) stream->close({Code::cancelled, "the router is stopping", {}});
  streams.clear();
  std::unique_lock lock(mutex_);
  all_ended_.wait(lock, [this] { return live_.empty(); });
}

}  // namespace

std::unique_ptr<DriveLinks> make_drive_links(const Hello& hello, WorkerEvents& events) {
  return std::make_unique<Links>(hello, events);
}

}  // namespace fathom
