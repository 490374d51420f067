#!/usr/bin/env bash
# Starts a Slurm of one node in a temporary folder, carries a command out in it, and stops it again.
#     tools/with_slurm.sh sbatch --wrap "echo yes"
# Nothing is installed and no file of the system is touched. It needs Debian's packages slurm-wlm and munge, and root.
# Job control is plain: no cgroups, no accounting, so that it runs in a container too.
set -euo pipefail
if [ "$(uname)" != Linux ] || [ "$(id -u)" != 0 ]; then
  echo "got $(uname) and user $(id -un), expected Linux and root: slurmd starts jobs as whoever asks for them"
  exit 2
fi
missing=()
for program in slurmctld slurmd sbatch munged mungekey; do
  command -v "$program" >/dev/null || missing+=("$program")
done
if [ ${#missing[@]} != 0 ]; then
  echo "missing: ${missing[*]}. On Debian: apt-get install slurm-wlm munge"
  exit 2
fi
if pgrep -x slurmctld >/dev/null; then
  echo "a slurmctld is running here already; take that one: pytest -m slow tests/study/runs/test_slurm_real.py"
  exit 2
fi

folder=$(mktemp -d /tmp/slurm.XXXXXX)
chmod 755 "$folder"
# munged is asked by all through this socket; it wants folders that no one else can write to.
socket=$folder/munge/socket
node=$(hostname -s)
mkdir "$folder/munge" "$folder/state" "$folder/spool"
mungekey --create --keyfile "$folder/munge/key"
cat >"$folder/slurm.conf" <<EOF
ClusterName=here
SlurmctldHost=$node(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$socket
CredType=cred/munge
SlurmctldPort=16817
SlurmdPort=16818
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerParameters=sched_interval=1,bf_interval=1
JobRequeue=1
MinJobAge=300
KillWait=5
ReturnToService=2
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
DefMemPerCPU=100
# Two CPUs, whatever the machine has: what waits, and runs beside each other, is what is tested.
SlurmdParameters=config_overrides
NodeName=$node NodeAddr=127.0.0.1 CPUs=2 RealMemory=8000 State=UNKNOWN
PartitionName=main Nodes=$node Default=YES MaxTime=INFINITE State=UP
EOF
export SLURM_CONF=$folder/slurm.conf

stop() {
  # Jobs would outlive the daemons.
  scancel --user="$(id -un)" 2>/dev/null || true
  for _ in $(seq 100); do [ -n "$(squeue --noheader 2>/dev/null)" ] || break; sleep 0.1; done
  for name in slurmd slurmctld munge/munged; do
    if [ ! -f "$folder/$name.pid" ]; then continue; fi
    process=$(cat "$folder/$name.pid")
    kill "$process" 2>/dev/null || true
    for _ in $(seq 100); do kill -0 "$process" 2>/dev/null || break; sleep 0.1; done
  done
  if [ -n "${KEEP_SLURM_FOLDER:-}" ]; then echo "kept: $folder"; else rm -rf "$folder"; fi
}
trap stop EXIT
trap 'exit 143' TERM INT

munged --force --key-file="$folder/munge/key" --socket="$socket" --pid-file="$folder/munge/munged.pid" \
  --log-file="$folder/munge/log" --seed-file="$folder/munge/seed"
slurmctld
slurmd -N "$node"
for _ in $(seq 30); do
  if [ "$(sinfo --noheader --format=%T 2>/dev/null)" = idle ]; then break; fi
  sleep 1
done
if [ "$(sinfo --noheader --format=%T)" != idle ]; then
  echo "Slurm does not get ready: $(sinfo --noheader --format='%T, %E')"
  tail -n 20 "$folder/slurmctld.log" "$folder/slurmd.log"
  exit 1
fi
"$@"
