// SPDX-License-Identifier: Apache-2.0

export interface Stats {
  promptTokens?: number;
  cachedTokens?: number;
  tokens?: number;
  promptPerSecond?: number;
  tokensPerSecond?: number;
  firstTokenMs?: number;
  /** Of the experts used, how many were in each tier when they were needed. */
  experts?: { vram: number; ram: number; ssd: number };
}

/** One message. Turns form a tree: an edit or another answer is a sibling, and nothing that was said is lost. */
export interface Turn {
  id: string;
  parent: string | null;
  role: "user" | "assistant";
  content: string;
  reasoning?: string;
  created: number;
  state?: "streaming" | "stopped" | "failed";
  /** Why it failed, in the server's words. */
  error?: string;
  /** The server's finish_reason; "length" is told to the reader. */
  finish?: string;
  stats?: Stats;
}

export interface Conversation {
  id: string;
  title: string;
  created: number;
  updated: number;
  turns: Turn[];
  /** The last turn of the branch that is shown. */
  leaf: string | null;
}

export interface Sampling {
  temperature?: number;
  top_p?: number;
  top_k?: number;
  min_p?: number;
  max_tokens?: number;
  seed?: number;
}

export interface Settings {
  sampling: Sampling;
  system: string;
  language: "auto" | "en" | "zh";
  theme: "auto" | "light" | "dark";
}
