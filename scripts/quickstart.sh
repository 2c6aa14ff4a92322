#!/usr/bin/env bash
# From a bare machine to the main job: installs the packages, builds the library and the trainer, and trains on Fashion-MNIST with
# and without compression over an emulated slow link. Arguments go to the trainer.
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/install_deps.sh --minimal
cmake --preset release -DLACONIC_BUILD_TESTS=OFF -DLACONIC_BUILD_TOOLS=OFF --log-level=WARNING
cmake --build --preset release --target train
exec build/release/examples/train --quickstart "$@"
