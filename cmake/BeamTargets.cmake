# beam_library(NAME SOURCES ... [LINK ...] [DEFINITIONS ...]): one folder, one static library, warnings are errors.
set(BEAM_WARNINGS -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Werror
  $<$<COMPILE_LANGUAGE:C>:-Wstrict-prototypes>
  $<$<C_COMPILER_ID:Clang>:-Wno-pass-failed>) # where `omp simd` asks in vain

if(BEAM_NATIVE)
  add_compile_options(-march=native)
elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  add_compile_options(-march=x86-64-v3)
endif()
if(BEAM_SANITIZE)
  add_compile_options(-fsanitize=${BEAM_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
  add_link_options(-fsanitize=${BEAM_SANITIZE})
endif()
if(BEAM_SANITIZE MATCHES "thread")
  include(BeamThreadSanitizer)
endif()
option(BEAM_COVERAGE "count the lines that tests run (gcc; scripts/coverage.sh)" OFF)
if(BEAM_COVERAGE)
  add_compile_options(--coverage -fprofile-update=atomic)
  add_link_options(--coverage)
endif()
add_compile_definitions(_POSIX_C_SOURCE=200809L _DEFAULT_SOURCE BEAM_VERSION="${PROJECT_VERSION}")

function(beam_library name)
  cmake_parse_arguments(L "" "" "SOURCES;LINK;DEFINITIONS" ${ARGN})
  add_library(${name} STATIC ${L_SOURCES})
  target_include_directories(${name} PUBLIC ${CMAKE_SOURCE_DIR})
  target_compile_options(${name} PRIVATE ${BEAM_WARNINGS})
  target_compile_definitions(${name} PRIVATE ${L_DEFINITIONS})
  target_link_libraries(${name} PUBLIC ${L_LINK})
endfunction()
