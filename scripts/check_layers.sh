#!/bin/sh
# Rejects includes that point the wrong way up the house, and outside libraries outside their folder.
# Usage: check_layers.sh [ROOT]
set -eu
cd "${1:-$(dirname "$0")/..}"

# What each folder may include, itself and what lies below it.
allowed() {
    case $1 in
    core) echo core ;;
    kernels) echo core kernels ;;
    data) echo core data ;;
    optim) echo core kernels optim ;;
    comm) echo core kernels comm ;;
    model) echo core kernels data comm model ;;
    train) echo core kernels data model optim comm train ;;
    serve) echo core kernels data model serve ;;
    cli) echo core kernels data model optim comm train serve cli ;;
    esac
}

# The files that may include a library's headers, as a pattern on the path.
home_of() {
    case $1 in
    cblas.h | openblas_config.h) echo '^kernels/cpu/' ;;
    cuda*.h) echo '^kernels/cuda/' ;;
    hdf5.h | H5*.h | zstd*.h | jansson.h | openssl/*) echo '^data/' ;;
    mpi.h) echo '^comm/' ;;
    libfyaml.h) echo '^train/config' ;;
    *) echo '' ;;
    esac
}

wrong=$(
    for folder in core kernels data optim comm model train serve cli; do
        [ -d "$folder" ] || continue
        below=" $(allowed "$folder") "
        grep -rnE --include='*.[ch]' --include='*.cu' --include='*.cuh' --include='*.cc' '^[[:space:]]*#[[:space:]]*include' "$folder" |
            sed -nE 's/^([^:]*):([0-9]+):[^"<]*(["<])([^">]*)[">].*/\1 \2 \3 \4/p' |
            while read -r file line kind header; do
                if [ "$kind" = '<' ]; then
                    home=$(home_of "$header")
                    if [ -n "$home" ] && ! echo "$file" | grep -q "$home"; then
                        echo "$file:$line: <$header> belongs to ${home#^} only"
                    fi
                    continue
                fi
                case $header in
                */*) ;;
                *) echo "$file:$line: write \"folder/$header\"" && continue ;;
                esac
                case $below in
                *" ${header%%/*} "*) ;;
                *) echo "$file:$line: $folder must not include \"$header\" (it may include:$below)" ;;
                esac
            done
    done
)
if [ -n "$wrong" ]; then
    echo "$wrong"
    exit 1
fi
