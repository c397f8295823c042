// The three members of the depthwise convolution: its result, its gradients by images and kernel.
// Arrays are [edges, batch, height, width, channels] and [edges, height, width, 1, channels].
#include "lanes.h"
#include "parallel.h"

namespace ffi = xla::ffi;

namespace jaxcv {
namespace {

enum Member { kResult, kImages, kKernel };

// Parts of a batch whose gradients by the kernel are summed apart: a fixed number, so that the
// order of additions does not depend on the threads.
constexpr int kParts = 8;

thread_local Arena arena;
thread_local Arena shared_arena;

struct Sizes {
  int edges, batch, channels, blocks;
  Window window;

  int image() const { return window.image[0] * window.image[1] * channels; }
  int result() const { return window.result[0] * window.result[1] * channels; }
};

// One block of channels of an image as a plane, and back.
template <class T>
void read_plane(const T* from, int channels, int count, const Plane& plane, int rows, int columns) {
  for (int i = 0; i < rows; ++i)
    for (int j = 0; j < columns; ++j)
      store(plane.at(0, i, j), load(from + (i * columns + j) * channels, count));
}

template <class T>
void write_row(const float* row, T* to, int channels, int count, int columns) {
  for (int j = 0; j < columns; ++j) store(to + j * channels, load(row + j * kLanes), count);
}

template <class T>
void results_and_images(ffi::ThreadPool& pool, const Sizes& s, Member member, const T* a,
                        const T* kernel, T* c) {
  const Window& w = s.window;
  share(pool, s.edges * s.batch * s.blocks, [&](int unit) {
    arena.reset();
    std::vector<Tap> taps;
    const int block = unit % s.blocks, image = unit / s.blocks, edge = image / s.batch;
    const int start = block * kLanes, count = s.channels - start;
    float* packed = arena.take(w.taps() * kLanes);
    for (int tap = 0; tap < w.taps(); ++tap)
      store(packed + tap * kLanes,
            load(kernel + (size_t(edge) * w.taps() + tap) * s.channels + start, count));
    if (member == kResult) {
      const Plane x = Plane::make(arena, 1, w.image[0], w.image[1], w.left(), w.right());
      read_plane(a + size_t(image) * s.image() + start, s.channels, count, x, w.image[0],
                 w.image[1]);
      float* row = arena.take(w.result[1] * kLanes);
      T* to = c + size_t(image) * s.result() + start;
      for (int i = 0; i < w.result[0]; ++i) {
        depthwise_row(w, x, packed, i, row, 0, taps);
        write_row(row, to + i * w.result[1] * s.channels, s.channels, count, w.result[1]);
      }
    } else {
      const Plane y = Plane::make(arena, 1, w.result[0], w.result[1], w.reach(), w.reach());
      const Plane x = Plane::make(arena, 1, w.image[0], w.image[1], 0, 0);
      read_plane(a + size_t(image) * s.result() + start, s.channels, count, y, w.result[0],
                 w.result[1]);
      x.clear();
      depthwise_images(w, y, packed, x, taps);
      T* to = c + size_t(image) * s.image() + start;
      for (int i = 0; i < w.image[0]; ++i)
        write_row(x.at(0, i, 0), to + i * w.image[1] * s.channels, s.channels, count, w.image[1]);
    }
  });
}

template <class T>
void kernels(ffi::ThreadPool& pool, const Sizes& s, const T* images, const T* results, T* kernel) {
  const Window& w = s.window;
  const int parts = std::min(s.batch, kParts), size = w.taps() * kLanes;
  shared_arena.reset();
  float* const sums = shared_arena.take(size_t(s.edges) * s.blocks * parts * size);
  share(pool, s.edges * s.blocks * parts, [&](int unit) {
    arena.reset();
    std::vector<Tap> taps;
    const int part = unit % parts, block = unit / parts % s.blocks;
    const int edge = unit / parts / s.blocks;
    const int start = block * kLanes, count = s.channels - start;
    float* const sum = sums + size_t(unit) * size;
    std::memset(sum, 0, size * sizeof(float));
    const Plane x = Plane::make(arena, 1, w.image[0], w.image[1], w.left(), w.right());
    float* row = arena.take(w.result[1] * kLanes);
    for (int n = s.batch * part / parts; n < s.batch * (part + 1) / parts; ++n) {
      const size_t image = size_t(edge) * s.batch + n;
      read_plane(images + image * s.image() + start, s.channels, count, x, w.image[0], w.image[1]);
      const T* y = results + image * s.result() + start;
      for (int i = 0; i < w.result[0]; ++i) {
        for (int j = 0; j < w.result[1]; ++j)
          store(row + j * kLanes, load(y + (i * w.result[1] + j) * s.channels, count));
        depthwise_kernel(w, x, i, row, 0, sum, taps);
      }
    }
  });
  for (int edge = 0; edge < s.edges; ++edge)
    for (int block = 0; block < s.blocks; ++block)
      for (int tap = 0; tap < w.taps(); ++tap) {
        Lanes total{};
        for (int part = 0; part < parts; ++part)
          total += load(sums + (size_t(edge * s.blocks + block) * parts + part) * size +
                        tap * kLanes);
        store(kernel + (size_t(edge) * w.taps() + tap) * s.channels + block * kLanes, total,
              s.channels - block * kLanes);
      }
}

template <class T>
void run(ffi::ThreadPool& pool, const Sizes& sizes, Member member, ffi::AnyBuffer a,
         ffi::AnyBuffer b, ffi::Result<ffi::AnyBuffer> c) {
  const T* first = static_cast<const T*>(a.untyped_data());
  const T* second = static_cast<const T*>(b.untyped_data());
  T* to = static_cast<T*>(c->untyped_data());
  if (member == kKernel) return kernels(pool, sizes, first, second, to);
  results_and_images(pool, sizes, member, first, second, to);
}

ffi::Error depthwise(ffi::ThreadPool pool, ffi::AnyBuffer a, ffi::AnyBuffer b,
                     ffi::Result<ffi::AnyBuffer> c, int64_t member,
                     ffi::Span<const int64_t> window) {
  const auto shape = a.dimensions();
  if (shape.size() != 5 || window.size() != Window::kNumbers)
    return ffi::Error::InvalidArgument("jaxcv_depthwise: wrong shapes");
  const int channels = static_cast<int>(shape[4]);
  const Sizes sizes{static_cast<int>(shape[0]), static_cast<int>(shape[1]), channels,
                    blocks_of(channels), Window::read(window.begin())};
  if (a.element_type() == ffi::F32) {
    run<float>(pool, sizes, static_cast<Member>(member), a, b, c);
  } else if (a.element_type() == ffi::BF16) {
    run<BFloat16>(pool, sizes, static_cast<Member>(member), a, b, c);
  } else {
    return ffi::Error::InvalidArgument("jaxcv_depthwise: allowed are float32 and bfloat16");
  }
  return ffi::Error::Success();
}

}  // namespace
}  // namespace jaxcv

XLA_FFI_DEFINE_HANDLER_SYMBOL(jaxcv_depthwise, jaxcv::depthwise,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Ret<ffi::AnyBuffer>()
                                  .Attr<int64_t>("member")
                                  .Attr<ffi::Span<const int64_t>>("window"));
