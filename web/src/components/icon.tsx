// SPDX-License-Identifier: Apache-2.0

const kPaths = {
  menu: "M2.5 4.5h11M2.5 8h11M2.5 11.5h11",
  plus: "M8 3v10M3 8h10",
  close: "M4 4l8 8M12 4l-8 8",
  send: "M8 13V3.5M3.8 7.7 8 3.5l4.2 4.2",
  stop: "M4.5 4.5h7v7h-7z",
  copy: "M5.5 5.5h7v8h-7zM10.5 5.5v-3h-7v8h2",
  edit: "M3 13l.6-2.8L10.8 3l2.2 2.2-7.2 7.2zM9.3 4.5l2.2 2.2",
  again: "M13 8a5 5 0 1 1-1.6-3.7M13 2.5v2.6h-2.6",
  remove: "M3 4.5h10M6.5 4.5v-2h3v2M4.2 4.5l.7 9h6.2l.7-9",
  more: "M3.5 8h.01M8 8h.01M12.5 8h.01",
  left: "M9.5 4 5.5 8l4 4",
  right: "M6.5 4l4 4-4 4",
  down: "M8 3v9.5M3.8 8.3 8 12.5l4.2-4.2",
  machine: "M3 3h4v4H3zM9 3h4v4H9zM3 9h4v4H3zM9 9h4v4H9z",
  settings: "M2.5 5h6M12 5h1.5M2.5 11H4M7.5 11h6M10.2 3.3a1.7 1.7 0 1 0 0 3.4 1.7 1.7 0 0 0 0-3.4zM5.8 9.3a1.7 1.7 0 1 0 0 3.4 1.7 1.7 0 0 0 0-3.4z",
};

export function Icon({ name }: { name: keyof typeof kPaths }) {
  return (
    <svg class="icon-image" viewBox="0 0 16 16" width="16" height="16" aria-hidden="true">
      <path d={kPaths[name]} />
    </svg>
  );
}
