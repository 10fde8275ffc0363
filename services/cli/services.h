// What does `fathom gateway|router|worker --config FILE` do? Reads the settings, makes clock,
// metrics and randomness, and hands the service to run_service: the only place where real ones of
// these are made.
#pragma once

#include <string>

#include "cli/signals.h"

namespace fathom {

// Each runs the service to its end and returns the exit code.
int run_gateway_service(const std::string& config_file, const SignalInbox& inbox);
int run_router_service(const std::string& config_file, const SignalInbox& inbox);
int run_worker_service(const std::string& config_file, const SignalInbox& inbox);

// The default settings of a service with their descriptions, as a file.
std::string default_settings(const std::string& service);

}  // namespace fathom
