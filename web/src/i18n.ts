// SPDX-License-Identifier: Apache-2.0
import { computed } from "@preact/signals";
import { settings } from "./state";

const en = {
  newChat: "New chat",
  conversations: "Conversations",
  showConversations: "Show conversations",
  hideConversations: "Hide conversations",
  noConversations: "Nothing here yet",
  untitled: "Untitled",
  rename: "Rename",
  remove: "Delete",
  removed: "“{0}” deleted",
  undo: "Undo",
  exportMarkdown: "Export as Markdown",
  exportAll: "Export all",
  import: "Import",
  importFailed: "{0}: not an export of this page",
  actionsFor: "Actions for “{0}”",
  notKept: "This browser keeps no data for this page: conversations end with the tab.",
  chat: "Chat",
  machine: "Machine",
  showMachine: "Show the machine",
  hideMachine: "Hide the machine",
  settings: "Settings",
  close: "Close",
  dismiss: "Dismiss",
  message: "Message",
  messageHint: "Ask something",
  keysHint: "Enter sends, Shift+Enter starts a line, Escape stops",
  send: "Send",
  stop: "Stop",
  you: "You",
  assistant: "Answer",
  edit: "Edit",
  editMessage: "Edit message",
  sendEdit: "Send",
  cancel: "Cancel",
  regenerate: "Answer again",
  copy: "Copy",
  copied: "Copied",
  copyCode: "Copy code",
  previousVersion: "Previous version",
  nextVersion: "Next version",
  version: "{0} of {1}",
  reasoning: "Reasoning",
  thinking: "Thinking",
  waiting: "Reading the prompt",
  answerDone: "Answer complete",
  stopped: "Stopped",
  lengthLimit: "Cut at the limit of tokens",
  toLatest: "To the latest",
  empty: "What should we talk about?",
  tokens: "{0} tokens",
  perSecond: "{0} tok/s",
  firstToken: "first after {0}",
  promptCached: "prompt {0}, {1} cached",
  prompt: "prompt {0}",
  expertsHit: "experts in memory {0}",
  unreachable: "The server does not answer. It is asked again every few seconds.",
  loading: "The model is being loaded.",
  lost: "The connection broke before the answer was complete.",
  needsKey: "The server wants an API key. Enter it in the settings.",
  wrongKey: "The server does not know this API key. Change it in the settings.",
  busy: "The server is busy. Try again in {0} s.",
  failed: "The server answered with an error ({0}): {1}",
  apiKey: "API key",
  apiKeyHint: "Kept until this tab is closed",
  systemPrompt: "System prompt",
  sampling: "Sampling",
  samplingHint: "Empty: the server’s default",
  temperature: "Temperature",
  topP: "Top p",
  topK: "Top k",
  minP: "Min p",
  maxTokens: "Maximum tokens",
  seed: "Seed",
  badNumber: "{0}: a number from {1} to {2}",
  appearance: "Appearance",
  language: "Language",
  theme: "Theme",
  auto: "Automatic",
  light: "Light",
  dark: "Dark",
  speed: "Speed",
  disk: "Disk",
  link: "PCIe",
  hitVram: "Hits VRAM",
  hitRam: "Hits RAM",
  vram: "VRAM",
  ram: "RAM",
  ssd: "SSD",
  memory: "Memory",
  ofBudget: "{0} of {1}",
  lastToken: "Last token",
  attention: "Attention",
  cpuExperts: "CPU experts",
  gpuExperts: "GPU experts",
  gpuAll: "GPU",
  waitingFor: "Waiting",
  experts: "Experts",
  expertMap: "Map of experts: {0} layers of {1} experts, {2} used per token",
  expertAt: "Layer {0}, expert {1}: {2}",
  pointHint: "A row is a layer; a cell lights up when its expert is used",
  layers: "By layer",
  layer: "Layer",
  lit: "used now",
  dense: "This model has no experts to show.",
  noMachine: "The server does not tell what the machine is doing.",
  connecting: "Connecting",
};

export type Key = keyof typeof en;

