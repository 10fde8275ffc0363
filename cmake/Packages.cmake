# What does the build take from outside, and for which floors? The floors up to the engine and the batcher need a compiler,
# nvcc if they are for a GPU, GoogleTest for their tests, and the headers, not the libraries, of Boost.JSON (config.json, the
# header of a safetensors file) and xxHash (checksums of blocks, the model's digest). FATHOM_ENGINE builds these and asks for
# nothing more. Everything above needs the rest.
set(CMAKE_FIND_PACKAGE_TARGETS_GLOBAL ON)
find_package(Threads REQUIRED)
find_package(Boost 1.81 REQUIRED)
find_path(XXHASH_HEADER xxhash.h REQUIRED)

# In a whole build the floors share the system's libraries; alone they take both from their headers.
add_library(fathom_json INTERFACE)
add_library(fathom_xxhash INTERFACE)
if(FATHOM_ENGINE)
  file(CONFIGURE OUTPUT ${PROJECT_BINARY_DIR}/json.cpp CONTENT "#include <boost/json/src.hpp>\n")
  add_library(fathom_json_source STATIC ${PROJECT_BINARY_DIR}/json.cpp)
  target_link_libraries(fathom_json_source PUBLIC Boost::headers)
  target_link_libraries(fathom_json INTERFACE fathom_json_source)
  target_compile_definitions(fathom_xxhash INTERFACE XXH_INLINE_ALL)
  target_include_directories(fathom_xxhash SYSTEM INTERFACE ${XXHASH_HEADER})
  return()
endif()

find_package(PkgConfig REQUIRED)
find_package(Boost 1.81 REQUIRED COMPONENTS json url)
pkg_check_modules(XXHASH REQUIRED IMPORTED_TARGET GLOBAL libxxhash)
target_link_libraries(fathom_json INTERFACE Boost::json)
target_link_libraries(fathom_xxhash INTERFACE PkgConfig::XXHASH)

pkg_check_modules(PCRE2 REQUIRED IMPORTED_TARGET GLOBAL libpcre2-8)    # text
pkg_check_modules(ICU REQUIRED IMPORTED_TARGET GLOBAL icu-uc)          # text
find_package(yaml-cpp REQUIRED)                                        # process: settings
find_package(spdlog REQUIRED)                                          # process: log lines
find_package(prometheus-cpp REQUIRED COMPONENTS core)                  # process: metrics
find_package(OpenSSL REQUIRED)                                         # net
find_package(Protobuf REQUIRED)                                        # net
pkg_check_modules(GRPC REQUIRED IMPORTED_TARGET GLOBAL grpc++)         # net
find_package(CLI11 REQUIRED)                                           # cli
