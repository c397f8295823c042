// Work shared between the calling thread and XLA's.
#pragma once

#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>

#include "xla/ffi/api/ffi.h"

namespace jaxcv {

// Runs task(0) ... task(count - 1), each once, and returns when all are done.
//
// Calls run side by side on the pool's threads, so a call that waited for a task that nobody has
// begun could wait for ever. Therefore the caller takes tasks too, and waits only for those that
// another thread has already taken. Helpers that start late find nothing left to take.
template <class Task>
void share(xla::ffi::ThreadPool& pool, int count, const Task& task) {
  struct Work {
    std::atomic<int> next{0};
    int done = 0;
    std::mutex mutex;
    std::condition_variable all_done;
  };
  const auto work = std::make_shared<Work>();
  const auto take = [work, count, task = &task] {
    int finished = 0;
    for (int i; (i = work->next.fetch_add(1)) < count; ++finished) (*task)(i);
    if (finished == 0) return;
    const std::lock_guard<std::mutex> lock(work->mutex);
    work->done += finished;
    if (work->done == count) work->all_done.notify_all();
  };
  const int helpers = std::min<int>(static_cast<int>(pool.num_threads()), count) - 1;
  for (int i = 0; i < helpers; ++i) pool.Schedule([take] { take(); });
  take();
  std::unique_lock<std::mutex> lock(work->mutex);
  work->all_done.wait(lock, [&] { return work->done == count; });
}

}  // namespace jaxcv
