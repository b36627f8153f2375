// SPDX-License-Identifier: Apache-2.0
import { useEffect, useRef, useState } from "preact/hooks";
import { Icon } from "../components/icon";
import { bytes, duration, type Key, number, percent, rate, t } from "../i18n";
import { machineOpen } from "../state";
import { kHistory, kRam, kSsd, kVram, type Machine } from "./feed";
import { Grid } from "./grid";
import { machine, updates, watch, watchState } from "./watch";

const kTiers: { tier: number; label: Key; style: string }[] = [
  { tier: kVram, label: "vram", style: "vram" },
  { tier: kRam, label: "ram", style: "ram" },
  { tier: kSsd, label: "ssd", style: "ssd" },
];

// Each part reads `updates`: the machine's state is one object that changes in place.

function Figures({ state }: { state: Machine }) {
  void updates.value;
  const { last, info } = state;
  const hit = (share: number | undefined): string => (share === undefined ? "–" : percent(share));
  const figures: [Key, string][] = [];
  if (info.budgets.vram > 0) {
    figures.push(["link", last ? `${bytes(last.link_rate ?? 0)}/s` : "–"]);
    if (info.experts > 0) figures.push(["hitVram", hit(last?.hits?.vram)]);
  }
  if (info.experts > 0) figures.push(["hitRam", hit(last?.hits?.ram)]);
  return (
    <dl class="figures">
      <Series label={t("speed")} value={t("perSecond", rate(last?.tokens_per_second ?? 0))} values={state.history.speed} />
      <Series label={t("disk")} value={`${bytes(last?.disk_rate ?? 0)}/s`} values={state.history.disk} />
      {figures.map(([label, value]) => (
        <div key={label}>
          <dt>{t(label)}</dt>
          <dd>{value}</dd>
        </div>
      ))}
    </dl>
  );
}

/** A figure with its last minute. */
function Series({ values, label, value }: { values: number[]; label: string; value: string }) {
  void updates.value;
  const top = Math.max(...values, 1e-9) * 1.1;
  const from = kHistory - values.length;
  const points = values.map((height, i) => `${from + i},${(30 - (height / top) * 28).toFixed(1)}`);
  return (
    <div class="series">
      <dt>{label}</dt>
      <dd>{value}</dd>
      <dd aria-hidden="true">
        <svg viewBox={`0 0 ${kHistory} 30`} preserveAspectRatio="none">
          <polyline points={points.join(" ")} />
        </svg>
      </dd>
    </div>
  );
}

function Memory({ state }: { state: Machine }) {
  void updates.value;
  const { budgets, expert_bytes, layers, experts } = state.info;
  const rows = [
    { label: t("vram"), style: "vram", used: state.last?.memory?.vram ?? 0, budget: budgets.vram },
    { label: t("ram"), style: "ram", used: state.last?.memory?.ram ?? 0, budget: budgets.ram },
  ].filter((row) => row.budget > 0);
  const cells = layers * experts;
  const onDisk = cells > 0 ? (expert_bytes * state.counts[kSsd]!) / cells : 0;
  return (
    <section aria-labelledby="memory-title">
      <h3 id="memory-title">{t("memory")}</h3>
      {rows.map(({ label, style, used, budget }) => (
        <div class="memory" key={style}>
          <span>{label}</span>
          <div class="meter" aria-hidden="true">
            <div class={style} style={{ width: `${Math.min(100, (100 * used) / budget)}%` }} />
          </div>
          <span class="amount">{t("ofBudget", bytes(used), bytes(budget))}</span>
        </div>
      ))}
      {cells > 0 && (
        <div class="memory">
          <span>{t("ssd")}</span>
          <div class="meter" aria-hidden="true">
            <div class="ssd" style={{ width: `${(100 * state.counts[kSsd]!) / cells}%` }} />
          </div>
          <span class="amount">{t("ofBudget", bytes(onDisk), bytes(expert_bytes))}</span>
        </div>
      )}
    </section>
  );
}

type Part = [Key, string, number];

function Timeline({ state }: { state: Machine }) {
  void updates.value;
  const token = state.last?.token;
  const cpu: Part = ["cpuExperts", "ram", token?.cpu_ms ?? 0];
  const gpu = state.info.budgets.vram > 0;
  // A server that computes on a GPU may not know which of its work was attention.
  const parts: Part[] =
    gpu && token?.attention_ms === undefined
      ? [["gpuAll", "vram", token?.gpu_ms ?? 0], cpu]
      : [["attention", "attention", token?.attention_ms ?? 0], cpu];
  if (gpu && token?.attention_ms !== undefined) parts.push(["gpuExperts", "vram", token.gpu_ms ?? 0]);
  parts.push(["waitingFor", "ssd", token?.waiting_ms ?? 0]);
  const whole = parts.reduce((sum, part) => sum + part[2], 0);
  return (
    <section aria-labelledby="token-title">
      <h3 id="token-title">
        {t("lastToken")}
        {whole > 0 && <span class="hint">{duration(whole)}</span>}
      </h3>
      <div class="timeline" aria-hidden="true">
        {whole > 0 && parts.map(([label, style, ms]) => <div key={label} class={style} style={{ width: `${(100 * ms) / whole}%` }} />)}
      </div>
      <dl class="legend">
        {parts.map(([label, style, ms]) => (
          <div key={label}>
            <dt>
              <i class={`swatch ${style}`} />
              {t(label)}
            </dt>
            <dd>{duration(ms)}</dd>
          </div>
        ))}
      </dl>
    </section>
  );
}

