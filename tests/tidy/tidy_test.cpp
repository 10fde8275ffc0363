// Is the house still as drawn? Rules about the tree that no compiler checks: who may include whom,
// how long a file may be, which words are banned. Each failure names the line and the rule; an
// argued exception is added here, with its reason, in the commit that needs it.
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <map>
#include <regex>
#include <set>
#include <sstream>

#include "tests/tidy/tree.h"

namespace fathom::tidy {
namespace {

// A folder includes itself and folders of lower floors, never a sibling.
const std::map<std::string, int> kFloors = {
    {"base", 0}, {"contract", 1}, {"kernels", 2},  {"comm", 2},   {"model", 3},
    {"kv", 3},   {"text", 3},     {"batching", 4}, {"engine", 4}, {"process", 5},
    {"net", 6},  {"gateway", 7},  {"router", 7},   {"worker", 7}, {"cli", 8}};

// Files over the ceiling, and why each is better in one piece.
const std::map<std::string, std::string> kLongFiles = {};

// Headers without #pragma once.
const std::map<std::string, std::string> kIncludedAgain = {
    {"kernels/cpu/inner_vector.h",
     "the text of a kernel, included once by each file that defines the primitives it is written "
     "in"}};

std::vector<SourceFile> product() { return sources({"kernels", "services"}); }
std::vector<SourceFile> everything() { return sources({"kernels", "services", "tests", "bench"}); }

// Fails for each line of code (comments and literals aside) in which `pattern` is found.
void forbid(const std::vector<SourceFile>& files, const std::string& pattern,
            const std::string& why) {
  const std::regex banned(pattern);
  for (const auto& file : files)
    for (size_t i = 0; i < file.lines.size(); ++i)
      if (std::regex_search(code_of(file.lines[i]), banned))
        ADD_FAILURE() << at(file, i) << "\n" << why;
}

TEST(Tidy, every_folder_of_services_has_a_floor) {
  for (const auto& file : product())
    EXPECT_TRUE(kFloors.contains(file.house())) << file.path << " is on no floor";
}

TEST(Tidy, includes_go_to_lower_floors_only) {
  const std::regex include(R"(^\s*#include "([a-z_]+)/)");
  for (const auto& file : product()) {
    const std::string house = file.house();
    for (size_t i = 0; i < file.lines.size(); ++i) {
      std::smatch match;
      if (!std::regex_search(file.lines[i], match, include)) continue;
      const std::string target = match[1];
      if (target == house || !kFloors.contains(target)) continue;
      EXPECT_LT(kFloors.at(target), kFloors.at(house)) << at(file, i);
    }
  }
}

TEST(Tidy, batching_and_engine_never_meet) {
  const std::regex either(R"(^#include "(batching|engine)/)");
  for (const auto& file : product()) {
    std::set<std::string> met;
    for (const auto& line : file.lines)
      if (std::smatch match; std::regex_search(line, match, either)) met.insert(match[1]);
    // `fathom up` and `fathom bench` stand above both.
    const size_t allowed = file.house() == "cli" ? 2 : 1;
    EXPECT_LE(met.size(), allowed) << file.path;
  }
}

TEST(Tidy, generated_and_grpc_headers_stay_inside_net) {
  const std::regex wire(R"(^\s*#include [<"](grpc|grpcpp|google/protobuf)/|\.pb\.h[>"])");
  for (const auto& file : product())
    for (size_t i = 0; i < file.lines.size(); ++i)
      EXPECT_TRUE(file.house() == "net" || !std::regex_search(file.lines[i], wire)) << at(file, i);
}

// What a machine with a GPU must have to build and test the engine: see cmake/Packages.cmake.
TEST(Tidy, floors_up_to_the_engine_take_nothing_from_outside) {
  const std::set<std::string> floors = {"base",  "contract", "kernels",  "comm",
                                        "model", "kv",       "batching", "engine"};
  const std::regex outside(R"(^\s*#include <([^>]+)>)");
  // The language's headers have no dot; POSIX and intrinsics; two header-only libraries; CUDA.
  const std::regex allowed(
      R"([a-z0-9_]+|(sys|netinet|arpa|net|linux|asm)/[a-z]+\.h|(unistd|fcntl|pthread|sched|signal|poll|netdb|errno|dlfcn|stdlib)\.h|(immintrin|cpuid|arm_neon)\.h|boost/json(/[a-z_]+)?\.hpp|xxhash\.h|(cuda|cuda_[a-z0-9_]+|cooperative_groups|nccl)\.h)");
  for (const auto& file : product())
    for (size_t i = 0; floors.contains(file.house()) && i < file.lines.size(); ++i) {
      std::smatch match;
      if (!std::regex_search(file.lines[i], match, outside)) continue;
      EXPECT_TRUE(std::regex_match(match[1].str(), allowed)) << at(file, i);
    }
}

TEST(Tidy, headers_outside_net_pull_in_no_sockets) {
  const std::regex sockets(R"(^\s*#include <(boost/(asio|beast)|sys/socket|netinet)/?)");
  for (const auto& file : product())
    for (size_t i = 0; file.is_header() && i < file.lines.size(); ++i)
      EXPECT_TRUE(file.house() == "net" || !std::regex_search(file.lines[i], sockets))
          << at(file, i);
}

TEST(Tidy, files_are_short) {
  for (const auto& file : everything()) {
    const size_t ceiling = file.under("kernels/") ? 600 : 400;
    EXPECT_TRUE(file.lines.size() <= ceiling || kLongFiles.contains(file.path))
        << file.path << " has " << file.lines.size() << " lines";
  }
  for (const auto& [path, why] : kLongFiles)
    EXPECT_GE(why.size(), 20u) << path << " needs a reason";
}

TEST(Tidy, every_file_opens_with_the_question_it_answers) {
  for (const auto& file : everything()) {
    ASSERT_FALSE(file.lines.empty()) << file.path;
    if (!file.is_header()) continue;
    std::string comment;
    for (const auto& line : file.lines) {
      if (!line.starts_with("//")) break;
      comment += line;
    }
    EXPECT_NE(comment.find('?'), std::string::npos) << file.path << " does not say what it answers";
    EXPECT_GE(comment.size(), 60u) << file.path << " does not give the answer";
  }
}

TEST(Tidy, web_files_are_short_and_open_with_their_question) {
  for (const auto& file : web_sources({"services", "tests/pages"})) {
    EXPECT_LE(file.lines.size(), 400u) << file.path;
    if (file.path.ends_with(".html")) continue;  // its title says what it is
    const bool css = file.path.ends_with(".css");
    std::string comment;
    for (const auto& line : file.lines) {
      if (!css && !line.starts_with("//")) break;
      comment += line;
      if (css && line.ends_with("*/")) break;
    }
    EXPECT_TRUE(comment.starts_with(css ? "/*" : "//")) << file.path << " opens without a comment";
    EXPECT_NE(comment.find('?'), std::string::npos) << file.path << " does not say what it answers";
    EXPECT_GE(comment.size(), 60u) << file.path << " does not give the answer";
  }
}

// What the content security policy of the pages forbids would fail in a browser only when the line
// runs; and text that is read as HTML would not fail at all.
TEST(Tidy, pages_make_no_code_or_markup_out_of_text) {
  const std::regex banned(
      R"(\b(innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|createContextualFragment|setHTMLUnsafe)\b|\beval\(|\bnew Function\b| style=|<script>|\bon[a-z]+=")");
  for (const auto& file : web_sources({"services"}))
    for (size_t i = 0; i < file.lines.size(); ++i)
      EXPECT_FALSE(std::regex_search(file.lines[i], banned)) << at(file, i);
}

TEST(Tidy, headers_are_guarded_once) {
  for (const auto& file : everything())
    EXPECT_EQ(std::ranges::count(file.lines, "#pragma once"),
              file.is_header() && !kIncludedAgain.contains(file.path) ? 1 : 0)
        << file.path;
}

TEST(Tidy, names_say_what_a_thing_is) {
  forbid(everything(), R"(\b(class|struct|namespace)\s+\w*(Manager|Helper|Utils?|Impl)\b)",
         "the name says nothing; name the one job it has");
  const std::regex vague(R"((^|[/_])(common|utils?|helpers?|manager|misc|impl)([/_.]|$))");
  for (const auto& file : everything())
    EXPECT_FALSE(std::regex_search(file.path, vague)) << file.path << " is not a question";
}

TEST(Tidy, settings_come_from_files_not_from_the_environment) {
  forbid(product(), R"(\b(secure_)?getenv\b)", "settings are injected: see process/config.h");
}

TEST(Tidy, logic_never_sleeps) {
  forbid(product(), R"(\b(sleep_for|sleep_until|usleep|nanosleep)\b)",
         "wait for the event instead");
}

TEST(Tidy, cuda_is_seen_by_kernels_alone) {
  const std::regex toolkit(
      R"(^\s*#include ([<"](cuda|nccl)|"kernels/cuda/.*\.cuh?"|"kernels/cuda/runtime\.h"))");
  for (const auto& file : product())
    for (size_t i = 0; i < file.lines.size(); ++i)
      EXPECT_TRUE(file.under("kernels/cuda/") || !std::regex_search(file.lines[i], toolkit))
          << at(file, i);
}

