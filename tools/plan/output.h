// What `laconic plan` found, in words, tables and JSON.
#pragma once

#include <string>
#include <vector>

#include "tools/plan/step.h"
#include "tools/plan/validate.h"

namespace laconic::tools {

struct PlanFindings {
  ModelTensors model;
  Setting setting;
  std::string link_text;
  bool link_given = false;
  int local_ranks = 1, cores = 1;
  std::vector<SpecPlan> plans;                     // dense first
  std::vector<double> break_even_bits_per_second;  // one a plan; 0: never wins, infinity: at every rate
};

// A sentence or two: what to take, what it gains and why.
std::string Advice(const PlanFindings& findings);

std::string PlanText(const PlanFindings& findings);
// {"schema": "laconic-plan", "version": 1, ..., "rows": [...], "best", "advice"}; one line end.
std::string PlanJson(const PlanFindings& findings);

std::string ValidationText(const Validation& validation, double tolerance, double regret);
std::string ValidationJson(const Validation& validation, double tolerance, double regret);

}  // namespace laconic::tools
