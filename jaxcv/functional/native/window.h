// Depthwise convolution, row by row, on images that are cut into blocks of lanes.
//
// What bounds it is how often the pixels are read, so those that neighbouring columns of the
// result have in common are read once, into registers.
#pragma once

#include <numeric>

#include "lanes.h"

namespace jaxcv {

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
  // Rows that a row of the result reads from, those between them included.
  int rows() const { return dilation[0] * (size[0] - 1) + 1; }
  // Columns beyond the image that windows read, left and right.
  int left() const { return std::max(low[1], 0); }
  int right() const {
    const int last = (result[1] - 1) * stride[1] + (size[1] - 1) * dilation[1] - low[1];
    return std::max(last - (image[1] - 1), 0);
  }
  // Columns beyond the result that its transpose reads, on either side.
  int reach() const { return dilation[1] * (size[1] - 1) + std::max(low[1], 0); }
};

// An image to be read: where its blocks, rows and pixels lie, in floats from the first, and how
// many columns of zeros there are at its sides. Rows beyond it need none, as no run reads them.
struct View {
  const float* data;
  int blocks, columns, rows;  // of fewer rows than the image has, they are the last ones read
  int block, row, pixel, left, right;

  int offset(int at_row, int at_column) const {
    return at_row % rows * row + (left + at_column) * pixel;
  }
  // An image of whole blocks [rows, columns, channels], as it lies in memory.
  static View of(const float* image, int blocks, int rows, int columns, int channels) {
    return {image, blocks, columns, rows, kLanes, columns * channels, channels, 0, 0};
  }
};

// An image in blocks of lanes: [blocks][rows][columns][kLanes], with columns of zeros at both
// sides. What is between these is not yet written.
struct Plane {
  float* data;
  int blocks, rows, columns, left, right;

  static Plane make(Arena& arena, int blocks, int rows, int columns, int left, int right) {
    const int all = left + columns + right;
    Plane plane{arena.take(size_t(blocks) * rows * all * kLanes), blocks, rows, columns, left,
                right};
    for (int row = 0; row < blocks * rows; ++row) {
      float* const start = plane.data + size_t(row) * all * kLanes;
      std::memset(start, 0, left * kLanes * sizeof(float));
      std::memset(start + (left + columns) * kLanes, 0, right * kLanes * sizeof(float));
    }
    return plane;
  }
  void clear() const { std::memset(data, 0, size_t(blocks) * block_size() * sizeof(float)); }
  int row_size() const { return (left + columns + right) * kLanes; }
  int block_size() const { return rows * row_size(); }
  float* at(int block, int row, int column) const {
    return data + size_t(block) * block_size() + row % rows * row_size() +
           (left + column) * kLanes;
  }
  operator View() const {
    return {data, blocks, columns, rows, block_size(), row_size(), kLanes, left, right};
  }
};

// Neighbouring taps of one row of a window: where the first reads, and its weight, in floats.
struct Run {
  int source, weight;
};

// How the taps of a run, and the columns of a result, follow each other: pixels from tap to tap
// and from column to column, floats from pixel to pixel and from weight to weight.
struct Step {
  int tap, column, pixel, weight;
};

// Keeps a compiler from computing all the addresses beforehand, for which there are no registers.
inline void one_at_a_time(const float*& from) { asm("" : "+r"(from)); }

