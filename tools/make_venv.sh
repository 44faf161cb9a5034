#!/bin/sh
# make_venv.sh VENV LOCK...: a virtual environment with the newest supported Python for which
# everything can be had, and what the locks name in it. PYTHON=python3.12 takes that one.
set -u
venv=$1
shift
here=$(dirname "$0")
newest="python3.13 python3.12 python3.11 python3"
supported='import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))'

if [ -x "$venv/bin/python" ] && "$venv/bin/python" -c "import pip; $supported" 2>/dev/null; then
  if [ -z "${PYTHON:-}" ] || [ "$("$venv/bin/python" -V)" = "$("$PYTHON" -V)" ]; then
    exec "$venv/bin/python" "$here/install.py" "$@"
  fi
fi

status=1
for python in ${PYTHON:-$newest}; do
  # A name on the PATH may be a stand-in that only says which Pythons there are; Debian's lacks venv.
  "$python" -c "$supported" 2>/dev/null || continue
  version=$("$python" -V)
  [ "$version" = "${tried:-}" ] && continue
  tried=$version
  echo "$venv with $version"
  "$python" -m venv --clear "$venv" || exit
  "$venv/bin/python" "$here/install.py" "$@"
  status=$?
  [ "$status" -eq 3 ] || exit "$status"
  echo "without PyTorch for $version; trying an older Python"
  rm -rf "$venv"
done
if [ "$status" -eq 3 ]; then
  echo "no supported Python gets PyTorch: is the network or the package index out of reach?" >&2
else
  echo "no Python of ${PYTHON:-$newest} is 3.11, 3.12 or 3.13 with the modules venv and ensurepip;" >&2
  echo "on Debian and Ubuntu: apt-get install python3-venv" >&2
fi
exit "$status"
