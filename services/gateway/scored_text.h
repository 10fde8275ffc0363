// Whose log-probabilities does a client see, and when? Those of the tokens of the visible answer,
// as soon as all their text is shown; not those of thoughts and of the markup of tool calls. Places
// are bytes in everything that was decoded.
#pragma once

#include <cstdint>
#include <deque>
#include <vector>

#include "contract/sampling.h"

namespace fathom {

struct ScoredToken {
  TokenId token = 0;
  TokenLogprob logprob;
};

class ScoredText {
 public:
  void add(ScoredToken scored, int64_t begin);    // its text begins here and is still held back
  void decoded(int64_t end);                      // of all tokens so far
  void visible(int64_t begin, int64_t size);      // this is answer text; in order
  void certain(int64_t end) { certain_ = end; }   // before it nothing more becomes visible
  void shown(int64_t bytes) { shown_ += bytes; }  // of the visible text went to the client
  // `all`: the end; a token that is shown in part counts as shown.
  void release(bool all, std::vector<ScoredToken>& out);
  bool empty() const { return waiting_.empty(); }

 private:
  struct Waiting {
    ScoredToken scored;
    int64_t begin, end;  // end -1: not known yet
  };
  struct Piece {
    int64_t begin, end;
    int64_t before;  // visible bytes before it
  };
  // How much of the visible text is shown once the first byte / all of a token is; -1: it has none.
  struct Reach {
    int64_t first = -1, all = -1;
  };
  Reach reach(const Waiting& token) const;

  std::deque<Waiting> waiting_;
  std::deque<Piece> pieces_;
  int64_t visible_ = 0;
  int64_t certain_ = 0;
  int64_t shown_ = 0;
};

}  // namespace fathom
