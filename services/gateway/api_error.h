// How is a refusal shown to a client? One table from what went wrong to status, type and code of
// the OpenAI envelope. Messages never hold prompt text, paths, host names or stack traces.
#pragma once

#include <optional>
#include <string>

#include "base/clock.h"
#include "base/result.h"
#include "net/http_server.h"

namespace fathom {

struct ApiError {
  int status = 500;
  std::string type = "server_error";
  std::string code;  // empty is null
  std::string message;
  std::string param;            // the field at fault; empty is null
  int retry_after_seconds = 0;  // 0: no header
  std::optional<bool> should_retry;
  std::string challenge;  // WWW-Authenticate; empty: no header
};

// A request that can not be served as it is.
ApiError bad_request(std::string message, std::string param = {}, std::string code = {});
ApiError unsupported(std::string param, std::string message);
ApiError not_found(std::string message, std::string code, std::string param = {});
// From the inside of the cluster; `retry_after` is what the router said, `fallback` what we say
// without it.
ApiError api_error(const Error& error, Duration retry_after, double fallback_seconds);
ApiError from_status(int status, std::string message);  // transport refusals: 400 408 413 431 503

std::string error_body(const ApiError& error);    // {"error":{...}}
std::string error_member(const ApiError& error);  // {"message":...}
ServerResponse error_response(const ApiError& error);
Error to_rpc_error(const ApiError& error);

}  // namespace fathom
