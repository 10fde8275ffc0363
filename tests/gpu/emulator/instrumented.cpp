// How do loads and stores of kernels come to be seen? Translated kernels are compiled with
// -fsanitize=thread and linked without its library: the calls that the compiler puts before every
// load and store end here. While nobody watches, that costs a look at one word.
#include <cstddef>
#include <cstdint>

#include "tests/gpu/emulator/grid.h"

namespace emulated {
namespace {

// Of the thread that runs. Host code of a kernel's source runs in any thread of the host, beside
// the one with the machine: nobody watches that.
thread_local Races* watching = nullptr;

[[gnu::noinline]] void seen(const void* at, size_t bytes, Access how, const void* code) {
  if (is_shared_memory(at))
    watching->touch(at, static_cast<uint32_t>(bytes), how, code);
  else
    watching->touch_global(at, bytes, how, code);
}

inline void look(const void* at, size_t bytes, Access how, const void* code) {
  if (watching != nullptr) [[unlikely]]
    seen(at, bytes, how, code);
}

}  // namespace

[[gnu::noinline]] void runs_here(const Thread* thread) {
  watching = thread != nullptr ? watched_races() : nullptr;
}

// A word by which kernels of several GPUs meet.
inline void says(int order, const void* code) {
  if (watching != nullptr && (order == __ATOMIC_RELEASE || order == __ATOMIC_SEQ_CST)) [[unlikely]]
    watching->releases(code);
}
inline void hears(int order, const void* code) {
  if (watching != nullptr && (order == __ATOMIC_ACQUIRE || order == __ATOMIC_SEQ_CST)) [[unlikely]]
    watching->acquires(code);
}

void touch_atomically(const void* at, uint32_t bytes) {
  look(at, bytes, Access::atomic, __builtin_return_address(0));
}

}  // namespace emulated

// The compiler's names and types. Atomic operations of C++ are host code's, or are about words by
// which kernels of several GPUs meet.
extern "C" {

using emulated::Access;

void __tsan_init() {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
void __tsan_vptr_update(void**, void*) {}
void __tsan_vptr_read(void**) {}
void __tsan_read_range(void* at, size_t bytes) {
  emulated::look(at, bytes, Access::read, __builtin_return_address(0));
}
void __tsan_write_range(void* at, size_t bytes) {
  emulated::look(at, bytes, Access::write, __builtin_return_address(0));
}

#define FATHOM_LOOK(name, bytes, how)                            \
  void __tsan_##name##bytes(void* at) {                          \
    emulated::look(at, bytes, how, __builtin_return_address(0)); \
  }
#define FATHOM_LOOK_AT(bytes)                      \
  FATHOM_LOOK(read, bytes, Access::read)           \
  FATHOM_LOOK(write, bytes, Access::write)         \
  FATHOM_LOOK(unaligned_read, bytes, Access::read) \
  FATHOM_LOOK(unaligned_write, bytes, Access::write)
FATHOM_LOOK_AT(1)
FATHOM_LOOK_AT(2)
FATHOM_LOOK_AT(4)
FATHOM_LOOK_AT(8)
FATHOM_LOOK_AT(16)

#define FATHOM_ATOMIC(bits)                                                                     \
  uint##bits##_t __tsan_atomic##bits##_load(const volatile uint##bits##_t* at, int order) {     \
    emulated::hears(order, __builtin_return_address(0));                                        \
    return __atomic_load_n(at, __ATOMIC_SEQ_CST);                                               \
  }                                                                                             \
  void __tsan_atomic##bits##_store(volatile uint##bits##_t* at, uint##bits##_t v, int order) {  \
    emulated::says(order, __builtin_return_address(0));                                         \
    __atomic_store_n(at, v, __ATOMIC_SEQ_CST);                                                  \
  }                                                                                             \
  uint##bits##_t __tsan_atomic##bits##_exchange(volatile uint##bits##_t* at, uint##bits##_t v,  \
                                                int) {                                          \
    return __atomic_exchange_n(at, v, __ATOMIC_SEQ_CST);                                        \
  }                                                                                             \
  uint##bits##_t __tsan_atomic##bits##_fetch_add(volatile uint##bits##_t* at, uint##bits##_t v, \
                                                 int) {                                         \
    return __atomic_fetch_add(at, v, __ATOMIC_SEQ_CST);                                         \
  }                                                                                             \
  uint##bits##_t __tsan_atomic##bits##_fetch_sub(volatile uint##bits##_t* at, uint##bits##_t v, \
                                                 int) {                                         \
    return __atomic_fetch_sub(at, v, __ATOMIC_SEQ_CST);                                         \
  }                                                                                             \
  int __tsan_atomic##bits##_compare_exchange_strong(                                            \
      volatile uint##bits##_t* at, uint##bits##_t* expected, uint##bits##_t v, int, int) {      \
    return __atomic_compare_exchange_n(at, expected, v, false, __ATOMIC_SEQ_CST,                \
                                       __ATOMIC_SEQ_CST);                                       \
  }
FATHOM_ATOMIC(8)
FATHOM_ATOMIC(32)
FATHOM_ATOMIC(64)

}  // extern "C"
