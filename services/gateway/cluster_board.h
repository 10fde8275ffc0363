// What does a gateway know of the cluster? The router's last view, its seconds and happenings, put
// together from updates; and how all of it is said to browsers: as one JSON document, or as
// server-sent events after what somebody has. Keeps what it has when the router is lost. Bounded as
// the router's own memory is. Guarded by its owner.
#pragma once

#include <deque>
#include <optional>
#include <string>
#include <string_view>

#include "contract/watch.h"

namespace fathom {

class ClusterBoard {
 public:
  void take(ClusterUpdate update);
  void lose(std::string why, double unix_seconds);
  void rest() { lost_.reset(); }  // nobody looks, so nobody knows

  bool known() const { return view_.has_value(); }
  bool lost() const { return lost_.has_value(); }
  WatchFrom so_far() const;

  std::string state_json() const;
  // Happenings and one view with the seconds after `from`, as events with ids.
  std::string events_since(const WatchFrom& from) const;
  // The present alone: what is older is not told.
  std::string events_now() const;
  std::string lost_event() const;  // while lost

 private:
  struct Lost {
    std::string why;
    double since = 0;
  };
  void append_lost(std::string& out) const;

  std::optional<ClusterView> view_;
  std::deque<WatchedSecond> seconds_;
  std::deque<Happening> happenings_;
  std::optional<Lost> lost_;
};

// An id of an event: which second and happening its reader has. Nothing when it is not one of ours.
std::string watch_id(const WatchFrom& from);
std::optional<WatchFrom> parse_watch_id(std::string_view id);

}  // namespace fathom
