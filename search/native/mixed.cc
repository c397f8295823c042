// The mixed operation on all edges that leave one state, forward and backward, and the tangents of
// both: search/mixed.py has its definition. Of the intermediate results only the convolutions' are
// kept; what lies between two of them (batch norm, ReLU, depthwise convolution) is computed again
// where it is needed, from data in the cache.
#include "backward.h"
#include "forward.h"
#include "second.h"
#include "tangent.h"

namespace ffi = xla::ffi;

namespace jaxcv {
namespace {

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
    ffi::Result<ffi::AnyBuffer> buffer = rets.get<ffi::AnyBuffer>(next++).value();
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

// What the forward pass kept, or its tangent.
template <class T>
void read_kept(const Layout& l, Reader& reader, Arrays<T>& a) {
  for (size_t s = 0; s < l.stages.size(); ++s) a.z.push_back(const_cast<T*>(reader.take<T>()));
  a.moments = const_cast<float*>(reader.take<float>());
}

template <class T>
void write_kept(const Layout& l, Writer& writer, Arrays<T>& a) {
  for (size_t s = 0; s < l.stages.size(); ++s) a.z.push_back(writer.take<T>());
  a.moments = writer.take<float>();
}

template <class T>
std::vector<T*> write_edges(const Layout& l, Writer& writer) {
  std::vector<T*> y;
  for (int e = 0; e < l.edges; ++e) y.push_back(writer.take<T>());
  return y;
}

template <class T>
void read_given(const Layout& l, Reader& reader, Gradients<T>& g) {
  for (int e = 0; e < l.edges; ++e) g.y.push_back(reader.take<T>());
}

template <class T>
void write_gradients(const Layout& l, bool weights, Writer& writer, Gradients<T>& g) {
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
}

// Calls run(value of the storage type, layout, normalized, reader, writer) for each search.
template <class Run>
ffi::Error each_search(ffi::RemainingArgs args, ffi::RemainingRets rets,
                       ffi::Span<const int64_t> numbers, const Run& run) {
  std::vector<bool> normalized;
  const ffi::AnyBuffer x = args.get<ffi::AnyBuffer>(0).value();
  const Layout l = read_layout(numbers, x, normalized);
  const int64_t searches = x.dimensions()[0];
  for (int64_t search = 0; search < searches; ++search) {
    Reader reader{args, searches, search};
    Writer writer{rets, searches, search};
    if (x.element_type() == ffi::F32) run(float{}, l, normalized, reader, writer);
    else run(BFloat16{}, l, normalized, reader, writer);
  }
  return ffi::Error::Success();
}

ffi::Error mixed_forward(ffi::ThreadPool pool, ffi::RemainingArgs args, ffi::RemainingRets rets,
                         ffi::Span<const int64_t> numbers) {
  return each_search(args, rets, numbers, [&](auto value, const Layout& l, const auto& normalized,
                                              Reader& reader, Writer& writer) {
    using T = decltype(value);
    Arrays<T> a = read_arrays<T>(l, reader);
    const std::vector<T*> y = write_edges<T>(l, writer);
    write_kept(l, writer, a);
    forward(pool, l, normalized, a, y);
  });
}

ffi::Error mixed_tangent(ffi::ThreadPool pool, ffi::RemainingArgs args, ffi::RemainingRets rets,
                         ffi::Span<const int64_t> numbers) {
  return each_search(args, rets, numbers, [&](auto value, const Layout& l, const auto& normalized,
                                              Reader& reader, Writer& writer) {
    using T = decltype(value);
    Arrays<T> a = read_arrays<T>(l, reader);
    read_kept(l, reader, a);
    Arrays<T> t = read_arrays<T>(l, reader);
    const std::vector<T*> y = write_edges<T>(l, writer);
    write_kept(l, writer, t);
    tangent(pool, l, normalized, a, t, y);
  });
}

ffi::Error mixed_backward(ffi::ThreadPool pool, ffi::RemainingArgs args, ffi::RemainingRets rets,
                          ffi::Span<const int64_t> numbers, bool weights) {
  return each_search(args, rets, numbers, [&](auto value, const Layout& l, const auto& normalized,
                                              Reader& reader, Writer& writer) {
    using T = decltype(value);
    Arrays<T> a = read_arrays<T>(l, reader);
    read_kept(l, reader, a);
    Gradients<T> g;
    read_given(l, reader, g);
    write_gradients(l, weights, writer, g);
    BackwardPass<T>(pool, l, normalized, a, g).run();
  });
}

ffi::Error mixed_second(ffi::ThreadPool pool, ffi::RemainingArgs args, ffi::RemainingRets rets,
                        ffi::Span<const int64_t> numbers, bool weights) {
  return each_search(args, rets, numbers, [&](auto value, const Layout& l, const auto& normalized,
                                              Reader& reader, Writer& writer) {
    using T = decltype(value);
    Arrays<T> a = read_arrays<T>(l, reader);
    read_kept(l, reader, a);
    Gradients<T> g, gt;
    read_given(l, reader, g);
    g.scratch.resize(l.branches, nullptr);
    for (const Stage& stage : l.stages)
      if (stage.depth == 1) g.scratch[stage.branch] = const_cast<T*>(reader.take<T>());
    Arrays<T> t = read_arrays<T>(l, reader);
    read_kept(l, reader, t);
    read_given(l, reader, gt);
    write_gradients(l, weights, writer, gt);
    SecondPass<T>(pool, l, normalized, a, t, g, gt).run();
  });
}

}  // namespace
}  // namespace jaxcv

#define JAXCV_ARRAYS                \
  ffi::Ffi::Bind()                  \
      .Ctx<ffi::ThreadPool>()       \
      .RemainingArgs()              \
      .RemainingRets()              \
      .Attr<ffi::Span<const int64_t>>("numbers")

XLA_FFI_DEFINE_HANDLER_SYMBOL(jaxcv_mixed_forward, jaxcv::mixed_forward, JAXCV_ARRAYS);
XLA_FFI_DEFINE_HANDLER_SYMBOL(jaxcv_mixed_tangent, jaxcv::mixed_tangent, JAXCV_ARRAYS);
XLA_FFI_DEFINE_HANDLER_SYMBOL(jaxcv_mixed_backward, jaxcv::mixed_backward,
                              JAXCV_ARRAYS.Attr<bool>("weights"));
XLA_FFI_DEFINE_HANDLER_SYMBOL(jaxcv_mixed_second, jaxcv::mixed_second,
                              JAXCV_ARRAYS.Attr<bool>("weights"));
