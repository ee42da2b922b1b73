#pragma once

#include <exception>
#include <string>

namespace gloo::transport {

class Device;
class UnboundBuffer;

// One connection to one peer.
class Pair {
 public:
  virtual ~Pair();
};

namespace tcp {

class Pair : public ::gloo::transport::Pair {
 public:
  ~Pair() override;
  // Fails everything that waits on this connection and closes it.
  std::exception_ptr signalExceptionExternal(const std::string& message);
};

} // namespace tcp
} // namespace gloo::transport
