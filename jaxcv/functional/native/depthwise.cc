// The three members of the depthwise convolution: its result, its gradients by images and kernel.
// Arrays are [edges, batch, height, width, channels] and [edges, height, width, 1, channels].
#include <type_traits>

#include "parallel.h"
#include "window.h"

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

// Copies a row from [columns, all channels] to [blocks][columns][kLanes].
template <class T>
void read_row(const T* from, int channels, const Slice& slice, int columns, float* to,
              int to_block) {
  for (int b = 0; b < slice.blocks; ++b, from += kLanes, to += to_block) {
    const int count = slice.channels - b * kLanes;
    if (count >= kLanes) {
      for (int j = 0; j < columns; ++j) store(to + j * kLanes, load(from + j * channels));
    } else {
      for (int j = 0; j < columns; ++j) store(to + j * kLanes, load(from + j * channels, count));
    }
  }
}

// And back.
template <class T>
void write_row(const float* from, int from_block, T* to, int channels, const Slice& slice,
               int columns) {
  for (int b = 0; b < slice.blocks; ++b, from += from_block, to += kLanes) {
    const int count = slice.channels - b * kLanes;
    if (count >= kLanes) {
      for (int j = 0; j < columns; ++j) store(to + j * channels, load(from + j * kLanes));
    } else {
      for (int j = 0; j < columns; ++j) store(to + j * channels, load(from + j * kLanes), count);
    }
  }
}

// Whole blocks of floats are read and written where they lie.
template <class T>
bool whole_blocks(const Slice& slice) {
  return std::is_same_v<T, float> && slice.channels % kLanes == 0;
}

// An image [height, width, all channels] to be read from the top down: where it lies, or by way of
// a plane of its last rows. Columns beyond the image are cheaper there, if there are many.
template <class T>
class Source {
 public:
  Source(const T* from, int channels, const Slice& slice, const int* size, const Window& w,
         int left, int right)
      : from_(from), channels_(channels), slice_(slice), rows_(size[0]), columns_(size[1]) {
    if (whole_blocks<T>(slice) && kDirect * (w.size[1] - 1) * w.dilation[1] <= columns_) {
      view_ = View::of(reinterpret_cast<const float*>(from), slice.blocks, rows_, columns_,
                       channels);
      read_ = rows_;
    } else {
      plane_ = Plane::make(arena, slice.blocks, std::min(w.rows(), rows_), columns_, left, right);
      view_ = plane_;
    }
  }

  const View& view() const { return view_; }

  void read_until(int row) {
    for (const int last = std::min(row, rows_ - 1); read_ <= last; ++read_)
      read_row(from_ + size_t(read_) * columns_ * channels_, channels_, slice_, columns_,
               plane_.at(0, read_, 0), plane_.block_size());
  }

 private:
  static constexpr int kDirect = 8;
  const T* from_;
  int channels_;
  const Slice& slice_;
  int rows_, columns_, read_ = 0;
  View view_{};
  Plane plane_{};
};

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
    const Slice slice = Slice::make(s, unit % slices, slices);
    const int image = unit / slices;
    const float* const packed =
        read_kernel(kernel + size_t(image / s.batch) * w.taps() * s.channels, s, slice);
    const bool forward = member == kResult, whole = whole_blocks<T>(slice);
    const int* const in = forward ? w.image : w.result;
    const int* const out = forward ? w.result : w.image;
    const T* const from = a + size_t(image) * in[0] * in[1] * s.channels + slice.first;
    T* const to = c + size_t(image) * out[0] * out[1] * s.channels + slice.first;
    Source<T> source(from, s.channels, slice, in, w, forward ? w.left() : w.reach(),
                     forward ? w.right() : w.reach());
    Columns columns = forward ? Columns::of_result(w, source.view())
                              : Columns::of_images(w, source.view());
    const int block = whole ? kLanes : out[1] * kLanes, step = whole ? s.channels : kLanes;
    float* const buffer = arena.take(whole ? 0 : slice.blocks * block);
    for (int i = 0; i < out[0]; ++i) {
      source.read_until(forward ? i * w.stride[0] + (w.size[0] - 1) * w.dilation[0] - w.low[0]
                                : (i + w.low[0]) / w.stride[0]);
      T* const to_row = to + size_t(i) * out[1] * s.channels;
      float* const row = whole ? reinterpret_cast<float*>(to_row) : buffer;
      if (forward) columns.result(packed, i, row, block, step);
      else columns.images(packed, i, row, block, step, false);
      if (!whole) write_row(row, block, to_row, s.channels, slice, out[1]);
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
    const Slice slice = Slice::make(s, unit % slices, slices);
    const int part = unit / slices % parts, edge = unit / slices / parts;
    float* const sum = sums + size_t(unit / slices) * size + slice.first / kLanes * taps_size;
    std::memset(sum, 0, slice.blocks * taps_size * sizeof(float));
    const bool whole = whole_blocks<T>(slice);
    const int block = whole ? kLanes : w.result[1] * kLanes, step = whole ? s.channels : kLanes;
    float* const buffer = arena.take(whole ? 0 : slice.blocks * block);
    for (int n = s.batch * part / parts; n < s.batch * (part + 1) / parts; ++n) {
      const size_t image = size_t(edge) * s.batch + n;
      const T* const y = results + image * s.result() + slice.first;
      Source<T> x(images + image * s.image() + slice.first, s.channels, slice, w.image, w,
                  w.left(), w.right());
      Columns columns = Columns::of_result(w, x.view());
      for (int i = 0; i < w.result[0]; ++i) {
        x.read_until(i * w.stride[0] + (w.size[0] - 1) * w.dilation[0] - w.low[0]);
        const T* const y_row = y + size_t(i) * w.result[1] * s.channels;
        if (!whole) read_row(y_row, s.channels, slice, w.result[1], buffer, block);
        const float* const row = whole ? reinterpret_cast<const float*>(y_row) : buffer;
        columns.kernel(i, row, block, step, sum);
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
