// The mixed operation on all edges that leave one state, forward and backward: search/mixed.py has
// its definition. Of the intermediate results only the convolutions' are kept; what lies between
// two of them (batch norm, ReLU, depthwise convolution) is computed again where it is needed, from
// data in the cache.
#include <cmath>

#include "lanes.h"
#include "parallel.h"

namespace ffi = xla::ffi;

namespace jaxcv {
namespace {

constexpr double kEpsilon = 1e-5;

// Parts of a batch that are summed apart: a fixed number, so that the order of additions does not
// depend on the threads.
constexpr int kParts = 8;

// Pixels that are brought through both convolutions of a stage at a time.
constexpr int kStrip = 32;

thread_local Arena arena;         // of a task
thread_local Arena call_arena;    // of a call, whose tasks run on several threads

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

// [blocks of inputs][pixels][kLanes] times [inputs][width], to [blocks of outputs][pixels][kLanes].
template <int kTile, int kWidth>
inline void product_tile(const float* a, int a_block, int inputs, const float* weights, int width,
                         float* to, int to_block) {
  Lanes sums[kTile][kWidth] = {};
  for (int start = 0; start < inputs; start += kLanes) {
    const float* const rows = a + (start / kLanes) * a_block;
    const int count = std::min(kLanes, inputs - start);
    for (int lane = 0; lane < count; ++lane) {
      Lanes weight[kWidth];
#pragma GCC unroll 2
      for (int k = 0; k < kWidth; ++k) weight[k] = load(weights + (start + lane) * width + k * kLanes);
#pragma GCC unroll 8
      for (int i = 0; i < kTile; ++i) {
        const float value = rows[i * kLanes + lane];
#pragma GCC unroll 2
        for (int k = 0; k < kWidth; ++k) sums[i][k] += value * weight[k];
      }
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < kTile; ++i)
#pragma GCC unroll 2
    for (int k = 0; k < kWidth; ++k) store(to + k * to_block + i * kLanes, sums[i][k]);
}

inline void product(const float* a, int pixels, int channels, int blocks, const float* weights,
                    float* to) {
  const int size = pixels * kLanes, width = blocks * kLanes;
  for (int block = 0; block < blocks; block += 2) {
    const float* const columns = weights + block * kLanes;
    float* const out = to + block * size;
    const bool two = block + 1 < blocks;
    int i = 0;
    for (; i + kPixels <= pixels; i += kPixels) {
      const float* const from = a + i * kLanes;
      if (two) product_tile<kPixels, 2>(from, size, channels, columns, width, out + i * kLanes, size);
      else product_tile<kPixels, 1>(from, size, channels, columns, width, out + i * kLanes, size);
    }
    for (; i < pixels; ++i) {
      const float* const from = a + i * kLanes;
      if (two) product_tile<1, 2>(from, size, channels, columns, width, out + i * kLanes, size);
      else product_tile<1, 1>(from, size, channels, columns, width, out + i * kLanes, size);
    }
  }
}

// Adds the sum over pixels of a[:, i] b[:, j] to sums[i][j], with rows of `blocks` blocks.
inline void outer_product(const float* a, const float* b, int pixels, int blocks, float* sums) {
  constexpr int kRows = kPixels;
  const int size = pixels * kLanes, width = blocks * kLanes;
  for (int from = 0; from < blocks; ++from)
    for (int lane = 0; lane < kLanes; lane += kRows)
      for (int block = 0; block < blocks; block += 2) {
        const float* const rows = a + from * size + lane;
        const float* const columns = b + block * size;
        float* const to = sums + (from * kLanes + lane) * width + block * kLanes;
        const auto tile = [&](auto two) {
          constexpr int kWidth = decltype(two)::value;
          Lanes sum[kRows][kWidth];
#pragma GCC unroll 8
          for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 2
            for (int k = 0; k < kWidth; ++k) sum[r][k] = load(to + r * width + k * kLanes);
          for (int i = 0; i < pixels; ++i) {
            Lanes value[kWidth];
#pragma GCC unroll 2
            for (int k = 0; k < kWidth; ++k) value[k] = load(columns + k * size + i * kLanes);
#pragma GCC unroll 8
            for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 2
              for (int k = 0; k < kWidth; ++k) sum[r][k] += rows[i * kLanes + r] * value[k];
          }
#pragma GCC unroll 8
          for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 2
            for (int k = 0; k < kWidth; ++k) store(to + r * width + k * kLanes, sum[r][k]);
        };
        if (block + 1 < blocks) tile(std::integral_constant<int, 2>{});
        else tile(std::integral_constant<int, 1>{});
      }
}

// A depthwise and a pointwise convolution, one of a branch's.
struct Stage {
  Window window;
  int branch, depth;
  bool last;  // of its branch
  int strip_rows() const { return std::max(1, kStrip / window.result[1]); }
};

// Kernels of one stage on one edge, in blocks.
struct Kernels {
  float *depthwise, *pointwise, *transposed;
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

template <class T>
std::vector<Kernels> pack(const Layout& l, const Arrays<T>& a, bool transposed) {
  std::vector<Kernels> packed;
  const int width = l.width(), channels = l.channels;
  for (size_t s = 0; s < l.stages.size(); ++s) {
    const int taps = l.stages[s].window.taps();
    for (int e = 0; e < l.edges; ++e) {
      Kernels k{call_arena.take(taps * width), nullptr, nullptr};
      pack_depthwise(a.depthwise[s] + size_t(e) * taps * channels, taps, channels, k.depthwise);
      const T* const from = a.pointwise[s] + size_t(e) * channels * channels;
      float* const to = call_arena.take(size_t(width) * width);
      std::memset(to, 0, size_t(width) * width * sizeof(float));
      if (!transposed) {
        k.pointwise = to;
        for (int i = 0; i < channels; ++i)
          for (int b = 0; b < l.blocks; ++b)
            store(to + i * width + b * kLanes,
                  load(from + i * channels + b * kLanes, channels - b * kLanes));
      } else {
        k.transposed = to;
        float row[kLanes];
        for (int i = 0; i < channels; ++i)
          for (int b = 0; b < l.blocks; ++b) {
            store(row, load(from + i * channels + b * kLanes, channels - b * kLanes));
            for (int j = 0; j < std::min(kLanes, channels - b * kLanes); ++j)
              to[(b * kLanes + j) * width + i] = row[j];
          }
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

// Depthwise convolution of some rows: to [blocks][rows * columns][kLanes].
void depthwise_strip(const Window& w, const Plane& u, const float* kernel, int row, int rows,
                     float* to, std::vector<Tap>& taps) {
  const int columns = w.result[1] * kLanes;
  for (int i = 0; i < rows; ++i)
    depthwise_row(w, u, kernel, row + i, to + i * columns, rows * columns, taps);
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

double* take_sums(Arena& from, size_t count) {
  double* const sums = reinterpret_cast<double*>(from.take(2 * count));
  std::memset(sums, 0, count * sizeof(double));
  return sums;
}

template <class T>
void stage_forward(const Layout& l, const Stage& stage, const Plane& u, const Kernels& kernels,
                   T* z, double* sums, float* between, float* after, std::vector<Tap>& taps) {
  const Window& w = stage.window;
  const int step = stage.strip_rows();
  for (int row = 0; row < w.result[0]; row += step) {
    const int rows = std::min(step, w.result[0] - row), pixels = rows * w.result[1];
    depthwise_strip(w, u, kernels.depthwise, row, rows, between, taps);
    product(between, pixels, l.channels, l.blocks, kernels.pointwise, after);
    T* const to = z + size_t(row) * w.result[1] * l.channels;
    for (int b = 0; b < l.blocks; ++b) {
      const int count = l.channels - b * kLanes;
      Lanes sum{}, squares{};
      for (int i = 0; i < pixels; ++i) {
        const Lanes value = load(after + (b * pixels + i) * kLanes);
        store(to + i * l.channels + b * kLanes, value, count);
        sum += value;
        squares += value * value;
      }
      Sums{sums}.add(b, sum);
      Sums{sums + l.width()}.add(b, squares);
    }
  }
}

template <class T>
void forward(ffi::ThreadPool& pool, const Layout& l, const std::vector<bool>& normalized,
             const Arrays<T>& a, const std::vector<T*>& y) {
  call_arena.reset();
  const auto kernels = pack(l, a, false);
  const int parts = l.parts(), size = 2 * parts * l.width();
  double* const sums = take_sums(call_arena, size_t(l.all_statistics()) * size);

  share(pool, l.shared * parts, [&](int unit) {
    const int q = unit / parts, part = unit % parts;
    if (!normalized[q]) return;
    double* const to = sums + size_t(q) * size + 2 * part * l.width();
    for (int n = l.first(part); n < l.first(part + 1); ++n)
      for (int b = 0; b < l.blocks; ++b) {
        const T* const from = a.shared[q] + n * l.result() + b * kLanes;
        Lanes sum{}, squares{};
        for (int i = 0; i < l.pixels(); ++i) {
          const Lanes value = load(from + i * l.channels, l.channels - b * kLanes);
          sum += value;
          squares += value * value;
          if ((i + 1) % kStrip == 0 || i + 1 == l.pixels()) {
            Sums{to}.add(b, sum);
            Sums{to + l.width()}.add(b, squares);
            sum = squares = Lanes{};
          }
        }
      }
  });
  for (int q = 0; q < l.shared; ++q)
    if (normalized[q]) moments(l, sums + size_t(q) * size, a.moments + 2 * q * l.channels);

  for (const auto& stages : l.by_depth) {
    share(pool, l.edges * parts, [&](int unit) {
      arena.reset();
      std::vector<Tap> taps;
      const int e = unit / parts, part = unit % parts;
      const Window& any = l.stages[stages[0]].window;
      const Plane u = input_plane(l, stages);
      const int most = std::max(kStrip, l.out[1]);
      float* const between = arena.take(size_t(most) * l.width());
      float* const after = arena.take(size_t(most) * l.width());
      for (int n = l.first(part); n < l.first(part + 1); ++n)
        for (const int s : stages) {
          const Stage& stage = l.stages[s];
          const size_t image = size_t(e) * l.batch + n;
          if (stage.depth > 0) {
            const int before = l.statistics(l.stage_before(s), e);
            read_input(l, a.z[l.stage_before(s)] + image * l.result(), a.mean(l, before),
                       a.inverse(l, before), u, any.image[0], any.image[1]);
          } else if (s == stages[0]) {
            read_input(l, a.x + n * l.image(), nullptr, nullptr, u, any.image[0], any.image[1]);
          }
          stage_forward(l, stage, u, kernels[s * l.edges + e], a.z[s] + image * l.result(),
                        sums + size_t(l.statistics(s, e)) * size + 2 * part * l.width(), between,
                        after, taps);
        }
    });
    for (const int s : stages)
      for (int e = 0; e < l.edges; ++e) {
        const int which = l.statistics(s, e);
        moments(l, sums + size_t(which) * size, a.moments + 2 * which * l.channels);
      }
  }

  share(pool, l.edges * l.batch, [&](int unit) {
    arena.reset();
    const int e = unit / l.batch, n = unit % l.batch;
    struct Term {
      const T* from;
      float *scale;
    };
    std::vector<Term> terms;
    float* const shift = arena.take(l.width());
    std::memset(shift, 0, l.width() * sizeof(float));
    const auto add = [&](const T* from, int term, int which) {
      float* const scale = arena.take(l.width());
      const float mixed = a.mix[e * l.terms + term];
      for (int c = 0; c < l.channels; ++c) {
        scale[c] = which < 0 ? mixed : mixed * a.inverse(l, which)[c];
        if (which >= 0) shift[c] -= scale[c] * a.mean(l, which)[c];
      }
      terms.push_back({from, scale});
    };
    for (int q = 0; q < l.shared; ++q)
      add(a.shared[q] + n * l.result(), q, normalized[q] ? q : -1);
    for (size_t s = 0; s < l.stages.size(); ++s)
      if (l.stages[s].last)
        add(a.z[s] + (size_t(e) * l.batch + n) * l.result(), l.shared + l.stages[s].branch,
            l.statistics(static_cast<int>(s), e));
    T* const to = y[e] + n * l.result();
    for (int b = 0; b < l.blocks; ++b) {
      const int count = l.channels - b * kLanes;
      const Lanes start = load(shift + b * kLanes);
      for (int i = 0; i < l.pixels(); ++i) {
        Lanes sum = start;
        for (const Term& term : terms)
          sum += load(term.scale + b * kLanes) *
                 load(term.from + i * l.channels + b * kLanes, count);
        store(to + i * l.channels + b * kLanes, sum, count);
      }
    }
  });
}

// Where gradients go; null for those that nobody asked for.
template <class T>
struct Gradients {
  std::vector<const T*> y;
  T* x;
  float* mix;
  std::vector<T*> shared, depthwise, pointwise;
  std::vector<T*> scratch;  // by branch: [edges, batch, height, width, channels]
};

// With sums of the gradient by a batch norm's result, and of that times its input.
void batch_norm_backward(const Layout& l, double factor, const double* gradient,
                         const double* product, const float* mean, const float* inverse,
                         const Backward& to) {
  for (int c = 0; c < l.channels; ++c) {
    const double r = inverse[c], centred = r * (product[c] - mean[c] * gradient[c]);
    const double slope = -factor * r * r * centred / l.count();
    to.scale[c] = static_cast<float>(factor * r);
    to.slope[c] = static_cast<float>(slope);
    to.shift[c] = static_cast<float>(-factor * r * gradient[c] / l.count() - slope * mean[c]);
  }
}

Backward take_backward(const Layout& l) {
  float* const all = call_arena.take(3 * l.width());
  std::memset(all, 0, 3 * l.width() * sizeof(float));
  return {all, all + l.width(), all + 2 * l.width()};
}

// Scratch of a task that brings gradients back through a stage.
struct Strips {
  float *between, *given, *back;
  static Strips make(const Layout& l) {
    const size_t size = size_t(std::max(kStrip, l.out[1])) * l.width();
    return {arena.take(size), arena.take(size), arena.take(size)};
  }
};

// Adds the gradients by the stage's input u (before the ReLU's mask) and, unless null, by its
// kernels, of one image.
template <class T>
void stage_backward(const Layout& l, const Stage& stage, const Plane& u, const Kernels& kernels,
                    const T* given, const T* z, const Backward& norm, const Plane& y,
                    const Plane& u_gradient, float* kernel_sums, const Strips& strips,
                    std::vector<Tap>& taps) {
  const Window& w = stage.window;
  const int step = stage.strip_rows(), columns = w.result[1];
  for (int row = 0; row < w.result[0]; row += step) {
    const int rows = std::min(step, w.result[0] - row), pixels = rows * columns;
    const size_t start = size_t(row) * columns * l.channels;
    for (int b = 0; b < l.blocks; ++b) {
      const int count = l.channels - b * kLanes;
      const Lanes scale = load(norm.scale + b * kLanes), slope = load(norm.slope + b * kLanes);
      const Lanes shift = load(norm.shift + b * kLanes);
      const T* const g = given + start + b * kLanes;
      const T* const x = z + start + b * kLanes;
      for (int i = 0; i < pixels; ++i)
        store(strips.given + (b * pixels + i) * kLanes,
              load(g + i * l.channels, count) * scale + load(x + i * l.channels, count) * slope +
                  shift);
    }
    product(strips.given, pixels, l.channels, l.blocks, kernels.transposed, strips.back);
    for (int b = 0; b < l.blocks; ++b)
      for (int i = 0; i < rows; ++i)
        std::memcpy(y.at(b, row + i, 0), strips.back + (b * pixels + i * columns) * kLanes,
                    columns * kLanes * sizeof(float));
    if (kernel_sums != nullptr) {
      depthwise_strip(w, u, kernels.depthwise, row, rows, strips.between, taps);
      outer_product(strips.between, strips.given, pixels, l.blocks,
                    kernel_sums + w.taps() * l.width());
      for (int i = 0; i < rows; ++i)
        depthwise_kernel(w, u, row + i, strips.back + i * columns * kLanes, pixels * kLanes,
                         kernel_sums, taps);
    }
  }
  depthwise_images(w, y, kernels.depthwise, u_gradient, taps);
}

// Sums over the pixels of one image: of g, and of g times each other array.
template <class T>
void products(const Layout& l, const T* g, const std::vector<const T*>& others, double* to) {
  for (int b = 0; b < l.blocks; ++b) {
    const int count = l.channels - b * kLanes;
    for (int start = 0; start < l.pixels(); start += kStrip) {
      const int end = std::min(start + kStrip, l.pixels());
      Lanes sum{};
      for (int i = start; i < end; ++i) sum += load(g + i * l.channels + b * kLanes, count);
      Sums{to}.add(b, sum);
      for (size_t t = 0; t < others.size(); ++t) {
        Lanes product{};
        for (int i = start; i < end; ++i) {
          const int at = i * l.channels + b * kLanes;
          product += load(g + at, count) * load(others[t] + at, count);
        }
        Sums{to + (t + 1) * l.width()}.add(b, product);
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

template <class T>
void backward(ffi::ThreadPool& pool, const Layout& l, const std::vector<bool>& normalized,
              const Arrays<T>& a, const Gradients<T>& g) {
  call_arena.reset();
  const auto kernels = pack(l, a, true);
  const int parts = l.parts(), width = l.width(), edges = l.edges, stages = l.stages.size();
  const bool weights = !g.depthwise.empty();

  // By edge: the sum of the gradient, and of its product with every term.
  const size_t size = size_t(1 + l.terms) * width;
  double* const sums = take_sums(call_arena, edges * parts * size);
  std::vector<int> last(l.branches);
  for (int s = 0; s < stages; ++s)
    if (l.stages[s].last) last[l.stages[s].branch] = s;
  share(pool, edges * parts, [&](int unit) {
    const int e = unit / parts, part = unit % parts;
    for (int n = l.first(part); n < l.first(part + 1); ++n) {
      std::vector<const T*> others;
      for (const T* shared : a.shared) others.push_back(shared + n * l.result());
      for (const int s : last)
        others.push_back(a.z[s] + (size_t(e) * l.batch + n) * l.result());
      products(l, g.y[e] + n * l.result(), others, sums + unit * size);
    }
  });
  const auto edge_sums = [&](int e) { return sums + size_t(e) * parts * size; };
  for (int e = 0; e < edges; ++e) {
    sum_parts(edge_sums(e), parts, size, size);
    for (int t = 0; t < l.terms; ++t) {
      const double* const product = edge_sums(e) + (t + 1) * width;
      const int which = t < l.shared ? t : l.statistics(last[t - l.shared], e);
      double total = 0;
      for (int c = 0; c < l.channels; ++c)
        total += t < l.shared && !normalized[t]
                     ? product[c]
                     : a.inverse(l, which)[c] *
                           (product[c] - a.mean(l, which)[c] * edge_sums(e)[c]);
      g.mix[e * l.terms + t] = static_cast<float>(total);
    }
  }

  // Of the batch norm after each stage, on each edge.
  std::vector<Backward> norms(size_t(stages) * edges);
  for (Backward& norm : norms) norm = take_backward(l);
  for (int k = 0; k < l.branches; ++k)
    for (int e = 0; e < edges; ++e) {
      const int which = l.statistics(last[k], e);
      batch_norm_backward(l, a.mix[e * l.terms + l.shared + k], edge_sums(e),
                          edge_sums(e) + (1 + l.shared + k) * width, a.mean(l, which),
                          a.inverse(l, which), norms[last[k] * edges + e]);
    }

  // Shared terms: the edges' gradients, mixed, then through their one batch norm.
  std::vector<Backward> shared_norms(l.shared);
  for (int q = 0; q < l.shared; ++q) {
    if (!normalized[q]) continue;
    shared_norms[q] = take_backward(l);
    double* const mixed = take_sums(call_arena, 2 * width);
    for (int e = 0; e < edges; ++e)
      for (int c = 0; c < width; ++c) {
        const double by = a.mix[e * l.terms + q];
        mixed[c] += by * edge_sums(e)[c];
        mixed[width + c] += by * edge_sums(e)[(1 + q) * width + c];
      }
    batch_norm_backward(l, 1, mixed, mixed + width, a.mean(l, q), a.inverse(l, q),
                        shared_norms[q]);
  }
  share(pool, l.shared * l.batch, [&](int unit) {
    const int q = unit / l.batch, n = unit % l.batch;
    const Backward& norm = shared_norms[q];
    for (int b = 0; b < l.blocks; ++b) {
      const int count = l.channels - b * kLanes;
      Lanes scale = Lanes{} + 1.0f, slope{}, shift{};
      if (normalized[q]) {
        scale = load(norm.scale + b * kLanes);
        slope = load(norm.slope + b * kLanes);
        shift = load(norm.shift + b * kLanes);
      }
      for (int i = 0; i < l.pixels(); ++i) {
        const size_t at = n * l.result() + size_t(i) * l.channels + b * kLanes;
        Lanes sum{};
        for (int e = 0; e < edges; ++e) sum += a.mix[e * l.terms + q] * load(g.y[e] + at, count);
        if (normalized[q]) sum = sum * scale + load(a.shared[q] + at, count) * slope + shift;
        store(g.shared[q] + at, sum, count);
      }
    }
  });

  // Kernel gradients: [part][stage][edge], each depthwise then pointwise.
  std::vector<size_t> kernel_start(size_t(stages) * edges + 1, 0);
  for (int s = 0; s < stages; ++s)
    for (int e = 0; e < edges; ++e)
      kernel_start[s * edges + e + 1] = kernel_start[s * edges + e] + l.kernel_size(s);
  const size_t kernels_size = kernel_start.back();
  float* const kernel_sums = weights ? call_arena.take(parts * kernels_size) : nullptr;
  const auto kernel_sum = [&](int part, int s, int e) -> float* {
    return weights ? kernel_sums + part * kernels_size + kernel_start[s * edges + e] : nullptr;
  };

  for (int depth = static_cast<int>(l.by_depth.size()) - 1; depth >= 0; --depth) {
    const std::vector<int>& here = l.by_depth[depth];
    const Window& any = l.stages[here[0]].window;
    const size_t input = size_t(any.image[0]) * any.image[1] * l.channels;
    int reach = 0;
    for (const int s : here) reach = std::max(reach, l.stages[s].window.reach());
    const auto planes = [&] {
      const Plane u = input_plane(l, here);
      const Plane y = Plane::make(arena, l.blocks, l.out[0], l.out[1], reach, reach);
      const Plane back = Plane::make(arena, l.blocks, any.image[0], any.image[1], 0, 0);
      return std::array<Plane, 3>{u, y, back};
    };
    const auto back_through = [&](int s, int e, int n, int part, const std::array<Plane, 3>& p,
                                  const Strips& strips, std::vector<Tap>& taps) {
      const Stage& stage = l.stages[s];
      const size_t image = (size_t(e) * l.batch + n) * l.result();
      const T* const given =
          stage.last ? g.y[e] + n * l.result() : g.scratch[stage.branch] + image;
      float* const to = kernel_sum(part, s, e);
      if (to != nullptr && n == l.first(part))
        std::memset(to, 0, l.kernel_size(s) * sizeof(float));
      stage_backward(l, stage, p[0], kernels[s * edges + e], given, a.z[s] + image,
                     norms[s * edges + e], p[1], p[2], to, strips, taps);
    };
    if (depth == 0) {
      share(pool, parts, [&](int part) {
        arena.reset();
        std::vector<Tap> taps;
        const auto p = planes();
        const Strips strips = Strips::make(l);
        for (int n = l.first(part); n < l.first(part + 1); ++n) {
          read_input(l, a.x + n * input, nullptr, nullptr, p[0], any.image[0], any.image[1]);
          p[2].clear();
          for (const int s : here)
            for (int e = 0; e < edges; ++e) back_through(s, e, n, part, p, strips, taps);
          for (int b = 0; b < l.blocks; ++b)
            for (int i = 0; i < any.image[0]; ++i)
              for (int j = 0; j < any.image[1]; ++j) {
                const Lanes value = load(p[2].at(b, i, j));
                store(g.x + n * input + size_t(i * any.image[1] + j) * l.channels + b * kLanes,
                      load(p[0].at(b, i, j)) > 0 ? value : Lanes{}, l.channels - b * kLanes);
              }
        }
      });
      continue;
    }
    // Of the gradient by the batch norm before each stage: its sums, alone and times its input.
    const size_t before_size = size_t(here.size()) * edges * 2 * width;
    double* const before_sums = take_sums(call_arena, parts * before_size);
    share(pool, edges * parts, [&](int unit) {
      arena.reset();
      std::vector<Tap> taps;
      const int e = unit / parts, part = unit % parts;
      const auto p = planes();
      const Strips strips = Strips::make(l);
      for (int n = l.first(part); n < l.first(part + 1); ++n)
        for (size_t at = 0; at < here.size(); ++at) {
          const int s = here[at], before = l.stage_before(s);
          const size_t image = (size_t(e) * l.batch + n) * l.result();
          const int which = l.statistics(before, e);
          read_input(l, a.z[before] + image, a.mean(l, which), a.inverse(l, which), p[0],
                     any.image[0], any.image[1]);
          p[2].clear();
          back_through(s, e, n, part, p, strips, taps);
          double* const to = before_sums + part * before_size + (at * edges + e) * 2 * width;
          T* const out = g.scratch[l.stages[s].branch] + image;
          for (int b = 0; b < l.blocks; ++b) {
            const int count = l.channels - b * kLanes;
            for (int i = 0; i < any.image[0]; ++i) {
              Lanes sum{}, product{};
              for (int j = 0; j < any.image[1]; ++j) {
                const size_t pixel = size_t(i * any.image[1] + j) * l.channels + b * kLanes;
                Lanes value = load(p[2].at(b, i, j));
                value = load(p[0].at(b, i, j)) > 0 ? value : Lanes{};
                store(out + pixel, value, count);
                sum += value;
                product += value * load(a.z[before] + image + pixel, count);
              }
              Sums{to}.add(b, sum);
              Sums{to + width}.add(b, product);
            }
          }
        }
    });
    sum_parts(before_sums, parts, before_size, before_size);
    for (size_t at = 0; at < here.size(); ++at)
      for (int e = 0; e < edges; ++e) {
        const int before = l.stage_before(here[at]), which = l.statistics(before, e);
        const double* const both = before_sums + (at * edges + e) * 2 * width;
        batch_norm_backward(l, 1, both, both + width, a.mean(l, which), a.inverse(l, which),
                            norms[before * edges + e]);
      }
  }

  if (!weights) return;
  share(pool, stages * edges, [&](int unit) {
    const int s = unit / edges, e = unit % edges, taps = l.stages[s].window.taps();
    float* const total = kernel_sum(0, s, e);
    sum_parts(total, parts, l.kernel_size(s), kernels_size);
    unpack_depthwise(total, taps, l.channels, g.depthwise[s] + size_t(e) * taps * l.channels);
    const float* const rows = total + taps * width;
    T* const to = g.pointwise[s] + size_t(e) * l.channels * l.channels;
    for (int i = 0; i < l.channels; ++i)
      for (int b = 0; b < l.blocks; ++b)
        store(to + i * l.channels + b * kLanes, load(rows + i * width + b * kLanes),
              l.channels - b * kLanes);
  });
}

// The numbers of a call: edges, shared terms, stages; whether each shared term is normalized; of
// each stage its branch, its depth, whether it is its branch's last, and its window.
Layout read_layout(ffi::Span<const int64_t> numbers, ffi::AnyBuffer x,
                   std::vector<bool>& normalized) {
  const auto shape = x.dimensions();
  Layout l;
  const int64_t* n = numbers.begin();
  l.edges = static_cast<int>(*n++);
  l.shared = static_cast<int>(*n++);
  const int stages = static_cast<int>(*n++);
  l.batch = static_cast<int>(shape[1]);
  l.in[0] = static_cast<int>(shape[2]);
  l.in[1] = static_cast<int>(shape[3]);
  l.channels = static_cast<int>(shape[4]);
  l.blocks = blocks_of(l.channels);
  for (int q = 0; q < l.shared; ++q) normalized.push_back(*n++ != 0);
  l.branches = 0;
  for (int s = 0; s < stages; ++s) {
    Stage stage;
    stage.branch = static_cast<int>(*n++);
    stage.depth = static_cast<int>(*n++);
    stage.last = *n++ != 0;
    stage.window = Window::read(n);
    n += Window::kNumbers;
    l.branches = std::max(l.branches, stage.branch + 1);
    if (l.by_depth.size() <= size_t(stage.depth)) l.by_depth.resize(stage.depth + 1);
    l.by_depth[stage.depth].push_back(s);
    l.stages.push_back(stage);
  }
  l.terms = l.shared + l.branches;
  for (int axis = 0; axis < 2; ++axis) l.out[axis] = l.stages[0].window.result[axis];
  return l;
}

// Hands out the buffers of a call in turn, each moved on to the search at hand.
struct Reader {
  ffi::RemainingArgs args;
  int64_t searches, search;
  size_t next = 0;
  template <class T>
  const T* take() {
    const ffi::AnyBuffer buffer = args.get<ffi::AnyBuffer>(next++).value();
    return static_cast<const T*>(buffer.untyped_data()) +
           search * (buffer.element_count() / searches);
  }
};

struct Writer {
  ffi::RemainingRets rets;
  int64_t searches, search;
  size_t next = 0;
  template <class T>
  T* take() {
    const ffi::Result<ffi::AnyBuffer> buffer = rets.get<ffi::AnyBuffer>(next++).value();
    return static_cast<T*>(buffer->untyped_data()) +
           search * (buffer->element_count() / searches);
  }
};

template <class T>
Arrays<T> read_arrays(const Layout& l, Reader& reader) {
  Arrays<T> a;
  a.x = reader.take<T>();
  a.mix = reader.take<float>();
  for (int q = 0; q < l.shared; ++q) a.shared.push_back(reader.take<T>());
  for (size_t s = 0; s < l.stages.size(); ++s) {
    a.depthwise.push_back(reader.take<T>());
    a.pointwise.push_back(reader.take<T>());
  }
  return a;
}

template <class T>
void run_forward(ffi::ThreadPool& pool, const Layout& l, const std::vector<bool>& normalized,
                 int64_t searches, ffi::RemainingArgs args, ffi::RemainingRets rets) {
  for (int64_t search = 0; search < searches; ++search) {
    Reader reader{args, searches, search};
    Writer writer{rets, searches, search};
    Arrays<T> a = read_arrays<T>(l, reader);
    std::vector<T*> y;
    for (int e = 0; e < l.edges; ++e) y.push_back(writer.take<T>());
    for (size_t s = 0; s < l.stages.size(); ++s) a.z.push_back(writer.take<T>());
    a.moments = writer.take<float>();
    forward(pool, l, normalized, a, y);
  }
}

template <class T>
void run_backward(ffi::ThreadPool& pool, const Layout& l, const std::vector<bool>& normalized,
                  bool weights, int64_t searches, ffi::RemainingArgs args,
                  ffi::RemainingRets rets) {
  for (int64_t search = 0; search < searches; ++search) {
    Reader reader{args, searches, search};
    Writer writer{rets, searches, search};
    Arrays<T> a = read_arrays<T>(l, reader);
    for (size_t s = 0; s < l.stages.size(); ++s)
      a.z.push_back(const_cast<T*>(reader.take<T>()));
    a.moments = const_cast<float*>(reader.take<float>());
    Gradients<T> g;
    for (int e = 0; e < l.edges; ++e) g.y.push_back(reader.take<T>());
    g.x = writer.take<T>();
    g.mix = writer.take<float>();
    for (int q = 0; q < l.shared; ++q) g.shared.push_back(writer.take<T>());
    for (size_t s = 0; weights && s < l.stages.size(); ++s) {
      g.depthwise.push_back(writer.take<T>());
      g.pointwise.push_back(writer.take<T>());
    }
    g.scratch.resize(l.branches, nullptr);
    for (const Stage& stage : l.stages)
      if (stage.depth == 1) g.scratch[stage.branch] = writer.take<T>();
    backward(pool, l, normalized, a, g);
  }
}

bool is_float(ffi::AnyBuffer x) { return x.element_type() == ffi::F32; }

ffi::Error mixed_forward(ffi::ThreadPool pool, ffi::RemainingArgs args, ffi::RemainingRets rets,
                         ffi::Span<const int64_t> numbers) {
  std::vector<bool> normalized;
  const ffi::AnyBuffer x = args.get<ffi::AnyBuffer>(0).value();
  const Layout l = read_layout(numbers, x, normalized);
  const int64_t searches = x.dimensions()[0];
  if (is_float(x)) run_forward<float>(pool, l, normalized, searches, args, rets);
  else run_forward<BFloat16>(pool, l, normalized, searches, args, rets);
  return ffi::Error::Success();
}

ffi::Error mixed_backward(ffi::ThreadPool pool, ffi::RemainingArgs args, ffi::RemainingRets rets,
                          ffi::Span<const int64_t> numbers, bool weights) {
  std::vector<bool> normalized;
  const ffi::AnyBuffer x = args.get<ffi::AnyBuffer>(0).value();
  const Layout l = read_layout(numbers, x, normalized);
  const int64_t searches = x.dimensions()[0];
  if (is_float(x)) run_backward<float>(pool, l, normalized, weights, searches, args, rets);
  else run_backward<BFloat16>(pool, l, normalized, weights, searches, args, rets);
  return ffi::Error::Success();
}

}  // namespace
}  // namespace jaxcv

XLA_FFI_DEFINE_HANDLER_SYMBOL(jaxcv_mixed_forward, jaxcv::mixed_forward,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .RemainingArgs()
                                  .RemainingRets()
                                  .Attr<ffi::Span<const int64_t>>("numbers"));

XLA_FFI_DEFINE_HANDLER_SYMBOL(jaxcv_mixed_backward, jaxcv::mixed_backward,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .RemainingArgs()
                                  .RemainingRets()
                                  .Attr<ffi::Span<const int64_t>>("numbers")
                                  .Attr<bool>("weights"));
