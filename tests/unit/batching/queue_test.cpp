// Who is next, who must wait, and who is sent away? Tenants are served alike, large requests do not
// starve, and the queue has an end.
#include <gmock/gmock.h>

#include <map>

#include "tests/unit/batching/stage.h"

namespace fathom {
namespace {

Submit of_tenant(uint64_t id, const char* tenant, int32_t prompt = 16, int32_t max_tokens = 16) {
  Submit submit = submit_of(id, prompt, max_tokens);
  submit.tenant = tenant;
  return submit;
}

Submit of_user(uint64_t id, const char* tenant, const std::string& user, int32_t prompt = 16) {
  Submit submit = of_tenant(id, tenant, prompt);
  submit.user = user;
  return submit;
}

TEST(queue, refuses_beyond_its_bounds_with_a_time_to_come_back) {
  Stage stage({.queue_max = 2, .retry_after = Duration::seconds(3)});
  for (uint64_t id : {1, 2}) stage.submit(submit_of(id, 10, 10));
  EXPECT_TRUE(stage.take_events().empty());
  stage.submit(submit_of(3, 10, 10));
  const Finished refused = stage.only_finished();
  EXPECT_EQ(refused.error.code, Code::resource_exhausted);
  EXPECT_EQ(refused.error.field, "queue_max");
  EXPECT_EQ(refused.retry_after, Duration::seconds(3));
  stage.cancel(1);
  stage.take_events();
  stage.submit(submit_of(4, 10, 10));
  EXPECT_TRUE(stage.take_events().empty());
}

TEST(queue, is_bounded_in_tokens_but_always_takes_one) {
  Stage stage({.queue_tokens_max = 30});
  stage.submit(submit_of(1, 40, 10));
  EXPECT_TRUE(stage.take_events().empty());
  stage.submit(submit_of(2, 1, 10));
  EXPECT_EQ(stage.only_finished().error.field, "queue_tokens_max");
}

TEST(queue, is_bounded_per_tenant) {
  Stage stage({.tenant_queue_max = 1});
  stage.submit(of_tenant(1, "a"));
  stage.submit(of_tenant(2, "a"));
  EXPECT_EQ(stage.only_finished().error.field, "tenant_queue_max");
  stage.submit(of_tenant(3, "b"));
  EXPECT_TRUE(stage.take_events().empty());
}

TEST(queue, requests_set_aside_count_for_their_tenant) {
  Stage stage({.tenant_queue_max = 1});
  const WorkerId large = stage.up(1, Role::both);
  Welcome small = welcome_of(2, Role::both);
  small.blocks = 4;
  stage.up(2, small);
  stage.down(large);
  stage.submit(of_tenant(1, "a", 100));
  EXPECT_TRUE(stage.take_events().empty())
      << "a worker that can hold it was here and may come back";
  stage.submit(of_tenant(2, "a", 100));
  EXPECT_EQ(stage.only_finished().error.field, "tenant_queue_max");
  const WorkerId back = stage.up(3, Role::both);
  EXPECT_EQ(stage.take<Prefill>(back).size(), 1u);
}

TEST(queue, a_request_that_fits_nowhere_is_refused_at_once_naming_the_prompt) {
  Stage stage;
  stage.up(1, Role::both);
  stage.submit(submit_of(1, 512, 1));
  const Finished refused = stage.only_finished();
  EXPECT_EQ(refused.error.code, Code::invalid_argument);
  EXPECT_EQ(refused.error.field, "prompt");
  stage.submit(submit_of(2, 511, 1));
  EXPECT_TRUE(stage.take_events().empty());
}

TEST(queue, malformed_requests_are_refused) {
  Stage stage;
  Submit empty{.id = {1}};
  stage.submit(empty);
  EXPECT_EQ(stage.only_finished().error.field, "prompt");
  Submit wrong = submit_of(2, 4, 4);
  wrong.prompt_tokens = 5;
  stage.submit(wrong);
  EXPECT_EQ(stage.only_finished().error.field, "prompt");
  stage.submit(submit_of(3, 4, -1));
  EXPECT_EQ(stage.only_finished().error.field, "max_tokens");
}

TEST(queue, a_duplicate_does_not_disturb_the_first) {
  Stage stage;
  const WorkerId w = stage.up(1, Role::both);
  stage.submit(submit_of(1, 10, 10));
  const SeqId seq = stage.only<Prefill>(w).seq;
  stage.submit(submit_of(1, 10, 10));
  EXPECT_EQ(stage.only_finished().error.code, Code::already_exists);
  stage.submit(submit_of(1, 10, 10), 2);
  EXPECT_EQ(stage.take<Prefill>(w).size(), 1u) << "another gateway has its own numbers";
  stage.rows(w, {row_of(seq, 0, {1})});
  EXPECT_EQ(stage.events<Tokens>().size(), 1u);
}

// A worker that runs one sequence at a time; each is answered with `output` tokens at once. Counts
// admissions by tenant until `rounds` were served.
struct OneByOne {
  OneByOne() {
    Welcome one = welcome_of(1, Role::both);
    one.rows_max = 1;
    w = stage.up(1, one);
  }
  // The tenant of each request is its id divided by 1000.
  uint64_t serve(int32_t output) {
    const Prefill prefill = stage.only<Prefill>(w);
    std::vector<TokenId> tokens(static_cast<size_t>(output), 1);
    stage.rows(w, {row_of(prefill.seq, 0, tokens, Finish::stop)});
    const auto events = stage.events<Tokens>();
    return events.empty() ? 0 : events.back().id.value / 1000;
  }
  Stage stage;
  WorkerId w;
};

TEST(queue, a_tenant_that_floods_does_not_delay_another) {
  OneByOne s;
  for (uint64_t i = 0; i < 50; ++i) s.stage.submit(of_tenant(1000 + i, "flood"));
  for (int i = 0; i < 5; ++i) EXPECT_EQ(s.serve(4), 1u);
  s.stage.submit(of_tenant(2000, "light"));
  int before_light = 0;
  while (s.serve(4) != 2) ++before_light;
  EXPECT_LE(before_light, 1) << "only what was running already";
}

TEST(queue, backlogged_tenants_get_equal_service_whatever_their_sizes) {
  OneByOne s;
  for (uint64_t i = 0; i < 200; ++i) {
    s.stage.submit(of_tenant(1000 + i, "short", 4, 16));
    s.stage.submit(of_tenant(2000 + i, "long", 64, 16));
  }
  std::map<uint64_t, int64_t> service;
  for (int i = 0; i < 120; ++i) {
    const uint64_t tenant = s.serve(8);
    service[tenant] += (tenant == 1 ? 4 : 64) + 2 * 8;
  }
  // VTC's bound: within twice the largest single charge of each other.
  EXPECT_LE(std::abs(service[1] - service[2]), 2 * (64 + 16));
  EXPECT_GT(service[1], 1000);
}

TEST(queue, a_tenant_that_was_away_has_saved_nothing) {
  OneByOne s;
  s.stage.submit(of_tenant(2000, "away"));
  s.serve(1);
  for (uint64_t i = 0; i < 60; ++i) s.stage.submit(of_tenant(1000 + i, "busy"));
  for (int i = 0; i < 30; ++i) s.serve(8);
  for (uint64_t i = 1; i < 20; ++i) s.stage.submit(of_tenant(2000 + i, "away"));
  int in_a_row = 0;
  int longest = 0;
  for (int i = 0; i < 20; ++i) {
    in_a_row = s.serve(8) == 2 ? in_a_row + 1 : 0;
    longest = std::max(longest, in_a_row);
  }
  EXPECT_LE(longest, 2);
}

TEST(queue, many_users_of_a_tenant_get_no_more_than_its_share) {
  OneByOne s;
  for (uint64_t i = 0; i < 100; ++i) {
    s.stage.submit(of_user(1000 + i, "many", std::to_string(i)));
    s.stage.submit(of_user(2000 + i, "one", "only"));
  }
  std::map<uint64_t, int> served;
  for (int i = 0; i < 100; ++i) ++served[s.serve(4)];
  EXPECT_NEAR(served[1], 50, 4);
  EXPECT_NEAR(served[2], 50, 4);
}

TEST(queue, a_user_that_floods_does_not_delay_another_of_its_tenant) {
  OneByOne s;
  for (uint64_t i = 0; i < 50; ++i) s.stage.submit(of_user(1000 + i, "team", "flood"));
  for (int i = 0; i < 5; ++i) EXPECT_EQ(s.serve(4), 1u);
  s.stage.submit(of_user(2000, "team", "light"));
  int before_light = 0;
  while (s.serve(4) != 2) ++before_light;
  EXPECT_LE(before_light, 2) << "what was running already, and at most one more";
}

TEST(queue, users_of_a_tenant_divide_it_by_what_they_are_served) {
  OneByOne s;
  for (uint64_t i = 0; i < 200; ++i) {
    s.stage.submit(of_user(1000 + i, "team", "short", 4));
    s.stage.submit(of_user(2000 + i, "team", "long", 64));
  }
  std::map<uint64_t, int64_t> prompts;
  for (int i = 0; i < 85; ++i) {
    const uint64_t user = s.serve(1);
    prompts[user] += user == 1 ? 4 : 64;
  }
  EXPECT_LE(std::abs(prompts[1] - prompts[2]), 2 * 64);
}

TEST(queue, one_users_requests_keep_their_order) {
  OneByOne s;
  for (uint64_t i = 0; i < 30; ++i)
    s.stage.submit(of_user((i + 1) * 1000, "team", "one", i % 2 == 0 ? 64 : 4));
  for (uint64_t i = 0; i < 30; ++i) EXPECT_EQ(s.serve(1), i + 1);
}

TEST(queue, new_tenants_without_end_do_not_starve_an_old_request) {
  OneByOne s;
  // A heavy tenant, far ahead in service, with one request left among endless newcomers.
  s.stage.submit(of_tenant(1000, "heavy", 400, 16));
  s.stage.submit(of_tenant(1001, "heavy", 400, 16));
  uint64_t newcomer = 5000;
  const auto newcomers = [&](int count) {
    for (int i = 0; i < count; ++i, ++newcomer) {
      s.stage.submit(of_tenant(newcomer * 1000, std::to_string(newcomer).c_str()));
    }
  };
  newcomers(3);
  int served = 0;
  for (int heavy = 0; heavy < 2 && served < 200; ++served) {
    newcomers(1);
    heavy += s.serve(1) == 1;
  }
  EXPECT_LE(served, 33) << "every sixteenth is the oldest";
}

TEST(queue, small_requests_pass_a_large_one_only_so_often) {
  Stage stage;
  Welcome tight = welcome_of(1, Role::both);
  tight.blocks = 16;
  const WorkerId w = stage.up(1, tight);
  uint64_t id = 1;
  const auto small = [&] { stage.submit(submit_of(id++, 30, 2)); };
  for (int i = 0; i < 7; ++i) small();
  std::vector<Prefill> running = stage.take<Prefill>(w);
  const uint64_t large = id++;
  stage.submit(submit_of(large, 200, 40));
  int passed = 0;
  for (int round = 0; round < 100; ++round) {
    small();
    ASSERT_FALSE(running.empty());
    stage.rows(w, {row_of(running.front().seq, 0, {1}, Finish::stop)});
    running.erase(running.begin());
    for (Prefill& prefill : stage.take<Prefill>(w)) {
      if (prefill.tokens.size() == 200) {
        EXPECT_GT(passed, 4) << "it did not hold up the others at once";
        EXPECT_LE(passed, 24);
        return;
      }
      ++passed;
      running.push_back(std::move(prefill));
    }
  }
  FAIL() << "the large request starved";
}

}  // namespace
}  // namespace fathom
