// What can the one executable do? Everything: each service, the whole cluster on one machine, the
// benchmarks, the quality gate. This file only ties the words of the command line to their
// functions.
#include <CLI/CLI.hpp>
#include <iostream>

#include "cli/commands.h"

int main(int argc, char** argv) {
  CLI::App app("Fathom serves DeepSeek V3/R1-class models from a cluster of small services.",
               "fathom");
  app.set_version_flag("--version", std::string("fathom ") + FATHOM_VERSION);
  app.require_subcommand(1);
  int exit_code = 0;
  app.add_subcommand("version", "print the version")->callback([] {
    std::cout << "fathom " << FATHOM_VERSION << "\n";
  });
  fathom::add_up_commands(app, exit_code);
  fathom::add_service_commands(app, exit_code);
  fathom::add_bench_commands(app, exit_code);
  fathom::add_eval_command(app, exit_code);
  CLI11_PARSE(app, argc, argv);
  return exit_code;
}
