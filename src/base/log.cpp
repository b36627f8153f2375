// SPDX-License-Identifier: Apache-2.0
#include "base/log.h"

#include <spdlog/sinks/stdout_color_sinks.h>

#include <memory>

namespace sluice {

void init_logging(int verbosity) {
  auto logger = std::make_shared<spdlog::logger>(
      "sluice", std::make_shared<spdlog::sinks::stderr_color_sink_mt>());
  logger->set_pattern("%^%l%$: %v");
  const spdlog::level::level_enum levels[] = {spdlog::level::off, spdlog::level::err,
                                              spdlog::level::warn, spdlog::level::info,
                                              spdlog::level::debug};
  logger->set_level(levels[verbosity < 0 ? 0 : verbosity > 4 ? 4 : verbosity]);
  spdlog::set_default_logger(std::move(logger));
}

}  // namespace sluice
