#include "kv/divided_pool.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace fathom {
namespace {

// `count` pieces of `width` bytes, the first bytes of rows as far apart as the strides say.
struct Copy {
  size_t count, width;
  void run(std::byte* to, size_t to_stride, const std::byte* from, size_t from_stride) const {
    for (size_t i = 0; i < count; ++i)
      std::memcpy(to + i * to_stride, from + i * from_stride, width);
  }
};

}  // namespace

KvDivision divide_kv(std::span<const RankKv> ranks, int32_t heads) {
  KvDivision out;
  for (const RankKv& rank : ranks) {
    CHECK(rank.pool >= 0 && rank.heads.first >= 0 && rank.heads.end() <= heads);
    const auto pool = static_cast<size_t>(rank.pool);
    if (out.held.size() <= pool) out.held.resize(pool + 1);
    KvHeads& held = out.held[pool];
    if (rank.heads.count == 0) continue;
    if (held.count == 0) {
      held = rank.heads;
      continue;
    }
    const int32_t end = std::max(held.end(), rank.heads.end());
    held.first = std::min(held.first, rank.heads.first);
    held.count = end - held.first;
  }
  for (int32_t at = 0; at < heads;) {
    // The rank that goes on furthest from here.
    const RankKv* best = nullptr;
    for (const RankKv& rank : ranks)
      if (rank.heads.first <= at && rank.heads.end() > at &&
          (best == nullptr || rank.heads.end() > best->heads.end()))
        best = &rank;
    CHECK(best != nullptr, "no rank writes key-value head " + std::to_string(at));
    const int32_t more = best->heads.end() - at;
    if (!out.sources.empty() && out.sources.back().pool == best->pool)
      out.sources.back().heads.count += more;
    else
      out.sources.push_back({best->pool, {at, more}});
    at += more;
  }
  return out;
}

DividedPool::DividedPool(KvLayout layout, int32_t heads, KvDivision division)
    : layout_(std::move(layout)), heads_(heads), division_(std::move(division)) {
  for (const KvHeads& held : division_.held) {
    KvLayout& own = layouts_.emplace_back(layout_);
    if (held.count == heads_) continue;
    own.width = layout_.width / heads_ * held.count;
    own.block_bytes = layout_.block_bytes / heads_ * held.count;
  }
}

Status DividedPool::start(int32_t blocks, std::span<Device* const> devices) {
  CHECK(devices.size() == layouts_.size());
  for (size_t i = 0; i < layouts_.size(); ++i) {
    FATHOM_TRY(KvPool pool, KvPool::make(layouts_[i], blocks, *devices[i]));
    FATHOM_CHECKED(devices[i]->wait());
    pools_.push_back(std::move(pool));
  }
  return {};
}

DividedPool::Rows DividedPool::rows() const {
  const size_t count =
      size_t{2} * static_cast<size_t>(layout_.layers) * static_cast<size_t>(layout_.block_tokens);
  return {count, static_cast<size_t>(layout_.block_bytes) / (count * static_cast<size_t>(heads_))};
}

Status DividedPool::read(BlockIndex block, std::span<std::byte> out) const {
  if (division_.sources.size() == 1) return pool(division_.sources.front().pool).read(block, out);
  CHECK(out.size() == static_cast<size_t>(layout_.block_bytes));
  const auto [count, head_bytes] = rows();
  std::vector<std::byte> part;
  int32_t in_part = -1;  // whose block is in `part`
  for (const auto& [from, heads] : division_.sources) {
    if (in_part != from) {
      part.resize(static_cast<size_t>(pool(from).layout().block_bytes));
      FATHOM_CHECKED(pool(from).read(block, part));
      in_part = from;
    }
    const auto at = [&](int32_t head) { return static_cast<size_t>(head) * head_bytes; };
    Copy{count, at(heads.count)}.run(out.data() + at(heads.first), at(heads_),
                                     part.data() + at(heads.first - held(from).first),
                                     at(held(from).count));
  }
  return {};
}

Status DividedPool::write(BlockIndex block, std::span<const std::byte> in) {
  CHECK(in.size() == static_cast<size_t>(layout_.block_bytes));
  std::vector<std::byte> part;
  for (int32_t i = 0; i < pools(); ++i) {
    KvPool& to = pools_[static_cast<size_t>(i)];
    if (whole(i)) {
      FATHOM_CHECKED(to.write(block, in));
      continue;
    }
    const auto [count, head_bytes] = rows();
    const auto at = [&](int32_t head) { return static_cast<size_t>(head) * head_bytes; };
    part.resize(static_cast<size_t>(to.layout().block_bytes));
    Copy{count, at(held(i).count)}.run(part.data(), at(held(i).count),
                                       in.data() + at(held(i).first), at(heads_));
    FATHOM_CHECKED(to.write(block, part));
  }
  return {};
}

}  // namespace fathom
