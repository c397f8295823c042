// The three members of the depthwise convolution: its result, its gradients by images and kernel.
// Arrays are [edges, batch, height, width, channels] and [edges, height, width, 1, channels].
#include <type_traits>

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
  int edges, batch, channels;
  Window window;

  int image() const { return window.image[0] * window.image[1] * channels; }
  int result() const { return window.result[0] * window.result[1] * channels; }
};

// The channels that a task takes on: all, so that memory is read in order, unless that would leave
// threads idle.
struct Slice {
  int first, channels, blocks;

  static int number(const Sizes& s, int tasks, int threads) {
    return tasks < 2 * threads ? blocks_of(s.channels) : 1;
  }
  static Slice make(const Sizes& s, int which, int number) {
    if (number == 1) return {0, s.channels, blocks_of(s.channels)};
    const int first = which * kLanes;
    return {first, std::min(kLanes, s.channels - first), 1};
  }
};

// Brings a row to the cache, to be read or to be written (1).
template <int kWrite, class T>
void prefetch(const T* from, int columns, int channels, const Slice& slice) {
  for (int j = 0; j < columns; ++j)
    for (int b = 0; b < slice.blocks; ++b)
      __builtin_prefetch(from + j * channels + b * kLanes, kWrite);
}

// Brings the rows of an image [height, width, all channels] to a plane as they are needed, and the
// row after them to the cache meanwhile.
template <class T>
class Rows {
 public:
  Rows(const T* from, int channels, const Slice& slice, const Plane& plane, int columns)
      : from_(from), channels_(channels), slice_(slice), plane_(plane), columns_(columns) {}

  void read_until(int row) {
    for (const int last = std::min(row, plane_.rows - 1); read_ <= last; ++read_) {
      const T* const start = from_ + size_t(read_) * columns_ * channels_;
      for (int j = 0; j < columns_; ++j)
        for (int b = 0; b < slice_.blocks; ++b)
          store(plane_.at(b, read_, j), load(start + j * channels_ + b * kLanes,
                                             slice_.channels - b * kLanes));
    }
    if (read_ < plane_.rows)
      prefetch<0>(from_ + size_t(read_) * columns_ * channels_, columns_, channels_, slice_);
  }

 private:
  const T* from_;
  int channels_;
  const Slice& slice_;
  const Plane& plane_;
  int columns_, read_ = 0;
};

template <class T>
void write_row(const float* row, int row_block, T* to, int channels, const Slice& slice,
               int columns) {
  for (int j = 0; j < columns; ++j)
    for (int b = 0; b < slice.blocks; ++b)
      store(to + j * channels + b * kLanes, load(row + size_t(b) * row_block + j * kLanes),
            slice.channels - b * kLanes);
}

// The slice of a kernel [taps, all channels] in blocks.
template <class T>
float* read_kernel(const T* kernel, const Sizes& s, const Slice& slice) {
  const int taps = s.window.taps();
  float* const packed = arena.take(slice.blocks * taps * kLanes);
  for (int b = 0; b < slice.blocks; ++b)
    for (int tap = 0; tap < taps; ++tap)
      store(packed + (b * taps + tap) * kLanes,
            load(kernel + tap * s.channels + slice.first + b * kLanes,
                 slice.channels - b * kLanes));
  return packed;
}

