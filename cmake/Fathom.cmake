# How is a library, a test or a program of this project declared? One line each: the name and what it stands on.
# Sources are all *.cpp of the folder, so a file can not be left out of the build.
find_program(CCACHE ccache)
if(CCACHE)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CCACHE})
  set(CMAKE_CUDA_COMPILER_LAUNCHER ${CCACHE})
endif()
find_program(MOLD mold)
if(MOLD)
  add_link_options(-fuse-ld=mold)
endif()

add_library(fathom_flags INTERFACE)
target_compile_options(fathom_flags INTERFACE
  "$<$<COMPILE_LANGUAGE:CXX>:-Wall;-Wextra;-Wpedantic;-Wshadow;-Werror;-Wno-missing-field-initializers>"
  "$<$<COMPILE_LANGUAGE:CUDA>:${FATHOM_CUDA_FLAGS}>")
target_include_directories(fathom_flags INTERFACE ${PROJECT_SOURCE_DIR} ${PROJECT_SOURCE_DIR}/services)
target_link_libraries(fathom_flags INTERFACE Threads::Threads)
if(FATHOM_SANITIZE)
  target_compile_options(fathom_flags INTERFACE
    "$<$<COMPILE_LANGUAGE:CXX>:-fsanitize=${FATHOM_SANITIZE};-fno-omit-frame-pointer;-g1>")
  # libFuzzer's main() is only for the programs of tests/fuzz; everything else is just instrumented.
  string(REGEX REPLACE "fuzzer(,|$)" "fuzzer-no-link\\1" sanitize_link "${FATHOM_SANITIZE}")
  target_link_options(fathom_flags INTERFACE -fsanitize=${sanitize_link})
  if(CMAKE_CXX_COMPILER_ID STREQUAL GNU)
    # GCC 12 warns falsely about std::variant and std::string under sanitizers.
    target_compile_options(fathom_flags INTERFACE
      "$<$<COMPILE_LANGUAGE:CXX>:-Wno-maybe-uninitialized;-Wno-restrict;-Wno-tsan>")
  endif()
endif()
if(CMAKE_CXX_COMPILER_ID STREQUAL GNU AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
  # False positives of GCC 12 at -O2/-O3 (PR 105329, 105562).
  target_compile_options(fathom_flags INTERFACE
    "$<$<COMPILE_LANGUAGE:CXX>:-Wno-restrict;-Wno-maybe-uninitialized>")
  if(FATHOM_PCH)
    # Behind a precompiled header it takes <string> for ours and warns about it too.
    target_compile_options(fathom_flags INTERFACE
      "$<$<COMPILE_LANGUAGE:CXX>:-Wno-stringop-overflow;-Wno-stringop-overread;-Wno-array-bounds>")
  endif()
endif()

# fathom_library(name LINKS ... [PCH headers ...]): fathom_<name> from the *.cpp of this folder and of `DIRS`.
function(fathom_library name)
  cmake_parse_arguments(ARG "" "" "LINKS;DIRS;PCH" ${ARGN})
  file(GLOB sources CONFIGURE_DEPENDS *.cpp)
  foreach(dir IN LISTS ARG_DIRS)
    file(GLOB more CONFIGURE_DEPENDS ${dir}/*.cpp)
    list(APPEND sources ${more})
  endforeach()
  if(sources)
    add_library(fathom_${name} STATIC ${sources})
    target_link_libraries(fathom_${name} PUBLIC fathom_flags ${ARG_LINKS})
    if(FATHOM_PCH AND ARG_PCH)
      target_precompile_headers(fathom_${name} PRIVATE ${ARG_PCH})
    endif()
  else()
    add_library(fathom_${name} INTERFACE)
    target_link_libraries(fathom_${name} INTERFACE fathom_flags ${ARG_LINKS})
  endif()
endfunction()

# fathom_test(name LINKS ... [LABELS unit] [TIMEOUT seconds]): one GoogleTest program from the *_test.cpp here.
function(fathom_test name)
  cmake_parse_arguments(ARG "" "TIMEOUT" "LINKS;LABELS;PCH" ${ARGN})
  file(GLOB sources CONFIGURE_DEPENDS *.cpp)
  if(NOT sources)
    return()
  endif()
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 300)
  endif()
  if(FATHOM_SANITIZE)
    # Instrumented programs are slower by 5 to 15 times.
    math(EXPR ARG_TIMEOUT "${ARG_TIMEOUT} * 10")
  endif()
  add_executable(${name}_test ${sources})
  target_link_libraries(${name}_test PRIVATE fathom_flags ${ARG_LINKS} GTest::gmock GTest::gtest_main)
  target_compile_definitions(${name}_test PRIVATE FATHOM_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
  if(FATHOM_PCH)
    target_precompile_headers(${name}_test PRIVATE <gmock/gmock.h> <gtest/gtest.h> ${ARG_PCH})
  endif()
  add_test(NAME ${name} COMMAND ${name}_test WORKING_DIRECTORY ${PROJECT_SOURCE_DIR})
  set_tests_properties(${name} PROPERTIES TIMEOUT ${ARG_TIMEOUT} LABELS "${ARG_LABELS}")
endfunction()
