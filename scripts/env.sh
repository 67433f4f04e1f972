# Sourced by the other scripts, at the root of the checkout: the Python and the AWS CLI that setup.sh has made, where it has.
if [ -z "${KEYREEVE_PYTHON:-}" ] && .cache/venv/bin/python -c 'import moto.server' 2>/dev/null; then
    KEYREEVE_PYTHON="$PWD/.cache/venv/bin/python"
    export KEYREEVE_PYTHON
fi
if ! command -v aws >/dev/null && [ -x .cache/venv/bin/aws ]; then
    PATH="$PATH:$PWD/.cache/venv/bin"
    export PATH
fi
