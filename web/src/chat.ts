// SPDX-License-Identifier: Apache-2.0
// What can be done with conversations: send, stop, answer again, edit, keep.
import { computed, signal } from "@preact/signals";
import { ApiError, stream } from "./api";
import { newConversation, newId, pathTo, withBranch, withChange, withTurn } from "./conversations";
import { t } from "./i18n";
import { hasKey, health, modelName, noteFailure } from "./server";
import { currentId, notify, settings } from "./state";
import * as store from "./store";
import type { Conversation, Stats, Turn } from "./types";

/** Newest first. */
export const conversations = signal<Conversation[]>([]);
/** The answers being written, by conversation. */
export const running = signal<ReadonlyMap<string, AbortController>>(new Map());
/** What screen readers are told: whole sentences of the answer as it grows. */
export const spoken = signal("");

export const current = computed(() => conversations.value.find((item) => item.id === currentId.value) ?? null);
export const isRunning = computed(() => !!currentId.value && running.value.has(currentId.value));

const kFlushMs = 60;  // how often new text reaches the page
const kSaveMs = 1000;  // how often a growing answer is written to disk

const other = typeof BroadcastChannel === "undefined" ? null : new BroadcastChannel("sluice");

export async function loadConversations(): Promise<void> {
  const read = await store.load();
  if (!read) {
    notify({ text: t("notKept") });
    return;
  }
  conversations.value = read.map(settled);
  // Two tabs: each shows what the other changed, but for what it is writing itself.
  if (other) {
    other.onmessage = (message: MessageEvent<{ put?: Conversation; remove?: string }>) => {
      const { put, remove } = message.data;
      if (remove) conversations.value = conversations.value.filter((item) => item.id !== remove);
      if (put && !running.value.has(put.id)) place(put);
    };
  }
}

/** An answer whose tab was closed is not being written any more, unless another tab says so later. */
function settled(conversation: Conversation): Conversation {
  const end = (turn: Turn): Turn => (turn.state === "streaming" ? { ...turn, state: "stopped" } : turn);
  return { ...conversation, turns: conversation.turns.map(end) };
}

function place(conversation: Conversation): void {
  const rest = conversations.value.filter((item) => item.id !== conversation.id);
  const at = rest.findIndex((item) => item.updated <= conversation.updated);
  rest.splice(at < 0 ? rest.length : at, 0, conversation);
  conversations.value = rest;
}

function save(conversation: Conversation): void {
  void store.put(conversation).then((kept) => {
    if (!kept) notify({ text: t("notKept") });
  });
  other?.postMessage({ put: conversation });
}

const find = (id: string): Conversation | undefined => conversations.value.find((item) => item.id === id);

/** Replaces a conversation by what `change` makes of it, if it still exists. */
function update(id: string, change: (conversation: Conversation) => Conversation, keep = true): void {
  const before = find(id);
  if (!before) return;
  const after = change(before);
  if (after.updated === before.updated) {
    conversations.value = conversations.value.map((item) => (item.id === id ? after : item));
  } else {
    place(after);
  }
  if (keep) save(after);
}

export function send(text: string): void {
  if (!text.trim() || isRunning.value) return;
  const now = Date.now();
  let conversation = current.value;
  if (!conversation) {
    conversation = newConversation(now);
    place(conversation);
    currentId.value = conversation.id;
  }
  addQuestion(conversation.id, conversation.leaf, text);
}

/** A changed question starts a branch beside the old one. */
export function edit(turn: Turn, text: string): void {
  if (!current.value || !text.trim() || isRunning.value) return;
  addQuestion(current.value.id, turn.parent, text);
}

function addQuestion(id: string, parent: string | null, text: string): void {
  const question: Turn = { id: newId(), parent, role: "user", content: text.trim(), created: Date.now() };
  update(id, (conversation) => withTurn(conversation, question));
  void answer(id, question.id);
}

export function regenerate(turn: Turn): void {
  if (current.value && !isRunning.value && turn.parent) void answer(current.value.id, turn.parent);
}

export function stop(): void {
  if (currentId.value) running.value.get(currentId.value)?.abort();
}

export function showBranch(turnId: string): void {
  if (current.value && !isRunning.value) update(current.value.id, (conversation) => withBranch(conversation, turnId));
}

export function rename(id: string, title: string): void {
  if (title.trim()) update(id, (conversation) => ({ ...conversation, title: title.trim().slice(0, 200) }));
}

export function remove(id: string): void {
  const found = find(id);
  if (!found) return;
  const conversation = settled(found);
  running.value.get(id)?.abort();
  conversations.value = conversations.value.filter((item) => item.id !== id);
  if (currentId.value === id) currentId.value = null;
  void store.remove(id);
  other?.postMessage({ remove: id });
  notify({
    text: t("removed", conversation.title || t("untitled")),
    action: {
      label: t("undo"),
      run: () => {
        place(conversation);
        save(conversation);
        currentId.value = id;
      },
    },
  });
}

export function addImported(list: Conversation[]): void {
  for (const conversation of list) {
    place(conversation);
    save(conversation);
  }
}

