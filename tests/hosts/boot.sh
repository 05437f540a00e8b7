#!/bin/sh
# boot.sh DIR BASE MACHINE HOSTNAME BRIDGE CGROUP: becomes the nspawn of one host.
#
# Its mounts are in a mount namespace that only this process and the host have: when the last of them ends, so do the mounts.
set -eu
dir=$1 base=$2 machine=$3 host=$4 bridge=$5 group=$6

# A control group of its own in each hierarchy that systemd uses: nspawn always calls its payload `payload`.
for top in /sys/fs/cgroup /sys/fs/cgroup/systemd /sys/fs/cgroup/unified; do
    [ -e "$top/cgroup.procs" ] || continue
    mkdir -p "$top/$group/$machine"
    echo $$ >"$top/$group/$machine/cgroup.procs"
done

# Nothing reaches the disk that was not synced: no log is written by itself, and a rename does not take the content along.
mount -o loop,commit=600,noauto_da_alloc "$dir/disk.img" "$dir/disk"
mount -t overlay overlay -o "lowerdir=$base,upperdir=$dir/disk/upper,workdir=$dir/disk/work" "$dir/root"

# Without all capabilities nft fails inside.
exec systemd-nspawn --quiet --directory="$dir/root" --machine="$machine" --hostname="$host" --network-bridge="$bridge" \
    --capability=all --boot --register=no --keep-unit --link-journal=no --resolv-conf=off --console=pipe
