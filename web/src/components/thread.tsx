// SPDX-License-Identifier: Apache-2.0
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { current, isRunning } from "../chat";
import { branch, siblings } from "../conversations";
import { t } from "../i18n";
import { Icon } from "./icon";
import { Message } from "./message";

const kNear = 60;  // px from the end that count as being there

async function copyCode(button: HTMLElement): Promise<void> {
  const text = button.closest(".code")?.querySelector("code")?.textContent ?? "";
  if (!(await copyText(text))) return;
  const label = button.textContent;
  button.textContent = t("copied");
  setTimeout(() => (button.textContent = label), 1500);
}

/** False where the browser refuses. The clipboard API exists in secure contexts only. */
export async function copyText(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = document.createElement("textarea");
    area.value = text;
    area.className = "sr-only";
    document.body.append(area);
    const focused = document.activeElement as HTMLElement | null;
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    focused?.focus();
    return done;
  }
}

export function Thread() {
  const scroller = useRef<HTMLDivElement>(null);
  const following = useRef(true);
  const place = useRef(0);  // scrollTop when it was last looked at
  const [away, setAway] = useState(false);
  const conversation = current.value;
  const turns = conversation ? branch(conversation) : [];

  const toEnd = (): void => {
    const element = scroller.current;
    if (element) element.scrollTop = element.scrollHeight;
  };
  useLayoutEffect(() => {
    following.current = true;
    setAway(false);
    toEnd();
  }, [conversation?.id, turns.length]);
  // The reader who scrolled up stays there, whatever arrives below.
  useEffect(() => {
    const element = scroller.current;
    const inner = element?.firstElementChild;
    if (!element || !inner) return;
    const observer = new ResizeObserver(() => {
      if (following.current) toEnd();
    });
    observer.observe(inner);
    observer.observe(element);
    return () => observer.disconnect();
  }, []);

  return (
    <div class="thread-place">
      <div
        class="thread"
        ref={scroller}
        tabIndex={0}
        role="region"
        aria-label={conversation?.title || t("newChat")}
        onScroll={(event) => {
          const { scrollTop, scrollHeight, clientHeight } = event.currentTarget;
          const left = scrollHeight - scrollTop - clientHeight;
          // Only the reader goes up and leaves something below: what grows does not move the place, what shrinks ends
          // at the end. The first pixels count, since a wheel's way takes several frames and text comes in between.
          if (scrollTop < place.current && left > 1) following.current = false;
          else if (left < kNear) following.current = true;
          place.current = scrollTop;
          setAway(!following.current);
        }}
        onClick={(event) => {
          const button = (event.target as HTMLElement).closest<HTMLElement>("[data-copy]");
          if (button) void copyCode(button);
        }}
      >
        <div class="turns" aria-busy={isRunning.value}>
          {turns.length === 0 && <p class="empty">{t("empty")}</p>}
          {conversation && turns.map((turn) => <Message key={turn.id} turn={turn} versions={siblings(conversation, turn)} />)}
        </div>
      </div>
      {away && (
        <button class="to-latest" onClick={toEnd}>
          <Icon name="down" />
          {t("toLatest")}
        </button>
      )}
    </div>
  );
}
