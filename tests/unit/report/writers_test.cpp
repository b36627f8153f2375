// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <set>

#include "example.h"
#include "report/compose.h"
#include "report/svg.h"

namespace sluice::report {
namespace {

using testing::HasSubstr;
using testing::Not;

// That every tag is closed, in the right order; "" or what is wrong. Enough for what is written
// here.
std::string unbalanced(const std::string& html) {
  static const std::set<std::string> kVoid = {"meta", "br"};
  std::vector<std::string> open;
  for (size_t at = 0; (at = html.find('<', at)) != std::string::npos; ++at) {
    if (html.compare(at, 2, "<!") == 0) continue;
    const size_t end = html.find('>', at);
    if (end == std::string::npos) return "a tag without an end";
    const bool closes = html[at + 1] == '/';
    const size_t start = at + (closes ? 2 : 1);
    const std::string name = html.substr(start, html.find_first_of(" >/", start) - start);
    if (closes) {
      if (open.empty() || open.back() != name) return "</" + name + ">";
      open.pop_back();
    } else if (html[end - 1] != '/' && !kVoid.contains(name)) {
      open.push_back(name);
      if (name == "style") at = html.find("</style>", at) - 1;  // CSS has other rules
    }
  }
  return open.empty() ? "" : "<" + open.back() + ">";
}

TEST(Svg, Steps) {
  EXPECT_EQ(nice_step(100, 4), 50);
  EXPECT_EQ(nice_step(80, 4), 20);
  EXPECT_EQ(nice_step(7, 4), 2);
  EXPECT_NEAR(nice_step(0.03, 4), 0.01, 1e-12);
  EXPECT_EQ(nice_step(0, 4), 1);
  EXPECT_EQ(nice_step(kUnknown, 4), 1);
}

TEST(Svg, EscapesTextAndDropsControlCharacters) {
  EXPECT_EQ(escaped("a<b>&\"c\"\x01\n"), "a&lt;b&gt;&amp;&quot;c&quot;\n");
}

TEST(Svg, PlotsWithOddNumbers) {
  Plot empty{"x", "T", "", {}, {}, 0, kUnknown, ""};
  EXPECT_EQ(unbalanced(to_svg(empty)), "");
  Plot plot{"x", "T <1>", "GiB", {{"a", {{0, 0}, {1, 2}, {2, 1e12}}}, {"b", {{0, -1}}}},
            {},  2,       5,     "l"};
  for (int i = 0; i < 50; ++i) plot.phases.emplace_back(i / 25.0, "phase with a long name");
  const std::string svg = to_svg(plot);
  EXPECT_EQ(unbalanced(svg), "");
  EXPECT_THAT(svg, HasSubstr("T &lt;1&gt;"));
  EXPECT_THAT(svg, Not(HasSubstr("nan")));
  EXPECT_THAT(svg, Not(HasSubstr("inf")));
  EXPECT_LT(svg.size(), 30000u);
  EXPECT_THAT(standalone(svg), testing::MatchesRegex("<svg [^>]*><style>.*</style>.*</svg>\n"));
}

TEST(Svg, BarsOfNothing) {
  Bars bars{"x", "T", "t/s", {{"a", kUnknown, "refused", kUnknown}, {"b", 0, "0", kUnknown}}, ""};
  const std::string svg = to_svg(bars);
  EXPECT_EQ(unbalanced(svg), "");
  EXPECT_THAT(svg, Not(HasSubstr("nan")));
  EXPECT_THAT(svg, HasSubstr("refused"));
}

TEST(Html, IsBalancedAndHasNothingFromElsewhere) {
  for (const Language say : {Language::english(), Language::chinese()}) {
    const std::string html = to_html(compose(example(), {{"old.json", example()}}, say));
    EXPECT_EQ(unbalanced(html), "");
    EXPECT_THAT(html, Not(HasSubstr("<script")));
    EXPECT_THAT(html, Not(HasSubstr("<link")));
    EXPECT_THAT(html, Not(HasSubstr("src=")));
    EXPECT_THAT(html, HasSubstr("因为 &lt;b&gt;&amp;")) << "an answer is text";
    EXPECT_THAT(html, HasSubstr(std::string("lang=\"") + say.code() + "\""));
    EXPECT_THAT(html, Not(HasSubstr(">nan")));
  }
}

TEST(Html, EveryCellHasItsColumnsName) {
  const std::string html = to_html(compose(example(), {}, Language::english()));
  size_t cells = 0, labels = 0;
  for (size_t at = 0; (at = html.find("<td", at)) != std::string::npos; ++at) ++cells;
  for (size_t at = 0; (at = html.find("data-label=\"", at)) != std::string::npos; ++at) ++labels;
  EXPECT_GT(cells, 50u);
  EXPECT_EQ(labels, cells);
}

TEST(Markdown, TablesHaveAsManyCellsInEveryRow) {
  const std::string text = to_markdown(compose(example(), {}, Language::english()), "plots");
  std::vector<std::string> lines(1);
  for (const char c : text) c == '\n' ? lines.emplace_back() : lines.back() += c;
  const auto bars = [](const std::string& line) {
    size_t count = 0;
    for (size_t i = 0; i < line.size(); ++i)
      count += line[i] == '|' && (i == 0 || line[i - 1] != '\\');
    return count;
  };
  int rows = 0;
  for (size_t i = 1; i < lines.size(); ++i)
    if (lines[i].starts_with("|") && lines[i - 1].starts_with("|")) {
      ++rows;
      EXPECT_EQ(bars(lines[i]), bars(lines[i - 1])) << lines[i];
    }
  EXPECT_GT(rows, 20);
  EXPECT_THAT(text, HasSubstr("```text\n因为 <b>&\n```"));
  EXPECT_THAT(text, HasSubstr("```text\nlast | line\n```"));
}

TEST(Markdown, NothingOfATextIsMarkup) {
  Document d;
  d.title = "a\n# *b* [c](d) `e` <f> | g";
  d.sections = {{"s", "S", {Verbatim{"````\ncode"}, List{{"x\ny"}}}}};
  const std::string text = to_markdown(d, "p");
  EXPECT_TRUE(text.starts_with("# a \\# \\*b\\* \\[c\\](d) \\`e\\` \\<f\\> \\| g\n")) << text;
  EXPECT_THAT(text, HasSubstr("`````text\n````\ncode\n`````"));
  EXPECT_THAT(text, HasSubstr("- x y\n"));
}

TEST(Markdown, EveryFigureIsAFile) {
  const Document d = compose(example(), {}, Language::english());
  const std::string text = to_markdown(d, "plots");
  const auto files = plot_files(d);
  EXPECT_EQ(files.size(), 3u + 4 * 3) << "speeds, and for each case memory, CPU and disk";
  std::set<std::string> names;
  for (const auto& [name, svg] : files) {
    EXPECT_TRUE(names.insert(name).second) << name;
    EXPECT_THAT(text, HasSubstr("](plots/" + name + ")"));
    EXPECT_EQ(unbalanced(svg), "") << name;
  }
}

}  // namespace
}  // namespace sluice::report
