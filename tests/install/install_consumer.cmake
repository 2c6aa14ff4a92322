# Installs the build into an empty prefix, and builds and runs programs of a user against it, by find_package and by pkg-config.
cmake_minimum_required(VERSION 3.24)
set(prefix ${WORK}/prefix)
file(REMOVE_RECURSE ${WORK}/prefix ${WORK}/codec ${WORK}/trainer ${WORK}/mpi ${WORK}/journal ${WORK}/absent ${WORK}/pkg-config)

function(run)
  list(JOIN ARGV " " command)
  message(STATUS "${command}")
  execute_process(COMMAND ${ARGV} COMMAND_ERROR_IS_FATAL ANY OUTPUT_QUIET)
endfunction()

# consumer(<component> <program> <cmake options>...): configures, builds and runs consumer/ with one component.
function(consumer component program)
  run(${CMAKE_COMMAND} --no-warn-unused-cli -S ${CMAKE_CURRENT_LIST_DIR}/consumer -B ${WORK}/${program} -G ${GENERATOR}
    -DCMAKE_CXX_COMPILER=${CXX} -DCMAKE_PREFIX_PATH=${prefix} -DCOMPONENT=${component} -DPROGRAM=${program} ${ARGN})
  run(${CMAKE_COMMAND} --build ${WORK}/${program})
  run(${CMAKE_COMMAND} -E env ${MPI_ENVIRONMENT} ${WORK}/${program}/${program})
endfunction()

run(${CMAKE_COMMAND} --install ${BUILD} --prefix ${prefix})

# A user without MPI never looks for it.
consumer(compressors codec -DCMAKE_DISABLE_FIND_PACKAGE_MPI=ON)
consumer(optim trainer -DCMAKE_DISABLE_FIND_PACKAGE_MPI=ON)
if(HAS_MPI)
  consumer(comm_mpi mpi)
endif()
if(HAS_SERVER)
  consumer(server journal -DCMAKE_DISABLE_FIND_PACKAGE_MPI=ON)
endif()

message(STATUS "a component that was not built is refused by name")
execute_process(
  COMMAND ${CMAKE_COMMAND} -S ${CMAKE_CURRENT_LIST_DIR}/consumer -B ${WORK}/absent -G ${GENERATOR}
    -DCMAKE_CXX_COMPILER=${CXX} -DCMAKE_PREFIX_PATH=${prefix} -DCOMPONENT=telepathy -DPROGRAM=codec
  RESULT_VARIABLE result OUTPUT_QUIET ERROR_VARIABLE error)
string(REGEX REPLACE "[ \n]+" " " error "${error}")
if(result EQUAL 0 OR NOT error MATCHES "built without the component telepathy")
  message(FATAL_ERROR "configuring with an absent component gave ${result}: ${error}")
endif()

find_program(pkg_config NAMES pkg-config pkgconf REQUIRED)
# pkg_config_consumer(<package> <program>)
function(pkg_config_consumer package program)
  execute_process(COMMAND ${CMAKE_COMMAND} -E env PKG_CONFIG_PATH=${prefix}/${LIBDIR}/pkgconfig
      ${pkg_config} --cflags --libs ${package}
    OUTPUT_VARIABLE flags OUTPUT_STRIP_TRAILING_WHITESPACE COMMAND_ERROR_IS_FATAL ANY)
  separate_arguments(flags UNIX_COMMAND "${flags}")
  file(MAKE_DIRECTORY ${WORK}/pkg-config)
  run(${CXX} -std=c++20 ${CMAKE_CURRENT_LIST_DIR}/consumer/${program}.cc -o ${WORK}/pkg-config/${program}
    ${flags} -Wl,-rpath,${prefix}/${LIBDIR})
  run(${CMAKE_COMMAND} -E env ${MPI_ENVIRONMENT} ${WORK}/pkg-config/${program})
endfunction()
pkg_config_consumer(laconic trainer)
if(HAS_MPI)
  pkg_config_consumer(laconic-mpi mpi)
endif()
if(HAS_SERVER)
  pkg_config_consumer(laconic-server journal)
endif()
