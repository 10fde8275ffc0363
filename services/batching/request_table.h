// Which request does a SeqId or a client's id mean? Owns all requests. A SeqId names a slot of this
// table and the number of the placement, so a lookup is one array access and an id of an older
// placement finds nothing.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <unordered_map>
#include <vector>

#include "base/philox.h"
#include "batching/sequence.h"

namespace fathom {

class RequestTable {
 public:
  static constexpr int kSlotBits = 20;  // a million requests at once
  static constexpr int kPlacementBits = 32;

  explicit RequestTable(uint64_t epoch) : salt_(philox_seed(epoch, 0) >> (64 - kSaltBits)) {}

  bool full() const { return free_.empty() && slots_.size() >= (size_t{1} << kSlotBits); }

  // A new request under this key; the caller has checked full() and find().
  Request& add(const RequestKey& key) {
    uint32_t slot = static_cast<uint32_t>(slots_.size());
    if (free_.empty()) {
      slots_.emplace_back();
    } else {
      slot = free_.back();
      free_.pop_back();
    }
    slots_[slot] = std::make_unique<Request>();
    Request& request = *slots_[slot];
    request.key = key;
    request.slot = slot;
    request.arrival = ++arrivals_;
    by_gateway_[key.gateway].emplace(key.id, &request);
    ++size_;
    return request;
  }

  void erase(Request& request) {
    const uint32_t slot = request.slot;
    auto gateway = by_gateway_.find(request.key.gateway);
    gateway->second.erase(request.key.id);
    if (gateway->second.empty()) by_gateway_.erase(gateway);
    slots_[slot].reset();
    free_.push_back(slot);
    --size_;
  }

  Request* find(const RequestKey& key) const {
    const auto gateway = by_gateway_.find(key.gateway);
    if (gateway == by_gateway_.end()) return nullptr;
    const auto it = gateway->second.find(key.id);
    return it == gateway->second.end() ? nullptr : it->second;
  }

  Request* find(SeqId seq) const {
    const size_t slot = seq.value & ((uint64_t{1} << kSlotBits) - 1);
    if (slot >= slots_.size() || !slots_[slot]) return nullptr;
    Request* request = slots_[slot].get();
    return request->placed() && request->place.seq == seq ? request : nullptr;
  }

  // An id for the next placement of this request: epoch's salt, placement number, slot.
  SeqId next_seq(const Request& request) {
    const uint64_t number = ++placements_ & ((uint64_t{1} << kPlacementBits) - 1);
    return {(salt_ << (kPlacementBits + kSlotBits)) | (number << kSlotBits) | request.slot};
  }

  // In order of arrival, because what is done to them shows in the order of edits.
  std::vector<Request*> of_gateway(GatewayId gateway) const {
    std::vector<Request*> found;
    if (const auto it = by_gateway_.find(gateway); it != by_gateway_.end()) {
      for (const auto& [id, request] : it->second) found.push_back(request);
    }
    std::sort(found.begin(), found.end(),
              [](const Request* a, const Request* b) { return a->arrival < b->arrival; });
    return found;
  }

  template <class Visit>
  void each(Visit&& visit) const {
    for (const auto& slot : slots_) {
      if (slot) visit(*slot);
    }
  }

  size_t size() const { return size_; }

 private:
  static constexpr int kSaltBits = 64 - kPlacementBits - kSlotBits;

  uint64_t salt_ = 0;
  uint64_t arrivals_ = 0;
  uint64_t placements_ = 0;
  size_t size_ = 0;
  std::vector<std::unique_ptr<Request>> slots_;
  std::vector<uint32_t> free_;
  std::unordered_map<GatewayId, std::unordered_map<RequestId, Request*>> by_gateway_;
};

}  // namespace fathom
