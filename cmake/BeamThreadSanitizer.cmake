# BEAM_SANITIZE=thread: what ThreadSanitizer needs to see every access and every synchronisation.

# gcc's OpenMP waits in ways that ThreadSanitizer does not know, so everything looks like a race. LLVM's loads Archer,
# a library that comes with it, and tells it of its forks, joins, barriers and locks.
set(packages "clang libclang-rt-dev libomp-dev llvm")
if(NOT CMAKE_C_COMPILER_ID MATCHES "Clang")
  message(FATAL_ERROR "BEAM_SANITIZE=thread needs clang: cmake --preset tsan. On Debian or Ubuntu:\n"
    "  apt-get install -y ${packages}")
endif()
execute_process(COMMAND ${CMAKE_C_COMPILER} -print-resource-dir OUTPUT_VARIABLE llvm OUTPUT_STRIP_TRAILING_WHITESPACE)
get_filename_component(llvm ${llvm}/../.. ABSOLUTE)
find_library(BEAM_ARCHER archer HINTS ${llvm})
if(NOT BEAM_ARCHER)
  message(FATAL_ERROR "There is no libarcher.so in ${llvm}. On Debian or Ubuntu:\n  apt-get install -y ${packages}")
endif()
get_filename_component(llvm ${BEAM_ARCHER} DIRECTORY)
add_link_options(LINKER:-rpath,${llvm})

# clang's instrumentation leaves out accesses of more than 16 bytes, which loops become where there are wider vectors.
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  add_compile_options(-mno-avx)
endif()

# OpenBLAS is not instrumented: kernels/cpu/blas.h says what a product reads and writes.
add_compile_definitions(BEAM_TSAN)
