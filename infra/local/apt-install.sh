#!/usr/bin/env bash
# Installs Debian packages without starting their services, now or at the next boot.
# Usage: apt-install.sh PACKAGE...   (as root, or with sudo that asks for no password)
set -eu

if ! command -v apt-get >/dev/null; then
  echo "apt-get is not installed" >&2
  exit 1
fi
if [ "$(id -u)" -ne 0 ]; then
  if ! command -v sudo >/dev/null; then
    echo "this user is not root, and sudo is not installed" >&2
    exit 1
  fi
  if ! sudo -n true 2>/dev/null; then
    echo "this user is not root, and sudo asks for a password" >&2
    exit 1
  fi
  exec sudo -n bash "$0" "$@"
fi

# One run at a time: a second run must not find or delete the policy file of the first.
exec 9<"$0"
flock 9

enabled_units() {
  systemctl list-unit-files --state=enabled --no-legend 2>/dev/null | awk '{ print $1 }' | sort
}

# Maintainer scripts run this file before they start a service; exit code 101 means "not allowed".
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
