#!/usr/bin/env bash
# The pipeline, top to bottom.
#
#   ./run.sh [PLAN] [--input DIR] [--download] [--output DIR] [--weights BACKBONE=FILE ...] [--force STAGE]
#                          run a plan; without one the demo, on galaxies that the project draws itself;
#                          --download fetches the competition's files first, by your Kaggle account;
#                          --max-hours H stops in time, between epochs, to go on by the same command (exit code 3);
#                          --workers N trains N folds at a time, each on a GPU of its own where there are several;
#                          --resume-from DIR begins with the output that an earlier session has left there
#   ./run.sh status PLAN [--check]
#                          what exists, what is missing, what is stale and why; --check reads every file
#   ./run.sh plan PLAN [--estimate [--price PER_HOUR]]
#                          what it trains; with --estimate the time, disk and memory that it takes on this machine
#   ./run.sh test [--all]  ruff and pytest; --all adds the tests that take minutes
#   ./run.sh bench [--quick] [--only GROUP] [--gpu]  each stage beside its own limit, in one run
#   ./run.sh STAGE --plan PLAN [--run NAME] [--fold K] [--force]
#                          one stage: inputs, folds, crops, baselines, train, predict, insight, ensemble, submit, report
#   ./run.sh submit --plan PLAN --upload [-m MESSAGE]      send the best ensemble's submission to Kaggle
#   ./run.sh search --plan PLAN --run NAME --trials N [--hours H]      look for better settings of one run
#   ./run.sh classify CATALOGUE --ensemble OUTPUT/PLAN/ensembles/final --to TABLE [--images DIR|ZIP|TAR|URL]
#                          what the ensemble says of galaxies that nobody has voted on
#   ./run.sh export --ensemble … --to DIR      the ensemble as ONNX or SavedModel, for other programs
#   ./run.sh serve --ensemble …                a page in the browser that reads one galaxy
# ./run.sh --locked …      whichever of these, on the exact versions of requirements.lock, checked by their hashes
# ./run.sh --here …        whichever of these, on the Python that is active, installing nothing
set -euo pipefail

here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
venv="$here/.venv"
python="$venv/bin/python"
stages=(inputs folds crops baselines train predict insight ensemble submit report)

locked=""
as_it_is=""
[[ "${1:-}" == --locked ]] && { locked=yes; shift; }
[[ "${1:-}" == --here ]] && { as_it_is=yes; shift; python=python3; }

[[ -t 2 ]] || export TQDM_MININTERVAL="${TQDM_MININTERVAL:-30}" # in a log, a line of progress every half minute

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
  local build=tensorflow
  if nvidia-smi >/dev/null 2>&1; then
    build='tensorflow[and-cuda]'
  elif [[ "$(uname -sm)" == "Linux x86_64" ]]; then
    build=tensorflow-cpu
  fi
  local free=$(($(df -Pk "$here" | awk 'END {print $4}') / 1024))
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

setup() { # setup FILE ...: .venv with the packages of these files, if missing or older than they are
  [[ -z "$as_it_is" ]] || return 0
  if [[ ! -x "$python" ]]; then
    local found
    found="$(find_python)"
    say "setup      making .venv with $found"
    "$found" -m venv "$venv"
  fi
  for file in "$@"; do
    [[ "$venv/$file.installed" -nt "$here/$file" ]] || install "$file"
  done
}

run_tests() {
  setup requirements.txt requirements-extra.txt requirements-test.txt
  local only=(-m "not slow")
  [[ "${1:-}" == "--all" ]] && { only=(); shift; }
  cd "$here"
  "$python" -m ruff check
  "$python" -m ruff format --check
  "$python" -m pytest --numprocesses logical --maxprocesses 4 --dist worksteal ${only[@]+"${only[@]}"} "$@"
}

run_module() { # run_module MODULE [FLAG ...]
  setup requirements.txt
  PYTHONPATH="$here" exec "$python" -m "$@"
}

with_ray() { [[ " $* " == *" --engine ray "* || " $* " == *" --engine=ray "* ]]; }
with_upload() { [[ " $* " == *" --upload "* ]]; }

