// SPDX-License-Identifier: Apache-2.0
// Model output is untrusted: HTML in it stays text, only web and mail links are made, and images become links, since loading one
// would tell another host what was said. DOMPurify stands behind that, and the page's policy behind DOMPurify.
import DOMPurify from "dompurify";
import hljs from "highlight.js/lib/core";
import bash from "highlight.js/lib/languages/bash";
import c from "highlight.js/lib/languages/c";
import cpp from "highlight.js/lib/languages/cpp";
import css from "highlight.js/lib/languages/css";
import diff from "highlight.js/lib/languages/diff";
import go from "highlight.js/lib/languages/go";
import java from "highlight.js/lib/languages/java";
import javascript from "highlight.js/lib/languages/javascript";
import json from "highlight.js/lib/languages/json";
import python from "highlight.js/lib/languages/python";
import rust from "highlight.js/lib/languages/rust";
import sql from "highlight.js/lib/languages/sql";
import typescript from "highlight.js/lib/languages/typescript";
import xml from "highlight.js/lib/languages/xml";
import yaml from "highlight.js/lib/languages/yaml";
import MarkdownIt, { type Token } from "markdown-it";

const kLanguages = { bash, c, cpp, css, diff, go, java, javascript, json, python, rust, sql, typescript, xml, yaml };
for (const [name, definition] of Object.entries(kLanguages)) hljs.registerLanguage(name, definition);

const kMaxHighlight = 50_000;  // characters; longer code stays plain, since it is coloured again as it grows
const kMaxText = 400_000;  // characters; longer text is shown as it came

const markdown = new MarkdownIt({ html: false, linkify: true, breaks: false });
markdown.linkify.set({ fuzzyLink: false, fuzzyEmail: false });
markdown.validateLink = (url) => /^(https?:|mailto:)/i.test(url.trim());
const escape = markdown.utils.escapeHtml;

markdown.renderer.rules.image = (tokens, index) => {
  const token = tokens[index]!;
  const url = String(token.attrGet("src") ?? "");
  return `<a href="${escape(url)}">${escape(token.content || url)}</a>`;
};

let copyLabel = "Copy code";

function code(text: string, language: string): string {
  const known = language && hljs.getLanguage(language) && text.length <= kMaxHighlight;
  const inner = known ? hljs.highlight(text, { language, ignoreIllegals: true }).value : escape(text);
  return (
    `<div class="code"><div class="code-head"><span>${escape(language)}</span>` +
    `<button type="button" class="quiet" data-copy>${escape(copyLabel)}</button></div>` +
    `<pre tabindex="0"><code>${inner}</code></pre></div>`
  );
}

markdown.renderer.rules.fence = (tokens, index) => {
  const token = tokens[index]!;
  return code(token.content, (token.info.trim().split(/\s+/, 1)[0] ?? "").toLowerCase().slice(0, 30));
};
markdown.renderer.rules.code_block = (tokens, index) => code(tokens[index]!.content, "");
markdown.renderer.rules.table_open = () => '<div class="table" tabindex="0"><table>';
markdown.renderer.rules.table_close = () => "</table></div>";

DOMPurify.addHook("afterSanitizeAttributes", (node) => {
  if (node.tagName !== "A") return;
  node.setAttribute("target", "_blank");
  node.setAttribute("rel", "noopener noreferrer nofollow");
});

function sanitize(html: string): string {
  // With trusted types, the page accepts nothing else as HTML. The cast is for typings that know strings alone.
  return DOMPurify.sanitize(html, {
    RETURN_TRUSTED_TYPE: true,
    USE_PROFILES: { html: true },
    ADD_ATTR: ["target"],
    FORBID_TAGS: ["img", "picture", "video", "audio", "source", "style", "form", "input", "textarea", "select"],
    FORBID_ATTR: ["style", "id", "name"],
  }) as unknown as string;
}

/** Top-level blocks seen lately, by their HTML: while an answer grows, only its last block is new. */
const cache = new Map<string, string>();
const kCache = 2000;

function block(html: string): string {
  let clean = cache.get(html);
  if (clean === undefined) {
    clean = sanitize(html);
    if (cache.size >= kCache) cache.clear();
    cache.set(html, clean);
  }
  return clean;
}

/** The text's top-level blocks as clean HTML. Equal blocks are the same object, so that the page leaves them alone. */
export function render(text: string, copyText: string): string[] {
  copyLabel = copyText;
  if (text.length > kMaxText) return [block(`<pre>${escape(text)}</pre>`)];
  const env = {};
  const tokens: Token[] = markdown.parse(text, env);
  const blocks: string[] = [];
  let first = 0;
  let depth = 0;
  for (let i = 0; i < tokens.length; ++i) {
    depth += tokens[i]!.nesting;
    if (depth > 0) continue;
    blocks.push(block(markdown.renderer.render(tokens.slice(first, i + 1), markdown.options, env)));
    first = i + 1;
  }
  return blocks;
}
