// SPDX-License-Identifier: Apache-2.0
// Paints the map of experts: a row per layer, or several where a layer does not fit beside itself.
import { kHeat, type Machine } from "./feed";

const kMinCell = 3;  // CSS pixels
const kMaxCell = 12;
const kHeight = 390;  // the map's, where its cells can be as high as that takes

export interface Layout {
  columns: number;
  rowsPerLayer: number;
  cellWidth: number;
  cellHeight: number;
  /** Between layers, where a layer has several rows. */
  gap: number;
  height: number;
}

export function layoutFor(width: number, layers: number, experts: number): Layout {
  let rowsPerLayer = 1;
  while (Math.floor(width / Math.ceil(experts / rowsPerLayer)) < kMinCell && rowsPerLayer < experts) ++rowsPerLayer;
  const columns = Math.ceil(experts / rowsPerLayer);
  const cellWidth = Math.max(1, Math.min(kMaxCell, Math.floor(width / columns)));
  const cellHeight = Math.max(kMinCell, Math.min(kMaxCell, Math.floor(kHeight / (layers * rowsPerLayer))));
  const gap = rowsPerLayer > 1 ? 2 : 0;
  return { columns, rowsPerLayer, cellWidth, cellHeight, gap, height: layers * (rowsPerLayer * cellHeight + gap) };
}

type Colour = [number, number, number];

function colour(element: HTMLElement, name: string): Colour {
  // The browser resolves the variable, whichever of its spellings the style used.
  const probe = document.createElement("i");
  probe.style.color = `var(${name})`;
  element.append(probe);
  const parts = getComputedStyle(probe).color.match(/[\d.]+/g) ?? [];
  probe.remove();
  return [Number(parts[0] ?? 0), Number(parts[1] ?? 0), Number(parts[2] ?? 0)];
}

export class Grid {
  layout: Layout;
  private readonly context: CanvasRenderingContext2D;
  private palette: string[] = [];

  constructor(
    private readonly canvas: HTMLCanvasElement,
    private readonly machine: Machine,
  ) {
    this.context = canvas.getContext("2d", { alpha: false })!;
    this.layout = layoutFor(0, 0, 1);
    this.resize();
  }

  /** The width, the theme or the scale changed. */
  resize(): void {
    const { layers, experts } = this.machine.info;
    const width = Math.max(1, this.canvas.parentElement!.clientWidth);
    const scale = devicePixelRatio || 1;
    this.layout = layoutFor(width, layers, experts);
    const used = this.layout.columns * this.layout.cellWidth;
    this.canvas.width = Math.round(used * scale);
    this.canvas.height = Math.round(this.layout.height * scale);
    this.canvas.style.width = `${used}px`;
    this.canvas.style.height = `${this.layout.height}px`;
    this.context.setTransform(scale, 0, 0, scale, 0, 0);
    this.readColours();
    this.machine.all = true;
    this.paint();
  }

  paint(): void {
    const { machine, context } = this;
    if (machine.all) {
      context.fillStyle = this.palette[3 * (kHeat + 1)]!;
      context.fillRect(0, 0, this.canvas.width, this.canvas.height);
      for (let index = 0; index < machine.tiers.length; ++index) this.paintCell(index);
    } else {
      for (const index of machine.dirty) this.paintCell(index);
    }
    machine.fade();
  }

  /** The expert under a point of the canvas, or -1. */
  at(x: number, y: number): number {
    const { columns, rowsPerLayer, cellWidth, cellHeight, gap } = this.layout;
    const { layers, experts } = this.machine.info;
    const layer = Math.floor(y / (rowsPerLayer * cellHeight + gap));
    const row = Math.floor((y - layer * (rowsPerLayer * cellHeight + gap)) / cellHeight);
    const column = Math.floor(x / cellWidth);
    const expert = row * columns + column;
    if (layer < 0 || layer >= layers || column < 0 || column >= columns || row >= rowsPerLayer || expert >= experts) return -1;
    return layer * experts + expert;
  }

  private paintCell(index: number): void {
    const { columns, rowsPerLayer, cellWidth, cellHeight, gap } = this.layout;
    const { experts } = this.machine.info;
    const layer = Math.floor(index / experts);
    const expert = index - layer * experts;
    const row = Math.floor(expert / columns);
    const x = (expert - row * columns) * cellWidth;
    const y = layer * (rowsPerLayer * cellHeight + gap) + row * cellHeight;
    this.context.fillStyle = this.palette[this.machine.tiers[index]! * (kHeat + 1) + this.machine.heat[index]!]!;
    this.context.fillRect(x, y, cellWidth - 1, cellHeight - 1);
  }

  private readColours(): void {
    const lit = colour(this.canvas.parentElement!, "--lit");
    this.palette = [];
    for (const name of ["--ssd", "--ram", "--vram"]) {
      const tier = colour(this.canvas.parentElement!, name);
      for (let heat = 0; heat <= kHeat; ++heat) {
        const share = heat / kHeat;
        const mixed = tier.map((part, i) => Math.round(part + (lit[i]! - part) * share));
        this.palette.push(`rgb(${mixed.join(" ")})`);
      }
    }
    this.palette.push(`rgb(${colour(this.canvas.parentElement!, "--back").join(" ")})`);
  }
}
