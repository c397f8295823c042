// What both passes of the mixed operation know of a call: its shape, its arrays, its kernels in
// blocks, and how the input of a stage is made.
#pragma once

#include <cmath>

#include "parallel.h"
#include "window.h"

namespace jaxcv {
namespace {

constexpr double kEpsilon = 1e-5;

// Parts of a batch that are summed apart: a fixed number, so that the order of additions does not
// depend on the threads.
constexpr int kParts = 8;

// Pixels that are brought through both convolutions of a stage at a time.
constexpr int kStrip = 32;

thread_local Arena arena;       // of a task
thread_local Arena call_arena;  // of a call, whose tasks run on several threads

// A sum over pixels for each channel.
struct Sums {
  double* data;
  void add(int block, Lanes value) const {
    double* const to = data + block * kLanes;
    WideLanes sum;
    std::memcpy(&sum, to, sizeof sum);
    sum += __builtin_convertvector(value, WideLanes);
    std::memcpy(to, &sum, sizeof sum);
  }
};

// A depthwise and a pointwise convolution, one of a branch's.
struct Stage {
  Window window;
  int branch, depth;
  bool last;  // of its branch
  int strip_rows() const { return std::max(1, kStrip / window.result[1]); }
};

// Kernels of one stage on one edge, in blocks; the pointwise one or its transpose. With tangents,
// that of the pointwise one lies below it.
struct Kernels {
  float *depthwise, *pointwise, *depthwise_tangent;
};

// Gradient by the result of a batch norm, brought to its input: given * scale + x * slope + shift.
struct Backward {
  float *scale, *slope, *shift;  // each by channel
};

struct Layout {
  int edges, batch, channels, blocks, shared, branches, terms;
  int in[2], out[2];
  std::vector<Stage> stages;
  std::vector<std::vector<int>> by_depth;

  size_t image() const { return size_t(in[0]) * in[1] * channels; }
  size_t result() const { return size_t(out[0]) * out[1] * channels; }
  int width() const { return blocks * kLanes; }
  int pixels() const { return out[0] * out[1]; }
  double count() const { return double(batch) * pixels(); }
  int parts() const { return std::min(batch, kParts); }
  int first(int part) const { return batch * part / parts(); }
  // Which statistics belong to a stage on an edge; those of shared terms come before.
  int statistics(int stage, int edge) const {
    return shared + stage * edges + edge;
  }
  int all_statistics() const { return shared + static_cast<int>(stages.size()) * edges; }
  int stage_before(int stage) const { return stage - 1; }
  int kernel_size(int stage) const {
    return stages[stage].window.taps() * width() + width() * width();
  }
};

// Arrays of one search; there may be several in a call.
template <class T>
struct Arrays {
  const T* x;
  const float* mix;                    // [edges, terms]
  std::vector<const T*> shared;        // [batch, height, width, channels]
  std::vector<const T*> depthwise;     // by stage: [edges, taps, channels]
  std::vector<const T*> pointwise;     // by stage: [edges, channels, channels]
  std::vector<T*> z;                   // by stage: [edges, batch, height, width, channels]
  float* moments;                      // [statistics, 2, channels]: mean, 1 / deviation

