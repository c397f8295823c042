// The backward pass of the mixed operation.
#pragma once

#include <array>

#include "layout.h"
#include "product.h"

namespace jaxcv {
namespace {

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

// Scratch of a task that brings gradients back through a stage, and their tangents beside them.
struct Strips {
  float *between, *given, *back;
  static Strips make(const Layout& l, int copies = 1) {
    const size_t size = size_t(std::max(kStrip, l.out[1])) * l.width();
    return {arena.take(size), arena.take(copies * size), arena.take(copies * size)};
  }
};

// Adds the gradients by the stage's input u (before the ReLU's mask) and, unless null, by its
// kernels, of one image.
template <class T>
void stage_backward(const Layout& l, const Stage& stage, const Plane& u, const Kernels& kernels,
                    const T* given, const T* z, const Backward& norm, const Plane& y,
                    const Plane& u_gradient, float* kernel_sums, const Strips& strips) {
  const Window& w = stage.window;
  const int step = stage.strip_rows(), columns = w.result[1];
  Columns of_result = Columns::of_result(w, u), of_images = Columns::of_images(w, y);
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
    product(strips.given, pixels, l.channels, l.blocks, kernels.pointwise, strips.back);
    for (int b = 0; b < l.blocks; ++b)
      for (int i = 0; i < rows; ++i)
        std::memcpy(y.at(b, row + i, 0), strips.back + (b * pixels + i * columns) * kLanes,
                    columns * kLanes * sizeof(float));
    if (kernel_sums != nullptr) {
      depthwise_strip(w, of_result, kernels.depthwise, row, rows, strips.between);
      outer_product(strips.between, strips.given, pixels, l.blocks,
                    kernel_sums + w.taps() * l.width());
      for (int i = 0; i < rows; ++i)
        of_result.kernel(row + i, strips.back + i * columns * kLanes, pixels * kLanes, kLanes,
                         kernel_sums);
    }
  }
  for (int row = 0; row < w.image[0]; ++row)
    of_images.images(kernels.depthwise, row, u_gradient.at(0, row, 0), u_gradient.block_size(),
                     kLanes, true);
}

// Gradients by the kernels, of each part of a batch: [part][stage][edge], each the depthwise one,
// then the pointwise one.
class KernelSums {
 public:
  KernelSums() = default;
  explicit KernelSums(const Layout& l) : l_(&l), start_{0} {
    for (size_t s = 0; s < l.stages.size(); ++s)
      for (int e = 0; e < l.edges; ++e)
        start_.push_back(start_.back() + l.kernel_size(static_cast<int>(s)));
    data_ = call_arena.take(l.parts() * start_.back());
  }

  // Null if nobody asked for them.
  float* at(int part, int s, int e) const {
    return l_ == nullptr ? nullptr : data_ + part * start_.back() + start_[s * l_->edges + e];
  }

  template <class T>
  void write(xla::ffi::ThreadPool& pool, const std::vector<T*>& depthwise,
             const std::vector<T*>& pointwise) const {
    const Layout& l = *l_;
    share(pool, static_cast<int>(l.stages.size()) * l.edges, [&](int unit) {
      const int s = unit / l.edges, e = unit % l.edges, taps = l.stages[s].window.taps();
      float* const total = at(0, s, e);
      sum_parts(total, l.parts(), l.kernel_size(s), start_.back());
      unpack_depthwise(total, taps, l.channels, depthwise[s] + size_t(e) * taps * l.channels);
      const float* const rows = total + taps * l.width();
      T* const to = pointwise[s] + size_t(e) * l.channels * l.channels;
      for (int i = 0; i < l.channels; ++i)
        for (int b = 0; b < l.blocks; ++b)
          store(to + i * l.channels + b * kLanes, load(rows + i * l.width() + b * kLanes),
                l.channels - b * kLanes);
    });
  }

 private:
  const Layout* l_ = nullptr;
  std::vector<size_t> start_;
  float* data_ = nullptr;
};

template <class T>
class BackwardPass {
 public:
  BackwardPass(xla::ffi::ThreadPool& pool, const Layout& l, const std::vector<bool>& normalized,
               const Arrays<T>& a, const Gradients<T>& g)
      : pool_(pool), l(l), normalized_(normalized), a(a), g(g), last_(l.branches) {
    call_arena.reset();
    kernels_ = pack(l, a, true);
    for (int s = 0; s < stages_; ++s)
      if (l.stages[s].last) last_[l.stages[s].branch] = s;
    norms_.resize(size_t(stages_) * edges_);
    for (Backward& norm : norms_) norm = take_backward(l);
    if (weights_) kernel_sums_ = KernelSums(l);
  }

