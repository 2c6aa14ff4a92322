// What `laconic plan` measures on this machine: codecs, and, where no link is given, the transport.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "laconic/comm/communicator.h"
#include "tools/plan/step.h"

namespace laconic::tools {

// Measures each codec once a shape, in as many threads at once as ranks of this machine run at once, and remembers.
// Tensors of more than 2^22 elements are measured on a part of them. Not thread-safe.
class CodecBench {
 public:
  // threads: at least 1.   seed: of the Gaussian data.
  CodecBench(int threads, uint64_t seed) : threads_(threads), seed_(seed) {}

  // Medians, averaged over the threads. Errors: what the codec says of the shape.
  absl::StatusOr<CodecFigures> Figures(const Compressor& codec, const Shape& shape);
  // memcpy in the same minutes, bytes copied by one thread; measures if nothing has been yet.
  absl::StatusOr<double> CopyBytesPerSecond();

 private:
  const int threads_;
  const uint64_t seed_;
  std::map<std::string, CodecFigures> known_;  // by codec and shape
  std::vector<double> copies_;                 // bytes a second, one a measurement
};

// Of a transport with all its ranks at work.
struct TransportFigures {
  double exchange_seconds = 0;        // of an Exchange of a few bytes with every other rank
  double bytes_per_second = 0;        // sent by each rank, which receives as much
  double dense_bytes_per_second = 0;  // gradient bytes over the time of a dense allreduce
};

// Collective; the same figures on all ranks (medians of the slowest).
//   bulk: also the two rates, else 0.   dense_bytes: of the gradient that is summed.
absl::StatusOr<TransportFigures> MeasureTransport(Communicator& comm, bool bulk, size_t dense_bytes);

}  // namespace laconic::tools
