// SPDX-License-Identifier: Apache-2.0
// Is the server there, which model does it serve, and with which defaults.
import { signal } from "@preact/signals";
import { ApiError, apiKey, getJson } from "./api";
import type { Sampling } from "./types";

/** "unknown" until the first answer, which is usually there within milliseconds: no line flashes up for it. */
export type Health = "unknown" | "ok" | "loading" | "unreachable" | "key";

export const health = signal<Health>("unknown");
export const modelName = signal("");
export const modelContext = signal(0);
export const defaults = signal<Sampling>({});

let timer: ReturnType<typeof setTimeout> | undefined;

/** Asks until the server is ready; called again whenever a request fails. */
export async function connect(): Promise<void> {
  clearTimeout(timer);
  try {
    await getJson("health");
    const models = await getJson<{ data?: { id?: string }[] }>("v1/models");
    modelName.value = models.data?.[0]?.id ?? "";
    health.value = "ok";
  } catch (error) {
    const status = error instanceof ApiError ? error.status : 0;
    health.value = status === 401 || status === 403 ? "key" : status === 503 ? "loading" : "unreachable";
    if (health.value !== "key") timer = setTimeout(() => void connect(), document.hidden ? 15000 : 3000);
    return;
  }
  try {
    const props = await getJson<{ default_generation_settings?: { params?: Record<string, unknown>; n_ctx?: number } }>("props");
    const settings = props.default_generation_settings;
    const read: Sampling = {};
    for (const name of ["temperature", "top_p", "top_k", "min_p", "max_tokens", "seed"] as const) {
      const value = settings?.params?.[name];
      if (typeof value === "number") read[name] = Math.round(value * 10000) / 10000;
    }
    defaults.value = read;
    modelContext.value = settings?.n_ctx ?? 0;
  } catch {
    // Defaults are shown as hints only.
  }
}

/** A request failed: what does that say about the server? */
export function noteFailure(error: unknown): void {
  if (!(error instanceof ApiError)) return;
  if (error.status === 401 || error.status === 403) health.value = "key";
  else if (error.status === 0) void connect();
}

export const hasKey = (): boolean => apiKey() !== "";
