// Vectors of channels, and depthwise convolution on images that are cut into blocks of them.
#pragma once

#include <algorithm>
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

// The static part of a depthwise convolution. Pairs are (height, width).
struct Window {
  int image[2], result[2], size[2], stride[2], low[2], dilation[2];

  static constexpr int kNumbers = 12;
  static Window read(const int64_t* n) {
    Window w;
    int* fields[] = {w.image, w.result, w.size, w.stride, w.low, w.dilation};
    for (int i = 0; i < kNumbers; ++i) fields[i / 2][i % 2] = static_cast<int>(n[i]);
    return w;
  }

  int taps() const { return size[0] * size[1]; }
  // Columns beyond the image that windows read, left and right.
  int left() const { return std::max(low[1], 0); }
  int right() const {
    const int last = (result[1] - 1) * stride[1] + (size[1] - 1) * dilation[1] - low[1];
    return std::max(last - (image[1] - 1), 0);
  }
  // Columns beyond the result that its transpose reads, on either side.
  int reach() const { return dilation[1] * (size[1] - 1) + std::max(low[1], 0); }
};

// An image in blocks of lanes: [blocks][rows][columns][kLanes], with columns of zeros at both
// sides. Rows need none: the lists of taps leave out those that do not exist. What is between the
// columns of zeros is not yet written.
struct Plane {
  float* data;
  int blocks, rows, columns, left;

  static Plane make(Arena& arena, int blocks, int rows, int columns, int left, int right) {
    const int all = left + columns + right;
    Plane plane{arena.take(size_t(blocks) * rows * all * kLanes), blocks, rows, all, left};
    for (int row = 0; row < blocks * rows; ++row) {
      float* const start = plane.data + size_t(row) * all * kLanes;
      std::memset(start, 0, left * kLanes * sizeof(float));
      std::memset(start + (left + columns) * kLanes, 0, right * kLanes * sizeof(float));
    }
    return plane;
  }
  void clear() const { std::memset(data, 0, size_t(blocks) * block_size() * sizeof(float)); }
  int block_size() const { return rows * columns * kLanes; }
  int offset(int row, int column) const { return (row * columns + left + column) * kLanes; }
  float* at(int block, int row, int column) const {
    return data + size_t(block) * block_size() + offset(row, column);
  }
};

// Where a tap of a window reads, and its weight, both as offsets in floats within a block.
struct Tap {
  int source, weight;
};

template <int kTile, int kStep>
inline void gather_tile(const float* source, const float* weights, const Tap* taps, int count,
                        float* to, int to_step, bool add) {
  Lanes sums[kTile];
#pragma GCC unroll 8
  for (int i = 0; i < kTile; ++i) sums[i] = add ? load(to + i * to_step) : Lanes{};
  for (int t = 0; t < count; ++t) {
    const Lanes weight = load(weights + taps[t].weight);
    const float* from = source + taps[t].source;
#pragma GCC unroll 8
    for (int i = 0; i < kTile; ++i) sums[i] += weight * load(from + i * kStep);
  }
#pragma GCC unroll 8
  for (int i = 0; i < kTile; ++i) store(to + i * to_step, sums[i]);
}

template <int kStep>
inline void gather(const float* source, const float* weights, const Tap* taps, int count,
                   int outputs, float* to, int to_step, bool add) {
  int i = 0;
  for (; i + 8 <= outputs; i += 8)
    gather_tile<8, kStep>(source + i * kStep, weights, taps, count, to + i * to_step, to_step, add);
  for (; i + 4 <= outputs; i += 4)
    gather_tile<4, kStep>(source + i * kStep, weights, taps, count, to + i * to_step, to_step, add);
  for (; i < outputs; ++i)
    gather_tile<1, kStep>(source + i * kStep, weights, taps, count, to + i * to_step, to_step, add);
}

// The taps that one row of the result reads from x.
inline void row_taps(const Window& w, const Plane& x, int row, std::vector<Tap>& taps) {
  taps.clear();
  for (int a = 0; a < w.size[0]; ++a) {
    const int from = row * w.stride[0] + a * w.dilation[0] - w.low[0];
    if (from < 0 || from >= w.image[0]) continue;
    for (int b = 0; b < w.size[1]; ++b)
      taps.push_back({x.offset(from, b * w.dilation[1] - w.low[1]),
                      (a * w.size[1] + b) * kLanes});
  }
}

