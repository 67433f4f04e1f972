#!/bin/sh
# Builds stripped binaries for the platforms people run, with checksums.
set -eu
cd "$(dirname "$0")/.."
ldflags=$1
out=bin/release
mkdir -p "$out"
for target in linux/amd64 linux/arm64 darwin/amd64 darwin/arm64 windows/amd64; do
    os=${target%/*} arch=${target#*/}
    name="$out/keyreeve-$os-$arch"
    [ "$os" = windows ] && name="$name.exe"
    CGO_ENABLED=0 GOOS=$os GOARCH=$arch "${GO:-go}" build -trimpath -ldflags "$ldflags" -o "$name" ./cmd/keyreeve
    echo "$name"
done
(cd "$out" && sha256sum keyreeve-* > SHA256SUMS)
