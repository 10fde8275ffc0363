// Does a gateway show the cluster to whoever asks, from one subscription, and say so when it can
// not?
#include <fstream>
#include <regex>
#include <set>
#include <sstream>

#include "gateway/cluster_board.h"
#include "gateway/keys.h"
#include "tests/unit/gateway/gateway_fixture.h"

namespace fathom {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

ClusterUpdate update_of(int64_t second, std::vector<Happening> happenings = {}) {
  ClusterUpdate update{.view = {.time = static_cast<double>(second) + 1,
                                .started = 1000,
                                .model = "tiny",
                                .ready = true,
                                .gateways = 1,
                                .queue_max = 1024,
                                .workers = {{.address = "10.0.0.1:7100",
                                             .phase = WorkerPhase::up,
                                             .role = Role::decode,
                                             .blocks = 64,
                                             .step_means = {0, 0.02f}}}},
                       .seconds = {{.number = second, .waiting = 3, .running = 7}},
                       .happenings = std::move(happenings)};
  update.seconds[0].generated_tokens = 100;
  return update;
}

class ClusterTest : public GatewayTest {
 protected:
  std::unique_ptr<RawClient> open(std::string_view headers = "") {
    auto client = std::make_unique<RawClient>(address());
    client->send("GET /cluster/events HTTP/1.1\r\nhost: x\r\n" + std::string(headers) + "\r\n");
    EXPECT_TRUE(router_.wait_watched(true));
    client->read_until(": connected");
    return client;
  }
};

TEST_F(ClusterTest, the_state_is_one_document_of_present_past_and_events) {
  start();
  auto client = std::make_unique<RawClient>(address());
  client->send("GET /cluster/state HTTP/1.1\r\nhost: x\r\n\r\n");
  ASSERT_TRUE(router_.wait_watched(true));  // asked only now that somebody wants to know
  EXPECT_EQ(router_.watched_so_far(), WatchFrom{});
  router_.show(update_of(500, {{.number = 500'000'001,
                                .kind = HappeningKind::worker_up,
                                .worker = "10.0.0.1:7100",
                                .text = "joined \xff\xfe"}}));
  const RawResponse response = client->read_response();
  EXPECT_EQ(response.status, 200);
  const auto state = parsed(response.body);
  EXPECT_EQ(at(state, "/id"), "500-500000001");
  EXPECT_EQ(at(state, "/lost"), "null");
  EXPECT_EQ(at(state, "/view/model"), "tiny");
  EXPECT_EQ(at(state, "/view/requests/waiting"), "3");
  EXPECT_EQ(at(state, "/view/tokens/generated_per_second"), "100");
  EXPECT_EQ(at(state, "/view/workers/0/role"), "decode");
  EXPECT_EQ(at(state, "/view/workers/0/step_mean_seconds"), "[null,2E-2]");
  EXPECT_EQ(at(state, "/history/time"), "[500]");
  EXPECT_EQ(at(state, "/events/0/kind"), "worker_up");
  EXPECT_EQ(at(state, "/events/0/text"), "joined ??");  // whatever a peer says, JSON stays JSON
  // From now on it is known, and answered at once.
  EXPECT_EQ(at(parsed(ask(address(), "GET", "/cluster/state").body), "/id"), "500-500000001");
  EXPECT_THAT(ask(address(), "GET", "/metrics").body,
              HasSubstr(R"(requests_total{route="cluster",status="200"} 2)"));
}

TEST_F(ClusterTest, a_stream_brings_views_and_happenings_with_ids) {
  start();
  auto client = open();
  router_.show(update_of(500));
  client->read_until("event: view\nid: 500-0\ndata: {\"view\":");
  router_.show(update_of(501, {{.number = 501'500'000, .kind = HappeningKind::recovered}}));
  const std::string text = client->read_until("event: view\nid: 501-501500000");
  EXPECT_THAT(text, HasSubstr("event: happened\nid: 500-501500000\ndata: {\"number\":501500000"));
}

TEST_F(ClusterTest, all_readers_share_one_subscription) {
  GatewayConfig config;
  config.threads = 3;
  start(Kind::v3, config);
  std::vector<std::unique_ptr<RawClient>> clients;
  for (int i = 0; i < 9; ++i) clients.push_back(open());
  router_.show(update_of(500));
  for (const auto& client : clients) client->read_until("id: 500-0");
  auto late = open();
  late->read_until("id: 500-0");  // the present, at once
  router_.show(update_of(501));
  clients.push_back(std::move(late));
  for (const auto& client : clients) {
    const std::string text = client->read_until("id: 501-0");
    EXPECT_EQ(text.find("id: 500-0"), std::string::npos);  // nothing is told twice
  }
}

TEST_F(ClusterTest, a_reader_that_comes_again_misses_nothing) {
  start();
  auto client = open();
  router_.show(update_of(500));
  client->read_until("id: 500-0");
  client->close();
  router_.show(update_of(501, {{.number = 501'000'001, .kind = HappeningKind::worker_down}}));
  router_.show(update_of(502, {{.number = 502'000'001, .kind = HappeningKind::worker_up}}));
  client = open("last-event-id: 500-0\r\n");
  const std::string text = client->read_until("id: 502-502000001\ndata: {\"view\"");
  EXPECT_THAT(text, HasSubstr("\"kind\":\"worker_down\""));
  EXPECT_THAT(text, HasSubstr("\"kind\":\"worker_up\""));
  EXPECT_THAT(client->read_until("\n\n"), HasSubstr("\"history\":{\"time\":[501,502]"));
}

TEST_F(ClusterTest, a_lost_router_is_said_and_the_stream_goes_on_when_it_is_back) {
  start();
  auto client = open();
  router_.show(update_of(500));
  client->read_until("id: 500-0");
  router_.lose_watch();
  client->read_until("event: lost\ndata: {\"since\":");
  // What is known stays, marked as old.
  const auto state = parsed(ask(address(), "GET", "/cluster/state").body);
  EXPECT_NE(at(state, "/lost/since"), "");
  EXPECT_EQ(at(state, "/view/model"), "tiny");
  open()->read_until("event: lost");
  EXPECT_EQ(router_.watched_so_far().second, 500);
  router_.show(update_of(507));
  client->read_until("id: 507-0");
  EXPECT_EQ(at(parsed(ask(address(), "GET", "/cluster/state").body), "/lost"), "null");
}

TEST_F(ClusterTest, a_router_never_heard_is_503) {
  start();
  auto client = std::make_unique<RawClient>(address());
  client->send("GET /cluster/state HTTP/1.1\r\nhost: x\r\n\r\n");
  ASSERT_TRUE(router_.wait_watched(true));
  router_.lose_watch();
  const RawResponse response = client->read_response();
  EXPECT_EQ(response.status, 503);
  EXPECT_EQ(at(parsed(response.body), "/error/message"), "the router is not connected");
}

TEST_F(ClusterTest, the_router_is_left_alone_once_nobody_watches) {
  start();
  auto client = open();
  client->close();
  EXPECT_TRUE(router_.wait_watched(false));  // some seconds later
}

TEST_F(ClusterTest, draining_ends_the_streams) {
  start();
  auto client = open();
  router_.show(update_of(500));
  client->read_until("id: 500-0");
  gateway_->drain();
  client->read_until("0\r\n\r\n");  // the end of the last chunk: not cut off
  EXPECT_EQ(ask(address(), "GET", "/cluster/state").status, 503);
}

TEST_F(ClusterTest, a_strange_id_is_refused_by_name) {
  start();
  for (const char* id : {"5", "a-b", "5-", "-5-5", "5-5x", "99999999999999999999-1"}) {
    RawClient client(address());
    client.send("GET /cluster/events HTTP/1.1\r\nhost: x\r\nlast-event-id: " + std::string(id) +
                "\r\n\r\n");
    const RawResponse response = client.read_response();
    EXPECT_EQ(response.status, 400) << id;
    EXPECT_EQ(at(parsed(response.body), "/error/param"), "Last-Event-ID");
  }
  // One from the future means the present.
  auto client = open("last-event-id: 9000000000000000000-9000000000000000000\r\n");
  router_.show(update_of(clock_.unix_seconds() + 5));
  client->read_until("event: view");
}

TEST_F(ClusterTest, with_a_keys_file_only_operators_see_it) {
  const auto file = std::filesystem::temp_directory_path() /
                    ("fathom_cluster_keys_" + std::to_string(clock_.now().ns));
  std::ofstream(file) << key_line({.name = "client", .sha256 = digest_of("sk-client")}) << '\n'
                      << key_line({.name = "operator",
                                   .sha256 = digest_of("sk-operator"),
                                   .is_operator = true})
                      << '\n';
  GatewayConfig config;
  config.keys_file = file.string();
  start(Kind::v3, config);
  std::filesystem::remove(file);
  for (const char* path : {"/cluster/state", "/cluster/events"}) {
    EXPECT_EQ(ask(address(), "GET", path).status, 401) << path;
    EXPECT_EQ(ask(address(), "GET", path, "", "authorization: Bearer sk-client\r\n").status, 403);
  }
  EXPECT_EQ(ask(address(), "GET", "/cluster").status, 200);  // the page itself asks for the key
  RawClient client(address());
  client.send(
      "GET /cluster/events HTTP/1.1\r\nhost: x\r\nauthorization: Bearer sk-operator\r\n\r\n");
  ASSERT_TRUE(router_.wait_watched(true));
  router_.show(update_of(500));
  client.read_until("id: 500-0");
}

// Every key of a document, with lists and the list of workers unfolded.
void keys_of(const boost::json::value& value, const std::string& path, std::set<std::string>& out) {
  if (const auto* array = value.if_array()) {
    for (const auto& item : *array) keys_of(item, path + "[]", out);
    return;
  }
  const auto* object = value.if_object();
  if (object == nullptr) return;
  for (const auto& [key, item] : *object) {
    const std::string name = path.empty() ? std::string(key) : path + "." + std::string(key);
    out.insert(name);
    keys_of(item, name, out);
  }
}

TEST_F(ClusterTest, the_page_of_the_docs_lists_exactly_the_fields_there_are) {
  ClusterBoard board;
  board.take(update_of(500, {{.number = 1, .kind = HappeningKind::moved}}));
  board.lose("gone", 501);
  std::set<std::string> written;
  keys_of(parsed(board.state_json()), "", written);
  std::ifstream file(FATHOM_SOURCE_DIR "/docs/cluster.md");
  std::set<std::string> documented;
  const std::regex row(R"(^\| `([a-z0-9_.\[\]]+)` \|)");
  for (std::string line; std::getline(file, line) && !line.starts_with("| of a kind");)
    if (std::smatch match; std::regex_search(line, match, row)) documented.insert(match[1]);
  for (const std::string& key : written)
    EXPECT_TRUE(documented.contains(key)) << key << " is not in docs/cluster.md";
  for (const std::string& key : documented)
    EXPECT_TRUE(written.contains(key)) << key << " is only in docs/cluster.md";
}

}  // namespace
}  // namespace fathom
