// How does the emulated runtime answer about streams, events and graphs?
#include <cuda_runtime.h>

#include "tests/gpu/emulator/runtime.h"

// Everything said to `stream` before the event was recorded.
struct CUevent_st {
  std::shared_ptr<emulated::Stream> stream;
  uint64_t said = 0;
};
struct CUgraphExec_st {
  emulated::Graph graph;
};

using emulated::answer;
using emulated::Locked;

// ---- streams ----

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
  const Locked locked;
  auto made = std::make_shared<emulated::Stream>(emulated::of_thread().gpu);
  *stream = made.get();
  emulated::streams().open[made.get()] = made;
  return cudaSuccess;
}

cudaError_t cudaStreamDestroy(cudaStream_t raw) {
  const Locked locked;
  const auto stream = emulated::open_stream(raw);
  if (stream == nullptr) return answer(cudaErrorInvalidResourceHandle);
  stream->finish();
  emulated::streams().open.erase(raw);
  return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t raw) {
  const Locked locked;
  const auto stream = emulated::open_stream(raw);
  if (stream == nullptr) return answer(cudaErrorInvalidResourceHandle);
  if (stream->recording() != nullptr) {
    stream->spoilt = true;
    return answer(cudaErrorStreamCaptureUnsupported);
  }
  stream->finish();
  return stream->failure().empty() ? cudaSuccess : answer(cudaErrorLaunchFailure);
}

cudaError_t cudaStreamQuery(cudaStream_t raw) {
  const Locked locked;
  const auto stream = emulated::open_stream(raw);
  if (stream == nullptr) return answer(cudaErrorInvalidResourceHandle);
  const auto did = stream->do_one();
  if (did == emulated::Stream::Did::waits) emulated::give_others_a_turn();
  const bool more = did != emulated::Stream::Did::nothing;
  if (!stream->failure().empty()) return answer(cudaErrorLaunchFailure);
  return more || !stream->idle() ? answer(cudaErrorNotReady) : cudaSuccess;
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
  *event = new CUevent_st;
  return cudaSuccess;
}
cudaError_t cudaEventDestroy(cudaEvent_t event) {
  delete event;
  return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t raw) {
  const Locked locked;
  event->stream = emulated::open_stream(raw);
  if (event->stream == nullptr) return answer(cudaErrorInvalidResourceHandle);
  event->said = event->stream->said();
  return cudaSuccess;
}

cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  const Locked locked;
  if (event->stream == nullptr) return cudaSuccess;
  event->stream->finish(event->said);
  return event->stream->failure().empty() ? cudaSuccess : answer(cudaErrorLaunchFailure);
}

cudaError_t cudaEventQuery(cudaEvent_t event) {
  const Locked locked;
  if (event->stream == nullptr) return cudaSuccess;
  if (!event->stream->done(event->said) && event->stream->do_one() == emulated::Stream::Did::waits)
    emulated::give_others_a_turn();  // who asks again and again may wait for them
  if (!event->stream->failure().empty()) return answer(cudaErrorLaunchFailure);
  return event->stream->done(event->said) ? cudaSuccess : answer(cudaErrorNotReady);
}

cudaError_t cudaStreamWaitEvent(cudaStream_t raw, cudaEvent_t event, unsigned) {
  const Locked locked;
  if (event->stream == nullptr) return cudaSuccess;
  return emulated::say(raw, [other = event->stream, said = event->said] { other->finish(said); });
}

// ---- graphs ----

cudaError_t cudaStreamIsCapturing(cudaStream_t raw, cudaStreamCaptureStatus* status) {
  const Locked locked;
  const auto stream = emulated::open_stream(raw);
  if (stream == nullptr) return answer(cudaErrorInvalidResourceHandle);
  *status =
      stream->recording() != nullptr ? cudaStreamCaptureStatusActive : cudaStreamCaptureStatusNone;
  return cudaSuccess;
}

cudaError_t cudaStreamBeginCapture(cudaStream_t raw, cudaStreamCaptureMode) {
  const Locked locked;
  const auto stream = emulated::open_stream(raw);
  if (stream == nullptr || stream->recording() != nullptr)
    return answer(cudaErrorInvalidResourceHandle);
  stream->record();
  stream->spoilt = false;
  ++emulated::of_thread().captures;
  return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t raw, cudaGraph_t* graph) {
  const Locked locked;
  const auto stream = emulated::open_stream(raw);
  if (stream == nullptr || stream->recording() == nullptr)
    return answer(cudaErrorInvalidResourceHandle);
  --emulated::of_thread().captures;
  auto made = stream->recorded();
  *graph = nullptr;
  if (stream->spoilt) return answer(cudaErrorStreamCaptureInvalidated);
  *graph = made.release();
  return cudaSuccess;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t* made, cudaGraph_t graph, unsigned long long) {
  *made = new CUgraphExec_st{*graph};
  return cudaSuccess;
}
cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  delete graph;
  return cudaSuccess;
}
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t graph) {
  delete graph;
  return cudaSuccess;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t graph, cudaStream_t raw) {
  const Locked locked;
  const auto stream = emulated::open_stream(raw);
  if (stream == nullptr) return answer(cudaErrorInvalidResourceHandle);
  if (!stream->failure().empty()) return answer(cudaErrorLaunchFailure);
  ++emulated::machine().graphs_launched;
  for (const emulated::Recipe& recipe : graph->graph.recipes)
    stream->say([&] {
      emulated::Work work = recipe();
      work.replayed = true;
      return work;
    });
  return cudaSuccess;
}
