// SPDX-License-Identifier: Apache-2.0
// What the page and the Markdown file have in common: text, tables and plots, without a form.
#pragma once

#include <string>
#include <variant>
#include <vector>

#include "report/language.h"
#include "report/sample.h"

namespace sluice::report {

enum class Tone { kPlain, kGood, kBad };

struct Cell {
  std::string text;
  Tone tone = Tone::kPlain;
  Cell(std::string t, Tone how = Tone::kPlain) : text(std::move(t)), tone(how) {}
};

struct Table {
  struct Row {
    std::string group;  // not empty: a heading for the rows that follow, without cells
    std::vector<Cell> cells;
  };
  std::vector<std::string> columns;
  size_t texts = 1;  // so many columns at the left are words, the rest numbers
  std::vector<Row> rows;
};

// Values over time, from 0 on both axes.
struct Plot {
  struct Series {
    std::string name;
    std::vector<Point> points;
  };
  std::string id;  // of the file that it may become
  std::string title, unit;
  std::vector<Series> series;                          // at most three
  std::vector<std::pair<double, std::string>> phases;  // begin and name
  double end = 0;
  double limit = kUnknown;  // a line across
  std::string limit_name;
};

// One bar per row, from 0.
struct Bars {
  struct Row {
    std::string label;
    double value = kUnknown;
    std::string text;            // at the bar's end
    double expected = kUnknown;  // a tick
  };
  std::string id;
  std::string title, unit;
  std::vector<Row> rows;
  std::string expected_name;  // what the ticks are
};

struct Paragraph {
  std::string text;
  bool note = false;  // of less weight
};
struct Heading {
  std::string text;
};
struct List {
  std::vector<std::string> items;
};
struct Verbatim {
  std::string text;
  bool prose = false;  // an answer: wraps, and is not code
};
struct Figures {
  std::vector<std::variant<Plot, Bars>> items;
};
using Block = std::variant<Paragraph, Heading, List, Table, Verbatim, Figures>;

struct Section {
  std::string id, title;
  std::vector<Block> blocks;
};

struct Document {
  Language language = Language::english();
  std::string title, subtitle;
  std::vector<Section> sections;
};

// All of it in one file, without scripts; for screens of any width, and paper.
std::string to_html(const Document& document);
// Its figures are the files PLOTS/<id>.svg.
std::string to_markdown(const Document& document, const std::string& plots);
// Those files: name without folder, and text.
std::vector<std::pair<std::string, std::string>> plot_files(const Document& document);

}  // namespace sluice::report
