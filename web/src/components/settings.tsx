// SPDX-License-Identifier: Apache-2.0
import { useEffect, useRef, useState } from "preact/hooks";
import { apiKey, setApiKey } from "../api";
import { type Key, t } from "../i18n";
import { connect, defaults } from "../server";
import { settings, settingsOpen } from "../state";
import type { Sampling, Settings } from "../types";
import { Icon } from "./icon";

interface Field {
  name: keyof Sampling;
  label: Key;
  from: number;
  to: number;
  step: number | "any";
}

const kFields: Field[] = [
  { name: "temperature", label: "temperature", from: 0, to: 100, step: "any" },
  { name: "top_p", label: "topP", from: 0, to: 1, step: "any" },
  { name: "top_k", label: "topK", from: 0, to: 1_000_000, step: 1 },
  { name: "min_p", label: "minP", from: 0, to: 1, step: "any" },
  { name: "max_tokens", label: "maxTokens", from: 1, to: 10_000_000, step: 1 },
  { name: "seed", label: "seed", from: 0, to: 4_294_967_295, step: 1 },
];

function change(part: Partial<Settings>): void {
  settings.value = { ...settings.value, ...part };
}

function NumberField({ field }: { field: Field }) {
  const [wrong, setWrong] = useState(false);
  const { name, from, to, step } = field;
  const label = t(field.label);
  const read = (input: HTMLInputElement): void => {
    const sampling = { ...settings.value.sampling };
    const text = input.value.trim();
    const value = Number(text);
    const bad = input.validity.badInput || (text !== "" && !(value >= from && value <= to && (step === "any" || Number.isInteger(value))));
    setWrong(bad);
    if (bad) return;
    if (text === "") delete sampling[name];
    else sampling[name] = value;
    change({ sampling });
  };
  const hint = defaults.value[name];
  return (
    <div class="field">
      <label for={name}>{label}</label>
      <input
        id={name}
        type="number"
        inputMode="decimal"
        min={from}
        max={to}
        step={step}
        defaultValue={settings.value.sampling[name]}
        placeholder={hint === undefined || hint < 0 ? t("auto") : String(hint)}
        aria-invalid={wrong}
        aria-describedby={wrong ? `wrong-${name}` : undefined}
        onInput={(event) => read(event.currentTarget)}
      />
      {wrong && (
        <span class="error" id={`wrong-${name}`} role="alert">
          {t("badNumber", label, from, to)}
        </span>
      )}
    </div>
  );
}

function Choice<T extends string>(props: { label: string; value: T; options: [T, string][]; onChange: (value: T) => void }) {
  return (
    <label class="field">
      <span>{props.label}</span>
      <select value={props.value} onChange={(event) => props.onChange(event.currentTarget.value as T)}>
        {props.options.map(([value, label]) => (
          <option key={value} value={value}>
            {label}
          </option>
        ))}
      </select>
    </label>
  );
}

function Form() {
  const { language, theme, system } = settings.value;
  return (
    <>
      <label class="field whole">
        <span>{t("systemPrompt")}</span>
        <textarea rows={3} defaultValue={system} onInput={(event) => change({ system: event.currentTarget.value })} />
      </label>
      <fieldset>
        <legend>{t("sampling")}</legend>
        <p class="hint">{t("samplingHint")}</p>
        <div class="fields">
          {kFields.map((field) => (
            <NumberField key={field.name} field={field} />
          ))}
        </div>
      </fieldset>
      <div class="field whole">
        <label for="key">{t("apiKey")}</label>
        <input
          id="key"
          type="password"
          autoComplete="off"
          spellcheck={false}
          defaultValue={apiKey()}
          aria-describedby="key-hint"
          onInput={(event) => setApiKey(event.currentTarget.value)}
        />
        <span class="hint" id="key-hint">
          {t("apiKeyHint")}
        </span>
      </div>
      <fieldset>
        <legend>{t("appearance")}</legend>
        <div class="fields">
          <Choice
            label={t("language")}
            value={language}
            options={[["auto", t("auto")], ["en", "English"], ["zh", "中文"]]}
            onChange={(value) => change({ language: value })}
          />
          <Choice
            label={t("theme")}
            value={theme}
            options={[["auto", t("auto")], ["light", t("light")], ["dark", t("dark")]]}
            onChange={(value) => change({ theme: value })}
          />
        </div>
      </fieldset>
    </>
  );
}

export function SettingsDialog() {
  const dialog = useRef<HTMLDialogElement>(null);
  const open = settingsOpen.value;
  useEffect(() => {
    if (open) dialog.current?.showModal();
    else dialog.current?.close();
  }, [open]);
  return (
    <dialog
      ref={dialog}
      aria-labelledby="settings-title"
      onClose={() => {
        if (settingsOpen.value) void connect();  // perhaps with another key
        settingsOpen.value = false;
      }}
      onClick={(event) => {
        if (event.target === dialog.current) dialog.current?.close();
      }}
    >
      <div class="dialog">
        <div class="bar">
          <h2 id="settings-title">{t("settings")}</h2>
          <span class="spacer" />
          <button class="icon" aria-label={t("close")} onClick={() => dialog.current?.close()}>
            <Icon name="close" />
          </button>
        </div>
        {open && <Form />}
      </div>
    </dialog>
  );
}