  const float* mean(const Layout& l, int which) const { return moments + 2 * which * l.channels; }
  const float* inverse(const Layout& l, int which) const { return mean(l, which) + l.channels; }
};

// [channels, channels] to [width][width], zeros beyond the channels, or to the transpose of that.
template <class T>
void pack_pointwise(const Layout& l, const T* from, bool transposed, float* to) {
  const int width = l.width(), channels = l.channels;
  std::memset(to, 0, size_t(width) * width * sizeof(float));
  float row[kLanes];
  for (int i = 0; i < channels; ++i)
    for (int b = 0; b < l.blocks; ++b) {
      const int count = std::min(kLanes, channels - b * kLanes);
      const Lanes values = load(from + i * channels + b * kLanes, count);
      if (!transposed) {
        store(to + i * width + b * kLanes, values);
        continue;
      }
      store(row, values);
      for (int j = 0; j < count; ++j) to[(b * kLanes + j) * width + i] = row[j];
    }
}

template <class T>
std::vector<Kernels> pack(const Layout& l, const Arrays<T>& a, bool transposed,
                          const Arrays<T>* tangent = nullptr) {
  std::vector<Kernels> packed;
  const int width = l.width(), channels = l.channels;
  for (size_t s = 0; s < l.stages.size(); ++s) {
    const int taps = l.stages[s].window.taps();
    for (int e = 0; e < l.edges; ++e) {
      const size_t depthwise = size_t(e) * taps * channels;
      const size_t pointwise = size_t(e) * channels * channels;
      const size_t square = size_t(width) * width;
      Kernels k{call_arena.take(taps * width),
                call_arena.take(tangent == nullptr ? square : 2 * square), nullptr};
      pack_depthwise(a.depthwise[s] + depthwise, taps, channels, k.depthwise);
      pack_pointwise(l, a.pointwise[s] + pointwise, transposed, k.pointwise);
      if (tangent != nullptr) {
        k.depthwise_tangent = call_arena.take(taps * width);
        pack_depthwise(tangent->depthwise[s] + depthwise, taps, channels, k.depthwise_tangent);
        pack_pointwise(l, tangent->pointwise[s] + pointwise, transposed, k.pointwise + square);
      }
      packed.push_back(k);
    }
  }
  return packed;
}

// What the stages of one depth read: relu((x - mean) * inverse), or relu(x) without statistics.
template <class T>
void read_input(const Layout& l, const T* from, const float* mean, const float* inverse,
                const Plane& u, int rows, int columns) {
  for (int b = 0; b < l.blocks; ++b) {
    const int count = l.channels - b * kLanes;
    Lanes shift{}, scale = Lanes{} + 1.0f;
    if (mean != nullptr) {
      scale = load(inverse + b * kLanes, count);
      shift = load(mean + b * kLanes, count);
    }
    for (int i = 0; i < rows; ++i) {
      const T* row = from + size_t(i) * columns * l.channels + b * kLanes;
      float* const to = u.at(b, i, 0);
      for (int j = 0; j < columns; ++j) {
        const Lanes value = (load(row + j * l.channels, count) - shift) * scale;
        store(to + j * kLanes, rectified(value));
      }
    }
  }
}

Plane input_plane(const Layout& l, const std::vector<int>& stages) {
  int left = 0, right = 0;
  for (const int s : stages) {
    left = std::max(left, l.stages[s].window.left());
    right = std::max(right, l.stages[s].window.right());
  }
  const Window& w = l.stages[stages[0]].window;
  return Plane::make(arena, l.blocks, w.image[0], w.image[1], left, right);
}

// Depthwise convolution of some rows, added or not: to [blocks][rows * columns][kLanes].
void depthwise_strip(const Window& w, Columns& columns, const float* kernel, int row, int rows,
                     float* to, bool add = false) {
  const int size = w.result[1] * kLanes;
  for (int i = 0; i < rows; ++i)
    columns.result(kernel, row + i, to + i * size, rows * size, kLanes, add);
}

// Mean and 1 / deviation from the parts' sums and sums of squares, [parts][2][width].
void moments(const Layout& l, const double* sums, float* to) {
  for (int c = 0; c < l.channels; ++c) {
    double sum = 0, squares = 0;
    for (int part = 0; part < l.parts(); ++part) {
      sum += sums[2 * part * l.width() + c];
      squares += sums[(2 * part + 1) * l.width() + c];
    }
    const double mean = sum / l.count();
    const double variance = std::max(squares / l.count() - mean * mean, 0.0);
    to[c] = static_cast<float>(mean);
    to[l.channels + c] = static_cast<float>(1 / std::sqrt(variance + kEpsilon));
  }
}

// Sums over the pixels of one image: of g, unless null, and of g times each other array.
template <class T>
void products(const Layout& l, const T* g, const std::vector<const T*>& others, double* alone,
              double* to) {
  for (int b = 0; b < l.blocks; ++b) {
    const int count = l.channels - b * kLanes;
    for (int start = 0; start < l.pixels(); start += kStrip) {
      const int end = std::min(start + kStrip, l.pixels());
      if (alone != nullptr) {
        Lanes sum{};
        for (int i = start; i < end; ++i) sum += load(g + i * l.channels + b * kLanes, count);
        Sums{alone}.add(b, sum);
      }
      for (size_t t = 0; t < others.size(); ++t) {
        Lanes product{};
        for (int i = start; i < end; ++i) {
          const int at = i * l.channels + b * kLanes;
          product += load(g + at, count) * load(others[t] + at, count);
        }
        Sums{to + t * l.width()}.add(b, product);
      }
    }
  }
}

// [parts][size] to [size], in the first part.
template <class Number>
void sum_parts(Number* parts, int count, size_t size, size_t stride) {
  for (int part = 1; part < count; ++part)
    for (size_t i = 0; i < size; ++i) parts[i] += parts[part * stride + i];
}

double* take_sums(Arena& from, size_t count) {
  double* const sums = reinterpret_cast<double*>(from.take(2 * count));
  std::memset(sums, 0, count * sizeof(double));
  return sums;
}

}  // namespace
}  // namespace jaxcv
