# Sourced by the other scripts, at the root of the checkout: the Python that setup.sh has made, where there is one.
if [ -z "${KEYREEVE_PYTHON:-}" ] && [ -x .cache/venv/bin/python ]; then
    KEYREEVE_PYTHON="$PWD/.cache/venv/bin/python"
    export KEYREEVE_PYTHON
fi
