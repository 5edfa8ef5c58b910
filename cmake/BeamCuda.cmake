# BEAM_CUDA: AUTO builds the GPU kernels where nvcc is, ON insists, OFF never looks. Programs start without a driver:
# the runtime is linked statically and finds the driver itself.
#
# nvcc is called directly instead of through CMake's CUDA language: programs stay C programs, linked by the C
# compiler with its sanitizers, and what ptxas says of each file is kept for the test of registers.
set(BEAM_CUDA AUTO CACHE STRING "GPU kernels: AUTO, ON or OFF")
set_property(CACHE BEAM_CUDA PROPERTY STRINGS AUTO ON OFF)
set(BEAM_CUDA_ARCHS 90a CACHE STRING "GPU architectures to build for, e.g. 80;90a")

if(BEAM_CUDA)
  find_program(BEAM_NVCC nvcc HINTS ENV CUDA_HOME PATHS /usr/local/cuda PATH_SUFFIXES bin)
else()
  set(BEAM_NVCC "")
endif()
if(BEAM_NVCC)
  get_filename_component(cuda_home ${BEAM_NVCC} REALPATH)
  get_filename_component(cuda_home ${cuda_home} DIRECTORY)
  find_library(BEAM_CUDART_STATIC cudart_static HINTS ${cuda_home}/.. PATH_SUFFIXES lib64 lib targets/x86_64-linux/lib)
endif()
if(BEAM_NVCC AND BEAM_CUDART_STATIC)
  set(BEAM_CUDART ${BEAM_CUDART_STATIC} Threads::Threads rt dl)
  message(STATUS "CUDA: ${BEAM_NVCC} for sm_${BEAM_CUDA_ARCHS}")
elseif(BEAM_CUDA STREQUAL "ON")
  message(FATAL_ERROR "BEAM_CUDA=ON, but there is no nvcc with libcudart_static.a; set CUDA_HOME, or use AUTO or OFF")
else()
  unset(BEAM_NVCC CACHE)
  set(BEAM_NVCC "")
  message(STATUS "CUDA: building for the processor only")
endif()

# BEAM_CUDNN: AUTO builds attention by cuDNN where its headers are, ON insists, OFF never looks. Programs load the
# library when they run, if they are asked to (kernels/cuda/cudnn.h).
set(BEAM_CUDNN AUTO CACHE STRING "attention by cuDNN: AUTO, ON or OFF")
set_property(CACHE BEAM_CUDNN PROPERTY STRINGS AUTO ON OFF)
set(BEAM_CUDNN_INCLUDES "")
if(BEAM_NVCC AND BEAM_CUDNN)
  find_path(BEAM_CUDNN_HEADERS cudnn_graph.h HINTS ENV CUDNN_HOME ${cuda_home}/..
            PATH_SUFFIXES include targets/x86_64-linux/include)
  find_path(BEAM_CUDA_HEADERS cuda_runtime_api.h HINTS ${cuda_home}/..
            PATH_SUFFIXES include targets/x86_64-linux/include)
  if(BEAM_CUDNN_HEADERS AND BEAM_CUDA_HEADERS)
    include(CheckCSourceCompiles)
    set(CMAKE_REQUIRED_INCLUDES ${BEAM_CUDNN_HEADERS} ${BEAM_CUDA_HEADERS})
    check_c_source_compiles("#include <cudnn_graph.h>
      int main(void) { return CUDNN_ATTR_EXECUTION_PLAN_DEVICEPROP; }" BEAM_CUDNN_IS_NEW) # 9.8 or later
    unset(CMAKE_REQUIRED_INCLUDES)
  endif()
  if(BEAM_CUDNN_IS_NEW)
    message(STATUS "cuDNN: ${BEAM_CUDNN_HEADERS}")
    set(BEAM_CUDNN_INCLUDES ${BEAM_CUDNN_HEADERS} ${BEAM_CUDA_HEADERS})
  else()
    message(STATUS "cuDNN: no headers; attention takes beam's own kernels")
  endif()
endif()
if(BEAM_CUDNN STREQUAL "ON" AND NOT BEAM_CUDNN_INCLUDES)
  message(FATAL_ERROR "BEAM_CUDNN=ON, but there is no CUDA here, or no cudnn_graph.h of cuDNN 9.8 or later; set CUDNN_HOME, "
                      "or use AUTO")
endif()

# The host shim and its tests are C++. It jumps between stacks of one thread, which ThreadSanitizer cannot follow.
if(BEAM_TESTS AND NOT BEAM_SANITIZE MATCHES "thread")
  include(CheckLanguage)
  check_language(CXX)
  if(CMAKE_CXX_COMPILER)
    enable_language(CXX)
  endif()
endif()

# beam_cuda_objects(OUT file.cu ...): an object file from each, and beside it .ptxas with what ptxas says of it.
function(beam_cuda_objects out)
  set(codes "")
  foreach(arch ${BEAM_CUDA_ARCHS})
    list(APPEND codes -gencode=arch=compute_${arch},code=sm_${arch})
  endforeach()
  list(FIND BEAM_CUDA_ARCHS 90a sm90a) # -1: not among them
  if(sm90a LESS 0)
    list(APPEND codes -DBEAM_CUDA_SM90A=0)
  else()
    list(APPEND codes -DBEAM_CUDA_SM90A=1)
  endif()
  set(objects "")
  foreach(source ${ARGN})
    set(object ${CMAKE_CURRENT_BINARY_DIR}/${source}.o)
    add_custom_command(
      OUTPUT ${object}
      BYPRODUCTS ${object}.ptxas
      DEPENDS ${source} ${CMAKE_SOURCE_DIR}/cmake/nvcc.sh
      DEPFILE ${object}.d
      COMMAND ${CMAKE_SOURCE_DIR}/cmake/nvcc.sh ${object}.ptxas ${BEAM_NVCC} -std=c++17 -O3 -lineinfo ${codes}
              -Xptxas -v -Werror all-warnings -Xcompiler -fPIC,-Wall,-Wextra,-Werror,-fno-exceptions,-fno-rtti,-fno-threadsafe-statics -D_POSIX_C_SOURCE=200809L
              -D_DEFAULT_SOURCE -I${CMAKE_SOURCE_DIR} -I${CMAKE_SOURCE_DIR}/tests -MD -MF ${object}.d -MT ${object}
              -c ${CMAKE_CURRENT_SOURCE_DIR}/${source} -o ${object}
      COMMENT "nvcc ${source}"
      VERBATIM)
    list(APPEND objects ${object})
  endforeach()
  set_source_files_properties(${objects} PROPERTIES EXTERNAL_OBJECT TRUE GENERATED TRUE)
  set(${out} ${objects} PARENT_SCOPE)
endfunction()
