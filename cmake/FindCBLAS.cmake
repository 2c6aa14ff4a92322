# OpenBLAS with its C interface, a build that locks its buffers: ranks are threads, each with products of its own. Debian's serial build
# does not lock.
#
#   CBLAS_LIBRARY       full path
#   CBLAS_INCLUDE_DIR   folder of cblas.h
set(cblas_library_folders)
foreach(folder IN ITEMS /usr/lib/${CMAKE_LIBRARY_ARCHITECTURE} /usr/lib64 /usr/lib)
  list(APPEND cblas_library_folders ${folder}/openblas-pthread)
endforeach()
find_library(CBLAS_LIBRARY NAMES openblas PATHS ${cblas_library_folders} NO_DEFAULT_PATH)
find_library(CBLAS_LIBRARY NAMES openblas)
find_path(CBLAS_INCLUDE_DIR cblas.h PATHS /usr/include/${CMAKE_LIBRARY_ARCHITECTURE}/openblas-pthread NO_DEFAULT_PATH)
find_path(CBLAS_INCLUDE_DIR cblas.h PATH_SUFFIXES openblas ${CMAKE_LIBRARY_ARCHITECTURE})

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(CBLAS REQUIRED_VARS CBLAS_LIBRARY CBLAS_INCLUDE_DIR
  REASON_FAILURE_MESSAGE "install OpenBLAS with its headers, on Debian libopenblas-pthread-dev")
mark_as_advanced(CBLAS_LIBRARY CBLAS_INCLUDE_DIR)
