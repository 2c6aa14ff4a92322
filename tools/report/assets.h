// Texts that reports carry with them. tools/decide.cmake writes assets.cc from the files of this folder and of uPlot.
#pragma once

#include <string_view>

namespace laconic::tools::assets {

extern const std::string_view kReportCss;
extern const std::string_view kLookJs;  // shared by the two below
extern const std::string_view kReportJs;
extern const std::string_view kFedJs;
extern const std::string_view kUplotCss;  // empty where uPlot was not found
extern const std::string_view kUplotJs;   // ... with its license line (MIT)

}  // namespace laconic::tools::assets
