#include "tests/gpu/emulator/races.h"

#include <cstdio>

#include "tests/gpu/emulator/grid.h"

extern "C" const char __executable_start;  // where the program begins in memory

namespace emulated {
namespace {

uint32_t threads_of_block(const Crew& crew) {
  return static_cast<uint32_t>(crew.blocks.front()->grid->threads());
}

uint32_t offset(const void* code) {
  return static_cast<uint32_t>(static_cast<const char*>(code) - &__executable_start);
}

std::string at_code(uint32_t code) {
  char text[16];
  std::snprintf(text, sizeof(text), "0x%x", code);
  return text;
}

const char* does(Access how) {
  return how == Access::read ? " reads" : how == Access::write ? " stores" : " changes";
}

View view_of(const Clock& clock) { return {clock.known.get(), clock.self, clock.own_shown}; }

}  // namespace

Races::Races(Crew& crew)
    : crew_(crew),
      told_(crew.threads.size(), threads_of_block(crew)),
      asked_(crew.threads.size(), threads_of_block(crew)),
      nothing_(std::make_shared<Known>()) {
  for (size_t b = 0; b < crew.blocks.size(); ++b) shadows_.push_back(std::make_unique<Shadow>());
}
Races::~Races() = default;

void Races::begin() {
  for (auto& shadow : shadows_) shadow->clear();
  told_.clear();
  asked_.clear();
  barriers_.clear();
  products_.clear();
  for (Named& b : besides_) b.step = {};
  for (size_t t = 0; t < crew_.threads.size(); ++t)
    crew_.threads[t]->clock.restart(static_cast<Actor>(t), nothing_);
}

// ---- touches ----

void Races::check(uint32_t block, uint32_t place, uint32_t bytes, const Touch& touch,
                  const View& view) {
  const auto earlier = shadows_[block]->touch(place, bytes, touch, view);
  if (!earlier) return;
  const char* missing =
      view.comes_after(*earlier, false) ? "no fence.proxy.async" : "no barrier and no wait";
  fault("a race at bytes " + std::to_string(place) + " to " + std::to_string(place + bytes) +
        " of a block's shared memory: " + who(touch.actor) + does(touch.how) + " (" +
        at_code(touch.code) + ") behind what " + who(earlier->actor) + does(earlier->how) + " (" +
        at_code(earlier->code) + "), and " + missing + " lies between");
}

void Races::check(const void* at, uint32_t bytes, const Touch& touch, const View& view) {
  for (size_t b = 0; b < crew_.blocks.size(); ++b) {
    const std::byte* memory = crew_.blocks[b]->memory->bytes;
    const auto place = static_cast<size_t>(static_cast<const std::byte*>(at) - memory);
    if (place >= kSharedRoom) continue;
    check(static_cast<uint32_t>(b), static_cast<uint32_t>(place), bytes, touch, view);
    return;
  }
}

void Races::touch(const void* at, uint32_t bytes, Access how, const void* code) {
  const Clock& clock = now->clock;
  check(at, bytes, {.actor = clock.self, .how = how, .epoch = clock.own, .code = offset(code)},
        view_of(clock));
}

void Races::touch(const void* at, uint32_t bytes, Access how, const Beside& beside) {
  check(at, bytes,
        {.actor = beside.actor,
         .how = how,
         .async = beside.async,
         .epoch = beside.epoch,
         .code = offset(now->said)},
        view_of(now->clock));
}

void Races::touch_global(const void* at, size_t bytes, Access how, const void* code) {
  const GlobalShadow::Touch touch = {how, static_cast<uint32_t>(crew_.cluster), offset(code)};
  const auto* const first = static_cast<const std::byte*>(at);
  GlobalShadow& shadow = now->block->grid->global_shadow();
  const auto earlier = shadow.touch(first, bytes, touch);
  if (!earlier) return touch_peers(shadow.gpu_of(first), touch);
  fault("a race in global memory: " + who(now->clock.self) + does(how) + " (" +
        at_code(touch.code) + ") what " + who_of_cluster(earlier->cluster) + does(earlier->how) +
        " (" + at_code(earlier->code) + "), and nothing puts blocks of a kernel in order");
}

// What a block stores it hands over to another GPU by a word; what it loads from there it was
// handed by one.
void Races::touch_peers(int gpu, const GlobalShadow::Touch& touch) {
  if (gpu < 0) return;
  const Clock& clock = now->clock;
  if (touch.how == Access::write) {
    if (const auto word = told_.touch(clock, touch.code))
      apart(" stores", clock.self, touch.code, " tells another GPU", word->actor, word->code);
  } else if (touch.how == Access::read && gpu != now->block->grid->shape().gpu) {
    if (const auto word = asked_.touch(clock, touch.code))
      apart(" loads from another GPU", clock.self, touch.code, " hears of it", word->actor,
            word->code);
  }
}

void Races::releases(const void* code) {
  if (const auto store = told_.word(now->clock, offset(code)))
    apart(" stores", store->actor, store->code, " tells another GPU", now->clock.self,
          offset(code));
}
void Races::acquires(const void* code) {
  if (const auto load = asked_.word(now->clock, offset(code)))
    apart(" loads from another GPU", load->actor, load->code, " hears of it", now->clock.self,
          offset(code));
}

void Races::apart(const char* touched, Actor toucher, uint32_t touch_code, const char* word,
                  Actor teller, uint32_t word_code) const {
  fault("a race in global memory: " + who(toucher) + touched + " (" + at_code(touch_code) + "), " +
        who(teller) + word + " (" + at_code(word_code) +
        ") by a word, and no barrier lies between");
}

void Races::read_operand(uint32_t place, uint32_t bytes, const Beside& beside,
                         const SharedKnown& known) {
  check(now->block->rank, place, bytes,
        {.actor = beside.actor,
         .how = Access::read,
         .async = true,
         .epoch = beside.epoch,
         .code = offset(now->said)},
        {.known = known.get()});
}

SharedKnown Races::known_to(uint32_t first, uint32_t count) const {
  const size_t begin = size_t{now->block->rank} * threads_of_block(crew_) + first;
  Least least;
  for (size_t t = begin; t < begin + count; ++t) least.add(crew_.threads[t]->clock.known);
  return least.get();
}

// ---- barriers ----

void Races::arrive(SharedGathering& turn) {
  if (turn == nullptr) turn = std::make_shared<Gathering>();
  turn->add(now->clock);
}
void Races::leave(const SharedGathering& turn) {
  if (turn != nullptr) turn->tell(now->clock);
}
void Races::fence() { now->clock.fence(); }
void proxy_fence() {
  if (Races* races = watched_races()) races->fence();
}

Races::Watched& Races::watched(const void* barrier) { return barriers_[barrier]; }

void Races::init(const void* barrier) {
  Watched& w = watched(barrier);
  w.counter = actor_of(kCounted, reinterpret_cast<uint64_t>(barrier));
  w.turn = std::make_shared<Gathering>();
  w.ended = nullptr;
}
void Races::arrive(const void* barrier) { arrive(watched(barrier).turn); }
void Races::arrive(const void* barrier, const Beside& copies) {
  watched(barrier).turn->add(copies.actor, copies.epoch);
}
void Races::phase_ends(const void* barrier) {
  Watched& w = watched(barrier);
  w.turn->add(w.counter, ++w.phases);
  w.ended = std::move(w.turn);
  w.turn = std::make_shared<Gathering>();
}
void Races::waited(const void* barrier) { leave(watched(barrier).ended); }
Races::Beside Races::counted_by(const void* barrier, bool async) {
  const Watched& w = watched(barrier);
  return {w.counter, w.phases + 1, async};
}

// ---- what happens beside threads ----

uint64_t Races::running_thread() const { return now->clock.self; }

Actor Races::actor_of(Kind kind, uint64_t which) {
  const auto [found, is_new] = besides_by_name_.try_emplace(uint64_t{kind} << 60 ^ which, Actor{0});
  if (is_new) {
    found->second = static_cast<Actor>(crew_.threads.size() + besides_.size());
    besides_.push_back({kind, which, {}});
  }
  return found->second;
}

Races::Beside Races::copies(Epoch epoch) {
  return {actor_of(kCopies, running_thread()), epoch, false};
}
Races::Beside Races::stores(Epoch epoch) {
  return {actor_of(kStores, running_thread()), epoch, true};
}
Races::Beside Races::products(uint32_t warpgroup, Epoch group) {
  return {actor_of(kProducts, uint64_t{now->block->rank} << 32 | warpgroup), group, true};
}
Races::Products& Races::products_of(uint32_t warpgroup) {
  return products_[uint64_t{now->block->rank} << 32 | warpgroup];
}

// What a thread does behind this is of another epoch.
void Races::product_begins(uint32_t warpgroup, bool takes_registers) {
  Products& p = products_of(warpgroup);
  const uint32_t first = now->block->rank * threads_of_block(crew_) + warpgroup * 128;
  for (uint32_t t = 0; t < 128; ++t) p.begun[t] = crew_.threads[first + t]->clock.own++;
  if (!takes_registers) return;
  for (uint32_t warp = 0; warp < 128; warp += 32) {
    Step step;
    const auto loads = std::span(p.begun).subspan(warp, 32);
    for (uint32_t t = warp; t < warp + 32; ++t)
      crew_.threads[first + t]->clock.learn_loads(static_cast<Actor>(first + warp), loads, step);
  }
}
void Races::products_committed(uint32_t warpgroup) {
  Products& p = products_of(warpgroup);
  p.groups.push_back(p.begun);
}
void Races::products_end(uint32_t warpgroup, Epoch group) {
  Products& p = products_of(warpgroup);
  const Actor first = static_cast<Actor>(now->clock.self - now->linear % 128);
  now->clock.learn(products(warpgroup, group).actor, group, first, p.groups[group - 1], p.step);
}

void Races::know(const Beside& done) {
  now->clock.learn(done.actor, done.epoch, besides_[done.actor - crew_.threads.size()].step);
}

std::string Races::who_of_cluster(uint32_t cluster) const {
  const uint64_t first = uint64_t{cluster} * crew_.blocks.size();
  const uint64_t wide = crew_.blocks.front()->grid_shape.x,
                 high = crew_.blocks.front()->grid_shape.y;
  const std::string block =
      "block (" + std::to_string(first % wide) + ", " + std::to_string(first / wide % high) + ")";
  return crew_.blocks.size() == 1 ? block : "the cluster of " + block;
}

std::string Races::who(Actor actor) const {
  const auto thread = [&](uint64_t t) {
    const uint32_t each = threads_of_block(crew_);
    const auto& at = crew_.blocks[t / each]->index;
    return "thread " + std::to_string(t % each) + " of block (" + std::to_string(at.x) + ", " +
           std::to_string(at.y) + ")";
  };
  if (actor < crew_.threads.size()) return thread(actor);
  const Named& beside = besides_[actor - crew_.threads.size()];
  switch (beside.kind) {
    case kCounted:
      return "a copy that an mbarrier counts";
    case kCopies:
      return "a copy (cp.async) of " + thread(beside.which);
    case kStores:
      return "a bulk store of " + thread(beside.which);
    case kProducts:
      return "a product of warpgroup " + std::to_string(beside.which & 0xFFFFFFFF);
  }
  return {};
}

}  // namespace emulated
