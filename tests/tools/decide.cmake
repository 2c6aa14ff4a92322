# plan, report and compare.
laconic_test(decide_test SOURCES compare_test.cc plan_step_test.cc plan_tensors_test.cc report_test.cc
  result_file_test.cc runs_test.cc
  LIBS laconic_tools)
add_test(NAME tools_decide COMMAND bash ${CMAKE_CURRENT_SOURCE_DIR}/decide.sh $<TARGET_FILE:laconic_tool>
  ${CMAKE_CURRENT_SOURCE_DIR}/data ${PROJECT_SOURCE_DIR}/tools/models)
set_tests_properties(tools_decide PROPERTIES TIMEOUT 120)

# The report in a browser, its charts looked at. Skipped, with the reason, where something for that is missing.
find_program(LACONIC_CHROMIUM NAMES chromium chromium-browser google-chrome)
find_program(LACONIC_NODE node)
mark_as_advanced(LACONIC_CHROMIUM LACONIC_NODE)
set(browser_needs)
if(NOT LACONIC_UPLOT_JS)
  list(APPEND browser_needs "uPlot")
endif()
if(NOT LACONIC_CHROMIUM)
  list(APPEND browser_needs "chromium")
endif()
if(NOT LACONIC_NODE)
  list(APPEND browser_needs "node")
endif()
if(browser_needs)
  list(JOIN browser_needs ", " browser_needs)
  add_test(NAME tools_report_browser COMMAND ${CMAKE_COMMAND} -E echo "skipped: not installed: ${browser_needs}")
  set_tests_properties(tools_report_browser PROPERTIES SKIP_REGULAR_EXPRESSION "^skipped")
else()
  add_test(NAME tools_report_browser COMMAND ${LACONIC_NODE} ${CMAKE_CURRENT_SOURCE_DIR}/report_browser.mjs
    ${LACONIC_CHROMIUM} $<TARGET_FILE:laconic_tool> ${CMAKE_CURRENT_SOURCE_DIR}/data)
  set_tests_properties(tools_report_browser PROPERTIES TIMEOUT 120)
endif()