TEST(Tidy, backends_are_tables_not_preprocessor_branches) {
  forbid(sources({"services"}), R"(^\s*#\s*(if|ifdef|ifndef|elif)\b)",
         "only kernels/ may ask the preprocessor");
}

TEST(Tidy, every_source_is_in_the_build) {
  std::ifstream in(FATHOM_BINARY_DIR "/compile_commands.json");
  std::stringstream text;
  text << in.rdbuf();
  const std::string commands = text.str();
  ASSERT_FALSE(commands.empty()) << "no compile_commands.json in " FATHOM_BINARY_DIR;
  for (const auto& file : sources({"kernels", "services", "tests"})) {
    if (file.is_header()) continue;
    // kernels/cuda is built as a whole with its tests, or its one file that says there is no GPU;
    // and emulated GPUs run the tests, and translate *.cu, wherever they are built.
    const bool device_code = file.under("kernels/cuda/") || file.under("tests/unit/cuda/");
    const bool emulated = file.under("tests/gpu/emulator/") || file.under("tests/unit/cuda/") ||
                          file.path == "kernels/cuda/table.cpp";
    const bool built =
        !device_code || (FATHOM_WITH_CUDA == 1) != file.path.ends_with("/absent.cpp");
    const bool wanted = (built && !file.under("tests/gpu/emulator/")) ||
                        (emulated && FATHOM_WITH_EMULATED_GPUS == 1);
    EXPECT_EQ(wanted, commands.find("/" + file.path + "\"") != std::string::npos) << file.path;
  }
}

}  // namespace
}  // namespace fathom::tidy
