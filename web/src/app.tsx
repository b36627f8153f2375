// SPDX-License-Identifier: Apache-2.0
import { useEffect } from "preact/hooks";
import { current, isRunning, spoken, stop } from "./chat";
import { Composer } from "./components/composer";
import { Icon } from "./components/icon";
import { SettingsDialog } from "./components/settings";
import { Sidebar } from "./components/sidebar";
import { Thread } from "./components/thread";
import { t } from "./i18n";
import { MachinePanel } from "./machine/panel";
import { health, modelName } from "./server";
import { drawerOpen, machineOpen, notice, settingsOpen } from "./state";

const kNarrow = "(max-width: 760px)";  // as in style.css

function Header() {
  const title = current.value?.title;
  useEffect(() => {
    document.title = title ? `${title} · Sluice` : "Sluice";
  }, [title]);
  return (
    <header class="bar">
      <button
        class="icon only-narrow"
        aria-label={t(drawerOpen.value ? "hideConversations" : "showConversations")}
        aria-expanded={drawerOpen.value}
        aria-controls="conversations"
        onClick={() => (drawerOpen.value = !drawerOpen.value)}
      >
        <Icon name="menu" />
      </button>
      <h1 title={modelName.value}>{modelName.value || "Sluice"}</h1>
      <span class="spacer" />
      <button
        class="labelled"
        aria-pressed={machineOpen.value}
        aria-label={t(machineOpen.value ? "hideMachine" : "showMachine")}
        onClick={() => (machineOpen.value = !machineOpen.value)}
      >
        <Icon name="machine" />
        <span aria-hidden="true">{t("machine")}</span>
      </button>
      <button class="icon" aria-label={t("settings")} title={t("settings")} onClick={() => (settingsOpen.value = true)}>
        <Icon name="settings" />
      </button>
    </header>
  );
}

function HealthLine() {
  if (health.value === "ok" || health.value === "unknown") return null;
  const key = health.value === "key" ? "needsKey" : health.value === "loading" ? "loading" : "unreachable";
  return (
    <div class="health" role="status">
      {t(key)}
      {health.value === "key" && <button onClick={() => (settingsOpen.value = true)}>{t("settings")}</button>}
    </div>
  );
}

function NoticeLine() {
  const value = notice.value;
  return (
    <div class="notice-place" role="status">
      {value && (
        <div class="notice">
          <span>{value.text}</span>
          {value.action && (
            <button
              onClick={() => {
                value.action!.run();
                notice.value = null;
              }}
            >
              {value.action.label}
            </button>
          )}
          <button class="icon" aria-label={t("dismiss")} onClick={() => (notice.value = null)}>
            <Icon name="close" />
          </button>
        </div>
      )}
    </div>
  );
}

export function App() {
  useEffect(() => {
    const onKey = (event: KeyboardEvent): void => {
      if (event.key !== "Escape" || event.defaultPrevented || settingsOpen.value) return;
      if (drawerOpen.value) drawerOpen.value = false;
      else if (isRunning.value) stop();
    };
    document.addEventListener("keydown", onKey);
    return () => document.removeEventListener("keydown", onKey);
  }, []);
  useEffect(() => {
    const narrow = matchMedia(kNarrow);
    const onChange = (): void => void (drawerOpen.value = false);
    narrow.addEventListener("change", onChange);
    return () => narrow.removeEventListener("change", onChange);
  }, []);
  return (
    <div class={`page${machineOpen.value ? " with-machine" : ""}${drawerOpen.value ? " with-drawer" : ""}`}>
      <Sidebar />
      <div class="content" inert={drawerOpen.value}>
        <Header />
        <HealthLine />
        <main class="panes">
          <section class="chat" aria-label={t("chat")}>
            <Thread />
            <Composer />
          </section>
          {machineOpen.value && <MachinePanel />}
        </main>
      </div>
      <div class="sr-only" aria-live="polite" data-test="spoken">
        {spoken.value}
      </div>
      <NoticeLine />
      <SettingsDialog />
    </div>
  );
}
