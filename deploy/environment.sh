#!/bin/sh
# Creates the virtual environment: deploy/environment.sh PYTHON FOLDER
set -eu
python=$1 folder=$2

command -v "$python" >/dev/null || {
    echo "Millrace needs Python 3.11 or newer, and '$python' was not found: install it, or run make PYTHON=/path/to/python3." >&2
    exit 1
}
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "Millrace needs Python 3.11 or newer; '$python' is $("$python" -V 2>&1). Run make PYTHON=/path/to/a/newer/python3." >&2
    exit 1
}
if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then
        echo "Installing python3-venv with apt-get ..."
        export DEBIAN_FRONTEND=noninteractive
        log=$(mktemp)
        { apt-get install -y --no-install-recommends python3-venv || { apt-get update && apt-get install -y --no-install-recommends python3-venv; }; } >"$log" 2>&1 </dev/null || {
            tail -n 15 "$log" >&2
            rm -f "$log"
            exit 1
        }
        rm -f "$log"
    else
        echo "This Python cannot create virtual environments: sudo apt-get install python3-venv (or your system's package)." >&2
        exit 1
    fi
fi
# An environment whose Python is missing or too old is replaced.
"$folder/bin/python" -c 'import sys, pip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || "$python" -m venv --clear "$folder"
