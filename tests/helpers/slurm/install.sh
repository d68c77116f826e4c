#!/usr/bin/env bash
# Installs what tests/integration/test_slurm.py starts: Debian's Slurm and munge, without starting any of it.
#
# Refuses a host that has a Slurm configuration or a munge key: it belongs to a cluster. The package
# munge makes a key; it is removed again at once, so that the host stays one without, also if the
# installation fails half-way.
set -euo pipefail

as_root=()
((EUID == 0)) || as_root=(sudo)
for file in /etc/slurm/slurm.conf /etc/slurm-llnl/slurm.conf /etc/munge/munge.key; do
  if [[ -e $file ]] || "${as_root[@]}" test -e "$file"; then # only root looks into /etc/munge
    echo "slurm: $file exists: this host belongs to a cluster, and no other is set up on it" >&2
    exit 1
  fi
done
export PATH="$PATH:/usr/sbin" # where the daemons are
if type slurmctld slurmd srun munged &> /dev/null; then
  exit 0
fi

policy=/usr/sbin/policy-rc.d # by it packages ask whether they may start their services
ours=()
clean_up() {
  "${as_root[@]}" rm -f /etc/munge/munge.key "${ours[@]}"
  "${as_root[@]}" rmdir /etc/munge 2> /dev/null || true
}
trap clean_up EXIT
if [[ ! -e $policy ]]; then
  ours=("$policy")
  printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" tee "$policy" > /dev/null
  "${as_root[@]}" chmod 755 "$policy"
fi
export DEBIAN_FRONTEND=noninteractive
"${as_root[@]}" apt-get update -q
"${as_root[@]}" apt-get install -q -y --no-install-recommends slurmctld slurmd slurm-client munge
