// SPDX-License-Identifier: Apache-2.0
#include "report/document.h"
#include "report/svg.h"

namespace sluice::report {
namespace {

constexpr const char* kStyle = R"(
:root{color-scheme:light dark;--ink:#1c2330;--soft:#5b6678;--line:#dfe3ea;--paper:#fff;--tint:#f4f6fa;--good:#0e6b4f;--bad:#b3261e}
@media screen and (prefers-color-scheme:dark){
:root{--ink:#e6eaf2;--soft:#9aa6b8;--line:#333c4a;--paper:#14181f;--tint:#1d232d;--good:#5fd0a5;--bad:#ff8a80}}
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%}
body{margin:0 auto;max-width:62rem;padding:1.5rem 1rem 4rem;background:var(--paper);color:var(--ink);
font:16px/1.55 system-ui,"Segoe UI",Roboto,"Noto Sans","Noto Sans CJK SC","PingFang SC","Microsoft YaHei",sans-serif}
h1{font-size:1.7rem;line-height:1.25;margin:0}
h2{font-size:1.25rem;margin:2.2rem 0 .6rem;padding-bottom:.25rem;border-bottom:1px solid var(--line)}
h3{font-size:1rem;margin:1.6rem 0 .4rem}
p,ul{margin:.5rem 0}
ul{padding-left:1.2rem}
.sub,.note{color:var(--soft)}
.note{font-size:.875rem}
#conclusion ul{background:var(--tint);border-left:4px solid #2760c4;border-radius:4px;padding:.8rem 1rem .8rem 2rem;margin:.6rem 0}
#conclusion li{margin:.25rem 0}
.wide{overflow-x:auto;margin:.8rem 0}
table{border-collapse:collapse;width:100%;font-size:.875rem;line-height:1.35}
th,td{padding:.4rem .5rem;border-bottom:1px solid var(--line);text-align:right;vertical-align:top}
th{font-weight:600;color:var(--soft);vertical-align:bottom}
td:first-child{min-width:7rem}
td{font-variant-numeric:tabular-nums;white-space:nowrap}
.w{text-align:left;white-space:normal}
.n{white-space:nowrap}
.group th{text-align:left;color:var(--ink);background:var(--tint)}
.good{color:var(--good)}.bad{color:var(--bad);font-weight:600}
pre,.prose{background:var(--tint);border-radius:4px;padding:.7rem .9rem;margin:.5rem 0;font-size:.8125rem;white-space:pre-wrap;overflow-wrap:anywhere}
pre{font-family:ui-monospace,"DejaVu Sans Mono",Menlo,Consolas,monospace}
.prose{font-size:.9375rem}
.figures{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,25rem),1fr));gap:1.1rem 1.6rem;margin:.8rem 0}
figure{margin:0;break-inside:avoid}
footer{margin-top:3rem;color:var(--soft);font-size:.8125rem}
@media screen and (max-width:44rem){
body{padding-top:1rem}
thead{display:none}
table,tbody,tr,td{display:block;width:auto}
tr{border:1px solid var(--line);border-radius:6px;margin:.6rem 0;padding:.3rem .6rem}
td{display:flex;justify-content:space-between;gap:1rem;border:0;padding:.2rem 0;text-align:right;white-space:normal;overflow-wrap:anywhere}
td::before{content:attr(data-label);color:var(--soft);text-align:left;flex:0 0 auto;max-width:50%}
td:first-child{font-weight:600;border-bottom:1px solid var(--line)}
tr.group{border:0;padding:0;margin:1.2rem 0 .3rem}
tr.group th{display:block;border:0;border-radius:4px;overflow-wrap:anywhere}
}
@page{size:A4;margin:14mm}
@media print{
body{max-width:none;padding:0;font-size:10.5pt}
table{font-size:8.5pt}th,td{padding:.25rem .35rem}
h2,h3,.group{break-after:avoid}tr,pre,.prose{break-inside:avoid}
.figures{grid-template-columns:1fr 1fr}
}
)";

