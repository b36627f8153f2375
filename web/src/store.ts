// SPDX-License-Identifier: Apache-2.0
// Conversations in IndexedDB. Where the browser refuses it (some private windows), they live as long as the page.
import type { Conversation } from "./types";

const kName = "sluice";
const kStore = "conversations";

let opening: Promise<IDBDatabase | null> | undefined;

function open(): Promise<IDBDatabase | null> {
  opening ??= new Promise((resolve) => {
    try {
      const request = indexedDB.open(kName, 1);
      request.onupgradeneeded = () => request.result.createObjectStore(kStore, { keyPath: "id" });
      request.onsuccess = () => resolve(request.result);
      request.onerror = () => resolve(null);
    } catch {
      resolve(null);
    }
  });
  return opening;
}

function run<T>(mode: IDBTransactionMode, work: (store: IDBObjectStore) => IDBRequest<T>): Promise<T | null> {
  return open().then(
    (database) =>
      database &&
      new Promise<T | null>((resolve) => {
        const transaction = database.transaction(kStore, mode);
        const request = work(transaction.objectStore(kStore));
        transaction.oncomplete = () => resolve(request.result);
        transaction.onabort = transaction.onerror = () => resolve(null);
      }),
  );
}

/** All conversations, newest first; null where nothing can be kept. */
export async function load(): Promise<Conversation[] | null> {
  const all = await run<Conversation[]>("readonly", (store) => store.getAll());
  return all && all.sort((a, b) => b.updated - a.updated);
}

/** False if it could not be kept, as when the disk quota is used up. */
export async function put(conversation: Conversation): Promise<boolean> {
  return (await run("readwrite", (store) => store.put(conversation))) !== null;
}

export async function remove(id: string): Promise<void> {
  await run("readwrite", (store) => store.delete(id));
}
