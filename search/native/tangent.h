// The tangent of the forward pass: how its results move as its arguments do.
#pragma once

#include "layout.h"
#include "product.h"

namespace jaxcv {
namespace {

// How mean and 1 / deviation of x move, from the parts' sums of its tangent and of that times x,
// [parts][2][width].
void moments_tangent(const Layout& l, const double* sums, const float* mean, const float* inverse,
                     float* to) {
  for (int c = 0; c < l.channels; ++c) {
    double sum = 0, product = 0;
    for (int part = 0; part < l.parts(); ++part) {
      sum += sums[2 * part * l.width() + c];
      product += sums[(2 * part + 1) * l.width() + c];
    }
    const double moved = sum / l.count(), r = inverse[c];
    to[c] = static_cast<float>(moved);
    to[l.channels + c] =
        static_cast<float>(-r * r * r * (product / l.count() - mean[c] * moved));
  }
}

// The tangent of what read_input has read into u: through the batch norm, unless `which` is
// negative, and through the ReLU.
template <class T>
void read_tangent(const Layout& l, const T* x, const T* tangent, const Arrays<T>& a,
                  const Arrays<T>& t, int which, const Plane& u, const Plane& to, int rows,
                  int columns) {
  for (int b = 0; b < l.blocks; ++b) {
    const int first = b * kLanes, count = l.channels - first;
    Lanes mean{}, inverse = Lanes{} + 1.0f, mean_tangent{}, inverse_tangent{};
    if (which >= 0) {
      mean = load(a.mean(l, which) + first, count);
      inverse = load(a.inverse(l, which) + first, count);
      mean_tangent = load(t.mean(l, which) + first, count);
      inverse_tangent = load(t.inverse(l, which) + first, count);
    }
    for (int i = 0; i < rows; ++i) {
      const size_t row = size_t(i) * columns * l.channels + first;
      const float* const read = u.at(b, i, 0);
      float* const written = to.at(b, i, 0);
      for (int j = 0; j < columns; ++j) {
        const size_t at = row + j * l.channels;
        Lanes moved = (load(tangent + at, count) - mean_tangent) * inverse;
        if (which >= 0) moved += (load(x + at, count) - mean) * inverse_tangent;
        store(written + j * kLanes, load(read + j * kLanes) > 0 ? moved : Lanes{});
      }
    }
  }
}

// What stage s reads of image n, and its tangent.
template <class T>
void read_both(const Layout& l, const Arrays<T>& a, const Arrays<T>& t, int s, int e, int n,
               const Plane& u, const Plane& u_tangent) {
  const Window& w = l.stages[s].window;
  const int rows = w.image[0], columns = w.image[1];
  if (l.stages[s].depth == 0) {
    const T* const x = a.x + n * l.image();
    read_input<T>(l, x, nullptr, nullptr, u, rows, columns);
    read_tangent(l, x, t.x + n * l.image(), a, t, -1, u, u_tangent, rows, columns);
  } else {
    const int before = l.stage_before(s), which = l.statistics(before, e);
    const size_t image = (size_t(e) * l.batch + n) * l.result();
    const T* const z = a.z[before] + image;
    read_input(l, z, a.mean(l, which), a.inverse(l, which), u, rows, columns);
    read_tangent(l, z, t.z[before] + image, a, t, which, u, u_tangent, rows, columns);
  }
}

// Tangents of a stage's results, of one image. `between` has room for two strips.
template <class T>
void stage_tangent(const Layout& l, const Stage& stage, const Plane& u, const Plane& u_tangent,
                   const Kernels& kernels, const T* z, T* z_tangent, double* sums, float* between,
                   float* after) {
  const Window& w = stage.window;
  Columns columns = Columns::of_result(w, u), moved = Columns::of_result(w, u_tangent);
  const int step = stage.strip_rows();
  for (int row = 0; row < w.result[0]; row += step) {
    const int rows = std::min(step, w.result[0] - row), pixels = rows * w.result[1];
    depthwise_strip(w, moved, kernels.depthwise, row, rows, between);
    depthwise_strip(w, columns, kernels.depthwise_tangent, row, rows, between, true);
    depthwise_strip(w, columns, kernels.depthwise, row, rows, between + l.width() * pixels);
    product(between, pixels, 2 * l.width(), l.blocks, kernels.pointwise, after);
    const size_t start = size_t(row) * w.result[1] * l.channels;
    for (int b = 0; b < l.blocks; ++b) {
      const int count = l.channels - b * kLanes;
      Lanes sum{}, crossed{};
      for (int i = 0; i < pixels; ++i) {
        const size_t at = start + i * l.channels + b * kLanes;
        const Lanes value = load(after + (b * pixels + i) * kLanes);
        store(z_tangent + at, value, count);
        sum += value;
        crossed += value * load(z + at, count);
      }
      Sums{sums}.add(b, sum);
      Sums{sums + l.width()}.add(b, crossed);
    }
  }
}

// Of arguments a with tangents t; writes those of the edges' results, and z and moments of t.
template <class T>
void tangent(xla::ffi::ThreadPool& pool, const Layout& l, const std::vector<bool>& normalized,
             const Arrays<T>& a, const Arrays<T>& t, const std::vector<T*>& y) {
  call_arena.reset();
  const auto kernels = pack(l, a, false, &t);
  const int parts = l.parts(), size = 2 * parts * l.width();
  double* const sums = take_sums(call_arena, size_t(l.all_statistics()) * size);
  const auto finish = [&](int which) {
    moments_tangent(l, sums + size_t(which) * size, a.mean(l, which), a.inverse(l, which),
                    t.moments + 2 * which * l.channels);
  };

  share(pool, l.shared * parts, [&](int unit) {
    const int q = unit / parts, part = unit % parts;
    if (!normalized[q]) return;
    double* const to = sums + size_t(q) * size + 2 * part * l.width();
    for (int n = l.first(part); n < l.first(part + 1); ++n)
      products(l, t.shared[q] + n * l.result(), {a.shared[q] + n * l.result()}, to,
               to + l.width());
  });
  for (int q = 0; q < l.shared; ++q)
    if (normalized[q]) finish(q);

  for (const auto& stages : l.by_depth) {
    share(pool, l.edges * parts, [&](int unit) {
      arena.reset();
      const int e = unit / parts, part = unit % parts;
      const Plane u = input_plane(l, stages), u_tangent = input_plane(l, stages);
      const size_t strip = size_t(std::max(kStrip, l.out[1])) * l.width();
      float* const between = arena.take(2 * strip);
      float* const after = arena.take(strip);
      for (int n = l.first(part); n < l.first(part + 1); ++n)
        for (const int s : stages) {
          const Stage& stage = l.stages[s];
          const size_t image = (size_t(e) * l.batch + n) * l.result();
          if (stage.depth > 0 || s == stages[0])
            read_both(l, a, t, s, e, n, u, u_tangent);
          stage_tangent(l, stage, u, u_tangent, kernels[s * l.edges + e], a.z[s] + image,
                        t.z[s] + image,
                        sums + size_t(l.statistics(s, e)) * size + 2 * part * l.width(), between,
                        after);
        }
    });
    for (const int s : stages)
      for (int e = 0; e < l.edges; ++e) finish(l.statistics(s, e));
  }

  share(pool, l.edges * l.batch, [&](int unit) {
    arena.reset();
    const int e = unit / l.batch, n = unit % l.batch;
    struct Term {
      const T *tangent, *x;
      float *scale, *slope;  // of the two
    };
    std::vector<Term> terms;
    float* const shift = arena.take(l.width());
    std::memset(shift, 0, l.width() * sizeof(float));
    const auto add = [&](const T* x, const T* moved, int term, int which) {
      float *const scale = arena.take(l.width()), *const slope = arena.take(l.width());
      const float mixed = a.mix[e * l.terms + term], mixed_tangent = t.mix[e * l.terms + term];
      for (int c = 0; c < l.channels; ++c) {
        scale[c] = mixed;
        slope[c] = mixed_tangent;
        if (which < 0) continue;
        const float inverse = a.inverse(l, which)[c];
        scale[c] *= inverse;
        slope[c] = slope[c] * inverse + mixed * t.inverse(l, which)[c];
        shift[c] -= scale[c] * t.mean(l, which)[c] + slope[c] * a.mean(l, which)[c];
      }
      terms.push_back({moved, x, scale, slope});
    };
    for (int q = 0; q < l.shared; ++q)
      add(a.shared[q] + n * l.result(), t.shared[q] + n * l.result(), q, normalized[q] ? q : -1);
    const size_t image = (size_t(e) * l.batch + n) * l.result();
    for (size_t s = 0; s < l.stages.size(); ++s)
      if (l.stages[s].last)
        add(a.z[s] + image, t.z[s] + image, l.shared + l.stages[s].branch,
            l.statistics(static_cast<int>(s), e));
    T* const to = y[e] + n * l.result();
    for (int b = 0; b < l.blocks; ++b) {
      const int count = l.channels - b * kLanes;
      const Lanes start = load(shift + b * kLanes);
      for (int i = 0; i < l.pixels(); ++i) {
        const int at = i * l.channels + b * kLanes;
        Lanes sum = start;
        for (const Term& term : terms)
          sum += load(term.scale + b * kLanes) * load(term.tangent + at, count) +
                 load(term.slope + b * kLanes) * load(term.x + at, count);
        store(to + at, sum, count);
      }
    }
  });
}

}  // namespace
}  // namespace jaxcv
