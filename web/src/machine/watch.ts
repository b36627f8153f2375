// SPDX-License-Identifier: Apache-2.0
// Keeps the machine view's connection: only while it can be seen, and no more than four updates a second.
import { signal } from "@preact/signals";
import { ApiError, getJson, stream } from "../api";
import { noteFailure } from "../server";
import { Machine, type MachineEvent, type MachineInfo } from "./feed";

export type WatchState = "connecting" | "live" | "missing";

export const machine = signal<Machine | null>(null);
export const watchState = signal<WatchState>("connecting");
/** Counts updates; what shows the machine's state reads it. */
export const updates = signal(0);

const kUpdateMs = 240;  // a little less than the server's interval, so that none is skipped
const kCalmMs = 1000;  // for who asked for less motion
const kRetryMs = 3000;

/** Watches until the returned function is called. */
export function watch(): () => void {
  let control: AbortController | null = null;
  let retry: ReturnType<typeof setTimeout> | undefined;
  let pending: ReturnType<typeof setTimeout> | undefined;
  let shown = 0;

  const show = (): void => {
    const wait = (matchMedia("(prefers-reduced-motion: reduce)").matches ? kCalmMs : kUpdateMs) - (performance.now() - shown);
    if (pending !== undefined) return;
    const update = (): void => {
      pending = undefined;
      shown = performance.now();
      ++updates.value;
    };
    if (wait <= 0) update();
    else pending = setTimeout(update, wait);
  };

  const begin = async (): Promise<void> => {
    const mine = (control = new AbortController());
    try {
      const info = await getJson<MachineInfo>("machine", mine.signal);
      const cells = info.layers * info.experts;
      if (!(cells >= 0 && cells <= 1_000_000)) throw new ApiError("", 404);
      const known = machine.value;
      const same = known && known.info.model === info.model && known.tiers.length === cells;
      if (!same) machine.value = new Machine(info);
      watchState.value = "live";
      for await (const event of stream<MachineEvent>("machine/stream", { signal: mine.signal })) {
        machine.value!.apply(event);
        show();
      }
      throw new ApiError("", 0);  // it ends only with the server
    } catch (error) {
      if (mine.signal.aborted) return;
      noteFailure(error);
      const missing = error instanceof ApiError && (error.status === 404 || error.status === 501);
      watchState.value = missing ? "missing" : "connecting";
      if (!missing) retry = setTimeout(() => void begin(), kRetryMs);
    }
  };
  const end = (): void => {
    clearTimeout(retry);
    clearTimeout(pending);
    pending = undefined;
    control?.abort();
    control = null;
  };
  const onVisibility = (): void => {
    end();
    if (!document.hidden) void begin();
  };
  document.addEventListener("visibilitychange", onVisibility);
  onVisibility();
  return () => {
    document.removeEventListener("visibilitychange", onVisibility);
    end();
  };
}
