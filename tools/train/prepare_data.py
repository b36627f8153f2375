#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Collects freely licensed English and Chinese text out of Debian packages.

Downloads each package of SOURCES with `apt-get download`, unpacks it without installing, turns its
documents into plain paragraphs and writes

    OUT/corpus.xz      documents, each preceded by the byte 0x01 (English) or 0x02 (Chinese)
    OUT/sources.json   package, version, licence and amount of text of every source

Needs Python 3.9+, apt-get and dpkg-deb. The same package versions give the same bytes.
"""

import argparse
import fnmatch
import gzip
import hashlib
import html.parser
import json
import lzma
import pathlib
import re
import subprocess
import sys
import unicodedata

# (package, language, format, patterns of paths inside the package, licence, megabytes at most)
SOURCES = [
    ("debian-handbook", "en", "html", ["*/html/en-US/*.html"], "GPL-2.0-or-later or CC-BY-SA-3.0", 4),
    ("debian-handbook", "zh", "html", ["*/html/zh-CN/*.html"], "GPL-2.0-or-later or CC-BY-SA-3.0", 4),
    ("debian-reference-en", "en", "html", ["*.en.html"], "GPL-2.0-or-later", 4),
    ("debian-reference-zh-cn", "zh", "html", ["*.zh-cn.html"], "GPL-2.0-or-later", 4),
    ("debian-faq", "en", "html", ["*/FAQ/en/*.html", "*/FAQ/*.en.html"], "GPL-2.0-or-later", 2),
    ("debian-faq-zh-cn", "zh", "html", ["*.zh-cn.html"], "GPL-2.0-or-later", 2),
    ("installation-guide-amd64", "en", "html", ["*/en/*.html"], "GPL-2.0-or-later", 3),
    ("installation-guide-amd64", "zh", "html", ["*/zh_CN/*.html"], "GPL-2.0-or-later", 3),
    ("developers-reference", "en", "html", ["*/developers-reference/*.html"], "GPL-2.0-or-later", 3),
    ("debian-policy", "en", "html", ["*/policy.html/*.html"], "GPL-2.0-or-later", 3),
    ("maint-guide", "en", "html", ["*.html"], "GPL-2.0-or-later", 2),
    ("maint-guide-zh-cn", "zh", "html", ["*.html"], "GPL-2.0-or-later", 2),
    ("debmake-doc", "en", "html", ["*.en.html"], "Expat", 2),
    ("debmake-doc", "zh", "html", ["*.zh-cn.html"], "Expat", 2),
    ("debian-kernel-handbook", "en", "html", ["*.html"], "GPL-2.0-or-later", 1),
    ("debian-edu-doc-en", "en", "html", ["*.html"], "GPL-2.0-or-later", 3),
    ("debian-edu-doc-zh-cn", "zh", "html", ["*.html"], "GPL-2.0-or-later", 3),
    ("aptitude-doc-en", "en", "html", ["*.html"], "GPL-2.0-or-later", 2),
    ("gnome-user-docs", "en", "html", ["*/help/C/*.page"], "CC-BY-SA-3.0", 4),
    ("gnome-user-docs", "zh", "html", ["*/help/zh_CN/*.page"], "CC-BY-SA-3.0", 4),
    ("gimp-help-en", "en", "html", ["*/help/en/*.html"], "GFDL-1.2-or-later", 5),
    ("gimp-help-zh-cn", "zh", "html", ["*/help/zh_CN/*.html"], "GFDL-1.2-or-later", 5),
    ("libreoffice-help-en-us", "en", "html", ["*/help/en-US/text/*.html"], "MPL-2.0", 6),
    ("libreoffice-help-zh-cn", "zh", "html", ["*/help/zh-CN/text/*.html"], "MPL-2.0", 12),
    ("kicad-doc-en", "en", "html", ["*/help/en/*.html"], "GPL-3.0-or-later", 3),
    ("kicad-doc-zh", "zh", "html", ["*/help/zh/*.html"], "GPL-3.0-or-later", 5),
    ("lilypond-doc-html-zh", "zh", "html", ["*.zh.html"], "GFDL-1.3-or-later", 3),
    ("linux-doc-6.1", "zh", "html", ["*/html/translations/zh_CN/*.html"], "GPL-2.0", 8),
    ("linux-doc-6.1", "en", "html",
     ["*/html/admin-guide/*.html", "*/html/process/*.html", "*/html/core-api/*.html",
      "*/html/filesystems/*.html", "*/html/mm/*.html", "*/html/networking/*.html",
      "*/html/scheduler/*.html", "*/html/dev-tools/*.html", "*/html/RCU/*.html"], "GPL-2.0", 9),
    ("python3.11-doc", "en", "html", ["*/html/tutorial/*.html", "*/html/howto/*.html",
     "*/html/faq/*.html", "*/html/reference/*.html", "*/html/library/*.html"], "PSF-2.0", 8),
    ("git-doc", "en", "html", ["*.html"], "GPL-2.0", 4),
    ("postgresql-doc-15", "en", "html", ["*.html"], "PostgreSQL", 6),
    ("rust-doc", "en", "html", ["*/html/book/ch*.html", "*/html/nomicon/*.html",
     "*/html/embedded-book/*.html", "*/html/edition-guide/*.html", "*/html/reference/*.html"],
     "MIT or Apache-2.0", 5),
    ("dict-foldoc", "en", "dict", ["*/foldoc.dict.dz"], "GFDL-1.3-or-later", 6),
    ("manpages", "en", "man", ["*/man/man[1-9]/*"], "various free (man-pages project)", 2),
    ("manpages-dev", "en", "man", ["*/man/man[1-9]*/*"], "various free (man-pages project)", 3),
    ("manpages-zh", "zh", "man", ["*/man/zh_CN/man[1-9]/*"], "GFDL-1.2-or-later", 12),
    ("fortunes-zh", "zh", "fortune", ["*/fortunes/tang300", "*/fortunes/song100"],
     "GPL-3.0-or-later (poems in the public domain)", 1),
]

CJK = re.compile("[\u3400-\u9fff\uf900-\ufaff]")
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f\ufffd\ufeff\ue000-\uf8ff]")


CJK_LINE_BREAK = re.compile("(?<=[\u3000-\u9fff\uff00-\uffef])[ \t]*\n\\s*(?=[\u3000-\u9fff\uff00-\uffef])")


def fill(text):
    """One paragraph on one line; a line break between Chinese characters is no space."""
    return " ".join(CJK_LINE_BREAK.sub("", text).split())


class HtmlText(html.parser.HTMLParser):
    """HTML and Mallard documents to a list of (kind, text); kind is heading, text or code."""

    SKIP = {"script", "style", "head", "nav", "footer", "form", "svg", "math", "info", "button",
            "select", "aside", "template", "colgroup"}
    BLOCK = {"p", "li", "dt", "dd", "td", "th", "div", "section", "article", "blockquote", "table",
             "tr", "ul", "ol", "dl", "h1", "h2", "h3", "h4", "h5", "h6", "title", "item", "pre",
             "body", "main", "steps", "list", "figure", "figcaption", "note", "screen", "code_block",
             "caption", "header", "subtitle"}
    HEADING = {"h1", "h2", "h3", "h4", "h5", "h6", "title"}
    CODE = {"pre", "screen"}
    SKIP_CLASS = re.compile(r"sphinxsidebar|related|navheader|navfooter|toctree|contents-title|"
                            r"headerlink|footer|sidebar|\btoc\b|listinglink|breadcrumb", re.I)
    VOID = {"br", "hr", "img", "meta", "link", "input", "col", "area", "base", "wbr", "source"}

    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.blocks = []
        self.parts = []
        self.link_chars = 0
        self.skip_depth = 0
        self.skip_stack = []
        self.heading = 0
        self.code = 0
        self.link = 0

    def flush(self):
        text = "".join(self.parts)
        links, self.parts, self.link_chars = self.link_chars, [], 0
        if self.code:
            text = "\n".join(line.rstrip() for line in text.strip("\n").split("\n"))
            if text.strip():
                self.blocks.append(("code", text))
            return
        text = fill(text).replace("\u00b6", "").strip()
        if not text or links > 0.6 * len(text):
            return
        self.blocks.append(("heading" if self.heading else "text", text))

    def handle_starttag(self, tag, attrs):
        if tag in self.VOID:
            if tag == "br" and not self.skip_stack:
                self.parts.append("\n" if self.code else " ")
            return
        if self.skip_stack:
            if tag == self.skip_stack[-1]:
                self.skip_depth += 1
            return
        attributes = dict(attrs)
        css = (attributes.get("class") or "") + " " + (attributes.get("id") or "")
        if tag in self.SKIP or (tag not in ("body", "html") and self.SKIP_CLASS.search(css)):
            self.skip_stack.append(tag)
            self.skip_depth = 1
            return
        if tag in self.BLOCK:
            self.flush()
        if tag in self.HEADING:
            self.heading += 1
        elif tag in self.CODE:
            self.code += 1
        elif tag == "a":
            self.link += 1

    def handle_endtag(self, tag):
        if self.skip_stack:
            if tag == self.skip_stack[-1]:
                self.skip_depth -= 1
                if self.skip_depth == 0:
                    self.skip_stack.pop()
            return
        if tag in self.BLOCK:
            self.flush()
        if tag in self.HEADING:
            self.heading = max(0, self.heading - 1)
        elif tag in self.CODE:
            self.code = max(0, self.code - 1)
        elif tag == "a":
            self.link = max(0, self.link - 1)

    def handle_data(self, data):
        if self.skip_stack:
            return
        if self.link:
            self.link_chars += len(data.strip())
        self.parts.append(data)


def blocks_of_html(raw):
    parser = HtmlText()
    parser.feed(raw)
    parser.close()
    parser.flush()
    return parser.blocks


MAN_CHARS = {"aq": "'", "cq": "'", "oq": "'", "dq": '"', "lq": '"', "rq": '"', "em": "-", "en": "-",
             "hy": "-", "bu": "-", "rs": "\\", "ha": "^", "ti": "~", "co": "(c)", "mu": "x",
             "+-": "+/-", "<=": "<=", ">=": ">=", "!=": "!=", "->": "->", "<-": "<-", "lB": "[",
             "rB": "]", "ga": "`", "at": "@", "sh": "#", "Do": "$", "ba": "|"}


def man_inline(text):
    text = re.sub(r"\\\".*$", "", text)
    text = re.sub(r"\\f(\(..|\[[^\]]*\]|.)", "", text)
    text = re.sub(r"\\s[+-]?\d+", "", text)
    text = re.sub(r"\\\(([!-~]{2})", lambda m: MAN_CHARS.get(m.group(1), ""), text)
    text = re.sub(r"\\\[([^\]]*)\]", lambda m: MAN_CHARS.get(m.group(1), ""), text)
    text = re.sub(r"\\\*(\(..|\[[^\]]*\]|.)", "", text)
    text = re.sub(r"\\[hvwkoN]'[^']*'", "", text)
    text = text.replace("\\-", "-").replace("\\e", "\\").replace("\\ ", " ").replace("\\~", " ")
    return re.sub(r"\\([&|^%:/,0c{}])", "", text)


def man_arguments(rest):
    return [a or b for a, b in re.findall(r'"((?:[^"]|"")*)"|(\S+)', rest)]


def blocks_of_man(raw):
    """man(7) source to blocks. mdoc(7) pages and stubs that only include another page give nothing."""
    if re.search(r"^\.(Dd|so)\b", raw, re.M):
        return []
    blocks, words, code, in_code, skip_until = [], [], [], False, None

    def flush():
        text = fill("\n".join(words))
        words.clear()
        if text:
            blocks.append(("text", text))

    for line in raw.split("\n"):
        if skip_until:
            if re.match(skip_until, line):
                skip_until = None
            continue
        match = re.match(r"^[.']\s*([A-Za-z]{1,3}|\\\")\s*(.*)$", line)
        if not match:
            if line.startswith((".", "'")) and len(line) < 3:
                continue
            text = man_inline(line)
            if in_code:
                code.append(text.rstrip())
            elif not text.strip():
                flush()
            else:
                words.append(text)
            continue
        macro, rest = match.groups()
        if macro in ("SH", "SS"):
            flush()
            text = " ".join(man_arguments(man_inline(rest)))
            if text:
                blocks.append(("heading", text))
        elif macro in ("PP", "P", "LP", "TP", "IP", "HP", "sp", "TQ", "RS", "RE"):
            if not in_code:
                flush()
        elif macro in ("B", "I", "SM", "SB"):
            (code if in_code else words).append(" ".join(man_arguments(man_inline(rest))))
        elif macro in ("BR", "RB", "IR", "RI", "BI", "IB"):
            (code if in_code else words).append("".join(man_arguments(man_inline(rest))))
        elif macro in ("nf", "EX"):
            flush()
            in_code = True
        elif macro in ("fi", "EE"):
            if code and any(item.strip() for item in code):
                blocks.append(("code", "\n".join(code).strip("\n")))
            code.clear()
            in_code = False
        elif macro == "TS":
            skip_until = r"^\.TE"
        elif macro in ("de", "am", "ig"):
            skip_until = r"^\.\."
    flush()
    return blocks


def blocks_of_dict(raw):
    """FOLDOC: headwords at column 0, indented definitions, {cross references}, dates in brackets."""
    documents, current = [], []
    for paragraph in re.split(r"\n\s*\n", raw):
        lines = paragraph.strip("\n").split("\n")
        if not lines[0].startswith(" ") and current:
            documents.append(current)
            current = []
        text = re.sub(r"[{}]", "", " ".join(" ".join(lines).split()))
        text = re.sub(r"^<[^>]{1,60}>\s*", "", text)
        if re.match(r"^\(\d{4}-\d\d-\d\d\)$", text):
            continue
        text = re.sub(r"\s*\(\d{4}-\d\d-\d\d\)$", "", text)
        if text:
            current.append(("text" if lines[0].startswith(" ") else "heading", text))
    documents.append(current)
    # Entries are short: put neighbours together so that a document has a useful length.
    grouped, group = [], []
    for document in documents:
        group.extend(document)
        if sum(len(text) for _, text in group) > 3000:
            grouped.append(group)
            group = []
    return grouped + [group]


def blocks_of_fortune(raw):
    documents = []
    for entry in raw.split("\n%"):
        text = re.sub("\x1b\\[[0-9;]*m", "", entry).strip()
        lines = [line.strip() for line in text.split("\n") if line.strip()]
        if lines:
            documents.append([("poem", "\n".join(lines))])
    grouped = []
    for start in range(0, len(documents), 12):
        grouped.append([block for document in documents[start:start + 12] for block in document])
    return grouped


def document_text(blocks, language, seen):
    """Blocks to text: no repeats (`seen` is over the whole corpus), no fragments, one language."""
    kept = []
    for kind, text in blocks:
        text = CONTROL.sub("", unicodedata.normalize("NFC", text)).replace("\xa0", " ")
        cjk = len(CJK.findall(text))
        if kind == "code":
            if len(text) > (1200 if language == "en" else 500):
                continue
        elif kind == "text":
            if language == "zh" and (cjk < 6 or cjk < 0.2 * len(text)):
                continue
            if language == "en" and (len(text) < 30 or cjk > 0.02 * len(text)):
                continue
        elif len(text) > 120 or (language == "en" and cjk):
            continue
        digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
        if kind != "heading":
            if digest in seen:
                continue
            seen.add(digest)
        kept.append((kind, text))
    # Headings with nothing under them are remains of tables of contents and dropped paragraphs.
    output = []
    for index, (kind, text) in enumerate(kept):
        if kind == "heading" and (index + 1 == len(kept) or kept[index + 1][0] == "heading"):
            continue
        output.append(text)
    if sum(1 for kind, _ in kept if kind in ("text", "poem")) < 1:
        return ""
    text = "\n\n".join(output)
    if language == "zh" and len(CJK.findall(text)) < 0.25 * len(text):
        return ""
    return text if len(text) >= (300 if language == "en" else 120) else ""


def read_text(path):
    data = path.read_bytes()
    if path.suffix in (".gz", ".dz"):
        data = gzip.decompress(data)
    return data.decode("utf-8", errors="replace").replace("\r\n", "\n")


def fetch(package, work):
    """Downloads and unpacks a package; returns (folder, version)."""
    folder = work / "unpacked" / package
    archives = sorted(work.glob(package + "_*.deb"))
    if not archives:
        subprocess.run(["apt-get", "download", "-q", package], cwd=work, check=True,
                       stdout=subprocess.DEVNULL)
        archives = sorted(work.glob(package + "_*.deb"))
    archive = archives[-1]
    if not folder.exists():
        folder.mkdir(parents=True)
        subprocess.run(["dpkg-deb", "-x", str(archive), str(folder)], check=True)
    version = subprocess.run(["dpkg-deb", "-f", str(archive), "Version"], check=True,
                             capture_output=True, text=True).stdout.strip()
    return folder, version


SKIP_NAMES = re.compile(r"genindex|search|modindex|/ix\d|/print\.html|changelog|whatsnew|"
                        r"/index-|copyright|gfdl|gpl|license|legal", re.I)


def documents_of(folder, patterns, form):
    files = []
    for path in sorted(folder.rglob("*")):
        name = "/" + str(path.relative_to(folder))
        if path.is_symlink() or not path.is_file() or SKIP_NAMES.search(name):
            continue
        if any(fnmatch.fnmatch(name, pattern) for pattern in patterns):
            files.append((name, path))
    # A stable shuffle: a size limit then takes an even sample of the package.
    files.sort(key=lambda item: hashlib.blake2b(item[0].encode()).digest())
    for _, path in files:
        raw = read_text(path)
        if form == "html":
            yield blocks_of_html(raw)
        elif form == "man":
            yield blocks_of_man(raw)
        elif form == "dict":
            yield from blocks_of_dict(raw)
        else:
            yield from blocks_of_fortune(raw)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--work", type=pathlib.Path, required=True, help="folder for packages")
    parser.add_argument("--out", type=pathlib.Path, required=True, help="folder for the result")
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    arguments.out.mkdir(parents=True, exist_ok=True)

    seen, corpus, manifest = set(), [], []
    for package, language, form, patterns, licence, limit in SOURCES:
        folder, version = fetch(package, arguments.work)
        size, count = 0, 0
        for blocks in documents_of(folder, patterns, form):
            text = document_text(blocks, language, seen)
            if not text:
                continue
            data = text.encode()
            if size + len(data) > limit * 1_000_000:
                break
            size += len(data)
            count += 1
            corpus.append((b"\x01" if language == "en" else b"\x02") + data)
        manifest.append({"package": package, "version": version, "language": language,
                         "licence": licence, "documents": count, "bytes": size})
        print(f"{package:28} {language} {version:28} {count:5} documents {size / 1e6:6.2f} MB",
              file=sys.stderr, flush=True)
        if count == 0:
            sys.exit(f"{package}: no text found; the package's layout has changed, see SOURCES")
    corpus.sort(key=lambda data: hashlib.blake2b(data).digest())
    raw = b"".join(corpus)
    # Fixed filters, so that the file does not depend on the preset of the library.
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 6, "dict_size": 1 << 26}]
    (arguments.out / "corpus.xz").write_bytes(lzma.compress(raw, filters=filters))
    summary = {"bytes": len(raw), "sha256": hashlib.sha256(raw).hexdigest(), "sources": manifest}
    (arguments.out / "sources.json").write_text(json.dumps(summary, indent=1) + "\n")
    print(f"{len(corpus)} documents, {len(raw) / 1e6:.1f} MB", file=sys.stderr)


if __name__ == "__main__":
    main()
