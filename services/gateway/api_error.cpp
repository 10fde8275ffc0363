#include "gateway/api_error.h"

#include <algorithm>
#include <cmath>

#include "gateway/json_text.h"

namespace fathom {
namespace {

int whole_seconds(Duration d, double fallback) {
  const double seconds = d.ns > 0 ? d.to_seconds() : fallback;
  return std::clamp(static_cast<int>(std::ceil(seconds)), 1, 3600);
}

ApiError failure(int status, std::string code, std::string message) {
  return {.status = status,
          .type = "server_error",
          .code = std::move(code),
          .message = std::move(message)};
}

void append_or_null(std::string& out, const std::string& text) {
  if (text.empty()) {
    out += "null";
  } else {
    append_json(out, text);
  }
}

}  // namespace

ApiError bad_request(std::string message, std::string param, std::string code) {
  return {.status = 400,
          .type = "invalid_request_error",
          .code = std::move(code),
          .message = std::move(message),
          .param = std::move(param)};
}

ApiError unsupported(std::string param, std::string message) {
  return bad_request(std::move(message), std::move(param), "unsupported_parameter");
}

ApiError not_found(std::string message, std::string code, std::string param) {
  ApiError error = bad_request(std::move(message), std::move(param), std::move(code));
  error.status = 404;
  return error;
}

ApiError api_error(const Error& error, Duration retry_after, double fallback_seconds) {
  switch (error.code) {
    case Code::invalid_argument:
    case Code::out_of_range:
    case Code::unimplemented:
      return bad_request(error.message, error.field,
                         error.code == Code::unimplemented ? "unsupported_parameter" : "");
    case Code::not_found:
      return not_found(error.message, "not_found", error.field);
    case Code::resource_exhausted: {
      ApiError out{.status = 429,
                   .type = "rate_limit_error",
                   .code = "rate_limit_exceeded",
                   .message = "too many requests are waiting; try again later"};
      out.retry_after_seconds = whole_seconds(retry_after, fallback_seconds);
      return out;
    }
    case Code::unavailable:
    case Code::aborted:
    case Code::failed_precondition: {
      ApiError out =
          failure(503, "overloaded", "the service can not take requests now; try again later");
      out.retry_after_seconds = whole_seconds(retry_after, fallback_seconds);
      return out;
    }
    case Code::deadline_exceeded: {
      ApiError out = failure(503, "timeout", "the request was not answered in time");
      out.retry_after_seconds = whole_seconds(retry_after, fallback_seconds);
      return out;
    }
    case Code::cancelled:
      return {
          .status = 499,
          .type = "invalid_request_error",
          .code = "client_closed_request",
          .message = "the client closed its side of the connection before the answer was complete"};
    case Code::unauthenticated:
      return {.status = 401,
              .type = "invalid_request_error",
              .code = "invalid_api_key",
              .message = error.message};
    case Code::permission_denied:
      return {.status = 403,
              .type = "permission_error",
              .code = "permission_denied",
              .message = error.message};
    default:
      return failure(500, "internal_error", "the request failed inside the service");
  }
}

ApiError from_status(int status, std::string message) {
  ApiError error = bad_request(std::move(message));
  error.status = status;
  if (status == 413) error.code = "request_too_large";
  if (status == 431) error.code = "header_too_large";
  if (status == 408) error.code = "request_timeout";
  if (status >= 500) {
    error.type = "server_error";
    error.code = "overloaded";
    error.retry_after_seconds = 1;
  }
  return error;
}

std::string error_member(const ApiError& error) {
  std::string out = "{\"message\":";
  append_json(out, error.message);
  out += ",\"type\":";
  append_json(out, error.type);
  out += ",\"param\":";
  append_or_null(out, error.param);
  out += ",\"code\":";
  append_or_null(out, error.code);
  out += '}';
  return out;
}

std::string error_body(const ApiError& error) { return "{\"error\":" + error_member(error) + "}"; }

ServerResponse error_response(const ApiError& error) {
  ServerResponse out{.status = error.status, .body = error_body(error)};
  if (error.retry_after_seconds > 0)
    out.headers.emplace_back("retry-after", std::to_string(error.retry_after_seconds));
  if (error.should_retry)
    out.headers.emplace_back("x-should-retry", *error.should_retry ? "true" : "false");
  if (!error.challenge.empty()) out.headers.emplace_back("www-authenticate", error.challenge);
  return out;
}

Error to_rpc_error(const ApiError& error) {
  const Code code = error.status == 400   ? Code::invalid_argument
                    : error.status == 401 ? Code::unauthenticated
                    : error.status == 403 ? Code::permission_denied
                    : error.status == 404 ? Code::not_found
                    : error.status == 429 ? Code::resource_exhausted
                    : error.status == 499 ? Code::cancelled
                    : error.status == 503
                        ? (error.code == "timeout" ? Code::deadline_exceeded : Code::unavailable)
                        : Code::internal;
  return {code, error.message, error.param};
}

}  // namespace fathom
