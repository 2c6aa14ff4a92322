# laconic_library(NAME <component> SOURCES ... HEADERS ... [PUBLIC libs...] [PRIVATE libs...])
#
# One component: target laconic_<component>, alias laconic::<component>, its headers as a FILE_SET rooted at include/, and an
# export set of its own, so that find_package(laconic COMPONENTS <component>) looks for nothing else. What a user of the
# installed component must find is worked out from PUBLIC and PRIVATE (LaconicInstall.cmake); a dependency that is used as
# headers only, inside the sources, is written $<BUILD_INTERFACE:...> and stays out of it.
function(laconic_library)
  cmake_parse_arguments(ARG "" "NAME" "SOURCES;HEADERS;PUBLIC;PRIVATE" ${ARGN})
  set(target laconic_${ARG_NAME})
  add_library(${target} ${ARG_SOURCES})
  add_library(laconic::${ARG_NAME} ALIAS ${target})
  target_sources(${target} PUBLIC FILE_SET HEADERS BASE_DIRS include FILES ${ARG_HEADERS})
  target_include_directories(${target} PRIVATE ${PROJECT_SOURCE_DIR})
  target_compile_features(${target} PUBLIC cxx_std_20)
  target_link_libraries(${target} PUBLIC ${ARG_PUBLIC} PRIVATE ${ARG_PRIVATE} $<BUILD_INTERFACE:laconic_flags>)
  set_target_properties(${target} PROPERTIES EXPORT_NAME ${ARG_NAME} VERSION ${PROJECT_VERSION} SOVERSION 0
    INSTALL_RPATH "$ORIGIN")
  install(TARGETS ${target} EXPORT laconic-${ARG_NAME}
    ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}
    FILE_SET HEADERS DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
  set_property(GLOBAL APPEND PROPERTY LACONIC_COMPONENTS ${ARG_NAME})
endfunction()
