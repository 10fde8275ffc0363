// How does a test get a group of every kind? Ranks are always threads of the test; the TCP kinds
// talk through real sockets on the loopback interface.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "comm/solo.h"
#include "comm/tcp.h"
#include "comm/threads.h"

namespace fathom {

using Ranks = std::vector<std::unique_ptr<Comm>>;

inline TcpGroup tcp_settings(int processes, int process, int threads) {
  return {.processes = processes,
          .process = process,
          .threads = threads,
          .digest = "model-1",
          .join_timeout = Duration::seconds(20),
          .timeout = Duration::seconds(20)};
}

// All ranks of a TCP group of `processes` with `threads` each.
inline Ranks tcp_group(int processes, int threads, Duration timeout = Duration::seconds(20)) {
  auto listener = listen_on("127.0.0.1", 0).value();
  const int port = port_of(listener);
  std::vector<Ranks> parts(static_cast<size_t>(processes));
  std::vector<std::thread> joining;
  for (int p = 1; p < processes; ++p)
    joining.emplace_back([&, p] {
      auto settings = tcp_settings(processes, p, threads);
      settings.timeout = timeout;
      parts[static_cast<size_t>(p)] = join_tcp_group(settings, "127.0.0.1", port).value();
    });
  auto settings = tcp_settings(processes, 0, threads);
  settings.timeout = timeout;
  parts[0] = lead_tcp_group(settings, std::move(listener)).value();
  for (auto& thread : joining) thread.join();
  Ranks all;
  for (auto& part : parts)
    for (auto& rank : part) all.push_back(std::move(rank));
  return all;
}

struct Kind {
  std::string name;
  std::function<Ranks()> make;
};

inline Ranks solo_group() {
  Ranks ranks;
  ranks.push_back(make_solo());
  return ranks;
}

inline std::vector<Kind> kinds() {
  return {{"solo", solo_group},
          {"threads_1", [] { return make_thread_group(1); }},
          {"threads_2", [] { return make_thread_group(2); }},
          {"threads_4", [] { return make_thread_group(4); }},
          {"tcp_2", [] { return tcp_group(2, 1); }},
          {"tcp_4", [] { return tcp_group(4, 1); }},
          {"tcp_2x2", [] { return tcp_group(2, 2); }}};
}

// Runs fn(comm) for every rank at once.
template <class F>
void on_all(Ranks& ranks, F&& fn) {
  std::vector<std::thread> threads;
  for (auto& rank : ranks) threads.emplace_back([&fn, &rank] { fn(*rank); });
  for (auto& thread : threads) thread.join();
}

}  // namespace fathom