// A flag stays with its value, and is not broken at its dashes.
std::string with_whole_flags(const std::string& text) {
  std::string out, word;
  bool open = false;
  const auto finish = [&](bool last) {
    if (word.starts_with("-")) {
      if (open) out += "</span>";
      out += "<span class=\"n\">";
      open = true;
    }
    out += escaped(word);
    word.clear();
    if (!last) out += ' ';
  };
  for (const char c : text) {
    if (c == ' ')
      finish(false);
    else
      word += c;
  }
  finish(true);
  return open ? out + "</span>" : out;
}

class HtmlWriter {
 public:
  std::string document(const Document& d) {
    out_ = fmt::format(
        "<!DOCTYPE html>\n<html lang=\"{}\">\n<head>\n<meta charset=\"utf-8\">\n"
        "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
        "<title>{}</title>\n<style>{}{}</style>\n</head>\n<body>\n",
        d.language.code(), escaped(d.title), kStyle, kPlotStyle);
    out_ += fmt::format("<header>\n<h1>{}</h1>\n<p class=\"sub\">{}</p>\n</header>\n<main>\n",
                        escaped(d.title), escaped(d.subtitle));
    for (const Section& section : d.sections) {
      out_ += fmt::format("<section id=\"{}\">\n<h2>{}</h2>\n", escaped(section.id),
                          escaped(section.title));
      for (const Block& block : section.blocks)
        std::visit([this](const auto& b) { write(b); }, block);
      out_ += "</section>\n";
    }
    return out_ + "</main>\n</body>\n</html>\n";
  }

 private:
  void write(const Paragraph& p) {
    out_ += fmt::format("<p{}>{}</p>\n", p.note ? " class=\"note\"" : "", escaped(p.text));
  }
  void write(const Heading& h) { out_ += fmt::format("<h3>{}</h3>\n", escaped(h.text)); }
  void write(const List& list) {
    out_ += "<ul>\n";
    for (const std::string& item : list.items) out_ += fmt::format("<li>{}</li>\n", escaped(item));
    out_ += "</ul>\n";
  }
  void write(const Verbatim& v) {
    out_ += v.prose ? fmt::format("<div class=\"prose\">{}</div>\n", escaped(v.text))
                    : fmt::format("<pre>{}</pre>\n", escaped(v.text));
  }
  void write(const Figures& figures) {
    out_ += "<div class=\"figures\">\n";
    for (const auto& item : figures.items)
      out_ += fmt::format("<figure>{}</figure>\n",
                          std::visit([](const auto& plot) { return to_svg(plot); }, item));
    out_ += "</div>\n";
  }
  void write(const Table& table) {
    out_ += "<div class=\"wide\"><table>\n<thead><tr>";
    for (size_t i = 0; i < table.columns.size(); ++i)
      out_ += fmt::format("<th{} scope=\"col\">{}</th>", i < table.texts ? " class=\"w\"" : "",
                          escaped(table.columns[i]));
    out_ += "</tr></thead>\n<tbody>\n";
    for (const Table::Row& row : table.rows) {
      if (!row.group.empty()) {
        out_ += fmt::format("<tr class=\"group\"><th colspan=\"{}\">{}</th></tr>\n",
                            table.columns.size(), escaped(row.group));
        continue;
      }
      out_ += "<tr>";
      for (size_t i = 0; i < row.cells.size(); ++i) {
        std::string kind = i < table.texts ? "w" : "";
        if (row.cells[i].tone != Tone::kPlain)
          kind += row.cells[i].tone == Tone::kGood ? " good" : " bad";
        out_ += fmt::format(
            "<td{} data-label=\"{}\">{}</td>",
            kind.empty() ? "" : fmt::format(" class=\"{}\"", kind), escaped(table.columns[i]),
            i == 0 ? with_whole_flags(row.cells[i].text) : escaped(row.cells[i].text));
      }
      out_ += "</tr>\n";
    }
    out_ += "</tbody>\n</table></div>\n";
  }

  std::string out_;
};

}  // namespace

std::string to_html(const Document& document) {
  return HtmlWriter().document(document);
}

}  // namespace sluice::report
