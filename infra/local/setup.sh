# Sourced by infra/test and infra/up, run by .ci/run (`setup.sh [FOLDER PYTHON]`), always with `set -eu`: goes to the
# checkout and keeps its .venv/, or FOLDER, as requirements.lock and pyproject.toml say. Quick if nothing has changed.
# shellcheck shell=bash

unset CDPATH # with it, cd may go to another checkout
unset PYTHONHOME PYTHONSAFEPATH # with these, Python does not find its own library, or the checkout
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

PROGRESS_SECONDS=8

say() { printf '%s\n' "$*" >&2; }

user() {
  local name
  name=$(id -un 2>/dev/null) || name=$(id -u) # in a container, a user may have a number only
  echo "$name"
}

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

# Runs a command with its output in the file LOG, and says every few seconds that it still runs. It has a process
# group of its own: Ctrl-C reaches this script only, which ends the group and says so in one line.
step() { # WHAT COMMAND...
  local what=$1 began=$SECONDS next=$((SECONDS + PROGRESS_SECONDS)) status=0
  shift
  set -m
  "$@" >"$LOG" 2>&1 </dev/null &
  STEP=$!
  set +m
  while kill -0 "$STEP" 2>/dev/null; do
    if [ "$SECONDS" -ge "$next" ]; then
      say "… $what ($((SECONDS - began)) s)"
      next=$((SECONDS + PROGRESS_SECONDS))
    fi
    sleep 0.2
  done
  wait "$STEP" || status=$?
  STEP=
  return "$status"
}

interrupted() {
  trap '' INT TERM
  if [ -n "$STEP" ]; then
    kill -- "-$STEP" 2>/dev/null
    wait "$STEP" 2>/dev/null || true
  fi
  say "Interrupted: the environment is not complete; the next start makes it again."
  exit 130
}

# Debian has the modules that make virtual environments in a separate package.
require_venv_module() {
  "$1" -c 'import ensurepip, venv' 2>/dev/null && return
  say "This Python cannot make virtual environments; installing python3-venv with apt-get (once)."
  step "installing python3-venv" bash infra/local/apt-install.sh python3-venv &&
    "$1" -c 'import ensurepip, venv' 2>/dev/null && return
  tail -n 5 "$LOG" >&2
  say "$1 still cannot make virtual environments. Install its venv module, for example: apt-get install python3-venv"
  return 1
}

# Includes the path: scripts in .venv/ contain their own folder, so a moved checkout needs a new environment. And the
# version that its Python has now: an upgrade of the system replaces it, and the new one finds no packages.
wanted_state() {
  {
    pwd
    cat requirements.lock pyproject.toml
    "$ENVIRONMENT/bin/python" -ISc 'import sys; print(sys.version_info[:2])' 2>/dev/null
  } | cksum
}

is_up_to_date() { [ "$(cat "$ENVIRONMENT/snapshot-backup-state" 2>/dev/null)" = "$(wanted_state)" ]; }

# Waits for another set-up of this checkout, which would empty the environment while packages go into it.
take_turn() {
  command -v flock >/dev/null || return 0
  exec 9<requirements.lock
  step "waiting for another set-up of this checkout" flock 9 || true # a network file system may have no locks
}

# Python compiles modules when they are imported; compiling all beforehand takes a quarter of the whole time.
# What pip is told elsewhere to install for the user, or into a folder, does not hold here.
with_pip() {
  env -u PIP_TARGET -u PIP_PREFIX -u PIP_ROOT PIP_USER=0 \
    "$ENVIRONMENT/bin/python" -m pip install -q --no-compile --disable-pip-version-check --retries 1 "$@"
}

# A step is a process of its own: what is exported here does not reach the tests.
with_uv() {
  export "${UV_SETTINGS[@]}"
  "$UV" pip install -q --python "$ENVIRONMENT/bin/python" "$@"
}

# uv installs in a fraction of pip's time. Where there is none it is one of the locked packages.
find_uv() {
  for UV in uv "$PWD/.venv/bin/uv"; do
    "$UV" --version >/dev/null 2>&1 && return
  done
  awk '/^uv==/ { found = 1 } found { print } found && !/\\$/ { exit }' requirements.lock >"$LOG.uv"
  UV=$ENVIRONMENT/bin/uv
  step "fetching uv" with_pip --require-hashes --no-deps -r "$LOG.uv"
}

