#pragma once
#include <cstdint>
#include <fstream>
#include <string>
namespace sluice {
inline uint64_t available_bytes() {
  std::ifstream file("/proc/meminfo");
  std::string name, unit;
  uint64_t value;
  while (file >> name >> value) { if (name == "MemAvailable:") return value << 10; std::getline(file, unit); }
  return 0;
}
}
