// `laconic bench`: what compression costs and saves, measured.
#include "tools/bench/bench.h"

#include <vector>

namespace laconic::tools {

Command AddBench(CLI::App& app, const std::string& command_line) {
  CLI::App* bench = app.add_subcommand("bench", "Measure collectives under specs, or codecs against memory");
  bench->require_subcommand(1);
  bench->footer(
      "Examples:\n"
      "  laconic bench allreduce --spec \"sign+ef+scatter,topk(ratio=0.01)+econtrol\" --link 1Gbit,rtt=1ms\n"
      "  mpirun -np 4 laconic bench allreduce -b 1M -e 64M --spec \"quantize(bits=4)+ef+scatter\" -J out.json\n"
      "  laconic bench codec --spec \"sign,topk(ratio=0.01)\" --input grads.npy");
  const std::vector<Command> commands = {AddCollectiveBench(*bench, Pattern::kAllreduce, command_line),
                                         AddCollectiveBench(*bench, Pattern::kAllgather, command_line),
                                         AddCollectiveBench(*bench, Pattern::kPs, command_line),
                                         AddCodecBench(*bench, command_line)};
  return {bench, RunParsed(commands)};
}

}  // namespace laconic::tools
