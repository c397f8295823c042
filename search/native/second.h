// The tangent of the backward pass: how the gradients move with all that they are made of.
#pragma once

#include "backward.h"
#include "tangent.h"

namespace jaxcv {
namespace {

// A gradient through a batch norm, given * scale + x * slope + shift, and its tangent.
struct BackwardTangent {
  Backward at, moved;
};

// For each channel, sums of a gradient by a batch norm's result and of that times the batch norm's
// input x, and the tangents of both.
struct GradientSums {
  const double *gradient, *product, *gradient_tangent, *product_tangent;
};

// A batch norm's moments and their tangents.
struct MovingMoments {
  const float *mean, *inverse, *mean_tangent, *inverse_tangent;

  // Tangent of the sum of a gradient times the batch norm's result.
  double normalized_tangent(const GradientSums& sums, int c) const {
    const double centred = sums.product[c] - mean[c] * sums.gradient[c];
    const double moved = sums.product_tangent[c] - mean_tangent[c] * sums.gradient[c] -
                         mean[c] * sums.gradient_tangent[c];
    return inverse_tangent[c] * centred + inverse[c] * moved;
  }
};

void batch_norm_second(const Layout& l, double factor, double factor_tangent,
                       const GradientSums& sums, const MovingMoments& m,
                       const BackwardTangent& to) {
  batch_norm_backward(l, factor, sums.gradient, sums.product, m.mean, m.inverse, to.at);
  for (int c = 0; c < l.channels; ++c) {
    const double r = m.inverse[c], r_tangent = m.inverse_tangent[c];
    const double mean = m.mean[c], gradient = sums.gradient[c];
    const double scale = factor * r, scale_tangent = factor_tangent * r + factor * r_tangent;
    const double normalized = r * (sums.product[c] - mean * gradient);
    const double slope = -scale * r * normalized / l.count();
    const double slope_tangent = -((scale_tangent * r + scale * r_tangent) * normalized +
                                   scale * r * m.normalized_tangent(sums, c)) /
                                 l.count();
    to.moved.scale[c] = static_cast<float>(scale_tangent);
    to.moved.slope[c] = static_cast<float>(slope_tangent);
    to.moved.shift[c] = static_cast<float>(
        -(scale_tangent * gradient + scale * sums.gradient_tangent[c]) / l.count() -
        slope_tangent * mean - slope * m.mean_tangent[c]);
  }
}

// Scratch of a task at one depth: the stages' input, the gradient by a depthwise convolution's
// result, their tangents, and the tangent of the gradient by the input.
struct MovingPlanes {
  Plane input, input_tangent, given, given_tangent, back;
};

// Adds the tangents of the gradients by the stage's input u (before the ReLU's mask) and, unless
// null, by its kernels, of one image. Strips hold the tangents first.
template <class T>
void stage_second(const Layout& l, const Stage& stage, const MovingPlanes& p,
                  const Kernels& kernels, const T* given, const T* given_tangent, const T* z,
                  const T* z_tangent, const BackwardTangent& norm, float* kernel_sums,
                  const Strips& strips) {
  const Window& w = stage.window;
  const int step = stage.strip_rows(), columns = w.result[1];
  Columns of_result = Columns::of_result(w, p.input);
  Columns of_tangent = Columns::of_result(w, p.input_tangent);
  for (int row = 0; row < w.result[0]; row += step) {
    const int rows = std::min(step, w.result[0] - row), pixels = rows * columns;
    const int half = pixels * l.width();
    const size_t start = size_t(row) * columns * l.channels;
    for (int b = 0; b < l.blocks; ++b) {
      const int first = b * kLanes, count = l.channels - first;
      const Lanes scale = load(norm.at.scale + first), slope = load(norm.at.slope + first);
      const Lanes shift = load(norm.at.shift + first);
      const Lanes scale_tangent = load(norm.moved.scale + first);
      const Lanes slope_tangent = load(norm.moved.slope + first);
      const Lanes shift_tangent = load(norm.moved.shift + first);
      for (int i = 0; i < pixels; ++i) {
        const size_t at = start + i * l.channels + first;
        const Lanes g = load(given + at, count), x = load(z + at, count);
        float* const to = strips.given + (b * pixels + i) * kLanes;
        store(to, load(given_tangent + at, count) * scale + g * scale_tangent +
                      load(z_tangent + at, count) * slope + x * slope_tangent + shift_tangent);
        store(to + half, g * scale + x * slope + shift);
      }
    }
    product(strips.given, pixels, 2 * l.width(), l.blocks, kernels.pointwise, strips.back);
    product(strips.given + half, pixels, l.channels, l.blocks, kernels.pointwise,
            strips.back + half);
    for (int b = 0; b < l.blocks; ++b)
      for (int i = 0; i < rows; ++i) {
        const float* const from = strips.back + (b * pixels + i * columns) * kLanes;
        const size_t size = columns * kLanes * sizeof(float);
        std::memcpy(p.given_tangent.at(b, row + i, 0), from, size);
        std::memcpy(p.given.at(b, row + i, 0), from + half, size);
      }
    if (kernel_sums != nullptr) {
      float* const pointwise_sums = kernel_sums + w.taps() * l.width();
      depthwise_strip(w, of_result, kernels.depthwise, row, rows, strips.between);
      outer_product(strips.between, strips.given, pixels, l.blocks, pointwise_sums);
      depthwise_strip(w, of_tangent, kernels.depthwise, row, rows, strips.between);
      depthwise_strip(w, of_result, kernels.depthwise_tangent, row, rows, strips.between, true);
      outer_product(strips.between, strips.given + half, pixels, l.blocks, pointwise_sums);
      for (int i = 0; i < rows; ++i) {
        const float* const from = strips.back + i * columns * kLanes;
        of_result.kernel(row + i, from, pixels * kLanes, kLanes, kernel_sums);
        of_tangent.kernel(row + i, from + half, pixels * kLanes, kLanes, kernel_sums);
      }
    }
  }
  Columns of_images = Columns::of_images(w, p.given);
  Columns of_images_tangent = Columns::of_images(w, p.given_tangent);
  for (int row = 0; row < w.image[0]; ++row) {
    float* const to = p.back.at(0, row, 0);
    of_images_tangent.images(kernels.depthwise, row, to, p.back.block_size(), kLanes, true);
    of_images.images(kernels.depthwise_tangent, row, to, p.back.block_size(), kLanes, true);
  }
}

// Branches have two stages at most: the gradients between those are what the backward pass leaves
// in its scratch arrays.
template <class T>
class SecondPass {
 public:
  // Arguments a with tangents t. Of g, what the backward pass was given and its scratch arrays are
  // read; gt has the tangents of what it was given, and gets those of the gradients.
  SecondPass(xla::ffi::ThreadPool& pool, const Layout& l, const std::vector<bool>& normalized,
             const Arrays<T>& a, const Arrays<T>& t, const Gradients<T>& g,
             const Gradients<T>& gt)
      : pool_(pool), l(l), normalized_(normalized), a(a), t(t), g(g), gt(gt), last_(l.branches) {
    call_arena.reset();
    kernels_ = pack(l, a, true, &t);
    for (int s = 0; s < stages_; ++s)
      if (l.stages[s].last) last_[l.stages[s].branch] = s;
    for (int i = 0; i < stages_ * edges_; ++i)
      norms_.push_back({take_backward(l), take_backward(l)});
    if (!gt.depthwise.empty()) kernel_sums_ = KernelSums(l);
  }

