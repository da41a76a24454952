#!/bin/sh
# Finds a Python that is new enough and hands over to environment.py, which makes the environment.
# Plain sh, because it must give its one clear line on a machine where no usable Python exists.
set -eu
cd "$(dirname "$0")/.."

is_usable() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

found=""
for candidate in ${PYTHON:-"${VENV:-.venv}/bin/python" python3 python3.13 python3.12 python3.11}; do
    if is_usable "$candidate"; then
        found=$candidate
        break
    fi
done

if [ -z "$found" ]; then
    version=$("${PYTHON:-python3}" --version 2>/dev/null || echo missing)
    echo "setup: Python 3.11 or newer is needed, and ${PYTHON:-python3} is $version:" \
        "install one, then 'make PYTHON=/path/to/python3 ...'" >&2
    exit 1
fi
exec "$found" scripts/environment.py "$@"
