# What a build contains, and the flags every target shares.
set(LACONIC_WITH_MPI AUTO CACHE STRING "The MPI transport (laconic::comm_mpi): AUTO, ON or OFF")
set_property(CACHE LACONIC_WITH_MPI PROPERTY STRINGS AUTO ON OFF)
set(LACONIC_WITH_GRPC AUTO CACHE STRING "The parameter server (laconic::server; gRPC, Protobuf, OpenSSL, SQLite): AUTO, ON or OFF")
set_property(CACHE LACONIC_WITH_GRPC PROPERTY STRINGS AUTO ON OFF)
option(LACONIC_BUILD_TESTS "Build the tests" ${PROJECT_IS_TOP_LEVEL})
option(LACONIC_BUILD_EXAMPLES "Build the examples" ${PROJECT_IS_TOP_LEVEL})
option(LACONIC_BUILD_TOOLS "Build the command `laconic`" ${PROJECT_IS_TOP_LEVEL})
option(LACONIC_BUILD_BENCHMARKS "Build the benchmarks" OFF)
option(LACONIC_BUILD_CLUSTER_SIM "Build the program of scripts/cluster_sim.sh (needs SimGrid)" OFF)
option(LACONIC_BUILD_FUZZERS "Build the fuzz targets (clang only)" OFF)
option(LACONIC_WERROR "Treat warnings as errors" OFF)
set(LACONIC_SANITIZE "" CACHE STRING "Sanitizers for every target, such as address,undefined or thread")

if(PROJECT_IS_TOP_LEVEL AND NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "" FORCE)
endif()

set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)

# Private flags of all targets here. -ffp-contract=off: a fused multiply-add rounds once where two operations round twice, so
# ranks built for different machines would decode different bits. Never -march=native, never fast-math, for the same reason.
add_library(laconic_flags INTERFACE)
target_compile_options(laconic_flags INTERFACE -Wall -Wextra -Wno-unused-parameter
  -Wno-missing-field-initializers  # designated initializers leave members at their defaults: that is their use
  -ffp-contract=off
  $<$<BOOL:${LACONIC_WERROR}>:-Werror>)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
  target_compile_options(laconic_flags INTERFACE -Wno-restrict)  # false alarms on std::string operator+ (GCC bug 105651)
endif()
if(LACONIC_SANITIZE)
  target_compile_options(laconic_flags INTERFACE
    -fsanitize=${LACONIC_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  target_link_options(laconic_flags INTERFACE -fsanitize=${LACONIC_SANITIZE})
endif()
if(LACONIC_BUILD_FUZZERS)
  if(NOT CMAKE_CXX_COMPILER_ID MATCHES "Clang")
    message(FATAL_ERROR "LACONIC_BUILD_FUZZERS needs clang (libFuzzer); use the preset `fuzz`")
  endif()
  target_compile_options(laconic_flags INTERFACE -fsanitize=fuzzer-no-link)  # coverage feedback from the library itself
endif()

# laconic_find(<variable> <AUTO|ON|OFF> <find_package arguments>...): sets <variable> to whether the optional part is built.
# A macro, so that variables the package sets reach the caller, as with find_package itself.
macro(laconic_find variable mode)
  set(${variable} FALSE)
  if(NOT "${mode}" STREQUAL "OFF")
    if("${mode}" STREQUAL "ON")
      find_package(${ARGN} REQUIRED)
    else()
      find_package(${ARGN} QUIET)
    endif()
    set(${variable} ${${ARGV2}_FOUND})
  endif()
endmacro()