  void run() {
    sum_products();
    mixing_weights();
    final_norms();
    shared_terms();
    for (int depth = static_cast<int>(l.by_depth.size()) - 1; depth > 0; --depth) inner(depth);
    first();
    if (!gt.depthwise.empty()) kernel_sums_.write(pool_, gt.depthwise, gt.pointwise);
  }

 private:
  // By edge: the sum of the gradient and of its product with every term, then their tangents.
  void sum_products() {
    const size_t size = edge_size();
    sums_ = take_sums(call_arena, edges_ * parts_ * size);
    share(pool_, edges_ * parts_, [&](int unit) {
      const int e = unit / parts_, part = unit % parts_;
      double *const to = sums_ + unit * size, *const moved = to + size / 2;
      for (int n = l.first(part); n < l.first(part + 1); ++n) {
        std::vector<const T*> terms, tangents;
        for (int q = 0; q < l.shared; ++q) {
          terms.push_back(a.shared[q] + n * l.result());
          tangents.push_back(t.shared[q] + n * l.result());
        }
        for (const int s : last_) {
          terms.push_back(a.z[s] + image(e, n));
          tangents.push_back(t.z[s] + image(e, n));
        }
        const T* const given = g.y[e] + n * l.result();
        products(l, given, terms, to, to + width_);
        products(l, gt.y[e] + n * l.result(), terms, moved, moved + width_);
        products<T>(l, given, tangents, nullptr, moved + width_);
      }
    });
    for (int e = 0; e < edges_; ++e) sum_parts(sums_ + e * parts_ * size, parts_, size, size);
  }

