// SPDX-License-Identifier: Apache-2.0
// Conversations as trees of turns: pure functions, each gives a new conversation.
import type { Conversation, Turn } from "./types";

export const newId = (): string => {
  // randomUUID exists in secure contexts only; a server in the local network is often plain http.
  const bytes = crypto.getRandomValues(new Uint8Array(12));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
};

export function newConversation(now: number): Conversation {
  return { id: newId(), title: "", created: now, updated: now, turns: [], leaf: null };
}

/** From the first turn to the leaf. */
export function branch(conversation: Conversation): Turn[] {
  return pathTo(conversation, conversation.leaf);
}

export function pathTo(conversation: Conversation, id: string | null): Turn[] {
  const byId = new Map(conversation.turns.map((turn) => [turn.id, turn]));
  const path: Turn[] = [];
  // The bound keeps an imported file with a cycle from hanging the page.
  for (let turn = id ? byId.get(id) : undefined; turn && path.length <= byId.size; ) {
    path.push(turn);
    turn = turn.parent ? byId.get(turn.parent) : undefined;
  }
  return path.reverse();
}

/** The turns that stand in the same place, this one included, in order of their creation. */
export function siblings(conversation: Conversation, turn: Turn): Turn[] {
  return conversation.turns.filter((other) => other.parent === turn.parent && other.role === turn.role);
}

/** Adds a turn at the end of its parent's branch, and shows that branch. */
export function withTurn(conversation: Conversation, turn: Turn): Conversation {
  const title = conversation.title || (turn.role === "user" ? titleOf(turn.content) : "");
  return { ...conversation, title, turns: [...conversation.turns, turn], leaf: turn.id, updated: turn.created };
}

export function withChange(conversation: Conversation, id: string, change: Partial<Turn>): Conversation {
  return { ...conversation, turns: conversation.turns.map((turn) => (turn.id === id ? { ...turn, ...change } : turn)) };
}

/** Shows the branch through `id` that was written to last. */
export function withBranch(conversation: Conversation, id: string): Conversation {
  const below = new Set([id]);
  let leaf = id;
  for (const turn of conversation.turns) {  // parents come before their children
    if (!turn.parent || !below.has(turn.parent)) continue;
    below.add(turn.id);
    leaf = turn.id;
  }
  return { ...conversation, leaf };
}

export function titleOf(text: string): string {
  const line = text.trim().split("\n", 1)[0] ?? "";
  const characters = Array.from(line);
  return characters.length > 60 ? `${characters.slice(0, 59).join("").trimEnd()}…` : line;
}

export function toMarkdown(conversation: Conversation, names: { user: string; assistant: string }): string {
  const parts = branch(conversation).map((turn) => `## ${names[turn.role]}\n\n${turn.content.trim()}\n`);
  return `# ${conversation.title}\n\n${parts.join("\n")}`;
}

/** Reads what export wrote; anything else gives null. Unknown fields are dropped. */
export function fromExport(value: unknown): Conversation[] | null {
  const list = (value as { conversations?: unknown } | null)?.conversations;
  if (!Array.isArray(list)) return null;
  const text = (field: unknown): field is string => typeof field === "string";
  const result: Conversation[] = [];
  for (const item of list as Partial<Conversation>[]) {
    if (!item || !text(item.id) || !text(item.title) || !Array.isArray(item.turns)) return null;
    const turns: Turn[] = [];
    for (const turn of item.turns as Partial<Turn>[]) {
      const role = turn?.role;
      if (!turn || !text(turn.id) || !text(turn.content) || (role !== "user" && role !== "assistant")) return null;
      const read: Turn = { id: turn.id, parent: turn.parent ?? null, role, content: turn.content, created: Number(turn.created) || 0 };
      if (text(turn.reasoning)) read.reasoning = turn.reasoning;
      turns.push(read);
    }
    const leaf = turns.some((turn) => turn.id === item.leaf) ? (item.leaf as string) : (turns.at(-1)?.id ?? null);
    const created = Number(item.created) || 0;
    result.push({ id: item.id, title: item.title, created, updated: Number(item.updated) || created, turns, leaf });
  }
  return result;
}
