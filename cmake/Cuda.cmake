# How does CUDA come into the build? With FATHOM_CUDA the toolkit is found, or set up from pinned wheels, by
# deploy/cuda/toolkit, and CUDA becomes a language of the project; -DCMAKE_CUDA_COMPILER or $CUDACXX name another nvcc.
# All device code is for Hopper alone: sm_90a is not compatible with anything else, and its wgmma and TMA are the point.
if(NOT CMAKE_CUDA_COMPILER AND NOT DEFINED ENV{CUDACXX})
  execute_process(COMMAND ${PROJECT_SOURCE_DIR}/deploy/cuda/toolkit
    OUTPUT_VARIABLE cuda_root OUTPUT_STRIP_TRAILING_WHITESPACE RESULT_VARIABLE failed)
  if(failed)
    message(FATAL_ERROR "FATHOM_CUDA: deploy/cuda/toolkit found no CUDA toolkit and could not set one up")
  endif()
  set(CMAKE_CUDA_COMPILER ${cuda_root}/bin/nvcc)
endif()
# CMake 3.25 does not know sm_90a by name; the flag below says it.
set(CMAKE_CUDA_ARCHITECTURES OFF)
set(CMAKE_CUDA_HOST_COMPILER ${CMAKE_CXX_COMPILER} CACHE FILEPATH "compiles the host's half of *.cu")
set(CMAKE_CUDA_RUNTIME_LIBRARY Static)
enable_language(CUDA)
# Nor does it know that nvcc has C++20.
if(NOT CMAKE_CUDA20_STANDARD_COMPILE_OPTION)
  set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION -std=c++20)
endif()
set(CMAKE_CUDA_STANDARD 20)
set(CMAKE_CUDA_EXTENSIONS OFF)
if(CMAKE_CUDA_COMPILER_VERSION VERSION_LESS 12.8)
  message(FATAL_ERROR "FATHOM_CUDA: ${CMAKE_CUDA_COMPILER} is CUDA ${CMAKE_CUDA_COMPILER_VERSION}; 12.8 or later is needed")
endif()
find_program(CUOBJDUMP cuobjdump REQUIRED HINTS ${CMAKE_CUDA_COMPILER_TOOLKIT_ROOT}/bin)

# Warnings of nvcc, of the host's compiler behind it and of ptxas are errors. Not -Wpedantic: the code that nvcc hands to
# the host's compiler is not ISO C++. Device code is unpacked when it is loaded; packed it is a quarter of the size. For a
# profiler add -DCMAKE_CUDA_FLAGS=-lineinfo.
set(FATHOM_CUDA_FLAGS -gencode=arch=compute_90a,code=sm_90a --Werror=all-warnings
  -Xcompiler=-Wall,-Wextra,-Wshadow,-Werror,-Wno-missing-field-initializers --compress-mode=size)