  void mixing_weights() const {
    for (int e = 0; e < edges_; ++e)
      for (int term = 0; term < l.terms; ++term) {
        const GradientSums sums = sums_of(e, term);
        const bool plain = term < l.shared && !normalized_[term];
        const int which =
            term < l.shared ? term : l.statistics(last_[term - l.shared], e);
        const MovingMoments moments = moments_of(which);
        double total = 0;
        for (int c = 0; c < l.channels; ++c)
          total += plain ? sums.product_tangent[c] : moments.normalized_tangent(sums, c);
        gt.mix[e * l.terms + term] = static_cast<float>(total);
      }
  }

  // Of the batch norm at the end of each branch, on each edge.
  void final_norms() const {
    for (int k = 0; k < l.branches; ++k)
      for (int e = 0; e < edges_; ++e) {
        const int term = l.shared + k;
        batch_norm_second(l, mix(a, e, term), mix(t, e, term), sums_of(e, term),
                          moments_of(l.statistics(last_[k], e)), norms_[last_[k] * edges_ + e]);
      }
  }

  // The edges' gradients, mixed, then through the one batch norm of the term.
  void shared_terms() const {
    std::vector<BackwardTangent> norms(l.shared);
    for (int q = 0; q < l.shared; ++q) {
      if (!normalized_[q]) continue;
      norms[q] = {take_backward(l), take_backward(l)};
      double* const mixed = take_sums(call_arena, 4 * width_);
      for (int e = 0; e < edges_; ++e) {
        const GradientSums from = sums_of(e, q);
        const double m = mix(a, e, q), moved = mix(t, e, q);
        for (int c = 0; c < width_; ++c) {
          mixed[c] += m * from.gradient[c];
          mixed[width_ + c] += m * from.product[c];
          mixed[2 * width_ + c] += m * from.gradient_tangent[c] + moved * from.gradient[c];
          mixed[3 * width_ + c] += m * from.product_tangent[c] + moved * from.product[c];
        }
      }
      const GradientSums sums{mixed, mixed + width_, mixed + 2 * width_, mixed + 3 * width_};
      batch_norm_second(l, 1, 0, sums, moments_of(q), norms[q]);
    }
    share(pool_, l.shared * l.batch, [&](int unit) {
      const int q = unit / l.batch, n = unit % l.batch;
      for (int b = 0; b < l.blocks; ++b) {
        const int count = l.channels - b * kLanes;
        const auto by_channel = [&](const float* values) { return load(values + b * kLanes); };
        for (int i = 0; i < l.pixels(); ++i) {
          const size_t at = n * l.result() + size_t(i) * l.channels + b * kLanes;
          Lanes total{}, moved{};
          for (int e = 0; e < edges_; ++e) {
            const Lanes given = load(g.y[e] + at, count);
            total += static_cast<float>(mix(a, e, q)) * given;
            moved += static_cast<float>(mix(a, e, q)) * load(gt.y[e] + at, count) +
                     static_cast<float>(mix(t, e, q)) * given;
          }
          if (normalized_[q]) {
            const BackwardTangent& norm = norms[q];
            moved = moved * by_channel(norm.at.scale) + total * by_channel(norm.moved.scale) +
                    load(t.shared[q] + at, count) * by_channel(norm.at.slope) +
                    load(a.shared[q] + at, count) * by_channel(norm.moved.slope) +
                    by_channel(norm.moved.shift);
          }
          store(gt.shared[q] + at, moved, count);
        }
      }
    });
  }

  MovingPlanes planes(const std::vector<int>& stages) const {
    int reach = 0;
    for (const int s : stages) reach = std::max(reach, l.stages[s].window.reach());
    const Window& w = l.stages[stages[0]].window;
    const auto given = [&] {
      return Plane::make(arena, l.blocks, l.out[0], l.out[1], reach, reach);
    };
    return {input_plane(l, stages), input_plane(l, stages), given(), given(),
            Plane::make(arena, l.blocks, w.image[0], w.image[1], 0, 0)};
  }

  void back_through(int s, int e, int n, int part, const MovingPlanes& p,
                    const Strips& strips) const {
    const Stage& stage = l.stages[s];
    const size_t at = stage.last ? n * l.result() : image(e, n);
    const auto given = [&](const Gradients<T>& from) -> const T* {
      return (stage.last ? from.y[e] : from.scratch[stage.branch]) + at;
    };
    float* const to = kernel_sums_.at(part, s, e);
    if (to != nullptr && n == l.first(part)) std::memset(to, 0, l.kernel_size(s) * sizeof(float));
    stage_second(l, stage, p, kernels_[s * edges_ + e], given(g), given(gt), a.z[s] + image(e, n),
                 t.z[s] + image(e, n), norms_[s * edges_ + e], to, strips);
  }

