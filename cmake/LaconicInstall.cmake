# Install rules: one export file per component.
get_property(laconic_components GLOBAL PROPERTY LACONIC_COMPONENTS)
foreach(component IN LISTS laconic_components)
  install(EXPORT laconic-${component} NAMESPACE laconic:: FILE laconic-${component}.cmake
    DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/laconic)
endforeach()
