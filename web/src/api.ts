// SPDX-License-Identifier: Apache-2.0
// Calls to the server that this page came from. Addresses are relative: the page may be served under a prefix.
import { events } from "./sse";

export class ApiError extends Error {
  constructor(
    message: string,
    /** HTTP status; 0: the server did not answer. */
    readonly status: number,
    readonly retryAfter?: number,
    /** The answer had begun when it broke off. */
    readonly begun = false,
  ) {
    super(message);
  }
}

let key = sessionStorage.getItem("api-key") ?? "";

export const apiKey = (): string => key;

/** For this tab only: not written where another tab or the next day finds it. */
export function setApiKey(value: string): void {
  key = value.trim();
  if (key) sessionStorage.setItem("api-key", key);
  else sessionStorage.removeItem("api-key");
}

export async function call(path: string, options: { body?: unknown; signal?: AbortSignal } = {}): Promise<Response> {
  const headers: Record<string, string> = {};
  if (key) headers["Authorization"] = `Bearer ${key}`;
  const request: RequestInit = { headers, cache: "no-store", credentials: "same-origin" };
  if (options.signal) request.signal = options.signal;
  if (options.body !== undefined) {
    headers["Content-Type"] = "application/json";
    request.method = "POST";
    request.body = JSON.stringify(options.body);
  }
  let response: Response;
  try {
    response = await fetch(new URL(path, document.baseURI), request);
  } catch (error) {
    if (options.signal?.aborted) throw error;
    throw new ApiError("", 0);
  }
  if (!response.ok) throw await errorOf(response);
  return response;
}

async function errorOf(response: Response): Promise<ApiError> {
  let message = response.statusText;
  try {
    message = messageOf(await response.json()) ?? message;
  } catch {
    // Not JSON: a proxy's page, say. The status must do.
  }
  const seconds = Number(response.headers.get("Retry-After") ?? NaN);
  return new ApiError(message, response.status, Number.isFinite(seconds) ? seconds : undefined);
}

function messageOf(value: unknown): string | undefined {
  const error = (value as { error?: { message?: unknown } } | null)?.error;
  return typeof error?.message === "string" ? error.message : undefined;
}

export async function getJson<T>(path: string, signal?: AbortSignal): Promise<T> {
  return (await (await call(path, signal ? { signal } : {})).json()) as T;
}

/** The JSON values of a server-sent stream, until [DONE] or its end. */
export async function* stream<T>(path: string, options: { body?: unknown; signal: AbortSignal }): AsyncGenerator<T> {
  const response = await call(path, options);
  if (!response.body) return;
  try {
    for await (const data of events(response.body)) {
      if (data === "[DONE]") return;
      const value: unknown = JSON.parse(data);
      const message = messageOf(value);
      if (message !== undefined) throw new ApiError(message, 500);
      yield value as T;
    }
  } catch (error) {
    if (options.signal.aborted || error instanceof ApiError) throw error;
    throw new ApiError("", 0, undefined, true);
  }
}
