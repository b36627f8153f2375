// SPDX-License-Identifier: Apache-2.0
// What the server tells about the machine, and the state that it adds up to.

export const kSsd = 0;
export const kRam = 1;
export const kVram = 2;

/** GET machine */
export interface MachineInfo {
  model: string;
  layers: number;
  /** Per layer; 0: a dense model. */
  experts: number;
  /** Experts that a token uses per layer. */
  used: number;
  budgets: { vram: number; ram: number };
  /** Bytes of all experts. */
  expert_bytes: number;
  backend: string;
}

/** One event of machine/stream. */
export interface MachineEvent {
  t: number;
  /** One digit per expert, layer by layer; in the first event and now and then. */
  tiers?: string;
  changes?: [number, number][];
  /** Used since the last event. */
  lit?: number[];
  memory?: { vram?: number; ram?: number };
  disk_rate?: number;
  link_rate?: number;
  tokens_per_second?: number;
  hits?: { vram?: number; ram?: number };
  token?: { attention_ms?: number; cpu_ms?: number; gpu_ms?: number; waiting_ms?: number };
}

/** Steps of brightness: a cell lights up at the highest and loses half per update. */
export const kHeat = 8;
/** A minute of events. */
export const kHistory = 240;

export class Machine {
  readonly tiers: Uint8Array;
  readonly heat: Uint8Array;
  /** Experts per tier. */
  readonly counts = [0, 0, 0];
  readonly history = { speed: [] as number[], disk: [] as number[] };
  last: MachineEvent | null = null;
  /** Cells to paint again since `fade`; everything, if `all`. */
  readonly dirty = new Set<number>();
  all = true;
  private glowing = new Set<number>();

  constructor(readonly info: MachineInfo) {
    const cells = info.layers * info.experts;
    this.tiers = new Uint8Array(cells);
    this.heat = new Uint8Array(cells);
    this.counts[kSsd] = cells;
  }

  apply(event: MachineEvent): void {
    if (typeof event.tiers === "string" && event.tiers.length === this.tiers.length) {
      for (let i = 0; i < event.tiers.length; ++i) this.setTier(i, event.tiers.charCodeAt(i) - 48);
    }
    for (const change of event.changes ?? []) this.setTier(change[0], change[1]);
    for (const index of event.lit ?? []) {
      if (!(index >= 0 && index < this.heat.length)) continue;
      this.heat[index] = kHeat;
      this.glowing.add(index);
      this.dirty.add(index);
    }
    push(this.history.speed, event.tokens_per_second ?? 0);
    push(this.history.disk, event.disk_rate ?? 0);
    this.last = event;
  }

  /** Everything was painted: what glows will be a step darker next time. */
  fade(): void {
    this.dirty.clear();
    this.all = false;
    for (const index of this.glowing) {
      const left = this.heat[index]! >> 1;
      this.heat[index] = left;
      this.dirty.add(index);
      if (left === 0) this.glowing.delete(index);
    }
  }

  /** Experts of a layer per tier. */
  layer(index: number): number[] {
    const counts = [0, 0, 0];
    for (let i = index * this.info.experts; i < (index + 1) * this.info.experts; ++i) ++counts[this.tiers[i]!]!;
    return counts;
  }

  private setTier(index: number, tier: number): void {
    if (!(index >= 0 && index < this.tiers.length) || !(tier >= kSsd && tier <= kVram)) return;
    const before = this.tiers[index]!;
    if (before === tier) return;
    --this.counts[before]!;
    ++this.counts[tier]!;
    this.tiers[index] = tier;
    this.dirty.add(index);
  }
}

function push(list: number[], value: number): void {
  list.push(value);
  if (list.length > kHistory) list.shift();
}
