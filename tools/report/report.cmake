# The subcommand report, whose page holds its style, its script and uPlot.
target_sources(laconic_tools PRIVATE report/charts.cc report/fed_page.cc report/page.cc report/report.cc
  report/runs.cc report/svg.cc ${CMAKE_CURRENT_BINARY_DIR}/assets.cc)

# uPlot draws the charts of reports and travels inside them (MIT, https://github.com/leeoniya/uPlot). Without it reports keep
# their tables and say so. scripts/install_deps.sh puts it into build/npm.
set(LACONIC_UPLOT_DIR "" CACHE PATH "The npm package uplot, for charts in reports; found in node_modules if empty")
if(LACONIC_UPLOT_DIR)
  unset(LACONIC_UPLOT_JS CACHE)  # what was found before was another
endif()
find_file(LACONIC_UPLOT_JS uPlot.iife.min.js NO_DEFAULT_PATH PATH_SUFFIXES dist
  PATHS ${LACONIC_UPLOT_DIR} ${PROJECT_BINARY_DIR}/npm/node_modules/uplot ${PROJECT_SOURCE_DIR}/build/npm/node_modules/uplot
        ${PROJECT_SOURCE_DIR}/node_modules/uplot)
mark_as_advanced(LACONIC_UPLOT_JS)
set(UPLOT_JS "")
set(UPLOT_CSS "")
if(LACONIC_UPLOT_JS)
  get_filename_component(uplot_dir ${LACONIC_UPLOT_JS} DIRECTORY)
  file(READ ${LACONIC_UPLOT_JS} UPLOT_JS)
  file(READ ${uplot_dir}/uPlot.min.css UPLOT_CSS)
elseif(LACONIC_UPLOT_DIR)
  message(FATAL_ERROR "LACONIC_UPLOT_DIR=${LACONIC_UPLOT_DIR} holds no dist/uPlot.iife.min.js")
else()
  message(STATUS "uPlot not found: reports will have tables only (npm install uplot, -DLACONIC_UPLOT_DIR=...)")
endif()
set(asset_files report/report.css report/look.js report/report.js report/fed.js report/assets.cc.in)
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${asset_files} ${LACONIC_UPLOT_JS})
file(READ report/report.css REPORT_CSS)
file(READ report/look.js LOOK_JS)
file(READ report/report.js REPORT_JS)
file(READ report/fed.js FED_JS)
configure_file(report/assets.cc.in assets.cc @ONLY)
