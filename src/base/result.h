// SPDX-License-Identifier: Apache-2.0
// Errors as values. Files, user input, devices and the network return Result<T>; a broken invariant
// stops the program through SLUICE_CHECK. No exception crosses a module's border.
#pragma once

#include <fmt/format.h>

#include <string>
#include <tl/expected.hpp>
#include <utility>

namespace sluice {

enum class ErrorKind {
  kUsage,        // the caller asked for something that cannot be (flags, values): exit code 2
  kNotFound,     // a file or name does not exist
  kIo,           // the system refused or cut short a read or write
  kBadFile,      // a file's content is malformed
  kUnsupported,  // well-formed, but nothing here can run it
  kTooLarge,     // does not fit: context, memory, budget
  kCancelled,    // stopped on request
  kBusy,         // too much is waiting already: later it may work
  kDevice,       // an accelerator failed
};

// One line for people: what, where, and what to do. `message` never ends with a newline.
struct Error {
  ErrorKind kind = ErrorKind::kIo;
  std::string message;
};

template <typename T>
using Result = tl::expected<T, Error>;
using Status = Result<void>;

template <typename... Args>
tl::unexpected<Error> fail(ErrorKind kind, fmt::format_string<Args...> format, Args&&... args) {
  return tl::unexpected<Error>(Error{kind, fmt::format(format, std::forward<Args>(args)...)});
}

inline tl::unexpected<Error> fail(Error error) {
  return tl::unexpected<Error>(std::move(error));
}

}  // namespace sluice

#define SLUICE_CONCAT_INNER(a, b) a##b
#define SLUICE_CONCAT(a, b) SLUICE_CONCAT_INNER(a, b)

// SLUICE_TRY(expr): return the error of a Status to the caller.
#define SLUICE_TRY(expr)                                                            \
  do {                                                                              \
    auto sluice_try_status = (expr);                                                \
    if (!sluice_try_status)                                                         \
      return tl::unexpected<::sluice::Error>(std::move(sluice_try_status.error())); \
  } while (false)

// SLUICE_ASSIGN(declaration, expr): declare from a Result<T>, or return its error to the caller.
#define SLUICE_ASSIGN(declaration, expr) \
  SLUICE_ASSIGN_INNER(declaration, expr, SLUICE_CONCAT(sluice_result_, __LINE__))
#define SLUICE_ASSIGN_INNER(declaration, expr, result)                            \
  auto result = (expr);                                                           \
  if (!result) return tl::unexpected<::sluice::Error>(std::move(result.error())); \
  declaration = std::move(*result)
