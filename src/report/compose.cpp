// SPDX-License-Identifier: Apache-2.0
#include "report/compose.h"

#include <algorithm>
#include <cmath>

#include "report/numbers.h"

namespace sluice::report {
namespace {

constexpr double kGiB = 1 << 30;
constexpr double kRateWindow = 0.5;  // seconds
constexpr double kNear = 8;

double ratio(double now, double before) {
  return before > 0 ? now / before : kUnknown;
}

class Composer {
 public:
  Composer(const Report& report, const std::vector<Earlier>& earlier, Language say)
      : report_(report), earlier_(earlier), say_(say) {
    for (const Case& one : report.cases) peaks_.push_back(peaks(one));
    has_gpu_ = !report.machine.gpus.empty() ||
               std::any_of(peaks_.begin(), peaks_.end(),
                           [](const Peaks& p) { return known(p.vram) || known(p.gpu_load); });
  }

  Document document() {
    document_.language = say_;
    document_.title =
        report_.title.empty() ? say_("Sluice report", "Sluice 测试报告") : report_.title;
    document_.subtitle =
        fmt::format("{} · {} · {}", report_.time, report_.program, report_.machine.cpu);
    if (!report_.complete) document_.subtitle += say_(" · not complete", " · 未完成");
    open("conclusion", say_("Conclusion", "结论"));
    add(List{conclude(report_, earlier_, say_)});
    results();
    speeds();
    predictions();
    for (const Earlier& one : earlier_) comparison(one);
    failures();
    resources();
    over_time();
    answers();
    machine();
    settings();
    return std::move(document_);
  }

 private:
  void open(std::string id, std::string title) {
    document_.sections.push_back({std::move(id), std::move(title), {}});
  }
  void add(Block block) { document_.sections.back().blocks.push_back(std::move(block)); }
  const Model& model_of(const Case& one) const { return report_.models[one.model]; }
  const Setting& setting_of(const Case& one) const { return report_.settings[one.setting]; }
  std::string label(const Case& one) const {
    return fmt::format("{} · {}", model_of(one).name, setting_of(one).name);
  }
  std::string id(const char* what, size_t index) const {
    return fmt::format("{}-{}", what, index + 1);
  }

  // Rows of cases under a heading for each model.
  template <typename Cells>
  void rows(Table& table, const Cells& cells) {
    const Model* last = nullptr;
    for (size_t i = 0; i < report_.cases.size(); ++i) {
      const Case& one = report_.cases[i];
      const Model& model = model_of(one);
      if (&model != last) {
        std::string name = model.name;
        if (!model.type.empty()) name += " · " + model.type;
        if (model.file_bytes > 0) name += " · " + bytes_text(static_cast<double>(model.file_bytes));
        table.rows.push_back({std::move(name), {}});
        last = &model;
      }
      table.rows.push_back({"", cells(one, peaks_[i])});
    }
  }

  Cell outcome(const Case& one) const {
    if (one.failures.empty()) return {say_("ok", "成功"), Tone::kGood};
    std::string text;
    for (const Failure& failure : one.failures) {
      const std::string cause = cause_text(failure.cause, say_);
      if (text.ends_with(cause)) continue;
      if (!text.empty()) text += ", ";
      text += one.failures.size() == 1 ? failure.stage + ": " + cause : cause;
    }
    return {text, Tone::kBad};
  }

  std::string of_gpu(const std::string& text) const {
    return has_gpu_ ? text : say_("no GPU", "无 GPU");
  }