# Says in uv's variables what pip's variables and files say. As pip does, uv is to trust the system's certificates.
follow_pip_settings() {
  local all index certificates proxy
  all=$("$ENVIRONMENT/bin/python" -m pip config list 2>/dev/null || true)
  index=$(pip_setting index-url "$all")
  certificates=$(pip_setting cert "$all")
  proxy=$(pip_setting proxy "$all")
  UV_SETTINGS=("UV_SYSTEM_CERTS=${UV_SYSTEM_CERTS:-1}")
  if [ -z "${UV_INDEX_URL:-}${UV_DEFAULT_INDEX:-}" ] && [ -n "$index" ]; then UV_SETTINGS+=("UV_INDEX_URL=$index"); fi
  if [ -z "${SSL_CERT_FILE:-}" ] && [ -n "$certificates" ]; then UV_SETTINGS+=("SSL_CERT_FILE=$certificates"); fi
  if [ -z "${HTTPS_PROXY:-}${https_proxy:-}" ] && [ -n "$proxy" ]; then UV_SETTINGS+=("HTTPS_PROXY=$proxy"); fi
}

# pip lists a variable before the same setting of a file.
pip_setting() { # NAME LIST
  sed -nE "s/^(:env:|global|install)\\.$1='(.*)'\$/\\2/p" <<<"$2" | head -n 1
}

UNREACHABLE='[Rr]etrying|[Cc]onnect|timed out|resolution|dns error|[Pp]roxy'

explain_failure() {
  if grep -qE "$UNREACHABLE" "$LOG"; then
    say "No package index can be reached: check the network, the proxy (HTTPS_PROXY) and the index that PIP_INDEX_URL (for uv UV_INDEX_URL) names."
  else
    tail -n 5 "$LOG" >&2
    say "The packages of requirements.lock could not be installed; the lines above say why."
  fi
  return 1
}

install_packages() {
  if find_uv; then
    follow_pip_settings
    step "installing packages with uv" with_uv --require-hashes -r requirements.lock &&
      step "installing the project" with_uv --no-deps --no-build-isolation -e . && return
  fi
  step "installing packages with pip" with_pip --require-hashes -r requirements.lock &&
    step "installing the project" with_pip --no-deps --no-build-isolation -e . || explain_failure
}

make_environment() { # PYTHON
  if [ ! -w . ]; then # the environment and the links to the project go into it
    say "$PWD cannot be written by $(user): set up a clone of your own (git clone), or let its owner run this once."
    return 1
  fi
  require_venv_module "$1"
  say "Setting up $ENVIRONMENT/ with $("$1" --version) (once; half a minute or so)."
  # Through a link, --clear would empty another project's environment.
  if [ -L "$ENVIRONMENT" ]; then rm "$ENVIRONMENT"; fi
  step "making the environment" "$1" -m venv --clear "$ENVIRONMENT" || {
    tail -n 5 "$LOG" >&2
    say "$PWD/$ENVIRONMENT cannot be made. The folder must be writable for $(user), and its disk have room."
    return 1
  }
  install_packages
}

# Brings an environment up to date, by default .venv/ with the first Python that is new enough.
set_up() { # [FOLDER PYTHON]
  ENVIRONMENT=${1:-.venv}
  local python
  if is_up_to_date; then return; fi
  STEP=
  LOG=$(mktemp)
  trap 'rm -f "$LOG" "$LOG.uv"' EXIT
  trap interrupted INT TERM HUP
  take_turn
  if ! is_up_to_date; then
    python=${2:-$(find_python)}
    make_environment "$python"
    wanted_state >"$ENVIRONMENT/snapshot-backup-state"
  fi
  exec 9<&-
  rm -f "$LOG" "$LOG.uv"
  trap - INT TERM HUP EXIT
}

if [ "${BASH_SOURCE[0]}" = "$0" ]; then set_up "$@"; else set_up; fi