  // Stages that read a batch norm. The tangents of the gradients by its result go to the scratch
  // arrays; sums of both are what that needs in turn.
  void inner(int depth) const {
    const std::vector<int>& here = l.by_depth[depth];
    const size_t size = here.size() * edges_ * 4 * width_;
    double* const sums = take_sums(call_arena, parts_ * size);
    share(pool_, edges_ * parts_, [&](int unit) {
      arena.reset();
      const int e = unit / parts_, part = unit % parts_;
      const MovingPlanes p = planes(here);
      const Strips strips = Strips::make(l, 2);
      for (int n = l.first(part); n < l.first(part + 1); ++n)
        for (size_t at = 0; at < here.size(); ++at) {
          const int s = here[at], before = l.stage_before(s), branch = l.stages[s].branch;
          read_both(l, a, t, s, e, n, p.input, p.input_tangent);
          p.back.clear();
          back_through(s, e, n, part, p, strips);
          const T* const back = g.scratch[branch] + image(e, n);
          T* const moved = gt.scratch[branch] + image(e, n);
          write_back(p, moved, l.out[0], l.out[1]);
          double* const to = sums + part * size + (at * edges_ + e) * 4 * width_;
          const T *const z = a.z[before] + image(e, n), *const zt = t.z[before] + image(e, n);
          products<T>(l, back, {z}, to, to + width_);
          products<T>(l, moved, {z}, to + 2 * width_, to + 3 * width_);
          products<T>(l, back, {zt}, nullptr, to + 3 * width_);
        }
    });
    sum_parts(sums, parts_, size, size);
    for (size_t at = 0; at < here.size(); ++at)
      for (int e = 0; e < edges_; ++e) {
        const int before = l.stage_before(here[at]);
        const double* const of = sums + (at * edges_ + e) * 4 * width_;
        batch_norm_second(l, 1, 0, {of, of + width_, of + 2 * width_, of + 3 * width_},
                          moments_of(l.statistics(before, e)), norms_[before * edges_ + e]);
      }
  }

  // Stages that read x, whose gradients by it add up over all branches and edges.
  void first() const {
    const std::vector<int>& here = l.by_depth[0];
    share(pool_, parts_, [&](int part) {
      arena.reset();
      const MovingPlanes p = planes(here);
      const Strips strips = Strips::make(l, 2);
      for (int n = l.first(part); n < l.first(part + 1); ++n) {
        read_both(l, a, t, here[0], 0, n, p.input, p.input_tangent);
        p.back.clear();
        for (const int s : here)
          for (int e = 0; e < edges_; ++e) back_through(s, e, n, part, p, strips);
        write_back(p, gt.x + n * l.image(), l.in[0], l.in[1]);
      }
    });
  }

  // Through the ReLU at the start of a stage.
  void write_back(const MovingPlanes& p, T* to, int rows, int columns) const {
    for (int b = 0; b < l.blocks; ++b)
      for (int i = 0; i < rows; ++i) {
        const float *const input = p.input.at(b, i, 0), *const back = p.back.at(b, i, 0);
        for (int j = 0; j < columns; ++j)
          store(to + size_t(i * columns + j) * l.channels + b * kLanes,
                load(input + j * kLanes) > 0 ? load(back + j * kLanes) : Lanes{},
                l.channels - b * kLanes);
      }
  }

  size_t edge_size() const { return 2 * size_t(1 + l.terms) * width_; }
  GradientSums sums_of(int e, int term) const {
    const double* const of = sums_ + size_t(e) * parts_ * edge_size();
    const double* const moved = of + edge_size() / 2;
    const int at = (1 + term) * width_;
    return {of, of + at, moved, moved + at};
  }
  MovingMoments moments_of(int which) const {
    return {a.mean(l, which), a.inverse(l, which), t.mean(l, which), t.inverse(l, which)};
  }
  double mix(const Arrays<T>& of, int e, int term) const { return of.mix[e * l.terms + term]; }
  size_t image(int e, int n) const { return (size_t(e) * l.batch + n) * l.result(); }

  xla::ffi::ThreadPool& pool_;
  const Layout& l;
  const std::vector<bool>& normalized_;
  const Arrays<T>&a, &t;
  const Gradients<T>&g, &gt;
  const int parts_ = l.parts(), width_ = l.width(), edges_ = l.edges;
  const int stages_ = static_cast<int>(l.stages.size());
  std::vector<Kernels> kernels_;
  std::vector<int> last_;                // by branch: its last stage
  std::vector<BackwardTangent> norms_;  // by stage and edge
  KernelSums kernel_sums_;
  double* sums_ = nullptr;
};

}  // namespace
}  // namespace jaxcv
