// SPDX-License-Identifier: Apache-2.0
#include "server/metrics.h"

#include <algorithm>

namespace sluice::server {

void Histogram::add(double value) {
  const std::lock_guard lock(mutex_);
  const auto bucket = std::ranges::lower_bound(bounds_, value) - bounds_.begin();
  ++counts_[static_cast<size_t>(bucket)];
  sum_ += value;
}

void Histogram::write(const std::string& name, const std::string& help, std::string& out) const {
  const std::lock_guard lock(mutex_);
  out += fmt::format("# HELP {0} {1}\n# TYPE {0} histogram\n", name, help);
  uint64_t count = 0;
  for (size_t n = 0; n < counts_.size(); ++n) {
    count += counts_[n];
    out += fmt::format("{}_bucket{{le=\"{}\"}} {}\n", name,
                       n < bounds_.size() ? fmt::format("{}", bounds_[n]) : "+Inf", count);
  }
  out += fmt::format("{0}_sum {1}\n{0}_count {2}\n", name, sum_, count);
}

void Metrics::record(const engine::RequestFigures& f) {
  queue_.add(f.queue_seconds);
  if (f.generated_tokens == 0) return;
  first_token_.add(f.first_token_seconds);
  request_.add(f.first_token_seconds + f.generate_seconds);
  if (f.generated_tokens > 1)
    per_token_.add(f.generate_seconds / static_cast<double>(f.generated_tokens - 1));
}

void Metrics::refused(int status) {
  ++(status < 500 ? client_errors_ : server_errors_);
}

std::string Metrics::text(const engine::Engine& engine, const engine::Scheduler& scheduler,
                          const std::optional<Speeds>& speeds) const {
  const engine::SchedulerStatistics s = scheduler.statistics();
  const residency::CacheStatistics e = engine.model().experts().statistics();
  std::string out;
  const auto series = [&](const char* type, const char* name, const char* help, auto value) {
    out += fmt::format("# HELP sluice_{0} {1}\n# TYPE sluice_{0} {2}\nsluice_{0} {3}\n", name, help,
                       type, value);
  };
  const auto per = [](uint64_t count, double seconds) {
    return seconds > 0 ? static_cast<double>(count) / seconds : 0.0;
  };
  series("counter", "prompt_tokens_total", "Tokens of prompts that were read.", s.prompt_tokens);
  series("counter", "prompt_tokens_reused_total", "Tokens of prompts that were in memory already.",
         s.reused_tokens);
  series("counter", "prompt_seconds_total", "Time from leaving the queue to the first token.",
         s.prompt_seconds);
  series("counter", "tokens_predicted_total", "Tokens generated.", s.generated_tokens);
  series("counter", "tokens_predicted_seconds_total", "Time of generating, summed over requests.",
         s.generate_seconds);
  series("gauge", "prompt_tokens_seconds", "Tokens of prompts read per second, mean.",
         per(s.prompt_tokens, s.prompt_seconds));
  series("gauge", "predicted_tokens_seconds", "Tokens generated per second and request, mean.",
         per(s.generated_tokens, s.generate_seconds));
  series("gauge", "requests_processing", "Requests in slots.", s.active);
  series("gauge", "requests_deferred", "Requests in the queue.", s.waiting);
  series("counter", "requests_total", "Requests that were accepted.", s.requests);
  series("counter", "requests_refused_total", "Requests refused since too many waited.", s.refused);
  series("counter", "requests_failed_total", "Requests that ended with an error.", s.failed);
  series("counter", "requests_cancelled_total", "Requests whose client went away.", s.cancelled);
  series("counter", "http_client_errors_total", "Answers with a status of 4xx.",
         client_errors_.load());
  series("counter", "http_server_errors_total", "Answers with a status of 5xx.",
         server_errors_.load());
  series("gauge", "n_tokens_max", "Longest text that a slot has held.", s.most_tokens);
  series("counter", "n_decode_total", "Forward passes.", s.steps);
  series("gauge", "n_busy_slots_per_decode", "Slots in a forward pass, mean.",
         s.steps > 0 ? static_cast<double>(s.slots_in_steps) / static_cast<double>(s.steps) : 0.0);
  const residency::DeviceTier* tier = engine.model().device_experts();
  series("counter", "expert_requests_total", "Experts that forward passes asked for.",
         e.requests + s.device.hits);
  out += fmt::format(
      "# HELP sluice_expert_hits_total Of these, those that were in this tier.\n"
      "# TYPE sluice_expert_hits_total counter\nsluice_expert_hits_total{{tier=\"vram\"}} {}\n"
      "sluice_expert_hits_total{{tier=\"ram\"}} {}\n",
      s.device.hits, e.hits);
  series("counter", "expert_read_bytes_total", "Bytes of experts read from the file.",
         e.bytes_read);
  series("counter", "expert_wait_seconds_total", "Time in which the computation waited for reads.",
         std::chrono::duration<double>(e.stalled).count());
  out += fmt::format(
      "# HELP sluice_tier_resident_bytes Memory for experts by tier.\n"
      "# TYPE sluice_tier_resident_bytes gauge\nsluice_tier_resident_bytes{{tier=\"vram\"}} {}\n"
      "sluice_tier_resident_bytes{{tier=\"ram\"}} {}\n",
      tier ? tier->bytes() : 0, engine.model().experts().bytes());
  if (speeds) {
    const auto pair = [&](const char* name, const char* help, double prompt, double generation) {
      out += fmt::format(
          "# HELP sluice_{0} {1}\n# TYPE sluice_{0} gauge\nsluice_{0}{{of=\"prompt\"}} {2}\n"
          "sluice_{0}{{of=\"generation\"}} {3}\n",
          name, help, prompt, generation);
    };
    pair("forecast_tokens_seconds",
         "Tokens per second that a plan predicts of the request compared last.",
         speeds->prompt.predicted, speeds->generation.predicted);
    pair("compared_tokens_seconds",
         "Tokens per second of that request, which ran alone; 0: none was compared yet.",
         speeds->prompt.measured, speeds->generation.measured);
  }
  queue_.write("sluice_queue_seconds", "Time in the queue.", out);
  first_token_.write("sluice_time_to_first_token_seconds", "From the request to its first token.",
                     out);
  per_token_.write("sluice_time_per_output_token_seconds", "Between tokens, mean of a request.",
                   out);
  request_.write("sluice_e2e_request_latency_seconds", "From the request to its last token.", out);
  return out;
}

}  // namespace sluice::server
