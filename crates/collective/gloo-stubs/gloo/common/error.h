#pragma once

#include <stdexcept>
#include <string>

namespace gloo {

struct Exception : public std::runtime_error {
  explicit Exception(const std::string& message) : std::runtime_error(message) {}
};

// A connection failed, or a wait on one timed out.
struct IoException : public Exception {
  explicit IoException(const std::string& message) : Exception(message) {}
};

} // namespace gloo
