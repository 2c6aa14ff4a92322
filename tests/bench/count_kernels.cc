// What check_baseline counts: every codec's EncodeResidual with error feedback and DecodeAdd, and the parts of a
// low-rank step, each once on 2^20 floats after a first time that sizes work memory. Prints a line for each,
//
//   <name> TAB <wire bytes, 0 where there are none>
//
// in the order of the parts that callgrind writes, one for each line. All on one instruction set:
// the best that valgrind knows and that every x86-64 server has had since 2013.
//
//   count_kernels [--environment]     with it, prints what instruction counts depend on, and counts nothing
#include <cstring>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "compressors/kernels/targets.h"
#include "fmt/format.h"
#include "laconic/compressors/codec_registry.h"

#if defined(__GLIBC__)
#include <gnu/libc-version.h>
#endif

#if __has_include(<valgrind/callgrind.h>)
#include <valgrind/callgrind.h>
#define LACONIC_COUNTS 1
#else
#define LACONIC_COUNTS 0
#define CALLGRIND_TOGGLE_COLLECT
#define CALLGRIND_DUMP_STATS
#endif

namespace laconic {
namespace {

constexpr std::string_view kTarget = "AVX2";
constexpr size_t kElements = size_t{1} << 20;

constexpr std::string_view kSpecs[] = {
    "identity",
    "cast(to=bf16)",
    "cast(to=fp16)",
    "sign",
    "topk(ratio=0.01)",
    "topk(ratio=0.001)",
    "randk(ratio=0.01)",
    "quantize(bits=8, rounding=nearest)",
    "quantize(bits=4, rounding=nearest)",
    "quantize(bits=8, rounding=stochastic)",
    "natural",
    "turboquant(bits=4)",
    "turboquant(bits=1, mode=unbiased)",
    "lowrank(rank=4)",
};

std::string Compiler() {
#if defined(__clang__)
  return fmt::format("Clang {}.{}", __clang_major__, __clang_minor__);
#elif defined(__GNUC__)
  return fmt::format("GNU {}.{}", __GNUC__, __GNUC_MINOR__);
#else
  return "unknown";
#endif
}

std::string Libc() {
#if defined(__GLIBC__)
  return fmt::format("glibc {}", gnu_get_libc_version());
#else
  return "unknown libc";
#endif
}

// Bell-shaped values: sums of four 16-bit integers.
std::vector<float> Values(uint64_t seed) {
  std::vector<float> x(kElements);
  uint64_t state = seed;
  for (float& value : x) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    const uint64_t mixed = state ^ (state >> 29);
    const auto sum = (mixed & 0xffff) + (mixed >> 16 & 0xffff) + (mixed >> 32 & 0xffff) + (mixed >> 48);
    value = (static_cast<float>(sum) - 131070.0f) * 0x1p-16f;
  }
  return x;
}

// Runs `work` as one part of the profile.
template <typename Work>
void CountOnce(const Work& work) {
  CALLGRIND_TOGGLE_COLLECT;
  work();
  CALLGRIND_TOGGLE_COLLECT;
  CALLGRIND_DUMP_STATS;
}

// Runs `work` twice, the second time counted.
void Count(std::string_view name, const std::function<size_t()>& work) {
  size_t wire_bytes = work();
  CountOnce([&] { wire_bytes = work(); });
  fmt::print("{}\t{}\n", name, wire_bytes);
}

// False, with a line on stderr, if the spec is no codec or does not encode.
bool CountCodec(std::string_view spec, const Message& message) {
  const auto codec = CodecRegistry::BuiltIn().Create(spec);
  if (!codec.ok()) {
    fmt::print(stderr, "count_kernels: {}: {}\n", spec, codec.status().ToString());
    return false;
  }
  const bool matrix = spec.starts_with("lowrank");
  const Shape shape = matrix ? Shape({1024, kElements / 1024}) : Shape::Flat(kElements);
  std::vector<float> residual(kElements), acc(kElements);
  std::vector<std::byte> body((*codec)->MaxBodyBytes(shape));
  size_t body_bytes = 0;
  absl::Status status;
  Count(fmt::format("{} encode", spec), [&] {
    const auto written = (*codec)->EncodeResidual(message, shape, RngKey{.seed = 1}, residual, body);
    if (!written.ok()) status = written.status();
    body_bytes = written.value_or(0);
    return body_bytes;
  });
  Count(fmt::format("{} decode", spec), [&] {
    status.Update((*codec)->DecodeAdd(std::span(body).first(body_bytes), shape, 0.5f, acc));
    return size_t{0};
  });
  const auto session = matrix ? (*codec)->NewLinearSession(shape, RngKey{.seed = 2}) : nullptr;
  if (session != nullptr) {
    std::vector<float> round_0(session->RoundFloats(0)), round_1(session->RoundFloats(1));
    const auto begin = [&] {
      session->Begin(RngKey{.seed = 3}, residual);
      status.Update(session->Produce(0, message, round_0));
    };
    const auto consume = [&] { status.Update(session->Consume(0, round_0)); };
    const auto produce = [&] { status.Update(session->Produce(1, message, round_1)); };
    const auto reconstruct = [&] { session->Reconstruct(acc); };
    begin(), consume(), produce(), status.Update(session->Consume(1, round_1)), reconstruct();
    // Each part once more, in the order of a step.
    const auto count = [&](std::string_view part, const std::function<void()>& work, size_t wire_bytes) {
      CountOnce(work);
      fmt::print("{} {}\t{}\n", spec, part, wire_bytes);
    };
    count("round 0", begin, round_0.size() * sizeof(float));
    count("orthogonalise", consume, 0);
    count("round 1", produce, round_1.size() * sizeof(float));
    status.Update(session->Consume(1, round_1));
    count("reconstruct", reconstruct, 0);
  }
  if (!status.ok()) fmt::print(stderr, "count_kernels: {}: {}\n", spec, status.ToString());
  return status.ok();
}

// The bits of kTarget; nothing where this machine does not run it.
std::optional<int64_t> Target() {
  for (const int64_t target : kernels::RunnableTargets()) {
    if (kernels::TargetName(target) == kTarget) return target;
  }
  return std::nullopt;
}

std::string Environment() {
  return fmt::format("{}, {}, {}, {}{}{}", Compiler(), LACONIC_BUILD_FLAVOUR, Libc(), Target() ? "" : "no ", kTarget,
                     LACONIC_COUNTS ? "" : ", built without valgrind/callgrind.h");
}

int Run() {
  const std::optional<int64_t> target = Target();
  if (!target || !LACONIC_COUNTS) {
    fmt::print(stderr, "count_kernels: cannot count here: {}\n", Environment());
    return 2;
  }
  const kernels::ForcedTarget forced(*target);
  const std::vector<float> gradient = Values(1), error = Values(2);
  Message message(gradient);
  message.error = error;
  for (const std::string_view spec : kSpecs) {
    if (!CountCodec(spec, message)) return 1;
  }
  return 0;
}

}  // namespace
}  // namespace laconic

int main(int argc, char** argv) {
  if (argc == 2 && std::strcmp(argv[1], "--environment") == 0) {
    fmt::print("{}\n", laconic::Environment());
    return 0;
  }
  if (argc != 1) {
    fmt::print(stderr, "usage: {} [--environment]\n", argv[0]);
    return 2;
  }
  return laconic::Run();
}
