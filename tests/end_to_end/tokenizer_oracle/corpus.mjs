// SPDX-License-Identifier: Apache-2.0
// Texts to tokenize: what people write, and what nobody would. The same on every run on one machine.
import { existsSync, readFileSync, readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../../..", import.meta.url));

class Random {
  constructor(seed) {
    this.state = seed >>> 0;
  }
  // Uniform in [0, bound).
  below(bound) {
    this.state = (this.state + 0x6d2b79f5) >>> 0;
    let x = Math.imul(this.state ^ (this.state >>> 15), this.state | 1);
    x ^= x + Math.imul(x ^ (x >>> 7), x | 61);
    return ((x ^ (x >>> 14)) >>> 0) % bound;
  }
  pick(list) {
    return list[this.below(list.length)];
  }
  // n items, joined.
  repeat(n, make) {
    let out = "";
    for (let i = 0; i < n; ++i) out += make();
    return out;
  }
}

const english = `the of and to in is that it was for on as with he be at by I this had not are but from or have an they
which one you were her all she there would their we him been has when who will more no if out so said what up its about
than into them can only other new some could time these two may then do first any my now such like our over man me even
most made after also did many before must through back years where much your way well down should because each just those
people how too little state good very make world still own see men work long get here between both life being under never
don't can't it's we're they've I'm you'll he'd DON'T IT'S WE'RE o'clock rock'n'roll 'tis 'Sir "quoted" (aside) e.g. i.e.
naïve café résumé Größe Straße señor façade coöperate`.split(/\s+/);
const chinese = `今天 天气 很好 我们 一起 去 公园 散步 吧 人工智能 正在 改变 世界 学而时习之 不亦说乎 有朋自远方来 数据 模型 语言 计算机 程序
，。！？、；：“”（）《》—— ……`.split(/\s+/);
const others = {
  japanese: "今日は いい 天気 ですね 東京タワー コンピューター ありがとう ございます ｶﾀｶﾅ ー 々 〜".split(" "),
  korean: "안녕하세요 오늘 날씨가 좋네요 한국어 컴퓨터 ㅋㅋㅋ ㅠㅠ".split(" "),
  russian: "Привет мир сегодня хорошая погода ёлка Йод не могу".split(" "),
  greek: "Καλημέρα κόσμε ά έ ή ΐ ϊ ς Σ".split(" "),
  arabic: "مرحبا بالعالم اليوم الطقس جميل لَا إِلٰهَ ١٢٣ ، ؟".split(" "),
  hebrew: "שלום עולם בְּרֵאשִׁית".split(" "),
  thai: "สวัสดีชาวโลก วันนี้อากาศดี น้ำ ๑๒๓ กำลัง".split(" "),
  hindi: "नमस्ते दुनिया आज मौसम अच्छा है क़लम ड़ १२३".split(" "),
  tamil: "வணக்கம் உலகம் கொ கோ கௌ".split(" "),
  burmese: "မင်္ဂလာပါ ကမ္ဘာ".split(" "),
  tibetan: "བཀྲ་ཤིས་བདེ་ལེགས།".split(" "),
  vietnamese: "Xin chào thế giới hôm nay trời đẹp ữ ệ ặ Đường".split(" "),
};
const emoji = ["😀", "👍🏽", "👩‍👩‍👧‍👦", "🇩🇪", "🏴󠁧󠁢󠁳󠁣󠁴󠁿", "❤️", "☃", "1️⃣", "🤷‍♂️", "✔︎", "🧑🏿‍🚀"];
const code = [
  "for (int i = 0; i < n; ++i) {", "}", "return x->y[3] & 0xFFu;", "def f(self, *args, **kwargs):", "    ", "\t", "\t\t", "\n", "\r\n",
  "\n\n\n", "# comment", "// TODO", "/* a */", "<div class=\"a\">", "</div>", "&nbsp;", "SELECT * FROM t WHERE a='s' AND b<>1;",
  "let s = `a ${b}`;", "if (!(a&&b)||c) ", "std::vector<std::string>", "=>", "...", "::", "!=", "$HOME/.bashrc", "C:\\Windows\\",
  "https://example.org/a?b=c&d=%20#e", "user@example.com", "1_000_000", "3.14159e-10", "0b1011", "{\"a\": [1, 2, null]}", "\\frac{1}{2}",
  "'s", "'ll", "'T", "'RE", "' ve", "''d", "--", "___", "@@ -1,7 +1,7 @@", "<|", "|>", "<think", "im_end|>",
];
const added = ["<|im_start|>", "<|im_end|>", "<|endoftext|>", "<think>", "</think>", "<tool_call>", "</tool_call>", "<|fim_pad|>", "<|vision_pad|>",
  "<tool_response>", "[PAD151700]"];
const space = [" ", " ", "  ", "   ", "\t", "\n", "\n\n", "\r", "\r\n", "\v", "\f", "\u00a0", "\u1680", "\u2000", "\u2009", "\u2028", "\u2029",
  "\u202f", "\u205f", "\u3000", "\u180e", "\u200b", "\u2060", "\u00ad", "\0", "\x1b", "\x7f"];
const marks = ["\u0301", "\u0300", "\u0308", "\u0316", "\u0323", "\u0338", "\u0342", "\u0345", "\u3099", "\u309a", "\u093c", "\u05bc", "\u0f0b"];
const ranges = [[0x20, 0x7e], [0xa0, 0x24f], [0x250, 0x36f], [0x370, 0x52f], [0x530, 0x6ff], [0x700, 0x9ff], [0xa00, 0xdff], [0xe00, 0xfff],
  [0x1000, 0x10ff], [0x1100, 0x11ff], [0x1200, 0x1dff], [0x1e00, 0x1fff], [0x2000, 0x2bff], [0x2c00, 0x2fff], [0x3000, 0x33ff], [0x3400, 0x9fff],
  [0xa000, 0xabff], [0xac00, 0xd7ff], [0xe000, 0xf8ff], [0xf900, 0xfdff], [0xfe00, 0xffff], [0x10000, 0x10fff], [0x11000, 0x13fff],
  [0x16800, 0x1bfff], [0x1d000, 0x1dfff], [0x1e000, 0x1f2ff], [0x1f300, 0x1faff], [0x20000, 0x3ffff], [0xe0000, 0x10ffff]];

const anywhere = (random) => {
  const [first, last] = random.pick(ranges);
  return String.fromCodePoint(first + random.below(last - first + 1));
};

// name -> one text from a Random.
const makers = {
  english: (r) => r.repeat(200, () => r.pick(english) + r.pick([" ", " ", " ", ", ", ". ", "\n", "; ", " - "])),
  casing: (r) => r.repeat(100, () => {
    const word = r.pick(english);
    return (r.below(2) ? word.toUpperCase() : word[0].toUpperCase() + word.slice(1)) + r.pick(["", " ", "_", "-"]);
  }),
  chinese: (r) => r.repeat(300, () => r.pick(chinese)),
  languages: (r) => r.repeat(20, () => {
    const words = r.pick(Object.values(others));
    return r.repeat(8, () => r.pick(words) + r.pick(["", " ", "\n"]));
  }),
  emoji: (r) => r.repeat(80, () => r.pick([r.pick(emoji), r.pick(emoji), r.pick(english), " "])),
  code: (r) => r.repeat(100, () => r.pick(code) + r.pick(["", "", " ", "\n", "\n    ", r.pick(english)])),
  numbers: (r) => r.repeat(120, () => r.pick(["", " ", "-", ".", ",", "$"]) + r.below(10 ** (1 + r.below(9))) + r.pick(["", "½", "²", "Ⅻ", "٣", "％"])),
  space: (r) => r.repeat(150, () => r.repeat(1 + r.below(5), () => r.pick(space)) + r.pick(["", "a", "!", "1", "中", "\n"])),
  added: (r) => r.repeat(60, () => r.pick([r.pick(added), r.pick(added), r.pick(code), r.pick(english), r.pick(space), r.pick(marks)])),
  marks: (r) => r.repeat(100, () => r.pick(["a", "e", "ö", "か", "क", " ", "x", "α", "가", "\n"]) + r.repeat(r.below(4), () => r.pick(marks))),
  decomposed: (r) => makers.languages(r).normalize("NFD") + makers.english(r).slice(0, 300).normalize("NFD"),
  compatibility: (r) => makers.languages(r).normalize("NFKD"),
  jamo: (r) => r.repeat(200, () => String.fromCodePoint(r.pick([0x1100 + r.below(256), 0x1161 + r.below(21), 0x11a7 + r.below(28), 0xac00 + r.below(11172)]))),
  scripts: (r) => {
    const [first, last] = r.pick(ranges);
    return r.repeat(200, () => r.pick([" ", "\n", String.fromCodePoint(first + r.below(last - first + 1)), String.fromCodePoint(first + r.below(last - first + 1))]));
  },
  anything: (r) => r.repeat(200, () => anywhere(r)),
  letters: (r) => r.repeat(400, () => String.fromCharCode(97 + r.below(26))),
  signs: (r) => r.repeat(300, () => String.fromCharCode(r.pick([33, 35, 40, 42, 46, 60, 61, 91, 123]) + r.below(3))),
  bytes: (r) => new TextDecoder("utf-8", { ignoreBOM: true }).decode(Uint8Array.from({ length: 300 }, () => r.pick([r.below(256), r.below(128), 0xe4, 0xbd]))),
};

function* filesBelow(path) {
  if (!existsSync(path)) return;
  if (!statSync(path).isDirectory()) return yield path;
  for (const name of readdirSync(path).sort()) {
    if (name !== "node_modules" && name !== "build") yield* filesBelow(join(path, name));
  }
}

// Texts of the system and of this project, up to `limit` bytes of each folder, in pieces.
function* found(limit) {
  const folders = ["/usr/share/common-licenses", "/usr/share/vim/vim90/tutor", "/usr/share/perl/5.36.0/pod", "/usr/share/i18n/locales",
    join(root, "src"), join(root, "tests/unit"), join(root, "docs")];
  for (const folder of folders) {
    let left = limit;
    for (const path of filesBelow(folder)) {
      if (left <= 0) break;
      const text = readFileSync(path, "utf8");
      for (let i = 0; i < text.length && left > 0; i += 4000) {
        const piece = text.slice(i, i + 4000).toWellFormed();
        left -= piece.length;
        yield { source: path, text: piece };
      }
    }
  }
}

// What the package sees otherwise, for known reasons:
// - it runs on JavaScript's expressions, whose \s has U+FEFF and lacks U+0085, and in which an s does not
//   match U+017F when case is ignored. The training side's library, Oniguruma, is as Unicode says in all
//   three, and so are we.
// - Node.js has a newer Unicode. These are the code points assigned from Unicode 15 to 17 (with gaps of
//   unassigned ones); up to 14, all agree on the category of every code point. Oniguruma 6.9.8 and PCRE2
//   10.42 have Unicode 14.
const newer = `88f,897,c5c,cdc,cf3,ece,1acf-1aeb,1b4e-1b4f,1b7f,1c89-1c8a,20c1,2427-2429,2b96,2ffc-2fff,31e4-31ef,a7cb-a7cf,a7d2,a7d4,
a7da-a7f1,fbc3-fbd2,fd90-fd91,fdc8-fdce,105c0-105f3,10940-10959,10d40-10d8f,10ec2-10eff,1123f-11241,11380-113e2,116d0-116e3,11b00-11bf9,
11db0-11de9,11f00-11f5a,1342f,13439-143fa,16100-16139,16d40-16d79,16ea0-16ed3,16ff2-16ff6,187f8-187ff,18cff,18d09-18df2,1b132,1b155,
1cc00-1cef0,1d2c0-1d2d3,1df25-1df2a,1e030-1e08f,1e4d0-1e6ff,1f6d8-1f6dc,1f774-1f77f,1f7d9,1f8b2-1f8d8,1fa54-1fa57,1fa75-1fa77,
1fa87-1fa8f,1faad-1faaf,1fabb-1fabf,1fac6-1facf,1fada-1fadf,1fae8-1faef,1faf7-1faf8,1fbcb-1fbef,1fbfa,2b739-2b73f,2cea2-2cead,
2ebf0-2ee5d,31350-33479`;
const newerClass = newer.split(/,\s*/).map((range) => range.split("-").map((c) => `\\u{${c}}`).join("-")).join("");
const excluded = new RegExp(`[\\u{85}\\u{feff}${newerClass}]|(?<=')\\u{17f}`, "gu");

// { source, text } objects; `bytes` of generated text, and what is found.
export function* corpus(bytes) {
  for (const { source, text } of everything(bytes)) yield { source, text: text.replace(excluded, "") };
}

function* everything(bytes) {
  const cases = JSON.parse(readFileSync(join(root, "tests/data/tokenizer/qwen3_cases.json"), "utf8"));
  for (const { text } of cases) yield { source: "qwen3_cases.json", text };
  yield* found(150_000);
  const names = Object.keys(makers);
  for (const [i, name] of names.entries()) {
    const random = new Random(i + 1);
    for (let made = 0; made < bytes / names.length; ) {
      const text = makers[name](random);
      made += Buffer.byteLength(text);
      yield { source: name, text };
    }
  }
}