  void results() {
    open("results", say_("Results", "测试结果"));
    Table table;
    table.texts = 2;
    table.columns = {say_("Setting", "设置"),
                     say_("Result", "结果"),
                     say_("TTFT", "首 token 延迟 (TTFT)"),
                     fmt::format("TPS-PP (pp{})", report_.prompt_tokens),
                     fmt::format("TPS-TG (tg{})", report_.generated_tokens),
                     say_("TPS-TG (question)", "TPS-TG（问答）")};
    for (const std::string& name : {say_("VRAM peak", "显存峰值"), say_("Memory peak", "内存峰值"),
                                    say_("Swap peak", "交换区峰值"), say_("CPU load", "CPU 负载"),
                                    say_("GPU load", "GPU 负载"), say_("Disk read", "磁盘读取")})
      table.columns.push_back(name);
    rows(table, [&](const Case& one, const Peaks& p) {
      const Speeds s = one.speeds.value_or(Speeds{});
      const Answer a = one.answer.value_or(Answer{});
      std::vector<Cell> cells = {setting_of(one).name,        outcome(one),
                                 seconds_text(a.first_token), number_text(s.prompt),
                                 number_text(s.generation),   number_text(a.generation_rate)};
      cells.emplace_back(of_gpu(bytes_text(p.vram)));
      cells.emplace_back(bytes_text(p.resident));
      cells.emplace_back(bytes_text(p.swap));
      cells.emplace_back(percent_text(p.cpu_load));
      cells.emplace_back(of_gpu(percent_text(p.gpu_load)));
      cells.emplace_back(bytes_text(p.disk_read));
      return cells;
    });
    add(std::move(table));
    add(Paragraph{say_("TTFT: from the request to the first token of the answer, the model being "
                       "loaded. TPS: tokens per "
                       "second, PP reading a prompt, TG generating. Loads are means once loaded; "
                       "100 % of CPU is one core. "
                       "Memory, swap and disk are the process's; VRAM is all of the device's, the "
                       "one that -mg names.",
                       "TTFT：模型加载后，从请求到回答首个 token 的时间。TPS：每秒 token 数，PP "
                       "为提示词处理，TG 为生成。"
                       "负载为加载完成后的平均值，CPU 100 % "
                       "为一个核心。内存、交换区和磁盘为进程用量，显存为 -mg 所选设备的整体用量。"),
                  true});
  }

  void speeds() {
    const auto bars = [&](const char* file, std::string title, std::string unit, auto value,
                          auto expected, auto text) {
      Bars b;
      b.id = file;
      b.title = std::move(title);
      b.unit = std::move(unit);
      b.expected_name = say_("predicted", "预测值");
      bool any = false;
      for (const Case& one : report_.cases) {
        const double v = value(one);
        any |= known(v);
        b.rows.push_back({label(one), v, known(v) ? text(v) : outcome(one).text,
                          one.predicted ? expected(*one.predicted) : kUnknown});
      }
      return any ? std::optional<Bars>(std::move(b)) : std::nullopt;
    };
    const auto tokens = [&](double v) { return number_text(v); };
    const std::string per_second = say_("tokens per second", "token/秒");
    Figures figures;
    if (auto b = bars(
            "generation", say_("Generating", "生成"), per_second, generation_of,
            [](const Prediction& p) { return p.generation; }, tokens))
      figures.items.emplace_back(std::move(*b));
    if (auto b = bars(
            "prompt",
            say_("Reading a prompt of {} tokens", "处理 {} 个 token 的提示词",
                 report_.prompt_tokens),
            per_second, [](const Case& one) { return one.speeds ? one.speeds->prompt : kUnknown; },
            [&](const Prediction& p) { return prompt_of(p); }, tokens))
      figures.items.emplace_back(std::move(*b));
    if (auto b = bars(
            "first-token", say_("To the first token", "首 token 延迟"), say_("seconds", "秒"),
            [](const Case& one) { return one.answer ? one.answer->first_token : kUnknown; },
            [](const Prediction& p) { return p.first_token; },
            [](double v) { return seconds_text(v); }))
      figures.items.emplace_back(std::move(*b));
    if (figures.items.empty()) return;
    open("speed", say_("Speed", "速度"));
    add(std::move(figures));
  }

  // Files of earlier versions predict 512 tokens, whatever was measured.
  double prompt_of(const Prediction& p) const {
    return p.prompt_tokens == report_.prompt_tokens ? p.prompt : kUnknown;
  }

  void predictions() {
    Table table;
    table.columns = {say_("Setting", "设置"),         say_("TG predicted", "TG 预测"),
                     say_("measured", "实测"),        say_("off by", "误差"),
                     say_("PP predicted", "PP 预测"), say_("measured", "实测"),
                     say_("off by", "误差"),          say_("Memory predicted", "内存预测"),
                     say_("measured", "实测"),        say_("off by", "误差")};
    const bool any = std::any_of(report_.cases.begin(), report_.cases.end(),
                                 [](const Case& one) { return one.predicted.has_value(); });
    if (!any) return;
    rows(table, [&](const Case& one, const Peaks& p) {
      const Prediction e = one.predicted.value_or(Prediction{});
      const double generation = generation_of(one);
      const double prompt = one.speeds ? one.speeds->prompt : kUnknown;
      std::string range = number_text(e.generation);
      if (known(e.generation_low))
        range += fmt::format(" ({} – {})", number_text(e.generation_low),
                             number_text(e.generation_high));
      if (one.predicted && !e.fits) range = say_("does not fit", "无法运行");
      return std::vector<Cell>{setting_of(one).name,
                               range,
                               number_text(generation),
                               change_text(error_of(e.generation, generation)),
                               number_text(prompt_of(e)),
                               number_text(prompt),
                               change_text(error_of(prompt_of(e), prompt)),
                               bytes_text(e.memory),
                               bytes_text(p.resident),
                               change_text(error_of(e.memory, p.resident))};
    });
    open("prediction", say_("Predicted against measured", "预测与实测"));
    add(std::move(table));
    add(Paragraph{say_("By sluice plan right before each case; the interval is the one that nine "
                       "of ten measurements should lie in.",
                       "由 sluice plan 在每个用例之前预测；括号内为十次中九次应落入的区间。"),
                  true});
  }

