#!/bin/sh
# Which lines of the readers of outside files (configuration, formats, parsers) the tests run. Needs gcovr (apt or pip).
# Prints a table and fails below 90 % of lines; build/coverage/report.html shows the lines.
set -eu
cd "$(dirname "$0")/.."
gcovr=${GCOVR:-gcovr}
tests="^(data_|hostile_|fuzz_|train_config|model\.(families|hf_parity|older_config)|cli_(validate|inspect|export|preprocess|report|eval))"

cmake -S . -B build/coverage -G Ninja -DCMAKE_BUILD_TYPE=Debug -DCMAKE_C_FLAGS_DEBUG="-O1 -g" -DBEAM_CUDA=OFF \
    -DBEAM_COVERAGE=ON >/dev/null
programs=$(ctest --test-dir build/coverage -N -R "$tests" | awk '/Test +#/ && $NF !~ /^cli_/ { print $NF }')
# shellcheck disable=SC2086 # a list
cmake --build build/coverage --target beam $programs
find build/coverage -name '*.gcda' -delete
ctest --test-dir build/coverage -R "$tests" --output-on-failure
"$gcovr" --root . --object-directory build/coverage --filter 'data/' --filter 'train/config' \
    --filter 'model/families/' --merge-mode-functions merge-use-line-min --html-details build/coverage/report.html \
    --txt - --print-summary --fail-under-line 90
