#!/usr/bin/env bash
# Fovea's coordinator beside NVIDIA FLARE: rounds of federated averaging in which nobody trains.
#
#   simulations/peers/nvflare/run.sh [--cells 2x1M,8x4M] [--rounds N] [--repeats N] [--quick]
#
# See ../rounds/run.sh for what is measured and how, and what it needs.
set -euo pipefail
exec "$(dirname "$0")/../rounds/run.sh" nvflare "$@"
