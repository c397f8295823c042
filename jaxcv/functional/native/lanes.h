// Vectors of channels, how they are stored, and memory for them.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

namespace jaxcv {

#ifdef __AVX512F__
constexpr int kLanes = 16;
constexpr int kPixels = 8;  // of a tile of the matrix product: its sums fit the registers
#else
constexpr int kLanes = 8;
constexpr int kPixels = 4;
#endif

typedef float Lanes __attribute__((vector_size(4 * kLanes)));
typedef double WideLanes __attribute__((vector_size(8 * kLanes)));
typedef int32_t IntLanes __attribute__((vector_size(4 * kLanes)));

inline Lanes load(const float* from) {
  Lanes lanes;
  std::memcpy(&lanes, from, sizeof lanes);
  return lanes;
}

inline void store(float* to, Lanes lanes) { std::memcpy(to, &lanes, sizeof lanes); }

inline Lanes rectified(Lanes x) { return x > 0 ? x : Lanes{}; }

// Storage types: what is not float is widened as it is read and rounded as it is written.
struct BFloat16 {
  uint16_t bits;
};

inline Lanes load(const BFloat16* from) {
  typedef uint16_t Halves __attribute__((vector_size(2 * kLanes)));
  Halves halves;
  std::memcpy(&halves, from, sizeof halves);
  const IntLanes bits = __builtin_convertvector(halves, IntLanes) << 16;
  return reinterpret_cast<Lanes>(bits);
}

inline void store(BFloat16* to, Lanes lanes) {
  typedef uint32_t Bits __attribute__((vector_size(4 * kLanes)));
  typedef uint16_t Halves __attribute__((vector_size(2 * kLanes)));
  const Bits bits = reinterpret_cast<Bits>(lanes);
  const Bits rounded = bits + 0x7fffu + ((bits >> 16) & 1u);  // to nearest, ties to even
  const Bits quiet = bits | 0x400000u;
  const Bits result = (lanes == lanes ? rounded : quiet) >> 16;
  const Halves halves = __builtin_convertvector(result, Halves);
  std::memcpy(to, &halves, sizeof halves);
}

// The first `count` lanes only; the others read as zero.
template <class T>
inline Lanes load(const T* from, int count) {
  if (count >= kLanes) return load(from);
  T some[kLanes] = {};
  std::memcpy(some, from, count * sizeof(T));
  return load(some);
}

template <class T>
inline void store(T* to, Lanes lanes, int count) {
  if (count >= kLanes) return store(to, lanes);
  T some[kLanes];
  store(some, lanes);
  std::memcpy(to, some, count * sizeof(T));
}

inline int blocks_of(int channels) { return (channels + kLanes - 1) / kLanes; }

// Memory that a thread keeps from call to call, so that calls do not fault in new pages.
class Arena {
 public:
  float* take(size_t floats) {
    // The largest alignment that a load may profit from, which is a cache line.
    floats = (floats + kLine - 1) / kLine * kLine;
    if (used_ + floats > memory_.size()) {
      spent_.push_back(std::move(memory_));
      memory_ = std::vector<float>(std::max(2 * spent_.back().size(), floats + kLine));
      used_ = 0;
      const auto address = reinterpret_cast<uintptr_t>(memory_.data()) / sizeof(float);
      used_ = (kLine - address % kLine) % kLine;
    }
    used_ += floats;
    return memory_.data() + used_ - floats;
  }

  // Whatever was taken is free again.
  void reset() {
    spent_.clear();
    const auto address = reinterpret_cast<uintptr_t>(memory_.data()) / sizeof(float);
    used_ = (kLine - address % kLine) % kLine;
  }

 private:
  static constexpr size_t kLine = 16;
  std::vector<float> memory_;
  std::vector<std::vector<float>> spent_;
  size_t used_ = 0;
};

// [taps, channels] to [blocks][taps][kLanes], and back.
template <class T>
inline void pack_depthwise(const T* kernel, int taps, int channels, float* packed) {
  for (int block = 0; block < blocks_of(channels); ++block)
    for (int tap = 0; tap < taps; ++tap)
      store(packed + (block * taps + tap) * kLanes,
            load(kernel + tap * channels + block * kLanes, channels - block * kLanes));
}

template <class T>
inline void unpack_depthwise(const float* packed, int taps, int channels, T* kernel) {
  for (int block = 0; block < blocks_of(channels); ++block)
    for (int tap = 0; tap < taps; ++tap)
      store(kernel + tap * channels + block * kLanes,
            load(packed + (block * taps + tap) * kLanes), channels - block * kLanes);
}

}  // namespace jaxcv