// One row of the result, in each block: to[block * to_block + column * kLanes].
inline void depthwise_row(const Window& w, const Plane& x, const float* kernel, int row, float* to,
                          int to_block, std::vector<Tap>& taps) {
  row_taps(w, x, row, taps);
  const int count = static_cast<int>(taps.size());
  for (int block = 0; block < x.blocks; ++block) {
    const float* source = x.data + size_t(block) * x.block_size();
    const float* weights = kernel + block * w.taps() * kLanes;
    float* out = to + size_t(block) * to_block;
    if (w.stride[1] == 1) {
      gather<kLanes>(source, weights, taps.data(), count, w.result[1], out, kLanes, false);
    } else if (w.stride[1] == 2) {
      gather<2 * kLanes>(source, weights, taps.data(), count, w.result[1], out, kLanes, false);
    } else {
      for (int j = 0; j < w.result[1]; ++j)
        gather_tile<1, 0>(source + j * w.stride[1] * kLanes, weights, taps.data(), count,
                          out + j * kLanes, kLanes, false);
    }
  }
}

// One row of the gradient by x, given that by the result, y: in each block, to[block * to_block +
// column * kLanes], added or not. Row h of x is read by the taps a of the rows i of y for which
// stride * i + dilation * a - low = h, and columns likewise; with a stride, columns that leave the
// same remainder have their taps in common.
inline void depthwise_images_row(const Window& w, const Plane& y, const float* kernel, int h,
                                 float* to, int to_block, bool add, std::vector<Tap>& taps) {
  const int down = w.stride[0], across = w.stride[1];
  for (int first = 0; first < std::min(across, w.image[1]); ++first) {
    taps.clear();
    for (int a = 0; a < w.size[0]; ++a) {
      const int row = h + w.low[0] - a * w.dilation[0];
      if (row < 0 || row % down || row / down >= w.result[0]) continue;
      for (int b = 0; b < w.size[1]; ++b) {
        const int column = first + w.low[1] - b * w.dilation[1];
        if (column % across) continue;
        taps.push_back({y.offset(row / down, column / across), (a * w.size[1] + b) * kLanes});
      }
    }
    const int outputs = (w.image[1] - first + across - 1) / across;
    for (int block = 0; block < y.blocks; ++block)
      gather<kLanes>(y.data + size_t(block) * y.block_size(), kernel + block * w.taps() * kLanes,
                     taps.data(), static_cast<int>(taps.size()), outputs,
                     to + size_t(block) * to_block + first * kLanes, across * kLanes, add);
  }
}

template <int kTaps>
inline void correlate_tile(const float* x, int x_step, const float* y, int y_step, int count,
                           const Tap* taps, float* kernel) {
  Lanes sums[kTaps];
  const float* from[kTaps];
#pragma GCC unroll 10
  for (int t = 0; t < kTaps; ++t) {
    sums[t] = load(kernel + taps[t].weight);
    from[t] = x + taps[t].source;
  }
  for (int i = 0; i < count; ++i) {
    const Lanes value = load(y + i * y_step);
#pragma GCC unroll 10
    for (int t = 0; t < kTaps; ++t) sums[t] += value * load(from[t] + i * x_step);
  }
#pragma GCC unroll 10
  for (int t = 0; t < kTaps; ++t) store(kernel + taps[t].weight, sums[t]);
}

// Adds the gradient by the kernel that comes from one row of y, the gradient by the result, at
// y[block * y_block + column * y_step].
inline void depthwise_kernel(const Window& w, const Plane& x, int row, const float* y, int y_block,
                             int y_step, float* kernel, std::vector<Tap>& taps) {
  row_taps(w, x, row, taps);
  const int step = w.stride[1] * kLanes;
  for (int block = 0; block < x.blocks; ++block) {
    const float* source = x.data + size_t(block) * x.block_size();
    const float* given = y + size_t(block) * y_block;
    float* sums = kernel + block * w.taps() * kLanes;
    int left = static_cast<int>(taps.size());
    const Tap* tap = taps.data();
    while (left > 0) {
      // Tiles of nearly the same size, as a small one could not hide an addition's latency.
      const int tiles = (left + 9) / 10, size = (left + tiles - 1) / tiles;
      switch (size) {
#define JAXCV_TILE(n) \
  case n: correlate_tile<n>(source, step, given, y_step, w.result[1], tap, sums); break;
        JAXCV_TILE(1) JAXCV_TILE(2) JAXCV_TILE(3) JAXCV_TILE(4) JAXCV_TILE(5)
        JAXCV_TILE(6) JAXCV_TILE(7) JAXCV_TILE(8) JAXCV_TILE(9) JAXCV_TILE(10)
#undef JAXCV_TILE
      }
      tap += size;
      left -= size;
    }
  }
}

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
