// SPDX-License-Identifier: Apache-2.0
// What the page knows, as signals. Only this file touches localStorage.
import { effect, signal } from "@preact/signals";
import type { Settings } from "./types";

const kDefaults: Settings = { sampling: {}, system: "", language: "auto", theme: "auto" };

function read<T>(name: string, fallback: T): T {
  try {
    return { ...fallback, ...(JSON.parse(localStorage.getItem(name) ?? "{}") as T) };
  } catch {
    return fallback;
  }
}

function write(name: string, value: unknown): void {
  try {
    localStorage.setItem(name, JSON.stringify(value));
  } catch {
    // Storage is full or refused: the settings last as long as the page.
  }
}

export const settings = signal<Settings>(read("settings", kDefaults));
effect(() => write("settings", settings.value));

const view = read("view", { machine: false, current: null as string | null });
export const machineOpen = signal(view.machine);
export const currentId = signal<string | null>(view.current);
effect(() => write("view", { machine: machineOpen.value, current: currentId.value }));

export const drawerOpen = signal(false);
export const settingsOpen = signal(false);

export interface Notice {
  text: string;
  action?: { label: string; run: () => void };
}

/** One line at the bottom of the page, until it is dismissed or `seconds` are over. */
export const notice = signal<Notice | null>(null);
let timer: ReturnType<typeof setTimeout> | undefined;

export function notify(value: Notice, seconds = 10): void {
  clearTimeout(timer);
  notice.value = value;
  timer = setTimeout(() => (notice.value = null), seconds * 1000);
}
