// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "report/document.h"
#include "report/svg.h"

namespace sluice::report {
namespace {

// What would be taken for markup, and line ends, which would end a table's row or a list's item.
std::string plain(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == '\n')
      out += ' ';
    else if (std::string_view("\\`*_[]<>|#").find(c) != std::string_view::npos)
      (out += '\\') += c;
    else if (static_cast<unsigned char>(c) >= 0x20)
      out += c;
  }
  return out;
}

// A fence longer than any inside.
std::string fenced(const std::string& text) {
  size_t longest = 2, run = 0;
  for (const char c : text) {
    run = c == '`' ? run + 1 : 0;
    longest = std::max(longest, run);
  }
  const std::string fence(longest + 1, '`');
  return fence + "text\n" + text + "\n" + fence + "\n\n";
}

class MarkdownWriter {
 public:
  explicit MarkdownWriter(std::string plots) : plots_(std::move(plots)) {}

  std::string document(const Document& d) {
    out_ = fmt::format("# {}\n\n{}\n\n", plain(d.title), plain(d.subtitle));
    for (const Section& section : d.sections) {
      out_ += fmt::format("## {}\n\n", plain(section.title));
      for (const Block& block : section.blocks)
        std::visit([this](const auto& b) { write(b); }, block);
    }
    while (out_.ends_with("\n\n")) out_.pop_back();
    return out_;
  }

 private:
  void write(const Paragraph& p) { out_ += plain(p.text) + "\n\n"; }
  void write(const Heading& h) { out_ += "### " + plain(h.text) + "\n\n"; }
  void write(const List& list) {
    for (const std::string& item : list.items) out_ += "- " + plain(item) + "\n";
    out_ += "\n";
  }
  void write(const Verbatim& v) { out_ += fenced(v.text); }
  void write(const Figures& figures) {
    for (const auto& item : figures.items)
      std::visit(
          [this](const auto& plot) {
            out_ += fmt::format("![{}]({}/{}.svg)\n", plain(plot.title), plots_, plot.id);
          },
          item);
    out_ += "\n";
  }
  void write(const Table& table) {
    std::string rule;
    for (size_t i = 0; i < table.columns.size(); ++i) {
      out_ += "| " + plain(table.columns[i]) + " ";
      rule += i < table.texts ? "|---" : "|---:";
    }
    out_ += "|\n" + rule + "|\n";
    for (const Table::Row& row : table.rows) {
      if (!row.group.empty()) {
        out_ += "| **" + plain(row.group) + "** ";
        for (size_t i = 1; i < table.columns.size(); ++i) out_ += "| ";
      }
      for (const Cell& cell : row.cells) out_ += "| " + plain(cell.text) + " ";
      out_ += "|\n";
    }
    out_ += "\n";
  }

  std::string out_, plots_;
};

}  // namespace

std::string to_markdown(const Document& document, const std::string& plots) {
  return MarkdownWriter(plots).document(document);
}

std::vector<std::pair<std::string, std::string>> plot_files(const Document& document) {
  std::vector<std::pair<std::string, std::string>> files;
  for (const Section& section : document.sections)
    for (const Block& block : section.blocks)
      if (const auto* figures = std::get_if<Figures>(&block))
        for (const auto& item : figures->items)
          std::visit(
              [&](const auto& plot) {
                files.emplace_back(plot.id + ".svg", standalone(to_svg(plot)));
              },
              item);
  return files;
}

}  // namespace sluice::report
