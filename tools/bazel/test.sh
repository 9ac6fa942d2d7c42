#!/bin/sh
# Builds and tests everything with Debian's Bazel, without a network: the rules that Bazel
# would fetch come from Debian packages, and what those lack from the stubs beside this file.
# Debian also turns on debugging of the sandbox, which hides a failing test's own words.
# Arguments go to `bazel test`.

set -eu
cd "$(dirname "$0")/../.."

rules=/usr/share/bazel/rules
platforms=/usr/share/bazel/tools/platforms
if ! command -v bazel >/dev/null || ! [ -d $rules/java ] || ! [ -d $rules/proto ] || ! [ -d $platforms ]; then
    echo "error: Bazel or its rules are missing. Install them: apt install bazel-bootstrap bazel-rules-java bazel-rules-proto bazel-platforms" >&2
    exit 1
fi

# The same for both commands, as Bazel starts its analysis anew when options change.
run() {
    command=$1
    shift
    bazel "$command" \
        --override_repository=platforms=$platforms \
        --override_repository=rules_java=$rules/java \
        --override_repository=rules_proto=$rules/proto \
        --override_repository=rules_cc="$PWD/tools/bazel/rules_cc" \
        --override_repository=remote_coverage_tools="$PWD/tools/bazel/remote_coverage_tools" \
        --nosandbox_debug \
        "$@"
}

run build //...
run test "$@" //...