  void run() {
    sum_products();
    mixing_weights();
    final_norms();
    shared_terms();
    for (int depth = static_cast<int>(l.by_depth.size()) - 1; depth > 0; --depth) inner(depth);
    first();
    if (weights_) kernel_sums_.write(pool_, g.depthwise, g.pointwise);
  }

 private:
  // By edge: the sum of the gradient, and of its product with every term.
  void sum_products() {
    const size_t size = edge_size();
    sums_ = take_sums(call_arena, edges_ * parts_ * size);
    share(pool_, edges_ * parts_, [&](int unit) {
      const int e = unit / parts_, part = unit % parts_;
      for (int n = l.first(part); n < l.first(part + 1); ++n) {
        std::vector<const T*> others;
        for (const T* shared : a.shared) others.push_back(shared + n * l.result());
        for (const int s : last_) others.push_back(a.z[s] + image(e, n));
        double* const to = sums_ + unit * size;
        products(l, g.y[e] + n * l.result(), others, to, to + width_);
      }
    });
    for (int e = 0; e < edges_; ++e) sum_parts(sum(e), parts_, size, size);
  }

  void mixing_weights() const {
    for (int e = 0; e < edges_; ++e)
      for (int t = 0; t < l.terms; ++t) {
        const double* const product = sum(e, t);
        const int which = t < l.shared ? t : l.statistics(last_[t - l.shared], e);
        double total = 0;
        for (int c = 0; c < l.channels; ++c)
          total += t < l.shared && !normalized_[t]
                       ? product[c]
                       : a.inverse(l, which)[c] * (product[c] - a.mean(l, which)[c] * sum(e)[c]);
        g.mix[e * l.terms + t] = static_cast<float>(total);
      }
  }

  // Of the batch norm at the end of each branch, on each edge.
  void final_norms() const {
    for (int k = 0; k < l.branches; ++k)
      for (int e = 0; e < edges_; ++e) {
        const int which = l.statistics(last_[k], e);
        batch_norm_backward(l, mix(e, l.shared + k), sum(e), sum(e, l.shared + k),
                            a.mean(l, which), a.inverse(l, which),
                            norms_[last_[k] * edges_ + e]);
      }
  }

  // The edges' gradients, mixed, then through the one batch norm of the term.
  void shared_terms() const {
    std::vector<Backward> norms(l.shared);
    for (int q = 0; q < l.shared; ++q) {
      if (!normalized_[q]) continue;
      norms[q] = take_backward(l);
      double* const mixed = take_sums(call_arena, 2 * width_);
      for (int e = 0; e < edges_; ++e)
        for (int c = 0; c < width_; ++c) {
          mixed[c] += mix(e, q) * sum(e)[c];
          mixed[width_ + c] += mix(e, q) * sum(e, q)[c];
        }
      batch_norm_backward(l, 1, mixed, mixed + width_, a.mean(l, q), a.inverse(l, q), norms[q]);
    }
    share(pool_, l.shared * l.batch, [&](int unit) {
      const int q = unit / l.batch, n = unit % l.batch;
      for (int b = 0; b < l.blocks; ++b) {
        const int count = l.channels - b * kLanes;
        Lanes scale = Lanes{} + 1.0f, slope{}, shift{};
        if (normalized_[q]) {
          scale = load(norms[q].scale + b * kLanes);
          slope = load(norms[q].slope + b * kLanes);
          shift = load(norms[q].shift + b * kLanes);
        }
        for (int i = 0; i < l.pixels(); ++i) {
          const size_t at = n * l.result() + size_t(i) * l.channels + b * kLanes;
          Lanes total{};
          for (int e = 0; e < edges_; ++e)
            total += static_cast<float>(mix(e, q)) * load(g.y[e] + at, count);
          if (normalized_[q])
            total = total * scale + load(a.shared[q] + at, count) * slope + shift;
          store(g.shared[q] + at, total, count);
        }
      }
    });
  }

  // Scratch of a task at one depth: the stages' input, the gradient by a depthwise convolution's
  // result, and that by the input.
  struct Planes {
    Plane input, given, back;
  };

  Planes planes(const std::vector<int>& stages) const {
    int reach = 0;
    for (const int s : stages) reach = std::max(reach, l.stages[s].window.reach());
    const Window& w = l.stages[stages[0]].window;
    return {input_plane(l, stages), Plane::make(arena, l.blocks, l.out[0], l.out[1], reach, reach),
            Plane::make(arena, l.blocks, w.image[0], w.image[1], 0, 0)};
  }

  void back_through(int s, int e, int n, int part, const Planes& p, const Strips& strips) const {
    const Stage& stage = l.stages[s];
    const T* const given =
        stage.last ? g.y[e] + n * l.result() : g.scratch[stage.branch] + image(e, n);
    float* const to = kernel_sums_.at(part, s, e);
    if (to != nullptr && n == l.first(part))
      std::memset(to, 0, l.kernel_size(s) * sizeof(float));
    stage_backward(l, stage, p.input, kernels_[s * edges_ + e], given, a.z[s] + image(e, n),
                   norms_[s * edges_ + e], p.given, p.back, to, strips);
  }