run_extra() { # run_extra MODULE [FLAG ...]: what needs more packages
  setup requirements.txt requirements-extra.txt
  run_module "$@"
}

run_plan() {
  local plan=demo every=() inputs=() workers=() force="" download="" to=()
  if [[ $# -gt 0 && "$1" != --* ]]; then plan="$1"; shift; fi
  while [[ $# -gt 0 ]]; do
    [[ "$1" != --download ]] || { download=yes; shift; continue; }
    case "$1" in
      --input | --weights | --output | --force | --max-hours | --resume-from | --workers) [[ $# -ge 2 ]] || fail "$1 needs a value" ;;
      --*) fail "unknown option $1; ./run.sh --help lists them" ;;
      *) fail "$plan $1: unknown command $plan, or one word too many; ./run.sh --help lists what there is" ;;
    esac
    case "$1" in
      --input | --weights | --resume-from) inputs+=("$1" "$2") ;;
      --output) every+=("$1" "$2") ;;
      --max-hours) every+=(--until "$(in_hours "$2")") ;;
      --force) force="$2" ;;
      --workers) workers=("$1" "$2") ;;
    esac
    [[ "$1" != --input ]] || to=(--to "$2")
    shift 2
  done
  [[ -z "$force" || " ${stages[*]} " == *" $force "* ]] || fail "--force $force: not one of ${stages[*]}"
  setup requirements.txt ${download:+requirements-extra.txt}
  [[ -z "$download" ]] || run_stage pipeline.download ${to[@]+"${to[@]}"}
  for stage in "${stages[@]}"; do
    local flags=(--plan "$plan" ${every[@]+"${every[@]}"})
    [[ "$stage" != inputs ]] || flags+=(${inputs[@]+"${inputs[@]}"})
    [[ "$stage" != train ]] || flags+=(${workers[@]+"${workers[@]}"})
    [[ "$stage" != "$force" ]] || flags+=(--force)
    run_stage "pipeline.$stage" "${flags[@]}"
  done
}

in_hours() { # in_hours H: the Unix time H hours from now
  [[ "$1" =~ ^([0-9]+\.?[0-9]*|\.[0-9]+)$ ]] || fail "--max-hours $1: expected a number of hours, such as 11.5"
  awk -v now="$(date +%s)" -v hours="$1" 'BEGIN {printf "%.0f", now + 3600 * hours}'
}

run_stage() { # run_stage MODULE [FLAG ...]: a signal to this script ends the stage too, and its exit code is ours
  local code child
  PYTHONPATH="$here" "$python" -m "$@" &
  child=$!
  trap 'kill -TERM "$child" 2>/dev/null || true' TERM HUP
  trap : INT # the keyboard tells the stage as well
  while code=0; wait "$child" || code=$?; kill -0 "$child" 2>/dev/null; do :; done
  trap - TERM HUP INT
  ((code == 0)) || exit "$code"
}

case "${1:-}" in
  -h | --help) awk '!/^#/ {exit} NR > 1 {sub(/^# ?/, ""); print}' "${BASH_SOURCE[0]}" ;;
  test) shift; run_tests "$@" ;;
  status) shift; run_module pipeline.status --plan "${@:-demo}" ;;
  plan) shift; run_module pipeline.estimate --plan "${@:-demo}" ;;
  bench) shift; run_module tests.benchmarks "$@" ;;
  classify) shift; with_ray "$@" && run_extra pipeline.classify "$@"; run_module pipeline.classify "$@" ;;
  export | serve | search) command="$1"; shift; run_extra "pipeline.$command" "$@" ;;
  train) shift; with_ray "$@" && run_extra pipeline.train "$@"; run_module pipeline.train "$@" ;;
  submit) shift; with_upload "$@" && run_extra pipeline.submit "$@"; run_module pipeline.submit "$@" ;;
  inputs | folds | crops | baselines | predict | insight | ensemble | report)
    stage="$1"; shift; run_module "pipeline.$stage" "$@" ;;
  *) run_plan "$@" ;;
esac; exit # on this line: bash reads as it goes, and the file may be another by the end of a long run
