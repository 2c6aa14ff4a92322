# OpenBLAS with its C interface; the serial build where there is one: laconic calls it from threads of its own, one product each,
# and a build with threads of its own would oversubscribe the cores.
#
#   CBLAS_LIBRARY       full path, so that what is installed links without finding it again
#   CBLAS_INCLUDE_DIR   folder of cblas.h
set(cblas_serial_libraries)
foreach(folder IN ITEMS /usr/lib/${CMAKE_LIBRARY_ARCHITECTURE} /usr/lib64 /usr/lib)
  list(APPEND cblas_serial_libraries ${folder}/openblas-serial)
endforeach()
find_library(CBLAS_LIBRARY NAMES openblas PATHS ${cblas_serial_libraries} NO_DEFAULT_PATH)
find_library(CBLAS_LIBRARY NAMES openblas)
find_path(CBLAS_INCLUDE_DIR cblas.h PATHS /usr/include/${CMAKE_LIBRARY_ARCHITECTURE}/openblas-serial NO_DEFAULT_PATH)
find_path(CBLAS_INCLUDE_DIR cblas.h PATH_SUFFIXES openblas ${CMAKE_LIBRARY_ARCHITECTURE})

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(CBLAS REQUIRED_VARS CBLAS_LIBRARY CBLAS_INCLUDE_DIR
  REASON_FAILURE_MESSAGE "install OpenBLAS with its headers, on Debian libopenblas-serial-dev")
mark_as_advanced(CBLAS_LIBRARY CBLAS_INCLUDE_DIR)
