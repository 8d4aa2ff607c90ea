#!/usr/bin/env bash
# Makes .venv as uv.lock says; arguments name dependency groups to install beside `dev`.
# Needs Python 3.11 or newer. Gets uv where there is none, and for that the distribution's
# python3-venv where it is missing and root or sudo can install it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

UV_NEEDED='uv>=0.9,<1'
PRIVATE=.cache/uv

say() { printf '\033[1m%s\033[0m\n' "$*" >&2; }
fail() {
    printf '✗ %s\n' "$1" >&2
    [ $# -lt 2 ] || printf '  → %s\n' "$2" >&2
    exit 1
}

find_python() {
    local name
    for name in python3 python3.14 python3.13 python3.12 python3.11; do
        if "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            "$name" -c 'import sys; print(sys.executable)'
            return
        fi
    done
    fail 'Python 3.11 or newer is needed' 'apt-get install python3 (Debian 12, Ubuntu 24.04 or newer)'
}

# The path of a uv that runs and is new enough; a stub on the PATH that only complains is none.
usable_uv() {
    local path version
    path=$(command -v "$1" 2>/dev/null) || return 1
    version=$("$path" --version 2>/dev/null | awk '{print $2}') || return 1
    case $version in
    0.[0-8].* | '') return 1 ;;
    esac
    printf '%s\n' "$path"
}

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif command -v sudo >/dev/null && { [ -t 0 ] || sudo -n true 2>/dev/null; }; then
        sudo "$@"
    else
        return 1
    fi
}

# Packages are kept where the user keeps such things, and where he cannot, below this folder.
keep_packages() {
    local cache=${XDG_CACHE_HOME:-${HOME:+$HOME/.cache}}
    if ! { [ -n "$cache" ] && mkdir -p "$cache" && [ -w "$cache" ]; } 2>/dev/null; then
        export UV_CACHE_DIR=${UV_CACHE_DIR:-$PWD/.cache/packages} PIP_NO_CACHE_DIR=1
    fi
}

install_uv() {
    local python=$1 package
    say "Installing uv into $PRIVATE"
    rm -rf "$PRIVATE"
    if ! "$python" -c 'import ensurepip; ensurepip.version()' 2>/dev/null; then
        package=python3-venv
        # A Python beside the distribution's default has a package of its own.
        case $python in /usr/bin/python3.*) package=$(basename "$python")-venv ;; esac
        say "Installing $package"
        { as_root apt-get -q update && as_root env DEBIAN_FRONTEND=noninteractive \
            apt-get -q -o DPkg::Lock::Timeout=300 install -y --no-install-recommends "$package"; } >&2 ||
            fail "uv cannot be installed without $package" "sudo apt-get install $package"
    fi
    "$python" -m venv "$PRIVATE" >&2 ||
        fail "no virtual environment could be made in $PRIVATE" 'the lines above say why'
    "$PRIVATE/bin/python" -m pip --disable-pip-version-check install --quiet "$UV_NEEDED" ||
        fail 'uv could not be installed from PyPI' 'check the network and the package index'
}

# Bytecode of what the processes of a stack import, and of nothing else; also where the environment
# keeps Python from writing any, so that no start compiles a thousand modules anew.
compile_imports() {
    local main modules=postroad_cli.main,postroad_stack.supervisor,postroad_stack.servers.replica_set
    modules+=,postroad_sink.main
    for main in services/*/src/*/main.py; do
        main=${main#services/*/src/}
        modules+=,${main%/main.py}.main
    done
    PYTHONDONTWRITEBYTECODE='' .venv/bin/python -c "import $modules" ||
        fail 'what was installed cannot be imported' 'make clean, and try again'
}

main() {
    local python uv
    { mkdir -p .cache && [ -w . ] && [ -w .cache ]; } 2>/dev/null ||
        fail "$(id -un 2>/dev/null || true) cannot write into $PWD" \
            "make a clone of your own, or: sudo chown -R $(id -u) '$PWD'"
    python=$(find_python)
    keep_packages
    # Of UV_* only what says where packages come from is the user's business here.
    unset VIRTUAL_ENV PYTHONHOME PYTHONPATH
    export UV_PROJECT_ENVIRONMENT=.venv UV_PYTHON_DOWNLOADS=never
    if ! uv=$(usable_uv "${UV:-uv}" || usable_uv "$PRIVATE/bin/uv"); then
        install_uv "$python"
        uv=$(usable_uv "$PRIVATE/bin/uv") || fail "the uv in $PRIVATE does not run"
    fi
    say "Setting up .venv with $("$uv" --version) and $("$python" --version)"
    [ -d .venv ] || echo 'Some 120 packages: a minute or two the first time' >&2
    # Without the list of all packages at the end, and the building of our own.
    "$uv" sync --frozen --all-packages --python "$python" "${@/#/--group=}" 2>&1 | { grep -vE '^ [+~-] |^ +(Building|Built) ' || true; } >&2 ||
        fail 'the packages of uv.lock could not be installed' 'check the network and the package index'
    compile_imports
    # So that the `postroad` command finds an installer, whoever calls it.
    case $uv in /*) ;; *) uv=$PWD/$uv ;; esac
    ln -sfn "$uv" .venv/bin/uv
}

main "$@"
