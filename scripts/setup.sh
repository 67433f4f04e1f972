#!/bin/sh
# Sets up what the tests need beside Go: moto (an AWS emulator), the AWS CLI, a browser and PostgreSQL. What is there is used as it is.
set -eu
cd "$(dirname "$0")/.."

MOTO='moto[server]==5.2.1'
AWSCLI='awscli==1.45.11'

python_has() { # PYTHON MODULE
    command -v "$1" >/dev/null && "$1" -c "import $2" 2>/dev/null
}
in_venv() { # PACKAGE WHY
    if ! command -v python3 >/dev/null; then
        echo "setup: no python3, so the tests $2 cannot run; install python3 and run make setup again"
        return
    fi
    echo "setup: installing $1 into .cache/venv (for the tests $2)"
    [ -x .cache/venv/bin/python ] || python3 -m venv .cache/venv
    .cache/venv/bin/pip install --quiet "$1"
}
if ! python_has "${KEYREEVE_PYTHON:-python3}" moto.server && ! python_has .cache/venv/bin/python moto.server; then
    in_venv "$MOTO" "against an AWS emulator"
fi
if ! command -v aws >/dev/null && [ ! -x .cache/venv/bin/aws ]; then
    in_venv "$AWSCLI" "in which the AWS CLI is the witness"
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

if ! command -v terraform >/dev/null; then
    echo "setup: no terraform found, so the tests that validate and apply the module of org setup are left out; install Terraform to run them"
fi
find_postgres() {
    if [ -n "${KEYREEVE_POSTGRES_URL:-}" ] || command -v initdb >/dev/null; then return 0; fi
    for b in /usr/lib/postgresql/*/bin/initdb; do
        if [ -x "$b" ]; then return 0; fi
    done
    return 1
}
if ! find_postgres; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        echo "setup: installing postgresql with apt-get (for the tests of the journal on a server; they start one of their own)"
        apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq postgresql >/dev/null
    else
        echo "setup: no PostgreSQL found, so the tests of the journal on a server are left out; install postgresql, or set KEYREEVE_POSTGRES_URL"
    fi
fi
