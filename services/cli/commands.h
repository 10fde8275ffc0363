// Which words does the program understand? One function per subcommand adds it, with its options,
// to the command line; its action runs when the line was parsed and leaves the exit code.
#pragma once

namespace CLI {
class App;
}

namespace fathom {

// Each refers to `exit_code`, which outlives the command line.
void add_service_commands(CLI::App& app, int& exit_code);  // gateway, router, worker, config
void add_up_commands(CLI::App& app, int& exit_code);       // up, down
void add_bench_commands(CLI::App& app, int& exit_code);
void add_eval_command(CLI::App& app, int& exit_code);

}  // namespace fathom
