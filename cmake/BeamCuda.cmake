# BEAM_CUDA: AUTO uses the toolkit where it is, ON insists, OFF never looks.
set(BEAM_CUDA AUTO CACHE STRING "GPU kernels: AUTO, ON or OFF")
set_property(CACHE BEAM_CUDA PROPERTY STRINGS AUTO ON OFF)

if(BEAM_CUDA STREQUAL "AUTO")
  message(STATUS "CUDA: no kernels in this version; building for the processor only")
elseif(BEAM_CUDA)
  message(FATAL_ERROR "BEAM_CUDA=ON, but this version has no GPU kernels; use AUTO or OFF")
endif()