  // Stages that read a batch norm. Their gradients by its result go to the scratch arrays; their
  // sums, alone and times the batch norm's input, are what that needs in turn.
  void inner(int depth) const {
    const std::vector<int>& here = l.by_depth[depth];
    const int rows = l.out[0], columns = l.out[1];
    const size_t size = here.size() * edges_ * 2 * width_;
    double* const sums = take_sums(call_arena, parts_ * size);
    share(pool_, edges_ * parts_, [&](int unit) {
      arena.reset();
      const int e = unit / parts_, part = unit % parts_;
      const Planes p = planes(here);
      const Strips strips = Strips::make(l);
      for (int n = l.first(part); n < l.first(part + 1); ++n)
        for (size_t at = 0; at < here.size(); ++at) {
          const int s = here[at], before = l.stage_before(s), which = l.statistics(before, e);
          const T* const x = a.z[before] + image(e, n);
          read_input(l, x, a.mean(l, which), a.inverse(l, which), p.input, rows, columns);
          p.back.clear();
          back_through(s, e, n, part, p, strips);
          double* const to = sums + part * size + (at * edges_ + e) * 2 * width_;
          T* const out = g.scratch[l.stages[s].branch] + image(e, n);
          for (int b = 0; b < l.blocks; ++b) {
            const int count = l.channels - b * kLanes;
            for (int i = 0; i < rows; ++i) {
              Lanes total{}, product{};
              for (int j = 0; j < columns; ++j) {
                const size_t pixel = size_t(i * columns + j) * l.channels + b * kLanes;
                const Lanes value = masked(p, b, i, j);
                store(out + pixel, value, count);
                total += value;
                product += value * load(x + pixel, count);
              }
              Sums{to}.add(b, total);
              Sums{to + width_}.add(b, product);
            }
          }
        }
    });
    sum_parts(sums, parts_, size, size);
    for (size_t at = 0; at < here.size(); ++at)
      for (int e = 0; e < edges_; ++e) {
        const int before = l.stage_before(here[at]), which = l.statistics(before, e);
        const double* const both = sums + (at * edges_ + e) * 2 * width_;
        batch_norm_backward(l, 1, both, both + width_, a.mean(l, which), a.inverse(l, which),
                            norms_[before * edges_ + e]);
      }
  }

  // Stages that read x, whose gradients by it add up over all branches and edges.
  void first() const {
    const std::vector<int>& here = l.by_depth[0];
    share(pool_, parts_, [&](int part) {
      arena.reset();
      const Planes p = planes(here);
      const Strips strips = Strips::make(l);
      for (int n = l.first(part); n < l.first(part + 1); ++n) {
        read_input<T>(l, a.x + n * l.image(), nullptr, nullptr, p.input, l.in[0], l.in[1]);
        p.back.clear();
        for (const int s : here)
          for (int e = 0; e < edges_; ++e) back_through(s, e, n, part, p, strips);
        for (int b = 0; b < l.blocks; ++b)
          for (int i = 0; i < l.in[0]; ++i)
            for (int j = 0; j < l.in[1]; ++j)
              store(g.x + n * l.image() + size_t(i * l.in[1] + j) * l.channels + b * kLanes,
                    masked(p, b, i, j), l.channels - b * kLanes);
      }
    });
  }

  // Through the ReLU at the start of a stage.
  static Lanes masked(const Planes& p, int block, int row, int column) {
    return load(p.input.at(block, row, column)) > 0 ? load(p.back.at(block, row, column))
                                                    : Lanes{};
  }
  size_t edge_size() const { return size_t(1 + l.terms) * width_; }
  double* sum(int e) const { return sums_ + size_t(e) * parts_ * edge_size(); }
  double* sum(int e, int term) const { return sum(e) + (1 + term) * width_; }
  double mix(int e, int term) const { return a.mix[e * l.terms + term]; }
  size_t image(int e, int n) const { return (size_t(e) * l.batch + n) * l.result(); }

  xla::ffi::ThreadPool& pool_;
  const Layout& l;
  const std::vector<bool>& normalized_;
  const Arrays<T>& a;
  const Gradients<T>& g;
  const int parts_ = l.parts(), width_ = l.width(), edges_ = l.edges;
  const int stages_ = static_cast<int>(l.stages.size());
  const bool weights_ = !g.depthwise.empty();
  std::vector<Kernels> kernels_;
  std::vector<int> last_;  // by branch: its last stage
  std::vector<Backward> norms_;  // by stage and edge
  KernelSums kernel_sums_;
  double* sums_ = nullptr;
};

}  // namespace
}  // namespace jaxcv