interface Chunk {
  choices?: { delta?: { content?: string | null; reasoning_content?: string | null }; finish_reason?: string | null }[];
  usage?: { prompt_tokens?: number; completion_tokens?: number; prompt_tokens_details?: { cached_tokens?: number } } | null;
  timings?: {
    prompt_n?: number;
    cache_n?: number;
    predicted_n?: number;
    prompt_per_second?: number;
    predicted_per_second?: number;
    ttft_ms?: number;
    experts?: { hit_vram?: number; hit_ram?: number; read_ssd?: number };
  };
}

async function answer(id: string, parent: string): Promise<void> {
  const conversation = find(id);
  if (!conversation) return;
  const control = new AbortController();
  running.value = new Map(running.value).set(id, control);
  const turn: Turn = { id: newId(), parent, role: "assistant", content: "", created: Date.now(), state: "streaming" };
  update(id, (before) => withTurn(before, turn));

  const { system, sampling } = settings.value;
  // An answer that failed before its first word is no part of the conversation.
  const said = pathTo(conversation, parent).filter(({ role, content }) => role === "user" || content !== "");
  const messages = said.map(({ role, content }) => ({ role, content }));
  const body = {
    model: modelName.value,
    messages: system.trim() ? [{ role: "system", content: system }, ...messages] : messages,
    stream: true,
    stream_options: { include_usage: true },
    ...sampling,
  };

  let content = "";
  let reasoning = "";
  let told = 0;  // how much of the content screen readers know
  let finish: string | undefined;
  let flushed = 0;
  let saved = Date.now();
  const begun = performance.now();
  const stats: Stats = {};
  spoken.value = "";

  const flush = (last: Partial<Turn> | null): void => {
    const now = Date.now();
    if (!last && now - flushed < kFlushMs) return;
    flushed = now;
    const keep = !!last || now - saved >= kSaveMs;
    if (keep) saved = now;
    update(id, (before) => withChange(before, turn.id, { content, ...(reasoning ? { reasoning } : {}), ...last }), keep);
    if (currentId.value !== id) return;
    const whole = last ? content.length : endOfSentence(content);
    if (whole > told) spoken.value = content.slice(told, whole);
    told = Math.max(told, whole);
  };

  // Text that came just before a pause must not wait for the next piece.
  const clock = setInterval(() => flush(null), 250);
  let end: Partial<Turn> = {};
  try {
    for await (const chunk of stream<Chunk>("v1/chat/completions", { body, signal: control.signal })) {
      const choice = chunk.choices?.[0];
      if (choice?.delta?.reasoning_content) reasoning += choice.delta.reasoning_content;
      if (choice?.delta?.content) content += choice.delta.content;
      if (stats.firstTokenMs === undefined && (content || reasoning)) stats.firstTokenMs = performance.now() - begun;
      if (choice?.finish_reason) finish = choice.finish_reason;
      readStats(stats, chunk);
      flush(null);
    }
    health.value = "ok";
    end = finish ? { state: undefined, finish } : { state: "failed", error: t("lost") };
  } catch (error) {
    if (control.signal.aborted) {
      end = { state: "stopped" };
    } else {
      end = { state: "failed", error: explain(error) };
      noteFailure(error);
    }
  } finally {
    clearInterval(clock);
    flush({ ...end, stats });
    const rest = new Map(running.value);
    if (rest.get(id) === control) rest.delete(id);
    running.value = rest;
  }
  if (currentId.value === id) spoken.value = `${spoken.value} ${end.error ?? (end.state === "stopped" ? t("stopped") : t("answerDone"))}`;
}

function readStats(stats: Stats, chunk: Chunk): void {
  const { usage, timings } = chunk;
  if (usage) {
    if (usage.prompt_tokens !== undefined) stats.promptTokens = usage.prompt_tokens;
    if (usage.completion_tokens !== undefined) stats.tokens = usage.completion_tokens;
    if (usage.prompt_tokens_details?.cached_tokens) stats.cachedTokens = usage.prompt_tokens_details.cached_tokens;
  }
  if (!timings) return;
  if (timings.predicted_per_second) stats.tokensPerSecond = timings.predicted_per_second;
  if (timings.prompt_per_second) stats.promptPerSecond = timings.prompt_per_second;
  if (timings.ttft_ms !== undefined) stats.firstTokenMs = timings.ttft_ms;
  const { experts } = timings;
  if (experts) stats.experts = { vram: experts.hit_vram ?? 0, ram: experts.hit_ram ?? 0, ssd: experts.read_ssd ?? 0 };
}

function explain(error: unknown): string {
  if (!(error instanceof ApiError)) return String(error);
  if (error.status === 0) return error.begun ? t("lost") : t("unreachable");
  if (error.status === 401 || error.status === 403) return hasKey() ? t("wrongKey") : t("needsKey");
  if ((error.status === 429 || error.status === 503) && error.retryAfter) return t("busy", error.retryAfter);
  return t("failed", error.status, error.message);
}

function endOfSentence(text: string): number {
  const match = text.match(/^[\s\S]*(?:[.!?:]\s|[\u3002\uff01\uff1f\uff1a]|\n)/);
  return match ? match[0].length : 0;
}
