// SPDX-License-Identifier: Apache-2.0
import { createHash } from "node:crypto";
import { defineConfig } from "vite";

const hash = (text) => `'sha256-${createHash("sha256").update(text).digest("base64")}'`;

// Puts script and style into index.html, with a policy that allows exactly these two and nothing from elsewhere.
function oneFile() {
  return {
    name: "one-file",
    enforce: "post",
    generateBundle(_, bundle) {
      const files = Object.values(bundle);
      const page = bundle["index.html"];
      const scripts = files.filter((file) => file.type === "chunk");
      const styles = files.filter((file) => file.type === "asset" && file.fileName.endsWith(".css"));
      if (!page || scripts.length !== 1 || styles.length !== 1 || files.length !== 3) {
        this.error(`expected a page, a script and a style, got: ${files.map((file) => file.fileName).join(", ")}`);
      }
      // What would end a script element early, or start a comment in it; both spellings mean the same in JavaScript.
      const script = scripts[0].code.trim().replaceAll("</script", "<\\/script").replaceAll("<!--", "\\x3c!--");
      const style = String(styles[0].source).trim();
      const policy = [
        "default-src 'none'",
        `script-src ${hash(script)}`,
        `style-src ${hash(style)}`,
        "connect-src 'self'",
        "img-src data:",
        "base-uri 'none'",
        "form-action 'none'",
        "trusted-types dompurify",
        "require-trusted-types-for 'script'",
      ].join("; ");
      let html = String(page.source);
      html = html.replace(/\s*<script[^>]*><\/script>/, "").replace(/\s*<link rel="stylesheet"[^>]*>/, "");
      html = html.replace('<meta charset="utf-8" />', (tag) =>
        `${tag}\n    <meta http-equiv="Content-Security-Policy" content="${policy}" />`);
      html = html.replace("</head>", () => `  <style>${style}</style>\n  </head>`);
      html = html.replace("</body>", () => `  <script type="module">${script}</script>\n  </body>`);
      page.source = html;
      delete bundle[scripts[0].fileName];
      delete bundle[styles[0].fileName];
    },
  };
}

export default defineConfig({
  base: "./",
  oxc: { jsx: { runtime: "automatic", importSource: "preact" } },
  build: {
    target: "es2022",
    outDir: process.env.SLUICE_WEB_OUT ?? "dist",
    emptyOutDir: true,
    modulePreload: false,
    cssCodeSplit: false,
    reportCompressedSize: false,
  },
  plugins: [oneFile()],
});
