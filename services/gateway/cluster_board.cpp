#include "gateway/cluster_board.h"

#include <algorithm>
#include <charconv>

#include "gateway/cluster_json.h"
#include "gateway/json_text.h"

namespace fathom {
namespace {

// Adds what is newer, drops what is too much.
template <class T>
void extend(std::deque<T>& kept, std::vector<T>&& more, size_t most) {
  for (T& item : more)
    if (kept.empty() || item.number > kept.back().number) kept.push_back(std::move(item));
  while (kept.size() > most) kept.pop_front();
}

}  // namespace

void ClusterBoard::take(ClusterUpdate update) {
  // A router that started again with an earlier clock would never be heard: forget the other's.
  const bool another = view_ && view_->started != update.view.started;
  if (another && !update.seconds.empty() && !seconds_.empty() &&
      update.seconds.front().number + kWatchedSeconds < seconds_.back().number) {
    seconds_.clear();
    happenings_.clear();
  }
  view_ = std::move(update.view);
  extend(seconds_, std::move(update.seconds), kWatchedSeconds);
  extend(happenings_, std::move(update.happenings), kWatchedHappenings);
  lost_.reset();
}

void ClusterBoard::lose(std::string why, double unix_seconds) {
  if (!lost_) lost_ = Lost{.why = std::move(why), .since = unix_seconds};
}

WatchFrom ClusterBoard::so_far() const {
  return {.second = seconds_.empty() ? 0 : seconds_.back().number,
          .happening = happenings_.empty() ? 0 : happenings_.back().number};
}

void ClusterBoard::append_lost(std::string& out) const {
  out += "{\"since\":";
  append_time(out, lost_->since);
  out += ",\"why\":";
  append_any_text(out, lost_->why);
  out += '}';
}

std::string ClusterBoard::state_json() const {
  std::string out = "{\"id\":" + json_quoted(watch_id(so_far())) + ",\"lost\":";
  if (lost_) {
    append_lost(out);
  } else {
    out += "null";
  }
  out += ",\"view\":";
  append_cluster_view(out, *view_, seconds_, /*past=*/true);
  out += ",\"history\":";
  append_cluster_history(out, seconds_, 0);
  out += ",\"events\":[";
  for (size_t i = 0; i < happenings_.size(); ++i) {
    if (i > 0) out += ',';
    append_happening(out, happenings_[i]);
  }
  return out + "]}";
}

std::string ClusterBoard::events_since(const WatchFrom& from) const {
  std::string out;
  WatchFrom told = from;
  for (const Happening& happening : happenings_) {
    if (happening.number <= from.happening) continue;
    told.happening = happening.number;
    out += "event: happened\nid: " + watch_id(told) + "\ndata: ";
    append_happening(out, happening);
    out += "\n\n";
  }
  out += "event: view\nid: " + watch_id(so_far()) + "\ndata: {\"view\":";
  append_cluster_view(out, *view_, seconds_, /*past=*/false);
  out += ",\"history\":";
  append_cluster_history(out, seconds_, from.second);
  return out + "}\n\n";
}

std::string ClusterBoard::events_now() const {
  WatchFrom present = so_far();
  --present.second;  // the last second belongs to the present
  return events_since(present);
}

std::string ClusterBoard::lost_event() const {
  std::string out = "event: lost\ndata: ";
  append_lost(out);
  return out + "\n\n";
}

std::string watch_id(const WatchFrom& from) {
  return std::to_string(from.second) + "-" + std::to_string(from.happening);
}

std::optional<WatchFrom> parse_watch_id(std::string_view id) {
  WatchFrom out;
  const char* const end = id.data() + id.size();
  const auto second = std::from_chars(id.data(), end, out.second);
  if (second.ec != std::errc() || second.ptr == end || *second.ptr != '-') return std::nullopt;
  const auto happening = std::from_chars(second.ptr + 1, end, out.happening);
  if (happening.ec != std::errc() || happening.ptr != end) return std::nullopt;
  if (out.second < 0 || out.happening < 0) return std::nullopt;
  return out;
}

}  // namespace fathom
