// Products of matrices of pixels and channels, in blocks of lanes.
#pragma once

#include <type_traits>

#include "lanes.h"

namespace jaxcv {
namespace {

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

}  // namespace
}  // namespace jaxcv
