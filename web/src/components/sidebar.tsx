// SPDX-License-Identifier: Apache-2.0
import { useEffect, useRef, useState } from "preact/hooks";
import { addImported, conversations, remove, rename, running } from "../chat";
import { fromExport, toMarkdown } from "../conversations";
import { t } from "../i18n";
import { currentId, drawerOpen, notify } from "../state";
import type { Conversation } from "../types";
import { Icon } from "./icon";

function save(name: string, type: string, text: string): void {
  const url = URL.createObjectURL(new Blob([text], { type }));
  const link = document.createElement("a");
  link.href = url;
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
}

const fileName = (title: string): string => title.replace(/[^\p{L}\p{N} _-]+/gu, "").trim().slice(0, 60) || "conversation";

function exportMarkdown(conversation: Conversation): void {
  const names = { user: t("you"), assistant: t("assistant") };
  save(`${fileName(conversation.title)}.md`, "text/markdown", toMarkdown(conversation, names));
}

function exportAll(): void {
  const day = new Date().toISOString().slice(0, 10);
  save(`sluice-${day}.json`, "application/json", JSON.stringify({ version: 1, conversations: conversations.value }, null, 1));
}

async function importFile(input: HTMLInputElement): Promise<void> {
  const file = input.files?.[0];
  if (!file) return;
  try {
    const read = fromExport(JSON.parse(await file.text()));
    if (!read) throw new Error();
    addImported(read);
  } catch {
    notify({ text: t("importFailed", file.name) });
  }
  input.value = "";
}

function Item({ conversation }: { conversation: Conversation }) {
  const [menu, setMenu] = useState(false);
  const [renaming, setRenaming] = useState(false);
  const row = useRef<HTMLLIElement>(null);
  const more = useRef<HTMLButtonElement>(null);
  const title = conversation.title || t("untitled");

  useEffect(() => {
    if (!menu) return;
    const away = (event: Event): void => {
      if (!row.current?.contains(event.target as Node)) setMenu(false);
    };
    document.addEventListener("pointerdown", away);
    document.addEventListener("focusin", away);
    return () => {
      document.removeEventListener("pointerdown", away);
      document.removeEventListener("focusin", away);
    };
  }, [menu]);

  const finish = (value: string | null): void => {
    if (value !== null) rename(conversation.id, value);
    setRenaming(false);
    requestAnimationFrame(() => more.current?.focus());
  };

  if (renaming) {
    return (
      <li class="item">
        <input
          class="rename"
          aria-label={t("rename")}
          defaultValue={conversation.title}
          maxLength={200}
          ref={(input) => input?.focus()}
          onKeyDown={(event) => {
            if (event.isComposing) return;
            if (event.key === "Enter") finish(event.currentTarget.value);
            if (event.key === "Escape") {
              event.preventDefault();
              finish(null);
            }
          }}
          onBlur={(event) => finish(event.currentTarget.value)}
        />
      </li>
    );
  }
  const act = (work: () => void) => () => {
    setMenu(false);
    work();
  };
  return (
    <li
      class="item"
      ref={row}
      onKeyDown={(event) => {
        if (event.key !== "Escape" || !menu) return;
        event.preventDefault();
        setMenu(false);
        more.current?.focus();
      }}
    >
      <button
        class="open"
        aria-current={currentId.value === conversation.id ? "true" : undefined}
        title={title}
        onClick={() => {
          currentId.value = conversation.id;
          drawerOpen.value = false;
        }}
      >
        {title}
        {running.value.has(conversation.id) && <span class="dot" aria-hidden="true" />}
      </button>
      <button class="icon" ref={more} aria-label={t("actionsFor", title)} aria-expanded={menu} onClick={() => setMenu(!menu)}>
        <Icon name="more" />
      </button>
      {menu && (
        <div class="menu">
          <button onClick={act(() => setRenaming(true))}>{t("rename")}</button>
          <button onClick={act(() => exportMarkdown(conversation))}>{t("exportMarkdown")}</button>
          <button onClick={act(() => remove(conversation.id))}>{t("remove")}</button>
        </div>
      )}
    </li>
  );
}

export function Sidebar() {
  const file = useRef<HTMLInputElement>(null);
  const begin = useRef<HTMLButtonElement>(null);
  const opened = useRef(false);
  // On a narrow screen the list lies over the page: the focus goes there, and back to the button that opened it.
  useEffect(() => {
    if (drawerOpen.value) begin.current?.focus();
    else if (opened.current) document.querySelector<HTMLElement>("[aria-controls=conversations]")?.focus();
    opened.current = drawerOpen.value;
  }, [drawerOpen.value]);
  return (
    <>
      {drawerOpen.value && <div class="shade" onClick={() => (drawerOpen.value = false)} />}
      <nav class="sidebar" id="conversations" aria-label={t("conversations")}>
        <div class="bar">
          <button
            class="labelled wide"
            ref={begin}
            onClick={() => {
              currentId.value = null;
              drawerOpen.value = false;
              requestAnimationFrame(() => document.getElementById("message")?.focus());
            }}
          >
            <Icon name="plus" />
            <span>{t("newChat")}</span>
          </button>
          <button class="icon only-narrow" aria-label={t("hideConversations")} onClick={() => (drawerOpen.value = false)}>
            <Icon name="close" />
          </button>
        </div>
        {conversations.value.length === 0 && <p class="hint pad">{t("noConversations")}</p>}
        <ul class="list">
          {conversations.value.map((conversation) => (
            <Item key={conversation.id} conversation={conversation} />
          ))}
        </ul>
        <div class="sidebar-foot">
          <button class="quiet" disabled={conversations.value.length === 0} onClick={exportAll}>
            {t("exportAll")}
          </button>
          <button class="quiet" onClick={() => file.current?.click()}>
            {t("import")}
          </button>
          <input
            type="file"
            accept="application/json,.json"
            hidden
            aria-label={t("import")}
            ref={file}
            onChange={(event) => void importFile(event.currentTarget)}
          />
        </div>
      </nav>
    </>
  );
}