  void comparison(const Earlier& earlier) {
    Table table;
    table.columns = {say_("Setting", "设置"),
                     say_("TTFT then", "TTFT 此前"),
                     say_("now", "现在"),
                     say_("PP then", "PP 此前"),
                     say_("now", "现在"),
                     say_("TG then", "TG 此前"),
                     say_("now", "现在"),
                     say_("TG ratio", "TG 比值"),
                     say_("Memory then", "内存 此前"),
                     say_("now", "现在")};
    rows(table, [&](const Case& one, const Peaks& p) {
      const Case* before = counterpart(report_, one, earlier.report);
      const Case none;
      const Case& old = before ? *before : none;
      const auto first = [](const Case& c) { return c.answer ? c.answer->first_token : kUnknown; };
      const auto prompt = [](const Case& c) { return c.speeds ? c.speeds->prompt : kUnknown; };
      return std::vector<Cell>{setting_of(one).name,
                               seconds_text(first(old)),
                               seconds_text(first(one)),
                               number_text(prompt(old)),
                               number_text(prompt(one)),
                               number_text(generation_of(old)),
                               number_text(generation_of(one)),
                               ratio_text(ratio(generation_of(one), generation_of(old))),
                               bytes_text(peaks(old).resident),
                               bytes_text(p.resident)};
    });
    open("comparison", say_("Compared with {}", "与 {} 比较", earlier.name));
    add(Paragraph{fmt::format("{} · {} · {}", earlier.report.time, earlier.report.program,
                              earlier.report.machine.cpu),
                  true});
    add(std::move(table));
  }

  void failures() {
    open("failures", say_("Failure log", "失败日志"));
    Table table;
    table.texts = 4;
    table.columns = {say_("Setting", "设置"), say_("During", "阶段"), say_("Cause", "原因"),
                     say_("What was said", "信息"), say_("After", "用时")};
    const Model* last = nullptr;
    for (const Case& one : report_.cases)
      for (const Failure& failure : one.failures) {
        if (&model_of(one) != last) table.rows.push_back({model_of(one).name, {}});
        last = &model_of(one);
        table.rows.push_back({"",
                              {setting_of(one).name,
                               failure.stage,
                               {cause_text(failure.cause, say_), Tone::kBad},
                               failure.message,
                               seconds_text(failure.after)}});
      }
    if (table.rows.empty()) {
      add(Paragraph{say_("No case failed.", "没有失败的用例。")});
      return;
    }
    add(std::move(table));
    for (const Case& one : report_.cases)
      for (const Failure& failure : one.failures) {
        if (failure.last_lines.empty()) continue;
        add(Heading{fmt::format("{} · {}", label(one), failure.stage)});
        std::string lines;
        for (const std::string& line : failure.last_lines) lines += line + "\n";
        lines.pop_back();
        add(Verbatim{lines});
      }
  }

