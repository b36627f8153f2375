// SPDX-License-Identifier: Apache-2.0
import { effect } from "@preact/signals";
import { render } from "preact";
import { App } from "./app";
import { loadConversations } from "./chat";
import { language } from "./i18n";
import { connect } from "./server";
import { settings } from "./state";
import "./style.css";

effect(() => {
  document.documentElement.lang = language.value === "zh" ? "zh-Hans" : "en";
});
effect(() => {
  document.documentElement.dataset["theme"] = settings.value.theme;
});

await loadConversations();
render(<App />, document.getElementById("app")!);
void connect();