template <class T>
void results_and_images(ffi::ThreadPool& pool, const Sizes& s, Member member, const T* a,
                        const T* kernel, T* c) {
  const Window& w = s.window;
  const int images = s.edges * s.batch;
  const int slices = Slice::number(s, images, static_cast<int>(pool.num_threads()));
  share(pool, images * slices, [&](int unit) {
    arena.reset();
    std::vector<Tap> taps;
    const Slice slice = Slice::make(s, unit % slices, slices);
    const int image = unit / slices;
    const float* const packed =
        read_kernel(kernel + size_t(image / s.batch) * w.taps() * s.channels, s, slice);
    const bool forward = member == kResult;
    const int* const in = forward ? w.image : w.result;
    const int* const out = forward ? w.result : w.image;
    const int in_size = forward ? s.image() : s.result(), out_size = forward ? s.result() : s.image();
    const Plane plane = Plane::make(arena, slice.blocks, in[0], in[1],
                                    forward ? w.left() : w.reach(), forward ? w.right() : w.reach());
    Rows<T> rows(a + size_t(image) * in_size + slice.first, s.channels, slice, plane, in[1]);
    const int size = out[1] * kLanes;
    float* const row = arena.take(slice.blocks * size);
    T* const to = c + size_t(image) * out_size + slice.first;
    for (int i = 0; i < out[0]; ++i) {
      rows.read_until(forward ? i * w.stride[0] + (w.size[0] - 1) * w.dilation[0] - w.low[0]
                              : (i + w.low[0]) / w.stride[0]);
      T* const to_row = to + size_t(i) * out[1] * s.channels;
      prefetch<1>(to_row, out[1], s.channels, slice);
      if (forward) depthwise_row(w, plane, packed, i, row, size, taps);
      else depthwise_images_row(w, plane, packed, i, row, size, false, taps);
      write_row(row, size, to_row, s.channels, slice, out[1]);
    }
  });
}

template <class T>
void kernels(ffi::ThreadPool& pool, const Sizes& s, const T* images, const T* results, T* kernel) {
  const Window& w = s.window;
  const int parts = std::min(s.batch, kParts), taps_size = w.taps() * kLanes;
  const int slices = Slice::number(s, s.edges * parts, static_cast<int>(pool.num_threads()));
  const int size = blocks_of(s.channels) * taps_size;
  shared_arena.reset();
  float* const sums = shared_arena.take(size_t(s.edges) * parts * size);
  share(pool, s.edges * parts * slices, [&](int unit) {
    arena.reset();
    std::vector<Tap> taps;
    const Slice slice = Slice::make(s, unit % slices, slices);
    const int part = unit / slices % parts, edge = unit / slices / parts;
    float* const sum = sums + size_t(unit / slices) * size + slice.first / kLanes * taps_size;
    std::memset(sum, 0, slice.blocks * taps_size * sizeof(float));
    const Plane x = Plane::make(arena, slice.blocks, w.image[0], w.image[1], w.left(), w.right());
    // Whole blocks of floats are read where they lie.
    const bool direct = std::is_same_v<T, float> && slice.channels % kLanes == 0;
    const Plane y = Plane::make(arena, slice.blocks, direct ? 0 : w.result[0], w.result[1], 0, 0);
    for (int n = s.batch * part / parts; n < s.batch * (part + 1) / parts; ++n) {
      const size_t image = size_t(edge) * s.batch + n;
      Rows<T> x_rows(images + image * s.image() + slice.first, s.channels, slice, x, w.image[1]);
      const T* const y_image = results + image * s.result() + slice.first;
      Rows<T> y_rows(y_image, s.channels, slice, y, w.result[1]);
      for (int i = 0; i < w.result[0]; ++i) {
        x_rows.read_until(i * w.stride[0] + (w.size[0] - 1) * w.dilation[0] - w.low[0]);
        if (direct) {
          const T* const row = y_image + size_t(i) * w.result[1] * s.channels;
          prefetch<0>(row + w.result[1] * s.channels, w.result[1], s.channels, slice);
          depthwise_kernel(w, x, i, reinterpret_cast<const float*>(row), kLanes, s.channels, sum,
                           taps);
        } else {
          y_rows.read_until(i);
          depthwise_kernel(w, x, i, y.at(0, i, 0), y.block_size(), kLanes, sum, taps);
        }
      }
    }
  });
  for (int edge = 0; edge < s.edges; ++edge) {
    float* const total = sums + size_t(edge) * parts * size;
    for (int part = 1; part < parts; ++part)
      for (int i = 0; i < size; ++i) total[i] += total[part * size + i];
    unpack_depthwise(total, w.taps(), s.channels,
                     kernel + size_t(edge) * w.taps() * s.channels);
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
                    Window::read(window.begin())};
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
