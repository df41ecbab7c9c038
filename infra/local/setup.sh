# Sourced by infra/test and infra/up, run by .ci/run, always with `set -eu`: goes to the checkout and keeps its .venv/ as
# requirements.lock and pyproject.toml say. Takes no time if nothing has changed.
# shellcheck shell=bash

cd "$(dirname "${BASH_SOURCE[0]}")/../.."

say() { printf '%s\n' "$*" >&2; }

find_python() {
  local name
  for name in python3 python3.13 python3.12 python3.11; do
    if "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      command -v "$name"
      return
    fi
  done
  say "Python 3.11 or later is needed, but python3, python3.13, python3.12 and python3.11 are missing or older."
  say "Install one (Debian and Ubuntu: apt-get install python3 python3-venv; macOS: brew install python)."
  return 1
}

# Debian has the modules that make virtual environments in a separate package.
require_venv_module() {
  "$1" -c 'import ensurepip, venv' 2>/dev/null && return
  say "This Python cannot make virtual environments; installing python3-venv with apt-get (once)."
  bash infra/local/apt-install.sh python3-venv && "$1" -c 'import ensurepip, venv' 2>/dev/null && return
  say "$1 still cannot make virtual environments. Install its venv module, for example: apt-get install python3-venv"
  return 1
}

# Includes the path: scripts in .venv/ contain their own folder, so a moved checkout needs a new environment.
wanted_state() { { pwd; cat requirements.lock pyproject.toml; } | cksum; }

make_environment() {
  local python
  python=$(find_python)
  require_venv_module "$python"
  say "Setting up .venv/ with $("$python" --version) (once; about a minute)."
  # Through a link, --clear would empty another project's environment.
  if [ -L .venv ]; then rm .venv; fi
  "$python" -m venv --clear .venv
  install_quietly --require-hashes -r requirements.lock
  install_quietly --no-deps -e .
}

# Python compiles modules when they are imported; compiling all beforehand takes a quarter of the whole time.
install_quietly() { .venv/bin/python -m pip install -qq --no-compile --disable-pip-version-check "$@"; }

set_up() {
  local stamp=.venv/snapshot-backup-state
  if [ ! -x .venv/bin/python ] || [ "$(cat "$stamp" 2>/dev/null)" != "$(wanted_state)" ]; then
    make_environment
    wanted_state >"$stamp"
  fi
}

set_up
