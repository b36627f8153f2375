// SPDX-License-Identifier: Apache-2.0
import { useEffect, useRef, useState } from "preact/hooks";
import { isRunning, send, stop } from "../chat";
import { t } from "../i18n";
import { currentId } from "../state";
import { Icon } from "./icon";

/** Enter that ends a word in an input method must not send: Chinese is typed that way. */
export function isPlainEnter(event: KeyboardEvent): boolean {
  return event.key === "Enter" && !event.shiftKey && !event.isComposing && event.keyCode !== 229;
}

/** As high as its text, within what the style allows. */
export function fit(area: HTMLTextAreaElement | null): void {
  if (!area) return;
  area.style.height = "auto";
  area.style.height = `${area.scrollHeight + 2}px`;
}

export function Composer() {
  const [text, setText] = useState("");
  const area = useRef<HTMLTextAreaElement>(null);
  useEffect(() => area.current?.focus({ preventScroll: true }), [currentId.value]);
  useEffect(() => fit(area.current), [text]);

  const submit = (): void => {
    // Not `text`: Enter may come before what was typed last has been rendered.
    const typed = area.current?.value ?? "";
    if (!typed.trim() || isRunning.value) return;
    send(typed);
    setText("");
  };
  return (
    <form
      class="composer"
      onSubmit={(event) => {
        event.preventDefault();
        submit();
        area.current?.focus();
      }}
    >
      <div class="composer-box">
        <textarea
          id="message"
          ref={area}
          rows={1}
          value={text}
          aria-label={t("message")}
          aria-describedby="keys"
          placeholder={t("messageHint")}
          onInput={(event) => setText(event.currentTarget.value)}
          onKeyDown={(event) => {
            if (!isPlainEnter(event)) return;
            event.preventDefault();
            submit();
          }}
        />
        {isRunning.value ? (
          <button type="button" class="icon primary" aria-label={t("stop")} title={t("stop")} onClick={stop}>
            <Icon name="stop" />
          </button>
        ) : (
          <button class="icon primary" aria-label={t("send")} title={t("send")} disabled={!text.trim()}>
            <Icon name="send" />
          </button>
        )}
      </div>
      <p class="hint keys" id="keys">
        {t("keysHint")}
      </p>
    </form>
  );
}
