#!/bin/sh
# Sets up what the tests need beside Go: moto (an AWS emulator) and a browser. What is there is used as it is.
set -eu
cd "$(dirname "$0")/.."

MOTO='moto[server]==5.2.1'
if [ -n "${KEYREEVE_PYTHON:-}" ] && "$KEYREEVE_PYTHON" -c 'import moto.server' 2>/dev/null; then
    :
elif python3 -c 'import moto.server' 2>/dev/null; then
    :
elif [ -x .cache/venv/bin/python ] && .cache/venv/bin/python -c 'import moto.server' 2>/dev/null; then
    :
elif command -v python3 >/dev/null; then
    echo "setup: installing $MOTO into .cache/venv (for the tests against an AWS emulator)"
    python3 -m venv .cache/venv
    .cache/venv/bin/pip install --quiet "$MOTO"
else
    echo "setup: no python3, so the tests against moto cannot run; install python3 and run make setup again"
fi

find_browser() {
    for b in chromium chromium-browser google-chrome chrome; do
        if command -v "$b" >/dev/null; then return 0; fi
    done
    return 1
}
if ! find_browser; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        echo "setup: installing chromium with apt-get (for the test of the HTML report)"
        apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium >/dev/null
    else
        echo "setup: no chromium found, so the test of the HTML report in a browser is left out; install chromium to run it"
    fi
fi