function ExpertMap({ state }: { state: Machine }) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const grid = useRef<Grid | null>(null);
  const [pointed, setPointed] = useState(-1);
  useEffect(() => {
    const painter = (grid.current = new Grid(canvas.current!, state));
    const observer = new ResizeObserver(() => painter.resize());
    observer.observe(canvas.current!.parentElement!);
    // A forced theme changes an attribute, the system's theme a media query.
    const theme = new MutationObserver(() => painter.resize());
    theme.observe(document.documentElement, { attributes: true, attributeFilter: ["data-theme"] });
    const system = matchMedia("(prefers-color-scheme: dark)");
    const onSystem = (): void => painter.resize();
    system.addEventListener("change", onSystem);
    return () => {
      observer.disconnect();
      theme.disconnect();
      system.removeEventListener("change", onSystem);
      grid.current = null;
    };
  }, [state]);
  const count = updates.value;
  useEffect(() => grid.current?.paint(), [count]);

  const { layers, experts, used } = state.info;
  const tierName = (index: number): string => t(kTiers.find(({ tier }) => tier === state.tiers[index])!.label);
  const pointer = (event: PointerEvent): void => setPointed(grid.current?.at(event.offsetX, event.offsetY) ?? -1);
  return (
    <section aria-labelledby="experts-title">
      <h3 id="experts-title">
        {t("experts")}
        <span class="hint">
          {layers} × {experts}
        </span>
      </h3>
      <dl class="legend" id="tiers">
        {kTiers.filter(({ tier }) => tier !== kVram || state.info.budgets.vram > 0).map(({ tier, label, style }) => (
          <div key={tier}>
            <dt>
              <i class={`swatch ${style}`} />
              {t(label)}
            </dt>
            <dd>{number(state.counts[tier]!)}</dd>
          </div>
        ))}
        <div>
          <dt>
            <i class="swatch lit" />
            {t("lit")}
          </dt>
          <dd />
        </div>
      </dl>
      <div class="map">
        <canvas
          ref={canvas}
          role="img"
          aria-label={t("expertMap", layers, experts, used)}
          aria-describedby="tiers"
          onPointerMove={pointer}
          onPointerDown={pointer}
          onPointerLeave={() => setPointed(-1)}
        />
      </div>
      <p class="hint readout">
        {pointed < 0
          ? t("pointHint")
          : t("expertAt", Math.floor(pointed / experts), pointed % experts, tierName(pointed))}
      </p>
      <LayerTable state={state} />
    </section>
  );
}

/** The map in numbers. Counted only while it is open, once a second. */
function LayerTable({ state }: { state: Machine }) {
  const [open, setOpen] = useState(false);
  const [, count] = useState(0);
  useEffect(() => {
    if (!open) return;
    const timer = setInterval(() => count((before) => before + 1), 1000);
    return () => clearInterval(timer);
  }, [open]);
  const layers = Array.from({ length: state.info.layers }, (_, index) => index);
  return (
    <details class="layers" onToggle={(event) => setOpen(event.currentTarget.open)}>
      <summary>{t("layers")}</summary>
      {open && (
        <table>
          <thead>
            <tr>
              <th scope="col">{t("layer")}</th>
              {kTiers.map(({ label }) => (
                <th scope="col" key={label}>
                  {t(label)}
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {layers.map((layer) => {
              const counts = state.layer(layer);
              return (
                <tr key={layer}>
                  <th scope="row">{layer}</th>
                  {kTiers.map(({ tier }) => (
                    <td key={tier}>{number(counts[tier]!)}</td>
                  ))}
                </tr>
              );
            })}
          </tbody>
        </table>
      )}
    </details>
  );
}

function Live({ state }: { state: Machine }) {
  return (
    <>
      <Figures state={state} />
      <Memory state={state} />
      <Timeline state={state} />
      {state.info.experts > 0 ? <ExpertMap state={state} /> : <p class="hint">{t("dense")}</p>}
    </>
  );
}

export function MachinePanel() {
  useEffect(watch, []);
  const state = machine.value;
  return (
    <section class="machine" aria-label={t("machine")}>
      <div class="machine-head">
        <h2>{t("machine")}</h2>
        <span class="hint">{state?.info.backend}</span>
        <span class="spacer" />
        <button class="icon" aria-label={t("close")} onClick={() => (machineOpen.value = false)}>
          <Icon name="close" />
        </button>
      </div>
      {watchState.value === "missing" ? (
        <p class="hint">{t("noMachine")}</p>
      ) : watchState.value === "connecting" ? (
        <p class="hint">{t("connecting")}</p>
      ) : null}
      {state && watchState.value !== "missing" && <Live state={state} />}
    </section>
  );
}