const zh: Record<Key, string> = {
  newChat: "新对话",
  conversations: "对话",
  showConversations: "显示对话列表",
  hideConversations: "隐藏对话列表",
  noConversations: "还没有对话",
  untitled: "未命名",
  rename: "重命名",
  remove: "删除",
  removed: "已删除“{0}”",
  undo: "撤销",
  exportMarkdown: "导出为 Markdown",
  exportAll: "全部导出",
  import: "导入",
  importFailed: "{0}：不是本页面导出的文件",
  actionsFor: "“{0}”的操作",
  notKept: "浏览器不为本页面保存数据：关闭标签页后对话将丢失。",
  chat: "对话",
  machine: "机器",
  showMachine: "显示机器状态",
  hideMachine: "隐藏机器状态",
  settings: "设置",
  close: "关闭",
  dismiss: "知道了",
  message: "消息",
  messageHint: "问点什么",
  keysHint: "Enter 发送，Shift+Enter 换行，Escape 停止",
  send: "发送",
  stop: "停止",
  you: "你",
  assistant: "回答",
  edit: "编辑",
  editMessage: "编辑消息",
  sendEdit: "发送",
  cancel: "取消",
  regenerate: "重新回答",
  copy: "复制",
  copied: "已复制",
  copyCode: "复制代码",
  previousVersion: "上一个版本",
  nextVersion: "下一个版本",
  version: "第 {0} 个，共 {1} 个",
  reasoning: "推理过程",
  thinking: "思考中",
  waiting: "正在读取提示",
  answerDone: "回答完毕",
  stopped: "已停止",
  lengthLimit: "达到 token 上限而中断",
  toLatest: "回到最新",
  empty: "想聊些什么？",
  tokens: "{0} 个 token",
  perSecond: "{0} token/秒",
  firstToken: "首个用时 {0}",
  promptCached: "提示 {0}，其中缓存 {1}",
  prompt: "提示 {0}",
  expertsHit: "专家内存命中 {0}",
  unreachable: "服务器没有响应，每隔几秒会重试。",
  loading: "正在加载模型。",
  lost: "回答完成之前连接中断。",
  needsKey: "服务器需要 API 密钥，请在设置中填写。",
  wrongKey: "服务器不认识此 API 密钥，请在设置中修改。",
  busy: "服务器繁忙，请在 {0} 秒后重试。",
  failed: "服务器返回错误（{0}）:{1}",
  apiKey: "API 密钥",
  apiKeyHint: "保留到关闭此标签页为止",
  systemPrompt: "系统提示",
  sampling: "采样",
  samplingHint: "留空则使用服务器默认值",
  temperature: "温度",
  topP: "Top p",
  topK: "Top k",
  minP: "Min p",
  maxTokens: "最多 token 数",
  seed: "随机种子",
  badNumber: "{0}：应为 {1} 到 {2} 之间的数",
  appearance: "外观",
  language: "语言",
  theme: "主题",
  auto: "自动",
  light: "浅色",
  dark: "深色",
  speed: "速度",
  disk: "磁盘",
  link: "PCIe",
  hitVram: "显存命中",
  hitRam: "内存命中",
  vram: "显存",
  ram: "内存",
  ssd: "固态硬盘",
  memory: "内存占用",
  ofBudget: "{0} / {1}",
  lastToken: "最近一个 token",
  attention: "注意力",
  cpuExperts: "CPU 专家",
  gpuExperts: "GPU 专家",
  gpuAll: "GPU",
  waitingFor: "等待",
  experts: "专家",
  expertMap: "专家分布图：{0} 层，每层 {1} 个专家，每个 token 使用 {2} 个",
  expertAt: "第 {0} 层，专家 {1}：{2}",
  pointHint: "一行为一层；专家被使用时单元格亮起",
  layers: "逐层",
  layer: "层",
  lit: "正在使用",
  dense: "此模型没有专家可显示。",
  noMachine: "服务器不提供机器状态。",
  connecting: "正在连接",
};

export const language = computed<"en" | "zh">(() => {
  const chosen = settings.value.language;
  if (chosen !== "auto") return chosen;
  return navigator.languages.find((tag) => /^(en|zh)\b/i.test(tag))?.toLowerCase().startsWith("zh") ? "zh" : "en";
});

export function t(key: Key, ...values: (string | number)[]): string {
  const text = (language.value === "zh" ? zh : en)[key];
  return text.replace(/\{(\d)\}/g, (_, index: string) => String(values[Number(index)] ?? ""));
}

const formats = new Map<string, Intl.NumberFormat>();

export function number(value: number, digits = 0): string {
  const name = `${language.value} ${digits}`;
  let format = formats.get(name);
  if (!format) {
    format = new Intl.NumberFormat(language.value, { minimumFractionDigits: digits, maximumFractionDigits: digits });
    formats.set(name, format);
  }
  return format.format(value);
}

/** Three significant figures in binary units, as everywhere in Sluice. */
export function bytes(value: number): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1024;
    ++unit;
  }
  return `${number(value, unit === 0 || value >= 100 ? 0 : value >= 10 ? 1 : 2)} ${units[unit]}`;
}

export function duration(ms: number): string {
  return ms < 1000 ? `${number(ms, ms < 10 ? 1 : 0)} ms` : `${number(ms / 1000, ms < 10000 ? 2 : 1)} s`;
}

export function rate(perSecond: number): string {
  return number(perSecond, perSecond >= 100 || perSecond === 0 ? 0 : perSecond >= 10 ? 1 : 2);
}

export const percent = (share: number): string => `${number(share * 100, share > 0.995 || share < 0.1 ? 1 : 0)} %`;
