// Does every field survive the wire, and is every impossible one refused by name?
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <set>

#include "net/wire_drive.h"
#include "net/wire_sampling.h"
#include "net/wire_serve.h"
#include "net/wire_watch.h"
#include "random_words.h"

namespace fathom {
namespace {

constexpr uint64_t kSeeds = 2000;

// Through bytes, as on a socket.
template <class Message>
Message through_bytes(const Message& message) {
  Message out;
  EXPECT_TRUE(out.ParseFromString(message.SerializeAsString()));
  return out;
}

TEST(Wire, every_field_of_edits_survives) {
  for (uint64_t seed = 0; seed < kSeeds; ++seed) {
    const Edits edits = RandomWords(seed).edits();
    v1::EditBatch message;
    wire::to_wire(edits, message);
    const auto back = wire::from_wire(through_bytes(message));
    ASSERT_TRUE(back.ok()) << seed << ": " << back.error().text();
    ASSERT_EQ(*back, edits) << seed;
  }
}

TEST(Wire, every_field_of_reports_survives) {
  for (uint64_t seed = 0; seed < kSeeds; ++seed) {
    const Report report = RandomWords(seed).report();
    v1::Report message;
    wire::to_wire(report, message);
    const auto back = wire::from_wire(through_bytes(message));
    ASSERT_TRUE(back.ok()) << seed << ": " << back.error().text();
    ASSERT_EQ(*back, report) << seed;
  }
}

TEST(Wire, every_field_of_gateway_messages_and_events_survives) {
  for (uint64_t seed = 0; seed < kSeeds; ++seed) {
    RandomWords random(seed);
    std::vector<ToRouter> down;
    std::vector<FromRouter> up;
    for (int32_t i = random.size(5); i > 0; --i) down.push_back(random.to_router());
    for (int32_t i = random.size(5); i > 0; --i) up.push_back(random.from_router());
    v1::ToRouter to;
    v1::FromRouter from;
    wire::to_wire(down, to);
    wire::to_wire(up, from);
    const auto down_back = wire::from_wire(through_bytes(to));
    const auto up_back = wire::from_wire(through_bytes(from));
    ASSERT_TRUE(down_back.ok()) << seed << ": " << down_back.error().text();
    ASSERT_TRUE(up_back.ok()) << seed << ": " << up_back.error().text();
    ASSERT_EQ(*down_back, down) << seed;
    ASSERT_EQ(*up_back, up) << seed;
  }
}

TEST(Wire, every_field_of_what_a_watcher_sees_survives) {
  for (uint64_t seed = 0; seed < kSeeds; ++seed) {
    RandomWords random(seed);
    const ClusterUpdate update = random.cluster_update();
    const WatchFrom from = random.watch_from();
    v1::ClusterUpdate message;
    v1::WatchRequest request;
    wire::to_wire(update, message);
    wire::to_wire(from, request);
    const auto back = wire::from_wire(through_bytes(message));
    const auto from_back = wire::from_wire(through_bytes(request));
    ASSERT_TRUE(back.ok()) << seed << ": " << back.error().text();
    ASSERT_TRUE(from_back.ok()) << seed << ": " << from_back.error().text();
    ASSERT_EQ(*back, update) << seed;
    ASSERT_EQ(*from_back, from) << seed;
  }
}

// No field may be forgotten by the generator: each one that exists appears in some message.
template <class Message>
void expect_all_fields_used(const std::vector<Message>& messages, std::set<std::string>& unused) {
  const auto* descriptor = Message::descriptor();
  for (int i = 0; i < descriptor->field_count(); ++i) {
    const auto* field = descriptor->field(i);
    bool used = false;
    for (const Message& message : messages) {
      const auto* reflection = message.GetReflection();
      used = used || (field->is_repeated() ? reflection->FieldSize(message, field) > 0
                                           : reflection->HasField(message, field));
    }
    if (!used) unused.insert(field->full_name());
  }
}

TEST(Wire, the_random_words_leave_no_field_untouched) {
  std::vector<v1::Prefill> prefills;
  std::vector<v1::Decode> decodes;
  std::vector<v1::Receive> receives;
  std::vector<v1::Sampling> samplings;
  std::vector<v1::Welcome> welcomes;
  std::vector<v1::Row> rows;
  std::vector<v1::Report> reports;
  std::vector<v1::Submit> submits;
  std::vector<v1::Tokens> tokens;
  std::vector<v1::Finished> ends;
  std::vector<v1::ClusterState> states;
  std::vector<v1::ClusterView> views;
  std::vector<v1::WatchedWorker> workers;
  std::vector<v1::WatchedSecond> seconds;
  std::vector<v1::Happening> happenings;
  for (uint64_t seed = 0; seed < 200; ++seed) {
    RandomWords random(seed);
    v1::EditBatch batch;
    wire::to_wire(random.edits(), batch);
    for (const auto& edit : batch.edits()) {
      if (edit.has_prefill()) prefills.push_back(edit.prefill());
      if (edit.has_prefill()) samplings.push_back(edit.prefill().sampling());
      if (edit.has_decode()) decodes.push_back(edit.decode());
      if (edit.has_receive()) receives.push_back(edit.receive());
    }
    v1::Report report;
    wire::to_wire(random.report(), report);
    reports.push_back(report);
    welcomes.push_back(report.welcome());
    rows.insert(rows.end(), report.rows().begin(), report.rows().end());
    v1::ToRouter to;
    wire::to_wire(std::vector{random.to_router()}, to);
    for (const auto& message : to.messages()) submits.push_back(message.submit());
    v1::FromRouter from;
    wire::to_wire(std::vector{random.from_router()}, from);
    for (const auto& event : from.events()) {
      tokens.push_back(event.tokens());
      ends.push_back(event.finished());
      states.push_back(event.state());
    }
    v1::ClusterUpdate update;
    wire::to_wire(random.cluster_update(), update);
    views.push_back(update.view());
    workers.insert(workers.end(), update.view().workers().begin(), update.view().workers().end());
    seconds.insert(seconds.end(), update.seconds().begin(), update.seconds().end());
    happenings.insert(happenings.end(), update.happenings().begin(), update.happenings().end());
  }
  std::set<std::string> unused;
  expect_all_fields_used(prefills, unused);
  expect_all_fields_used(decodes, unused);
  expect_all_fields_used(receives, unused);
  expect_all_fields_used(samplings, unused);
  expect_all_fields_used(welcomes, unused);
  expect_all_fields_used(rows, unused);
  expect_all_fields_used(reports, unused);
  expect_all_fields_used(submits, unused);
  expect_all_fields_used(tokens, unused);
  expect_all_fields_used(ends, unused);
  expect_all_fields_used(states, unused);
  expect_all_fields_used(views, unused);
  expect_all_fields_used(workers, unused);
  expect_all_fields_used(seconds, unused);
  expect_all_fields_used(happenings, unused);
  EXPECT_THAT(unused, testing::IsEmpty());
}

// A good prefill with one thing wrong; the field that is named.
std::string refused(void (*spoil)(v1::Prefill&)) {
  Prefill good;
  good.tokens = {1, 2, 3};
  good.prompt_tokens = 3;
  v1::EditBatch batch;
  wire::to_wire(Edits{good}, batch);
  EXPECT_TRUE(wire::from_wire(batch).ok());
  spoil(*batch.mutable_edits(0)->mutable_prefill());
  const auto result = wire::from_wire(batch);
  if (result.ok()) return "accepted";
  EXPECT_EQ(result.error().code, Code::invalid_argument);
  return result.error().field;
}

TEST(Wire, impossible_views_are_refused_naming_the_field) {
  const auto refused_view = [](auto spoil) {
    v1::ClusterUpdate update;
    ClusterUpdate good{.view = {.workers = {{.address = "a:1"}}},
                       .seconds = {{.number = 5}, {.number = 6}},
                       .happenings = {{.number = 7, .worker = "a:1", .text = "left"}}};
    wire::to_wire(good, update);
    EXPECT_TRUE(wire::from_wire(update).ok());
    spoil(update);
    const auto result = wire::from_wire(update);
    return result.ok() ? "accepted" : result.error().field;
  };
  EXPECT_EQ(refused_view([](auto& u) { u.mutable_view()->set_time(-1); }), "view.time");
  EXPECT_EQ(refused_view([](auto& u) { u.mutable_view()->mutable_workers(0)->set_phase(4); }),
            "view.workers.phase");
  EXPECT_EQ(refused_view([](auto& u) { u.mutable_view()->mutable_workers(0)->clear_steps(); }),
            "view.workers.steps");
  EXPECT_EQ(refused_view([](auto& u) { u.mutable_seconds(1)->set_number(5); }), "seconds.number");
  EXPECT_EQ(refused_view([](auto& u) { u.mutable_seconds(0)->clear_ended(); }), "seconds.ended");
  EXPECT_EQ(refused_view([](auto& u) { u.mutable_happenings(0)->set_kind(13); }),
            "happenings.kind");
  EXPECT_EQ(refused_view([](auto& u) {
              const auto endless = std::numeric_limits<double>::infinity();
              u.mutable_seconds(0)->mutable_latencies()->mutable_queue()->set_p99(endless);
            }),
            "seconds.p99");
}

TEST(Wire, impossible_edits_are_refused_naming_the_field) {
  EXPECT_EQ(refused([](auto& p) { p.set_tokens(1, -5); }), "prefill.tokens");
  EXPECT_EQ(refused([](auto& p) { p.set_prompt_tokens(4); }), "prefill.prompt_tokens");
  EXPECT_EQ(refused([](auto& p) { p.set_prompt_tokens(-1); }), "prefill.prompt_tokens");
  EXPECT_EQ(refused([](auto& p) { p.set_lease(-1); }), "prefill.lease");
  EXPECT_EQ(refused([](auto& p) { p.set_blocks(-1); }), "prefill.blocks");
  EXPECT_EQ(refused([](auto& p) { p.mutable_sampling()->set_top_p(0); }), "prefill.sampling.top_p");
  EXPECT_EQ(refused([](auto& p) {
              p.mutable_sampling()->set_temperature(std::numeric_limits<float>::quiet_NaN());
            }),
            "prefill.sampling.temperature");
  EXPECT_EQ(refused([](auto& p) { p.mutable_sampling()->set_logprobs(21); }),
            "prefill.sampling.logprobs");
  EXPECT_EQ(refused([](auto& p) { p.clear_sampling(); }), "prefill.sampling.top_p");
  v1::EditBatch unknown;
  unknown.add_edits();
  EXPECT_EQ(wire::from_wire(unknown).error().field, "edit");
}

std::string refused_report(void (*spoil)(v1::Report&)) {
  Report good;
  good.welcome = Welcome{.kv = {.block_tokens = 16}};
  good.rows = {{.tokens = {1, 2}}};
  v1::Report message;
  wire::to_wire(good, message);
  EXPECT_TRUE(wire::from_wire(message).ok());
  spoil(message);
  const auto result = wire::from_wire(message);
  return result.ok() ? "accepted" : result.error().field;
}

TEST(Wire, impossible_reports_are_refused_naming_the_field) {
  EXPECT_EQ(
      refused_report([](auto& r) { r.mutable_welcome()->set_role(static_cast<v1::Role>(7)); }),
      "welcome.role");
  EXPECT_EQ(refused_report([](auto& r) { r.mutable_welcome()->mutable_kv()->set_block_tokens(0); }),
            "welcome.kv.block_tokens");
  EXPECT_EQ(
      refused_report([](auto& r) { r.mutable_rows(0)->set_finish(static_cast<v1::Finish>(9)); }),
      "rows.finish");
  EXPECT_EQ(refused_report([](auto& r) { r.mutable_rows(0)->add_logprobs(); }), "rows.logprobs");
  EXPECT_EQ(refused_report([](auto& r) { r.mutable_rows(0)->set_first(-1); }), "rows.first");
  EXPECT_EQ(refused_report([](auto& r) { r.add_failed()->mutable_error()->set_code(99); }),
            "failed.error.code");
  EXPECT_EQ(refused_report([](auto& r) { r.set_free_blocks(-1); }), "free_blocks");
}

TEST(Wire, deadlines_beyond_a_century_are_none_and_past_ones_are_now) {
  const auto back_of = [](int64_t ns) {
    v1::ToRouter message;
    wire::to_wire(std::vector<ToRouter>{Submit{.time_left = {ns}}}, message);
    return std::get<Submit>(wire::from_wire(message)->front()).time_left.ns;
  };
  EXPECT_EQ(back_of(INT64_MAX), INT64_MAX);
  EXPECT_EQ(back_of(INT64_MAX - 1), INT64_MAX);
  EXPECT_EQ(back_of(-5), 0);
  EXPECT_EQ(back_of(7), 7);
}

TEST(Wire, impossible_fetch_requests_are_refused_naming_the_field) {
  v1::FetchRequest message;
  wire::to_wire({{"host:1", 1, SeqId{2}, 3}, 4}, message);
  const auto back = wire::from_wire(message);
  ASSERT_TRUE(back.ok());
  EXPECT_EQ(*back, (wire::FetchRequest{{"host:1", 1, SeqId{2}, 3}, 4}));
  message.set_tokens(0);
  EXPECT_EQ(wire::from_wire(message).error().field, "tokens");
}

}  // namespace
}  // namespace fathom
