#include "model/prefault.h"

#include <algorithm>
#include <atomic>
#include <mutex>
#include <thread>

namespace fathom {
namespace {

using Extent = std::span<const std::byte>;

// One read: long enough for a disk, short enough for many threads and a smooth progress.
constexpr size_t kPiece = size_t{16} << 20;
// Parts closer than this are read as one.
constexpr std::ptrdiff_t kGap = std::ptrdiff_t{64} << 10;
// Smaller files are not worth a look at their pages.
constexpr size_t kRenewMin = size_t{64} << 20;
constexpr size_t kProbes = 8;

struct FileExtents {
  const MappedFile* file = nullptr;
  std::vector<Extent> extents;  // rising, apart
};

void merge(std::vector<Extent>& extents) {
  std::ranges::sort(extents, {}, [](const Extent& e) { return e.data(); });
  size_t kept = 0;
  for (const Extent& e : extents) {
    if (e.empty()) continue;
    if (kept > 0) {
      Extent& last = extents[kept - 1];
      const std::byte* end = last.data() + last.size();
      if (e.data() - end <= kGap) {
        if (e.data() + e.size() > end)
          last = {last.data(), static_cast<size_t>(e.data() + e.size() - last.data())};
        continue;
      }
    }
    extents[kept++] = e;
  }
  extents.resize(kept);
}

std::vector<FileExtents> by_file(const Checkpoint& checkpoint, const std::vector<Extent>& extents) {
  std::vector<FileExtents> out;
  for (const MappedFile& map : checkpoint.maps()) {
    FileExtents mine{&map, {}};
    const std::byte* begin = map.bytes().data();
    const std::byte* end = begin + map.bytes().size();
    for (const Extent& e : extents)
      if (e.data() >= begin && e.data() < end) mine.extents.push_back(e);
    merge(mine.extents);
    if (!mine.extents.empty()) out.push_back(std::move(mine));
  }
  return out;
}

size_t bytes_of(const FileExtents& file) {
  size_t total = 0;
  for (const Extent& e : file.extents) total += e.size();
  return total;
}

// Some whole huge pages, spread over what will be read.
std::vector<Extent> probes_of(const FileExtents& file) {
  std::vector<Extent> pages;
  const std::byte* start = file.file->bytes().data();  // a multiple of kHugePage
  for (const Extent& e : file.extents) {
    auto first = (static_cast<size_t>(e.data() - start) + kHugePage - 1) / kHugePage;
    const auto last = static_cast<size_t>(e.data() + e.size() - start) / kHugePage;
    for (; first < last; ++first) pages.emplace_back(start + first * kHugePage, kHugePage);
  }
  std::vector<Extent> out;
  for (size_t i = 0; i < std::min(kProbes, pages.size()); ++i)
    out.push_back(pages[i * pages.size() / kProbes]);
  return out;
}

Status read_all(const MappedFile& file, const std::vector<Extent>& parts) {
  for (const Extent& part : parts) FATHOM_CHECKED(file.read_in(part));
  return {};
}

// Drops what the system's cache holds in small pages, if reading it again gives huge ones.
Status renew_small_pages(const FileExtents& f) {
  const auto probes = probes_of(f);
  const uint64_t before = f.file->huge_bytes();
  const auto gained = [&] { return (f.file->huge_bytes() - before) / kHugePage; };
  FATHOM_CHECKED(read_all(*f.file, probes));
  const uint64_t as_found = gained();
  if (4 * as_found >= 3 * probes.size()) return {};  // a few small ones are not worth a reading
  for (const Extent& probe : probes) f.file->forget(probe);
  FATHOM_CHECKED(read_all(*f.file, probes));
  if (gained() <= as_found + (probes.size() - as_found) / 2) return {};  // it does not help here
  for (const Extent& e : f.extents) f.file->forget(e);
  return {};
}

Status prepare(const FileExtents& f) {
  for (const Extent& e : f.extents) f.file->want_huge_pages(e);
  if (bytes_of(f) < kRenewMin) return {};
  f.file->lock();
  Status done = renew_small_pages(f);
  f.file->unlock();
  return done;
}

struct Piece {
  const MappedFile* file = nullptr;
  Extent part;
};

std::vector<Piece> pieces_of(const std::vector<FileExtents>& files) {
  std::vector<Piece> out;
  for (const FileExtents& f : files)
    for (Extent left : f.extents)
      while (!left.empty()) {
        const size_t size = std::min(kPiece, left.size());
        out.push_back({f.file, left.first(size)});
        left = left.subspan(size);
      }
  return out;
}

// Threads take the pieces in turn; the first failure ends the reading.
class Reading {
 public:
  Reading(std::vector<Piece> pieces, const LoadProgress& progress)
      : pieces_(std::move(pieces)), progress_(progress) {
    for (const Piece& piece : pieces_) total_ += piece.part.size();
  }
  Status run(int32_t threads) {
    std::vector<std::jthread> readers;
    for (int32_t i = 1; i < threads; ++i) readers.emplace_back([this] { read(); });
    read();
    readers.clear();
    return status_;
  }
  uint64_t total() const { return total_; }

 private:
  void read() {
    for (size_t i = next_++; i < pieces_.size(); i = next_++) {
      Status done = pieces_[i].file->read_in(pieces_[i].part);
      const std::lock_guard lock(mutex_);
      if (!status_.ok()) return;
      if (!done.ok()) {
        status_ = std::move(done);
        return;
      }
      done_ += pieces_[i].part.size();
      if (progress_) progress_(done_, total_);
    }
  }

  const std::vector<Piece> pieces_;
  const LoadProgress& progress_;
  std::atomic<size_t> next_ = 0;
  std::mutex mutex_;
  uint64_t done_ = 0, total_ = 0;
  Status status_;
};

}  // namespace

Result<Prefaulted> prefault(const Checkpoint& checkpoint, const std::vector<Extent>& extents,
                            const PrefaultOptions& options, const LoadProgress& progress) {
  const std::vector<FileExtents> files = by_file(checkpoint, extents);
  if (options.huge_pages)
    for (const FileExtents& f : files) FATHOM_CHECKED(prepare(f));
  Reading reading(pieces_of(files), progress);
  FATHOM_CHECKED(reading.run(options.threads));
  Prefaulted out{.bytes = reading.total()};
  for (const FileExtents& f : files) out.huge_bytes += f.file->huge_bytes();
  return out;
}

}  // namespace fathom
