# Every library the project uses. A missing one is named with the package that brings it.
find_package(PkgConfig REQUIRED)
set(BEAM_MISSING "")

macro(beam_need prefix module package)
  pkg_check_modules(${prefix} IMPORTED_TARGET ${module})
  if(NOT ${prefix}_FOUND)
    list(APPEND BEAM_MISSING ${package})
  endif()
endmacro()

beam_need(OPENBLAS openblas libopenblas-openmp-dev)
# By its full name: plain `hdf5` may mean the MPI build, which must not be mixed with this one.
beam_need(HDF5 hdf5-serial libhdf5-dev)
beam_need(ZSTD libzstd libzstd-dev)
beam_need(FYAML libfyaml libfyaml-dev)
beam_need(JANSSON jansson libjansson-dev)
beam_need(CRYPTO libcrypto libssl-dev)
if(BEAM_TESTS)
  beam_need(CMOCKA cmocka libcmocka-dev)
endif()
find_package(OpenMP REQUIRED COMPONENTS C)
find_package(Threads REQUIRED)

if(BEAM_MISSING)
  list(JOIN BEAM_MISSING " " packages)
  message(FATAL_ERROR "Missing libraries. On Debian or Ubuntu:\n  apt-get install -y ${packages}")
endif()
include(BeamMpi)
