// Pools of images [batch, height, width, channels]: sums and maxima of windows, and what their
// derivatives need. Of equal maxima the first one counts, in the order of rows.
#include "parallel.h"
#include "window.h"

namespace ffi = xla::ffi;

namespace jaxcv {
namespace {

enum Member { kSum, kSpread, kMax, kPick, kPlace };

thread_local Arena arena;

// The part of a window that lies in the image, in pixels of the image.
struct Inside {
  int top, bottom, left, right;
  Inside(const Window& w, int row, int column) {
    const int y = row * w.stride[0] - w.low[0], x = column * w.stride[1] - w.low[1];
    top = std::max(y, 0);
    bottom = std::min(y + w.size[0], w.image[0]);
    left = std::max(x, 0);
    right = std::min(x + w.size[1], w.image[1]);
  }
};

struct Shape {
  int batch, channels, blocks;
  Window window;
  size_t image() const { return size_t(window.image[0]) * window.image[1] * channels; }
  size_t result() const { return size_t(window.result[0]) * window.result[1] * channels; }
};

// One block of channels of one image; the pointers are to its first channel.
template <class T>
void sum(const Shape& s, const T* x, T* y, int count) {
  for (int i = 0; i < s.window.result[0]; ++i)
    for (int j = 0; j < s.window.result[1]; ++j) {
      const Inside in(s.window, i, j);
      Lanes total{};
      for (int h = in.top; h < in.bottom; ++h)
        for (int w = in.left; w < in.right; ++w)
          total += load(x + (h * s.window.image[1] + w) * s.channels, count);
      store(y + (i * s.window.result[1] + j) * s.channels, total, count);
    }
}

// The largest value of each window or, with t, the entry of t at its place.
template <class T>
void largest(const Shape& s, const T* x, const T* t, T* y, int count) {
  for (int i = 0; i < s.window.result[0]; ++i)
    for (int j = 0; j < s.window.result[1]; ++j) {
      const Inside in(s.window, i, j);
      // Padding never wins; a window that sees nothing else gives minus infinity, and no entry.
      Lanes best = Lanes{} - __builtin_inff(), entry{};
      for (int h = in.top; h < in.bottom; ++h)
        for (int w = in.left; w < in.right; ++w) {
          const size_t at = size_t(h * s.window.image[1] + w) * s.channels;
          const Lanes value = load(x + at, count);
          // A value that is not a number wins over all others, and is seen.
          const auto better = (value > best) | (value != value);
          best = better ? value : best;
          if (t != nullptr) entry = better ? load(t + at, count) : entry;
        }
      store(y + (i * s.window.result[1] + j) * s.channels, t == nullptr ? best : entry, count);
    }
}

// Adds what each window gave to all its pixels or, with x, to the one with the largest value.
template <class T>
void back(const Shape& s, const T* x, const T* y, T* to, int count) {
  const Plane plane = Plane::make(arena, 1, s.window.image[0], s.window.image[1], 0, 0);
  plane.clear();
  for (int i = 0; i < s.window.result[0]; ++i)
    for (int j = 0; j < s.window.result[1]; ++j) {
      const Inside in(s.window, i, j);
      const Lanes given = load(y + (i * s.window.result[1] + j) * s.channels, count);
      IntLanes chosen{};
      if (x != nullptr) {
        Lanes best = Lanes{} - __builtin_inff();
        chosen -= 1;
        for (int h = in.top; h < in.bottom; ++h)
          for (int w = in.left; w < in.right; ++w) {
            const int pixel = h * s.window.image[1] + w;
            const Lanes value = load(x + size_t(pixel) * s.channels, count);
            const auto better = (value > best) | (value != value);
            best = better ? value : best;
            chosen = better ? IntLanes{} + pixel : chosen;
          }
      }
      for (int h = in.top; h < in.bottom; ++h)
        for (int w = in.left; w < in.right; ++w) {
          float* const pixel = plane.at(0, h, w);
          Lanes part = given;
          if (x != nullptr) part = chosen == h * s.window.image[1] + w ? given : Lanes{};
          store(pixel, load(pixel) + part);
        }
    }
  for (int h = 0; h < s.window.image[0]; ++h)
    for (int w = 0; w < s.window.image[1]; ++w)
      store(to + (h * s.window.image[1] + w) * s.channels, load(plane.at(0, h, w)), count);
}

template <class T>
void run(ffi::ThreadPool& pool, const Shape& s, Member member, ffi::RemainingArgs args,
         ffi::Result<ffi::AnyBuffer> result) {
  const auto argument = [&](size_t number) {
    return static_cast<const T*>(args.get<ffi::AnyBuffer>(number).value().untyped_data());
  };
  const T* const first = argument(0);
  const T* const second = member == kPick || member == kPlace ? argument(1) : nullptr;
  T* const to = static_cast<T*>(result->untyped_data());
  share(pool, s.batch * s.blocks, [&](int unit) {
    arena.reset();
    const int block = unit % s.blocks, start = block * kLanes, count = s.channels - start;
    const size_t image = unit / s.blocks * s.image() + start;
    const size_t pooled = unit / s.blocks * s.result() + start;
    switch (member) {
      case kSum: return sum(s, first + image, to + pooled, count);
      case kSpread: return back<T>(s, nullptr, first + pooled, to + image, count);
      case kMax: return largest<T>(s, first + image, nullptr, to + pooled, count);
      case kPick: return largest(s, first + image, second + image, to + pooled, count);
      case kPlace: return back(s, first + image, second + pooled, to + image, count);
    }
  });
}

ffi::Error pool_images(ffi::ThreadPool pool, ffi::RemainingArgs args,
                       ffi::Result<ffi::AnyBuffer> result, int64_t member,
                       ffi::Span<const int64_t> window) {
  const auto shape = result->dimensions();
  if (shape.size() != 4 || window.size() != Window::kNumbers)
    return ffi::Error::InvalidArgument("jaxcv_pool: wrong shapes");
  const int channels = static_cast<int>(shape[3]);
  const Shape sizes{static_cast<int>(shape[0]), channels, blocks_of(channels),
                    Window::read(window.begin())};
  const auto which = static_cast<Member>(member);
  if (result->element_type() == ffi::F32) run<float>(pool, sizes, which, args, result);
  else if (result->element_type() == ffi::BF16) run<BFloat16>(pool, sizes, which, args, result);
  else return ffi::Error::InvalidArgument("jaxcv_pool: allowed are float32 and bfloat16");
  return ffi::Error::Success();
}

}  // namespace
}  // namespace jaxcv

XLA_FFI_DEFINE_HANDLER_SYMBOL(jaxcv_pool, jaxcv::pool_images,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .RemainingArgs()
                                  .Ret<ffi::AnyBuffer>()
                                  .Attr<int64_t>("member")
                                  .Attr<ffi::Span<const int64_t>>("window"));
