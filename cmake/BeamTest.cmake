# beam_test(NAME SOURCES ... LINK ... [LABELS ...] [TIMEOUT seconds] [RANKS n ...] [ENVIRONMENT VAR=value ...]):
# one test program, one timeout. A program exits with 77 to be reported as skipped. With RANKS, the program runs once
# per number of ranks, as NAME.n; more than one run under mpirun, labelled mpi, and are skipped in a build without MPI.
function(beam_test name)
  cmake_parse_arguments(T "" "TIMEOUT" "SOURCES;LINK;LABELS;RANKS;ENVIRONMENT" ${ARGN})
  add_executable(${name} ${T_SOURCES})
  target_include_directories(${name} PRIVATE ${CMAKE_SOURCE_DIR}/tests)
  target_compile_options(${name} PRIVATE ${BEAM_WARNINGS})
  target_link_libraries(${name} PRIVATE ${T_LINK} PkgConfig::CMOCKA)
  set(threads 2)
  if(BEAM_SANITIZE MATCHES "thread")
    set(threads 4)
    target_link_options(${name} PRIVATE LINKER:--wrap=beam_backend_cpu) # tests/threads/four.c
  endif()
  if(NOT T_RANKS)
    beam_test_timeout(T_TIMEOUT)
    add_test(NAME ${name} COMMAND ${name})
    set_tests_properties(${name} PROPERTIES LABELS "${T_LABELS}" SKIP_RETURN_CODE 77 TIMEOUT ${T_TIMEOUT}
      ENVIRONMENT "OMP_NUM_THREADS=${threads};OMP_WAIT_POLICY=passive;${T_ENVIRONMENT}")
  endif()
  foreach(ranks IN LISTS T_RANKS)
    beam_test_ranks(${name}.${ranks} ${ranks} COMMAND ${name} LABELS ${T_LABELS} TIMEOUT ${T_TIMEOUT}
      ENVIRONMENT ${T_ENVIRONMENT})
  endforeach()
endfunction()

# beam_test_timeout(SECONDS_VARIABLE): 60 unless set; ten times as long under sanitizers, and thirty times where threads
# are watched, who on busy cores wait for one another most of the time.
function(beam_test_timeout variable)
  set(seconds ${${variable}})
  if(NOT seconds)
    set(seconds 60)
  endif()
  if(BEAM_SANITIZE MATCHES "thread")
    math(EXPR seconds "30 * ${seconds}")
  elseif(BEAM_SANITIZE)
    math(EXPR seconds "10 * ${seconds}")
  endif()
  set(${variable} ${seconds} PARENT_SCOPE)
endfunction()

# beam_test_ranks(NAME n COMMAND ... [LABELS ...] [TIMEOUT seconds] [ENVIRONMENT VAR=value ...]): a command as n ranks.
set(BEAM_MPIRUN ${MPIEXEC_EXECUTABLE} --oversubscribe --bind-to none)
set(BEAM_MPIRUN_ENVIRONMENT OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
  OMPI_MCA_mpi_yield_when_idle=1 LSAN_OPTIONS=detect_leaks=0) # Open MPI keeps memory of its own to the end

function(beam_test_ranks name ranks)
  cmake_parse_arguments(T "" "TIMEOUT" "COMMAND;LABELS;ENVIRONMENT" ${ARGN})
  beam_test_timeout(T_TIMEOUT)
  set(environment OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive ${T_ENVIRONMENT})
  if(ranks EQUAL 1)
    add_test(NAME ${name} COMMAND ${T_COMMAND})
  elseif(NOT BEAM_MPI_TARGET)
    add_test(NAME ${name} COMMAND sh -c "exit 77")
  else()
    list(GET T_COMMAND 0 program)
    if(TARGET ${program})
      list(REMOVE_AT T_COMMAND 0)
      list(PREPEND T_COMMAND $<TARGET_FILE:${program}>)
    endif()
    add_test(NAME ${name} COMMAND ${BEAM_MPIRUN} -n ${ranks} ${T_COMMAND})
    list(APPEND environment ${BEAM_MPIRUN_ENVIRONMENT})
  endif()
  if(ranks GREATER 1)
    list(APPEND T_LABELS mpi)
  endif()
  set_tests_properties(${name} PROPERTIES LABELS "${T_LABELS}" SKIP_RETURN_CODE 77 TIMEOUT ${T_TIMEOUT}
    PROCESSORS ${ranks} ENVIRONMENT "${environment}")
endfunction()
