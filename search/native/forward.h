// The forward pass of the mixed operation.
#pragma once

#include "layout.h"
#include "product.h"

namespace jaxcv {
namespace {

template <class T>
void stage_forward(const Layout& l, const Stage& stage, const Plane& u, const Kernels& kernels,
                   T* z, double* sums, float* between, float* after) {
  const Window& w = stage.window;
  Columns columns = Columns::of_result(w, u);
  const int step = stage.strip_rows();
  for (int row = 0; row < w.result[0]; row += step) {
    const int rows = std::min(step, w.result[0] - row), pixels = rows * w.result[1];
    depthwise_strip(w, columns, kernels.depthwise, row, rows, between);
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
void forward(xla::ffi::ThreadPool& pool, const Layout& l, const std::vector<bool>& normalized,
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
                        after);
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

}  // namespace
}  // namespace jaxcv
