#!/bin/sh
# Unpack a bundle of madkit, install it without an index, and run a command. Made by `madkit bundle`.
#
#   sh unpack-and-run.sh [--into FOLDER] [--python PYTHON] [--target] [--no-run] [-- COMMAND ...]
#
#   --into FOLDER    where to unpack and install (./unpacked)
#   --python PYTHON  the Python to install for
#   --target         install into a folder beside, not into a virtual environment
#   --no-run         stop when everything is installed
#   -- COMMAND       run this, in that folder; `madkit` is the one of the bundle
#
# What is done already is not done again. All parts have to lie beside this file.
set -eu

id='@ID@'
version='@PYTHON@'
machine='@MACHINE@'
without='@WITHOUT@'

complain() {
    echo "unpack-and-run.sh: $1" >&2
    exit 2
}

parts() {
    cat <<'END'
@PARTS@
END
}

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
into=unpacked python='' how=venv run=yes
while [ $# -gt 0 ]; do
    case $1 in
    --into | --python)
        [ $# -gt 1 ] || complain "$1 wants a value"
        if [ "$1" = --into ]; then into=$2; else python=$2; fi
        shift 2
        ;;
    --target) how=target && shift ;;
    --no-run) run=no && shift ;;
    -h | --help)
        sed -n '2,13s/^# \{0,1\}//p' "$0"
        exit 0
        ;;
    --)
        shift
        break
        ;;
    *) complain "there is no option $1; see --help" ;;
    esac
done

# --- a Python of the right version, and the right machine
[ -z "$machine" ] || [ "$(uname -m)" = "$machine" ] ||
    complain "this machine is $(uname -m), and the bundle is for $machine: make one with another --platform"
right() { "$1" -c "import sys; sys.exit('%d.%d' % sys.version_info[:2] != '$version')" 2>/dev/null; }
if [ -n "$python" ]; then
    right "$python" || complain "$python is not Python $version, for which the bundle is: name another by --python"
else
    for name in "python$version" python3 python; do
        if right "$name"; then python=$name && break; fi
    done
    [ -n "$python" ] || complain "there is no Python $version here, for which the bundle is: name one by --python"
fi
python=$(command -v "$python")
case $python in
/*) ;;
*) python=$PWD/$python ;; # the command runs in another folder
esac

# --- parts: sizes first, because that is quick
if [ "$(cat "$into/.unpacked" 2>/dev/null || :)" != "$id" ]; then
    sha256() {
        if command -v sha256sum >/dev/null; then sha256sum <"$1" | cut -d' ' -f1
        elif command -v shasum >/dev/null; then shasum -a 256 <"$1" | cut -d' ' -f1
        else "$python" -c 'import hashlib, sys; print(hashlib.sha256(open(sys.argv[1], "rb").read()).hexdigest())' "$1"
        fi
    }
    bad=$(parts | while read -r name size _; do
        if [ ! -f "$here/$name" ]; then printf ' %s (missing)' "$name"
        elif [ "$(wc -c <"$here/$name" | tr -d ' ')" != "$size" ]; then printf ' %s (not %s bytes)' "$name" "$size"
        fi
    done)
    [ -z "$bad" ] || complain "parts are not complete:$bad; copy them into $here again"
    count=$(parts | wc -l | tr -d ' ')
    bad=$(parts | while read -r name size digest; do
        printf '\rchecking %s of %s parts' "$name" "$count" >&2
        [ "$(sha256 "$here/$name")" = "$digest" ] || printf ' %s' "$name"
    done)
    echo >&2
    [ -z "$bad" ] || complain "parts are damaged (SHA-256):$bad; copy them into $here again"
    mkdir -p "$into" || complain "$into cannot be made: name another folder by --into"
    rm -f "$into/.unpacked" "$into/.installed"
    rm -rf "$into/wheels"
    parts | while read -r name _; do cat "$here/$name"; done | tar -xf - -C "$into" ||
        complain "the parts cannot be unpacked into $into: make room there, or name another folder by --into"
    printf '%s\n' "$id" >"$into/.unpacked"
fi
into=$(CDPATH='' cd -- "$into" && pwd)

# --- install what is in the bundle, and nothing else
if [ "$(cat "$into/.installed" 2>/dev/null || :)" != "$id $how" ]; then
    echo "installing into $into" >&2
    options='--quiet --no-index --no-deps --no-compile --no-input --disable-pip-version-check'
    if [ "$how" = venv ]; then
        rm -rf "$into/venv"
        # Where packages were left out, the machine's own have to be seen.
        "$python" -m venv ${without:+--system-site-packages} "$into/venv" >&2 ||
            complain "$python cannot make virtual environments here: say --target"
        # shellcheck disable=SC2086
        "$into/venv/bin/python" -m pip install $options --find-links "$into/wheels" "$into"/wheels/*.whl >&2 ||
            complain "pip could not install the wheels of the bundle into $into/venv; its message is above"
    else
        # By this name packages know (dill, which datasets uses) what is installed and what is somebody's own code.
        rm -rf "$into/site-packages"
        # shellcheck disable=SC2086
        "$python" -m pip install $options --target "$into/site-packages" --find-links "$into/wheels" "$into"/wheels/*.whl >&2 ||
            complain "pip could not install the wheels of the bundle into $into/site-packages; its message is above"
    fi
    printf '%s\n' "$id $how" >"$into/.installed"
fi
if [ "$how" = venv ]; then
    python=$into/venv/bin/python
    PATH=$into/venv/bin:$PATH
else
    PYTHONPATH=$into/site-packages${PYTHONPATH:+:$PYTHONPATH}
    export PYTHONPATH
fi
export PATH HF_HUB_OFFLINE=1
for name in $without; do
    "$python" -c "import importlib.metadata as m; m.version('$name')" 2>/dev/null ||
        complain "this machine has no $name, which was left out of the bundle: install it, or bundle without --without"
done

# --- run
madkit() { "$python" -m madkit "$@"; }
[ "$run" = yes ] || exit 0
cd "$into"
if [ $# -gt 0 ]; then
    "$@"
    exit
fi
@COMMAND@
