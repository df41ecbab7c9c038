#!/usr/bin/env bash
# Makes a folder with another Debian release in it that has only RabbitMQ, for tests on another version.
# Usage: rabbitmq-root.sh FOLDER [RELEASE]   (as root; default: trixie, which has RabbitMQ 4.0.5)
#
# It prints the folder of programs to put first on PATH. Each of them runs in a mount namespace of its own, with
# the temporary folder of this machine, so nothing stays mounted and no service of the release is started.
set -eu

root=$(realpath -m "${1:?usage: rabbitmq-root.sh FOLDER [RELEASE]}")
release=${2:-trixie}
if [ ! -d "$root/programs" ]; then  # made once all else is there
  command -v debootstrap >/dev/null || bash "$(dirname "${BASH_SOURCE[0]}")/apt-install.sh" debootstrap >&2
  debootstrap --variant=minbase --include=rabbitmq-server "$release" "$root" >&2
fi

programs=$root/programs
mkdir -p "$programs"
for path in /usr/lib/rabbitmq/bin/rabbitmq-server /usr/lib/rabbitmq/bin/rabbitmqctl \
  /usr/lib/rabbitmq/bin/rabbitmq-diagnostics /usr/lib/rabbitmq/bin/rabbitmq-queues \
  /usr/lib/rabbitmq/bin/rabbitmq-plugins /usr/bin/epmd; do
  cat >"$programs/${path##*/}" <<SCRIPT
#!/bin/sh
# Made by rabbitmq-root.sh: runs $path of another Debian release.
exec unshare --mount -- sh -eu -c '
  folder=\$1
  shift
  for shared in /proc /dev /sys "\${TMPDIR:-/tmp}"; do
    mkdir -p "$root\$shared"
    mount --rbind "\$shared" "$root\$shared"
  done
  mount --bind /etc/hosts "$root/etc/hosts"  # without the name of this machine each program waits for DNS
  [ -d "$root\$folder" ] || folder=/
  exec chroot "$root" /usr/bin/env -C "\$folder" $path "\$@"
' sh "\$PWD" "\$@"
SCRIPT
  chmod 755 "$programs/${path##*/}"
done
echo "$programs"
