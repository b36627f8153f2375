// SPDX-License-Identifier: Apache-2.0
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { edit, isRunning, regenerate, showBranch } from "../chat";
import { duration, language, number, percent, rate, t } from "../i18n";
import { render } from "../markdown";
import type { Stats, Turn } from "../types";
import { fit, isPlainEnter } from "./composer";
import { Icon } from "./icon";
import { copyText } from "./thread";

export function Markdown({ text }: { text: string }) {
  const blocks = useMemo(() => render(text, t("copyCode")), [text, language.value]);
  return (
    <div class="markdown">
      {blocks.map((html, index) => (
        <div key={index} class="block" dangerouslySetInnerHTML={{ __html: html }} />
      ))}
    </div>
  );
}

function statsLine(stats: Stats): string {
  const parts: string[] = [];
  if (stats.tokens !== undefined) parts.push(t("tokens", number(stats.tokens)));
  if (stats.tokensPerSecond) parts.push(t("perSecond", rate(stats.tokensPerSecond)));
  if (stats.firstTokenMs !== undefined) parts.push(t("firstToken", duration(stats.firstTokenMs)));
  if (stats.promptTokens !== undefined) {
    const prompt = number(stats.promptTokens);
    parts.push(stats.cachedTokens ? t("promptCached", prompt, number(stats.cachedTokens)) : t("prompt", prompt));
  }
  if (stats.experts) {
    const { vram, ram, ssd } = stats.experts;
    const all = vram + ram + ssd;
    if (all > 0) parts.push(t("expertsHit", percent((vram + ram) / all)));
  }
  return parts.join(" · ");
}

function Editor({ turn, close }: { turn: Turn; close: () => void }) {
  const [text, setText] = useState(turn.content);
  const area = useRef<HTMLTextAreaElement>(null);
  useEffect(() => {
    area.current?.focus();
    area.current?.setSelectionRange(text.length, text.length);
  }, []);
  useEffect(() => fit(area.current), [text]);
  const submit = (): void => {
    const typed = area.current?.value ?? "";
    if (!typed.trim()) return;
    close();
    edit(turn, typed);
    document.getElementById("message")?.focus();
  };
  return (
    <div class="editor">
      <textarea
        ref={area}
        value={text}
        aria-label={t("editMessage")}
        onInput={(event) => setText(event.currentTarget.value)}
        onKeyDown={(event) => {
          if (isPlainEnter(event)) {
            event.preventDefault();
            submit();
          } else if (event.key === "Escape") {
            event.preventDefault();
            close();
          }
        }}
      />
      <div class="editor-buttons">
        <button onClick={close}>{t("cancel")}</button>
        <button class="primary" disabled={!text.trim() || isRunning.value} onClick={submit}>
          {t("sendEdit")}
        </button>
      </div>
    </div>
  );
}

function Versions({ turn, versions }: { turn: Turn; versions: Turn[] }) {
  const at = versions.findIndex((other) => other.id === turn.id);
  const step = (by: number) => () => {
    const other = versions[at + by];
    if (other) showBranch(other.id);
  };
  return (
    <span class="versions" role="group" aria-label={t("version", at + 1, versions.length)}>
      <button class="icon" aria-label={t("previousVersion")} disabled={at === 0 || isRunning.value} onClick={step(-1)}>
        <Icon name="left" />
      </button>
      <span aria-hidden="true">
        {at + 1}/{versions.length}
      </span>
      <button class="icon" aria-label={t("nextVersion")} disabled={at === versions.length - 1 || isRunning.value} onClick={step(1)}>
        <Icon name="right" />
      </button>
    </span>
  );
}

function Copy({ text }: { text: string }) {
  const [done, setDone] = useState(false);
  const copy = async (): Promise<void> => {
    if (!(await copyText(text))) return;
    setDone(true);
    setTimeout(() => setDone(false), 1500);
  };
  return (
    <button class="icon" aria-label={t(done ? "copied" : "copy")} title={t(done ? "copied" : "copy")} onClick={() => void copy()}>
      <Icon name="copy" />
    </button>
  );
}

function Reasoning({ turn }: { turn: Turn }) {
  const thinking = turn.state === "streaming" && !turn.content;
  return (
    <details class="reasoning">
      <summary>{t(thinking ? "thinking" : "reasoning")}</summary>
      <Markdown text={turn.reasoning!} />
    </details>
  );
}

export function Message({ turn, versions }: { turn: Turn; versions: Turn[] }) {
  const [editing, setEditing] = useState(false);
  const editButton = useRef<HTMLButtonElement>(null);
  const writing = turn.state === "streaming";
  const name = t(turn.role === "user" ? "you" : "assistant");
  const close = (): void => {
    setEditing(false);
    requestAnimationFrame(() => editButton.current?.focus());
  };
  return (
    <article class={`turn ${turn.role}`} aria-label={name}>
      {turn.reasoning && <Reasoning turn={turn} />}
      {editing ? (
        <Editor turn={turn} close={close} />
      ) : turn.role === "user" ? (
        <div class="said">{turn.content}</div>
      ) : (
        turn.content && <Markdown text={turn.content} />
      )}
      {writing && !turn.content && !turn.reasoning && <p class="hint waiting">{t("waiting")}</p>}
      {turn.error && <p class="error">{turn.error}</p>}
      {!writing && !editing && (
        <div class="turn-foot">
          {versions.length > 1 && <Versions turn={turn} versions={versions} />}
          {turn.content && <Copy text={turn.content} />}
          {turn.role === "user" ? (
            <button
              class="icon"
              ref={editButton}
              aria-label={t("edit")}
              title={t("edit")}
              disabled={isRunning.value}
              onClick={() => setEditing(true)}
            >
              <Icon name="edit" />
            </button>
          ) : (
            <button
              class="icon"
              aria-label={t("regenerate")}
              title={t("regenerate")}
              disabled={isRunning.value}
              onClick={() => regenerate(turn)}
            >
              <Icon name="again" />
            </button>
          )}
          <span class="hint stats">
            {[turn.state === "stopped" && t("stopped"), turn.finish === "length" && t("lengthLimit"), turn.stats && statsLine(turn.stats)]
              .filter(Boolean)
              .join(" · ")}
          </span>
        </div>
      )}
    </article>
  );
}
