#!/usr/bin/env bash
# Finds a Python, makes .venv, installs what the command needs, and hands over to `python -m pipeline`.
#
#   ./run.sh              the whole pipeline on galaxies that it draws itself
#   ./run.sh --help       every command
#   ./run.sh --locked …   whichever command, on the exact versions of requirements.lock, checked by their hashes
#   ./run.sh --here …     whichever command, on the Python that is active, installing nothing
set -euo pipefail

here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
venv="$here/.venv"
python="$venv/bin/python"
export PYTHONPATH="$here${PYTHONPATH:+:$PYTHONPATH}"
locked=""

say() { printf '%s\n' "$*" >&2; }
fail() { say "error: $*"; exit 2; }

find_python() {
  for version in 3.13 3.12 3.11; do
    # a name on the PATH may be a version manager's shim that runs nothing: ask it
    if "python$version" -c 'import venv, ensurepip' 2>/dev/null; then
      echo "python$version"
      return
    fi
  done
  fail "no Python 3.11, 3.12 or 3.13 with its venv module on the PATH: install one (Debian, Ubuntu: apt install python3 python3-venv)"
}

install() { # install FILE: its packages, TensorFlow in the build for this machine
  local build=tensorflow free
  if nvidia-smi >/dev/null 2>&1; then
    build='tensorflow[and-cuda]'
  elif [[ "$(uname -sm)" == "Linux x86_64" ]]; then
    build=tensorflow-cpu
  fi
  free=$(($(df -Pk "$here" | awk 'END {print $4}') / 1024))
  ((free > 4000)) || fail "the packages need 4 GB of disk, $here has $free MB free: make room, or move the project"
  if [[ -n "$locked" && "$1" == requirements.txt ]]; then
    say "setup      installing the locked versions with $build into .venv"
    case "$build" in
      tensorflow-cpu) cp "$here/requirements.lock" "$venv/$1" ;;
      *cuda*) cp "$here/requirements-cuda.lock" "$venv/$1" ;;
      *) fail "--locked: versions are locked for Linux on x86_64 only; leave it out here" ;;
    esac
  else
    say "setup      installing $1 with $build into .venv"
    sed "s/^tensorflow\b/$build/" "$here/$1" >"$venv/$1"
  fi
  "$python" -m pip install --quiet --disable-pip-version-check -r "$venv/$1" ||
    fail "the packages of $1 could not be installed (pip's reason stands above): they come from pypi.org, so this step needs a network once"
  use_headless_opencv_without_libgl
  touch "$venv/$1.installed"
}

use_headless_opencv_without_libgl() { # a bare server lacks libGL.so.1, which opencv-python loads
  "$python" -c 'import cv2' 2>/dev/null && return
  say "setup      no libGL here: opencv-python-headless takes the place of opencv-python"
  "$python" -m pip uninstall --quiet --yes opencv-python
  "$python" -m pip install --quiet --force-reinstall --no-deps opencv-python-headless ||
    fail "opencv-python-headless could not be installed"
}

case "${1:-}" in
  --locked) locked=yes; shift ;;
  --here) shift; exec python3 -m pipeline "$@" ;;
esac
[[ -x "$python" ]] || base="$(find_python)"
case "${1:-}" in
  -h | --help | help) exec "${base:-$python}" -m pipeline "$@" ;;
esac
needed="$("${base:-$python}" -m pipeline --requirements "$@")" || exit
[[ -n "$needed" ]] || exec "${base:-$python}" -m pipeline "$@"
if [[ -w "$here" ]] && command -v flock >/dev/null; then # one command installs at a time
  exec 9>>"$here/.venv.lock"
  flock -n 9 || { say "setup      waits for another command that installs into .venv"; flock 9 || true; } # not on every network drive
fi
if [[ -n "${base:-}" && ! -x "$python" ]]; then
  say "setup      making .venv with $base"
  "$base" -m venv "$venv"
fi
for file in $needed; do
  [[ "$venv/$file.installed" -nt "$here/$file" ]] || install "$file"
done
exec 9>&-
exec "$python" -m pipeline "$@"