// Sums a tile of columns over runs of kTaps taps.
template <int kTile, int kTaps, int kTap, int kColumn>
inline void gather_tile(const float* source, const float* weights, const Run* runs, int count,
                        Step step, float* to, int to_step, bool add) {
  Lanes sums[kTile];
#pragma GCC unroll 8
  for (int i = 0; i < kTile; ++i) sums[i] = add ? load(to + i * to_step) : Lanes{};
  for (int r = 0; r < count; ++r) {
    const float* from = source + runs[r].source;
    Lanes weight[kTaps];
#pragma GCC unroll 8
    for (int t = 0; t < kTaps; ++t)
      weight[t] = load(weights + runs[r].weight + t * step.weight);
#pragma GCC unroll 32
    for (int p = 0; p <= (kTile - 1) * kColumn + (kTaps - 1) * kTap; ++p) {
      const Lanes pixel = load(from);
      from += step.pixel;
      one_at_a_time(from);
#pragma GCC unroll 8
      for (int t = 0; t < kTaps; ++t) {
        const int ahead = p - t * kTap, i = ahead / kColumn;
        if (ahead >= 0 && ahead % kColumn == 0 && i < kTile) sums[i] += weight[t] * pixel;
      }
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < kTile; ++i) store(to + i * to_step, sums[i]);
}

template <int kTaps, int kTap, int kColumn>
inline void gather_columns(const float* source, const float* weights, const Run* runs, int count,
                           Step step, int columns, float* to, int to_step, bool add) {
  const int next = step.column * step.pixel;
  int i = 0;
  for (; i + 8 <= columns; i += 8)
    gather_tile<8, kTaps, kTap, kColumn>(source + i * next, weights, runs, count, step,
                                         to + i * to_step, to_step, add);
  for (; i + 4 <= columns; i += 4)
    gather_tile<4, kTaps, kTap, kColumn>(source + i * next, weights, runs, count, step,
                                         to + i * to_step, to_step, add);
  for (; i < columns; ++i)
    gather_tile<1, kTaps, kTap, kColumn>(source + i * next, weights, runs, count, step,
                                         to + i * to_step, to_step, add);
}

// One column in several blocks, whose sums do not wait for each other.
template <int kBlocks>
inline void gather_blocks(const float* source, int source_block, const float* weights,
                          int weight_block, const std::vector<Run>& taps, float* to, int to_block,
                          bool add) {
  Lanes sums[kBlocks];
#pragma GCC unroll 4
  for (int b = 0; b < kBlocks; ++b) sums[b] = add ? load(to + b * to_block) : Lanes{};
  for (const Run& tap : taps)
#pragma GCC unroll 4
    for (int b = 0; b < kBlocks; ++b)
      sums[b] += load(weights + b * weight_block + tap.weight) *
                 load(source + b * source_block + tap.source);
#pragma GCC unroll 4
  for (int b = 0; b < kBlocks; ++b) store(to + b * to_block, sums[b]);
}

// Adds, for kRuns runs of kTaps taps, the products of columns of y with the pixels that they read.
template <int kRuns, int kTaps, int kTap, int kColumn>
inline void correlate_columns(const float* x, const Run* runs, Step step, const float* y,
                              int y_step, int columns, float* kernel) {
  constexpr int kTile = kLanes / 2;  // sums, these and a pixel fit the registers
  Lanes sums[kRuns][kTaps];
#pragma GCC unroll 16
  for (int r = 0; r < kRuns; ++r)
#pragma GCC unroll 8
    for (int t = 0; t < kTaps; ++t) sums[r][t] = load(kernel + runs[r].weight + t * step.weight);
  const int next = step.column * step.pixel;
  int i = 0;
  for (; i + kTile <= columns; i += kTile) {
    Lanes given[kTile];
#pragma GCC unroll 8
    for (int j = 0; j < kTile; ++j) given[j] = load(y + (i + j) * y_step);
#pragma GCC unroll 16
    for (int r = 0; r < kRuns; ++r) {
      const float* from = x + runs[r].source + i * next;
#pragma GCC unroll 32
      for (int p = 0; p <= (kTile - 1) * kColumn + (kTaps - 1) * kTap; ++p) {
        const Lanes pixel = load(from);
        from += step.pixel;
        one_at_a_time(from);
#pragma GCC unroll 8
        for (int t = 0; t < kTaps; ++t) {
          const int ahead = p - t * kTap, j = ahead / kColumn;
          if (ahead >= 0 && ahead % kColumn == 0 && j < kTile) sums[r][t] += given[j] * pixel;
        }
      }
    }
  }
  for (; i < columns; ++i) {
    const Lanes given = load(y + i * y_step);
#pragma GCC unroll 16
    for (int r = 0; r < kRuns; ++r)
#pragma GCC unroll 8
      for (int t = 0; t < kTaps; ++t)
        sums[r][t] += given * load(x + runs[r].source + i * next + t * kTap * step.pixel);
  }
#pragma GCC unroll 16
  for (int r = 0; r < kRuns; ++r)
#pragma GCC unroll 8
    for (int t = 0; t < kTaps; ++t) store(kernel + runs[r].weight + t * step.weight, sums[r][t]);
}

// Columns of a result that read the same taps.
struct Segment {
  int first, columns;      // of the result, the columns after the first being apart by a step
  int source, tap, taps;   // where the first column's first tap reads, and which it is
};

// The columns of a row of a result and what they read, which is the same for all rows.
class Columns {
 public:
  // A result of a convolution: column j reads pixel j * stride + b * dilation - low at tap b.
  static Columns of_result(const Window& w, const View& x) {
    const int common = std::gcd(w.dilation[1], w.stride[1]);
    Columns columns(w, x);
    columns.step_ = {w.dilation[1] / common, w.stride[1] / common, common * x.pixel, kLanes};
    columns.apart_ = 1;
    columns.add(0, w.result[1], -w.low[1], w.stride[1], w.dilation[1], 0, 1, w.size[1]);
    return columns;
  }

  // Its transpose: column h of the images reads pixel (h + low - b * dilation) / stride of y, if
  // that is whole; columns that leave the same remainder have their taps in common. From the last
  // of these taps to the first, pixels go up.
  static Columns of_images(const Window& w, const View& y) {
    const int across = w.stride[1], common = std::gcd(w.dilation[1], across);
    const int every = across / common, spacing = w.dilation[1] / common;
    Columns columns(w, y);
    columns.step_ = {spacing, 1, y.pixel, -every * kLanes};
    columns.apart_ = across;
    for (int first = 0; first < std::min(across, w.image[1]); ++first) {
      const auto reads = [&](int b) { return first + w.low[1] - b * w.dilation[1]; };
      int b = 0;
      while (b < every && b < w.size[1] && reads(b) % across != 0) ++b;
      const int taps = b < every && b < w.size[1] ? (w.size[1] - 1 - b) / every + 1 : 0;
      const int last = b + (taps - 1) * every;
      columns.add(first, (w.image[1] - first + across - 1) / across,
                  taps > 0 ? reads(last) / across : 0, 1, spacing, last, -every, taps);
    }
    return columns;
  }

  // One row of the result, in each block, added or not: to[block * to_block + column * to_step].
  void result(const float* kernel, int row, float* to, int to_block, int to_step,
              bool add = false) {
    for (const Segment& s : segments_) {
      result_runs(s, row);
      gather(s, kernel, to, to_block, to_step, add);
    }
  }

  // One row of the images, given y, the gradient by the result.
  void images(const float* kernel, int row, float* to, int to_block, int to_step, bool add) {
    for (const Segment& s : segments_) {
      runs_.clear();
      for (int a = 0; a < w_.size[0]; ++a) {
        const int from = row + w_.low[0] - a * w_.dilation[0];
        if (from >= 0 && from % w_.stride[0] == 0 && from / w_.stride[0] < w_.result[0])
          push(s, a, from / w_.stride[0]);
      }
      gather(s, kernel, to, to_block, to_step, add);
    }
  }

  // Adds the gradient by the kernel that comes from one row of y, the gradient by the result, at
  // y[block * y_block + column * y_step].
  void kernel(int row, const float* y, int y_block, int y_step, float* kernel) {
    for (const Segment& s : segments_) {
      result_runs(s, row);
      for (int block = 0; block < view_.blocks; ++block)
        correlate(s, view_.data + size_t(block) * view_.block,
                  y + size_t(block) * y_block + s.first * y_step, y_step,
                  kernel + block * w_.taps() * kLanes);
    }
  }

 private:
  Columns(const Window& w, const View& view) : w_(w), view_(view) {}

  // Splits columns by which of their taps read pixels or zeros of the view.
  void add(int first, int columns, int source, int column_step, int spacing, int tap,
           int tap_step, int taps) {
    for (int i = 0; i < columns; ++i) {
      const int start = source + i * column_step;
      int skipped = 0, end = taps;
      while (skipped < end && start + skipped * spacing < -view_.left) ++skipped;
      while (end > skipped && start + (end - 1) * spacing >= view_.columns + view_.right) --end;
      const Segment next{first + i * apart_, 1, start + skipped * spacing,
                         tap + skipped * tap_step, end - skipped};
      if (i > 0 && segments_.back().tap == next.tap && segments_.back().taps == next.taps)
        ++segments_.back().columns;
      else
        segments_.push_back(next);
    }
  }

  void push(const Segment& s, int a, int row) {
    runs_.push_back({view_.offset(row, s.source), (a * w_.size[1] + s.tap) * kLanes});
  }

  void result_runs(const Segment& s, int row) {
    runs_.clear();
    for (int a = 0; a < w_.size[0]; ++a) {
      const int from = row * w_.stride[0] + a * w_.dilation[0] - w_.low[0];
      if (from >= 0 && from < w_.image[0]) push(s, a, from);
    }
  }

  // Each tap as a run of its own.
  const std::vector<Run>& single(const Segment& s) {
    taps_.clear();
    for (const Run& run : runs_)
      for (int t = 0; t < s.taps; ++t)
        taps_.push_back({run.source + t * step_.tap * step_.pixel, run.weight + t * step_.weight});
    return taps_;
  }

  void gather(const Segment& s, const float* kernel, float* to, int to_block, int to_step,
              bool add) {
    if (s.columns < 4) return gather_few(s, kernel, to, to_block, to_step, add);
    const int count = static_cast<int>(runs_.size());
    for (int block = 0; block < view_.blocks; ++block) {
      const float* const source = view_.data + size_t(block) * view_.block;
      const float* const weights = kernel + block * w_.taps() * kLanes;
      float* const start = to + size_t(block) * to_block + s.first * to_step;
      switch (s.taps * 100 + step_.tap * 10 + step_.column) {
#define JAXCV_GATHER(taps, tap, column)                                                      \
  case taps * 100 + tap * 10 + column:                                                       \
    gather_columns<taps, tap, column>(source, weights, runs_.data(), count, step_, s.columns, \
                                      start, apart_ * to_step, add);                         \
    break;
        JAXCV_GATHER(2, 1, 1) JAXCV_GATHER(3, 1, 1) JAXCV_GATHER(3, 2, 1) JAXCV_GATHER(3, 1, 2)
        JAXCV_GATHER(5, 1, 1) JAXCV_GATHER(5, 2, 1) JAXCV_GATHER(5, 1, 2)
#undef JAXCV_GATHER
        default: {
          const Step apart{0, 1, step_.column * step_.pixel, 0};
          const std::vector<Run>& taps = block == 0 ? single(s) : taps_;
          gather_columns<1, 0, 1>(source, weights, taps.data(), static_cast<int>(taps.size()),
                                  apart, s.columns, start, apart_ * to_step, add);
        }
      }
    }
  }

  void gather_few(const Segment& s, const float* kernel, float* to, int to_block, int to_step,
                  bool add) {
    constexpr int kBlocks = 4;
    single(s);
    const int weight_block = w_.taps() * kLanes;
    for (int i = 0; i < s.columns; ++i) {
      const float* source = view_.data + i * step_.column * step_.pixel;
      const float* weights = kernel;
      float* start = to + (s.first + i * apart_) * to_step;
      int block = 0;
      for (; block + kBlocks <= view_.blocks; block += kBlocks) {
        gather_blocks<kBlocks>(source, view_.block, weights, weight_block, taps_, start, to_block,
                               add);
        source += kBlocks * view_.block;
        weights += kBlocks * weight_block;
        start += kBlocks * to_block;
      }
      for (; block < view_.blocks; ++block) {
        gather_blocks<1>(source, view_.block, weights, weight_block, taps_, start, to_block, add);
        source += view_.block;
        weights += weight_block;
        start += to_block;
      }
    }
  }

  void correlate(const Segment& s, const float* x, const float* y, int y_step, float* kernel) {
    const int kind = s.columns < 4 ? 0 : s.taps * 100 + step_.tap * 10 + step_.column;
    const int count = static_cast<int>(runs_.size());
    switch (kind) {
#define JAXCV_CORRELATE(runs, taps, tap, column)                                              \
  case taps * 100 + tap * 10 + column:                                                        \
    correlate_all<runs, taps, tap, column>(runs_.data(), count, x, step_, y, y_step, s.columns, \
                                           kernel);                                           \
    break;
      JAXCV_CORRELATE(3, 3, 1, 1) JAXCV_CORRELATE(3, 3, 2, 1) JAXCV_CORRELATE(3, 3, 1, 2)
      JAXCV_CORRELATE(2, 5, 1, 1) JAXCV_CORRELATE(2, 5, 2, 1) JAXCV_CORRELATE(2, 5, 1, 2)
#undef JAXCV_CORRELATE
      default: {
        const Step apart{0, 1, step_.column * step_.pixel, 0};
        const std::vector<Run>& taps = single(s);
        correlate_all<10, 1, 0, 1>(taps.data(), static_cast<int>(taps.size()), x, apart, y, y_step,
                                   s.columns, kernel);
      }
    }
  }

  // As many runs at a time as there are registers for their sums.
  template <int kRuns, int kTaps, int kTap, int kColumn>
  static void correlate_all(const Run* runs, int count, const float* x, Step step,
                            const float* y, int y_step, int columns, float* kernel) {
    for (; count >= kRuns; count -= kRuns, runs += kRuns)
      correlate_columns<kRuns, kTaps, kTap, kColumn>(x, runs, step, y, y_step, columns, kernel);
    if constexpr (kRuns > 1)
      correlate_all<kRuns - 1, kTaps, kTap, kColumn>(runs, count, x, step, y, y_step, columns,
                                                     kernel);
  }

  Window w_;
  View view_;
  Step step_{};
  int apart_ = 1;  // columns of the result from one of a segment to the next
  std::vector<Segment> segments_;
  std::vector<Run> runs_, taps_;
};

}  // namespace jaxcv
