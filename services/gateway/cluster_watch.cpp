#include "gateway/cluster_watch.h"

#include <algorithm>

#include "gateway/api_error.h"

namespace fathom {
namespace {

constexpr Duration kTickEvery = Duration::seconds(1);

}  // namespace

ClusterWatch::ClusterWatch(const ClusterWatchConfig& config, HttpThreads& threads,
                           const Clock& clock)
    : config_(config), threads_(threads), clock_(clock) {
  for (int thread = 0; thread < threads.count(); ++thread) {
    loops_.push_back(std::make_unique<Loop>());
    loops_.back()->timer = threads.timer(thread, [this, thread] { tick(thread); });
  }
}

ClusterWatch::~ClusterWatch() = default;

void ClusterWatch::join(int thread) {
  {
    const std::lock_guard lock(interest_mutex_);
    ++interested_;
    WatchLink* link = link_;
    if (!wanted_.exchange(true) && link != nullptr) link->watch(true);
  }
  tick_soon(thread);
}

void ClusterWatch::leave(int thread) {
  {
    const std::lock_guard lock(interest_mutex_);
    if (--interested_ == 0) alone_since_ = clock_.now();
  }
  tick_soon(thread);
}

void ClusterWatch::rest_when_alone() {
  const std::lock_guard lock(interest_mutex_);
  if (!wanted_ || interested_ > 0 || clock_.now() - alone_since_ < config_.linger) return;
  wanted_ = false;
  if (WatchLink* link = link_; link != nullptr) link->watch(false);
  const std::lock_guard board(board_mutex_);
  live_ = false;
  board_.rest();
}

void ClusterWatch::tick_soon(int thread) {
  if (std::exchange(loop(thread).ticking, true)) return;
  loop(thread).timer->after(kTickEvery);
}

void ClusterWatch::tick(int thread) {
  Loop& here = loop(thread);
  here.ticking = false;
  const Instant now = clock_.now();
  if (std::ranges::any_of(here.waiting, [&](const Waiting& waiting) {
        return now - waiting.since >= config_.state_patience;
      }))
    answer_waiting(thread);
  for (const auto& reader : std::vector(here.readers))
    if (now - reader->written >= config_.keep_alive) tell(*reader, ": keep-alive\n\n");
  rest_when_alone();
  const bool lingering = wanted_ && here.readers.empty() && here.waiting.empty();
  if (!here.readers.empty() || !here.waiting.empty() || lingering) tick_soon(thread);
}

void ClusterWatch::answer_state(std::shared_ptr<HttpExchange> exchange,
                                std::function<void(int)> ended) {
  const int thread = exchange->thread();
  Waiting waiting{
      .exchange = std::move(exchange), .ended = std::move(ended), .since = clock_.now()};
  bool ready = false;
  {
    const std::lock_guard lock(board_mutex_);
    ready = live_ || board_.lost();  // lost: it is watched, in vain so far
  }
  join(thread);
  if (ready) {
    answer(waiting);
    return leave(thread);
  }
  waiting.exchange->on_closed([this, thread, key = waiting.exchange.get()](HttpClosed) {
    if (std::erase_if(loop(thread).waiting,
                      [&](const Waiting& other) { return other.exchange.get() == key; }) > 0)
      leave(thread);
  });
  loop(thread).waiting.push_back(std::move(waiting));
}

void ClusterWatch::answer(const Waiting& waiting) {
  ServerResponse response;
  {
    const std::lock_guard lock(board_mutex_);
    if (board_.known()) {
      response.body = board_.state_json();
      response.headers = {{"cache-control", "no-store"}};
    } else {
      response = error_response(from_status(503, "the router is not connected"));
    }
  }
  if (waiting.ended) waiting.ended(response.status);
  waiting.exchange->respond(std::move(response));
}

void ClusterWatch::answer_waiting(int thread) {
  for (const Waiting& waiting : std::exchange(loop(thread).waiting, {})) {
    answer(waiting);
    leave(thread);
  }
}

void ClusterWatch::stream_events(std::shared_ptr<HttpExchange> exchange,
                                 std::optional<WatchFrom> from) {
  if (from) {  // nobody has what has not happened
    const int64_t now = clock_.unix_seconds();
    from->second = std::min(from->second, now);
    from->happening = std::min(from->happening, (now + 1) * 1'000'000);
  }
  const int thread = exchange->thread();
  ServerResponse head{.content_type = "text/event-stream; charset=utf-8"};
  head.headers = {{"cache-control", "no-store"}, {"x-accel-buffering", "no"}};
  auto reader = std::make_shared<Reader>(
      Reader{.exchange = std::move(exchange), .told = from, .written = clock_.now()});
  // The first bytes go out at once: a reader knows that it is connected.
  head.body = ": connected\n\n";
  {
    const std::lock_guard lock(board_mutex_);
    if (live_) {
      head.body += from ? board_.events_since(*from) : board_.events_now();
      reader->told = board_.so_far();
    } else if (board_.lost()) {
      head.body += board_.lost_event();
    }
  }
  reader->exchange->start_stream(std::move(head));
  reader->exchange->on_closed([this, thread, key = reader.get()](HttpClosed) {
    if (std::erase_if(loop(thread).readers, [&](const auto& other) { return other.get() == key; }) >
        0)
      leave(thread);
  });
  loop(thread).readers.push_back(std::move(reader));
  join(thread);
  if (draining_) end_readers(thread);  // it began while we were told
}

// A reader that is gone is forgotten by on_closed, which may come later.
void ClusterWatch::tell(Reader& reader, const std::string& text) {
  reader.exchange->write(text);
  reader.written = clock_.now();
}

WatchFrom ClusterWatch::watched_so_far() {
  const std::lock_guard lock(board_mutex_);
  return board_.so_far();
}

void ClusterWatch::on_update(ClusterUpdate update) {
  auto news = std::make_shared<News>();
  {
    const std::lock_guard lock(board_mutex_);
    news->before = board_.so_far();
    board_.take(std::move(update));
    live_ = wanted_;
    news->after = board_.so_far();
    news->text = board_.events_since(news->before);
  }
  for (int thread = 0; thread < threads_.count(); ++thread)
    threads_.post(thread, [this, thread, news] { deliver(thread, news); });
}

void ClusterWatch::deliver(int thread, const std::shared_ptr<const News>& news) {
  for (const auto& reader : std::vector(loop(thread).readers)) {
    if (reader->told == news->before) {
      tell(*reader, news->text);
      reader->told = news->after;
      continue;
    }
    // It was told this already when it came, or it is behind: then it hears all it lacks.
    const bool has = reader->told && reader->told->second >= news->after.second &&
                     reader->told->happening >= news->after.happening;
    if (has) continue;
    std::string text;
    {
      const std::lock_guard lock(board_mutex_);
      text = reader->told ? board_.events_since(*reader->told) : board_.events_now();
      reader->told = board_.so_far();
    }
    tell(*reader, text);
  }
  answer_waiting(thread);
}

void ClusterWatch::on_watch_lost(const Error& why) {
  std::string text;
  {
    const std::lock_guard lock(board_mutex_);
    board_.lose(why.text(), static_cast<double>(clock_.unix_seconds()));
    live_ = false;
    text = board_.lost_event();
  }
  for (int thread = 0; thread < threads_.count(); ++thread)
    threads_.post(thread, [this, thread, text] { tell_lost(thread, text); });
}

void ClusterWatch::tell_lost(int thread, const std::string& text) {
  for (const auto& reader : std::vector(loop(thread).readers)) tell(*reader, text);
  answer_waiting(thread);
}

void ClusterWatch::end_readers(int thread) {
  for (const auto& reader : std::exchange(loop(thread).readers, {})) {
    reader->exchange->finish(": the gateway is draining\n\n");
    leave(thread);
  }
}

void ClusterWatch::drain() {
  draining_ = true;
  for (int thread = 0; thread < threads_.count(); ++thread)
    threads_.post(thread, [this, thread] {
      end_readers(thread);
      answer_waiting(thread);
    });
}

}  // namespace fathom
