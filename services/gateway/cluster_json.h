// How does what a router tells watchers look in JSON? docs/cluster.md lists every field with its
// unit; a test compares the page with what is written here.
#pragma once

#include <deque>
#include <span>
#include <string>

#include "contract/watch.h"

namespace fathom {

// The present. Levels and rates come from the last `kRateSeconds` of `seconds`; with `past`, each
// worker has its step times of the last two minutes, otherwise of the last second.
void append_cluster_view(std::string& out, const ClusterView& view,
                         const std::deque<WatchedSecond>& seconds, bool past);

// The seconds after `after`, a list for each quantity, oldest first.
void append_cluster_history(std::string& out, const std::deque<WatchedSecond>& seconds,
                            int64_t after);

void append_happening(std::string& out, const Happening& happening);

// Unix seconds with milliseconds.
void append_time(std::string& out, double unix_seconds);

// Quoted; bytes that are not UTF-8 become '?'.
void append_any_text(std::string& out, std::string_view bytes);

}  // namespace fathom
