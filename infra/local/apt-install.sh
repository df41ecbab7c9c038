#!/usr/bin/env bash
# Installs Debian packages and nothing more: no service of theirs is started, now or at the next boot.
# Usage: apt-install.sh PACKAGE...   (as root, or where sudo asks for no password)
set -eu

if ! command -v apt-get >/dev/null; then
  echo "no apt-get here" >&2
  exit 1
fi
if [ "$(id -u)" -ne 0 ]; then
  if ! sudo -n true 2>/dev/null; then
    echo "neither root nor allowed to use sudo without a password" >&2
    exit 1
  fi
  exec sudo -n bash "$0" "$@"
fi

# One at a time: a second run must not find, or take away, the policy file of the first.
exec 9<"$0"
flock 9

enabled_units() {
  systemctl list-unit-files --state=enabled --no-legend 2>/dev/null | awk '{ print $1 }' | sort
}

# Maintainer scripts ask this file before they start a service; 101 means "not allowed".
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
  trap 'rm -f "$policy"' EXIT
  trap 'exit 130' INT TERM
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod 755 "$policy"
fi

export DEBIAN_FRONTEND=noninteractive
before=$(enabled_units)
apt-get update -qq
apt-get install -y -qq --no-install-recommends -o DPkg::Lock::Timeout=300 "$@" 9<&- >/dev/null
comm -13 <(echo "$before") <(enabled_units) | xargs -r systemctl disable --quiet
