#!/bin/sh
# test_pythons.sh VENV: the tests that need no PyTorch, on every supported Python that this machine has
# and that is not VENV's, where all tests run. Each has an environment of its own, build/python-3.12
# and so on, with what core.txt and unit.txt name.
set -eu
cd "$(dirname "$0")/.."

find_python() {
  for candidate in "python$1" "${PYENV_ROOT:-$HOME/.pyenv}"/versions/"$1".*/bin/python; do
    if "$candidate" -c 'import ensurepip, venv' 2>/dev/null; then
      echo "$candidate"
      return
    fi
  done
}

main=$("$1/bin/python" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null || :)
ran=
for version in 3.11 3.12 3.13; do
  if [ "$version" = "$main" ]; then
    echo "Python $version: all tests run in $1"
    continue
  fi
  python=$(find_python "$version")
  if [ -z "$python" ]; then
    echo "Python $version: not on this machine"
    continue
  fi
  venv=build/python-$version
  PYTHON=$python tools/make_venv.sh "$venv" core unit
  # What these tests do not import is at least read.
  "$venv/bin/python" -m compileall -q -f alignment_api essa reward workers tools benchmarks examples
  "$venv/bin/python" -m pytest -q -n "${TEST_PROCESSES:-2}" --dist loadfile -m "not engine and not gpu and not small_cpu" \
    ${TEST_PATHS:-tests/unit/essa tests/unit/reward}
  ran="$ran $version"
done
echo "tests without PyTorch passed on${ran:- no other Python: none is here}"