  void resources() {
    open("resources", say_("Resources", "资源"));
    const bool temperatures = std::any_of(peaks_.begin(), peaks_.end(), [](const Peaks& p) {
      return known(p.cpu_temperature) || known(p.gpu_temperature);
    });
    Table table;
    table.columns = {say_("Setting", "设置"),
                     say_("Load time", "加载时间"),
                     say_("PSS peak", "PSS 峰值"),
                     say_("Least available", "最少可用内存"),
                     say_("Machine swapped", "系统换页"),
                     say_("Major faults", "主要缺页"),
                     say_("Disk at most", "磁盘最高速率"),
                     say_("Experts in memory", "专家命中内存"),
                     say_("Waited for disk", "等待磁盘")};
    if (has_gpu_) table.columns.push_back(say_("VRAM before", "此前显存"));
    if (temperatures) table.columns.push_back(say_("CPU / GPU at most", "CPU / GPU 最高温度"));
    rows(table, [&](const Case& one, const Peaks& p) {
      const Speeds s = one.speeds.value_or(Speeds{});
      std::vector<Cell> cells = {
          setting_of(one).name,
          seconds_text(s.load_seconds),
          bytes_text(p.proportional),
          bytes_text(p.available),
          bytes_text(p.swap_growth),
          known(p.major_faults) ? fmt::format("{:.0f}", p.major_faults) : number_text(kUnknown),
          rate_text(p.disk_rate),
          percent_text(100 * s.experts_in_memory),
          percent_text(100 * s.waiting)};
      if (has_gpu_) cells.emplace_back(bytes_text(p.vram_before));
      if (temperatures) {
        const auto degrees = [](double t) {
          return known(t) ? fmt::format("{:.0f} °C", t) : number_text(kUnknown);
        };
        cells.emplace_back(degrees(p.cpu_temperature) + " / " + degrees(p.gpu_temperature));
      }
      return cells;
    });
    add(std::move(table));
    add(Paragraph{
        say_("Experts in memory, and the share of the time that the computation waited for the "
             "disk: while generating (tg{}).",
             "专家命中内存与等待磁盘的时间占比：生成阶段（tg{}）。", report_.generated_tokens),
        true});
  }

  Plot plot(const Case& one, std::string file, std::string title, std::string unit) const {
    Plot p;
    p.id = std::move(file);
    p.title = std::move(title);
    p.unit = std::move(unit);
    for (const Recording& recording : one.recordings) {
      p.end = std::max(p.end, recording.ended);
      for (const Phase& phase : recording.phases) p.phases.emplace_back(phase.begin, phase.name);
    }
    return p;
  }

  static std::vector<Point> scaled(std::vector<Point> points, double factor) {
    for (Point& point : points) point.y *= factor;
    return points;
  }

  static Samples all_samples(const Case& one) {
    Samples all;
    for (const Recording& recording : one.recordings)
      all.insert(all.end(), recording.samples.begin(), recording.samples.end());
    return all;
  }

  void over_time() {
    open("time", say_("Over time", "时间曲线"));
    for (size_t i = 0; i < report_.cases.size(); ++i) {
      const Case& one = report_.cases[i];
      const Samples samples = all_samples(one);
      if (samples.size() < 2) continue;
      Figures figures;
      const auto put = [&](Plot p) {
        std::erase_if(p.series, [](const Plot::Series& s) { return s.points.size() < 2; });
        if (!p.series.empty()) figures.items.emplace_back(std::move(p));
      };
      const auto values = [&](Column column, double factor) {
        return scaled(values_over_time(samples, column), factor);
      };
      const auto rates = [&](Column column, double factor) {
        return scaled(rates_over_time(samples, column, kRateWindow), factor);
      };
      Plot memory = plot(one, id("memory", i), say_("Memory", "内存"), "GiB");
      memory.series = {{say_("of the process", "进程"), values(Column::kResident, 1 / kGiB)}};
      // Where it is of interest: beside very much of it the process's line would lie on the axis.
      if (setting_of(one).memory_limit == 0 &&
          lowest(samples, Column::kAvailable) < kNear * highest(samples, Column::kResident))
        memory.series.push_back(
            {say_("available in the machine", "系统可用"), values(Column::kAvailable, 1 / kGiB)});
      if (highest(samples, Column::kProcessSwap) > 0)
        memory.series.push_back({say_("swapped", "换出"), values(Column::kProcessSwap, 1 / kGiB)});
      if (setting_of(one).memory_limit > 0) {
        memory.limit = static_cast<double>(setting_of(one).memory_limit) / kGiB;
        memory.limit_name = say_("limit", "上限");
      }
      put(std::move(memory));
      Plot cpu = plot(one, id("cpu", i), say_("CPU load", "CPU 负载"),
                      say_("%, 100 is one core", "%，100 为一个核心"));
      cpu.series = {{say_("of the process", "进程"), rates(Column::kProcessCpu, 100)},
                    {say_("of the machine", "整机"), rates(Column::kMachineCpu, 100)}};
      put(std::move(cpu));
      Plot disk = plot(one, id("disk", i), say_("Disk reads", "磁盘读取"), "MB/s");
      disk.series = {{say_("of the process", "进程"), rates(Column::kProcessRead, 1e-6)},
                     {say_("of all disks", "所有磁盘"), rates(Column::kDiskRead, 1e-6)}};
      put(std::move(disk));
      Plot gpu = plot(one, id("gpu", i), say_("GPU load", "GPU 负载"), "%");
      gpu.series = {{say_("GPU", "GPU"), values(Column::kGpuLoad, 1)}};
      put(std::move(gpu));
      Plot vram = plot(one, id("vram", i), say_("VRAM", "显存"), "GiB");
      vram.series = {{say_("of the device", "设备"), values(Column::kVramUsed, 1 / kGiB)},
                     {say_("of the process", "进程"), values(Column::kVramOfProcess, 1 / kGiB)}};
      put(std::move(vram));
      Plot heat = plot(one, id("temperature", i), say_("Temperature", "温度"), "°C");
      heat.series = {{"CPU", values(Column::kCpuTemperature, 1)},
                     {"GPU", values(Column::kGpuTemperature, 1)}};
      put(std::move(heat));
      if (figures.items.empty()) continue;
      add(Heading{label(one)});
      add(std::move(figures));
    }
    if (document_.sections.back().blocks.empty()) document_.sections.pop_back();
  }

