#include <openssl/rand.h>

#include <CLI/CLI.hpp>
#include <array>
#include <iostream>
#include <memory>

#include "base/clock.h"
#include "cli/commands.h"
#include "cli/new_key.h"

namespace fathom {
namespace {

struct NewKeyWords {
  KeyWish wish;
  std::string file;
};

int run(const NewKeyWords& words) {
  const auto refuse = [](const Error& error) {
    std::cerr << "fathom key new: " << error.field << ": " << error.message << std::endl;
    return 1;
  };
  std::array<uint8_t, 32> random{};
  if (RAND_bytes(random.data(), static_cast<int>(random.size())) != 1)
    return refuse({Code::unavailable, "the system gives none", "random bytes"});
  const auto key = make_key(words.wish, random, SystemClock().unix_seconds());
  if (!key.ok()) return refuse(key.error());
  if (words.file.empty()) {
    std::cout << key->text << "\n" << key_line(key->entry) << std::endl;
    std::cerr << "The first line is the key: it is shown only now. The second goes into the keys "
                 "file."
              << std::endl;
    return 0;
  }
  if (const Status appended = append_key(words.file, key->entry); !appended.ok())
    return refuse(appended.error());
  std::cout << key->text << std::endl;
  std::cerr << "This is the key of " << key->entry.name << ": it is shown only now. " << words.file
            << " has its digest." << std::endl;
  return 0;
}

}  // namespace

void add_key_commands(CLI::App& app, int& exit_code) {
  auto words = std::make_shared<NewKeyWords>();
  CLI::App* key = app.add_subcommand("key", "make API keys");
  key->require_subcommand(1);
  CLI::App* fresh = key->add_subcommand("new", "print a fresh API key, once");
  fresh->add_option("name", words->wish.name, "whose it is, for logs and metrics")->required();
  fresh->add_option("--days", words->wish.days, "until it expires; default: never");
  fresh->add_option("--tenant", words->wish.tenant,
                    "who shares one part of the queue; default: the name");
  fresh->add_flag("--operator", words->wish.is_operator, "may see the cluster page's data");
  fresh->add_option("--file", words->file, "keys file to which its entry is appended");
  fresh->callback([words, &exit_code] { exit_code = run(*words); });
}

}  // namespace fathom