  void answers() {
    open("answers", say_("Answers", "回答"));
    add(Paragraph{say_("The standard question: {}", "标准问题：{}", report_.question)});
    bool any = false;
    for (const Case& one : report_.cases) {
      if (!one.answer) continue;
      any = true;
      add(Heading{label(one)});
      add(Paragraph{say_("{} tokens of prompt, {} generated", "提示词 {} token，生成 {} token",
                         one.answer->prompt_tokens, one.answer->generated_tokens),
                    true});
      add(Verbatim{one.answer->text, true});
    }
    if (!any) document_.sections.pop_back();
  }

  void machine() {
    const Machine& m = report_.machine;
    open("machine", say_("Machine", "机器"));
    Table table;
    table.texts = 2;
    table.columns = {say_("Part", "部件"), say_("What it is", "说明")};
    const auto row = [&](const std::string& name, const std::string& text) {
      if (!text.empty()) table.rows.push_back({"", {name, text}});
    };
    row(say_("Processor", "处理器"),
        say_("{}, {} logical CPUs, {} compute threads", "{}，{} 个逻辑 CPU，{} 个计算线程", m.cpu,
             m.logical_cpus, m.compute_threads));
    std::string memory = bytes_text(static_cast<double>(m.memory));
    if (m.memory_limit > 0)
      memory += say_(", of which {} may be used ({})", "，其中可用 {}（{}）",
                     bytes_text(static_cast<double>(m.memory_limit)), m.memory_limit_source);
    row(say_("Memory", "内存"), memory);
    row(say_("Swap", "交换区"),
        m.swap > 0 ? bytes_text(static_cast<double>(m.swap)) : say_("none", "无"));
    for (const Gpu& gpu : m.gpus)
      row("GPU", say_("{}, {}, driver {}", "{}，{}，驱动 {}", gpu.name,
                      bytes_text(static_cast<double>(gpu.vram)), m.driver));
    if (m.gpus.empty()) row("GPU", m.no_gpu.empty() ? say_("none", "无") : m.no_gpu);
    for (const Disk& disk : m.disks) {
      std::string text = disk.name;
      if (!disk.model.empty()) text += ", " + disk.model;
      if (!disk.kind.empty())
        text += disk.kind == "SSD" ? std::string(", SSD") : say_(", hard disk", "，机械硬盘");
      row(say_("Disk", "磁盘"), text);
    }
    row(say_("System", "系统"), m.system + ", " + m.kernel);
    row(say_("Program", "程序"), report_.program);
    add(std::move(table));
  }

  void settings() {
    open("settings", say_("Settings", "设置"));
    add(
        Paragraph{say_("Every case: sluice bench with {} repetitions, then sluice run with the "
                       "standard question (at most {} "
                       "tokens, seed 1), each in a process of its own, in this order.",
                       "每个用例：先运行 sluice bench（重复 {} 次），再用标准问题运行 `sluice "
                       "run`（最多 {} 个 token，"
                       "随机种子 1），各自在独立进程中，按以下顺序执行。",
                       report_.repetitions, report_.answer_tokens)});
    for (const Case& one : report_.cases) {
      add(Heading{label(one)});
      std::string text = one.command;
      for (const std::string& plan : one.plans) text += "\n" + plan;
      add(Verbatim{text});
    }
  }

  const Report& report_;
  const std::vector<Earlier>& earlier_;
  Language say_;
  std::vector<Peaks> peaks_;
  bool has_gpu_ = false;
  Document document_;
};

}  // namespace

Document compose(const Report& report, const std::vector<Earlier>& earlier, Language say) {
  return Composer(report, earlier, say).document();
}

}  // namespace sluice::report
