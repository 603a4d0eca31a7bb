/** JSON-RPC over HTTP. Responses are untrusted, and limited in length. */

import { UnavailableError } from "../core/errors.js";
import { bodyOf, request } from "../work/http.js";

const MAX_ANSWER = 16 * 2 ** 20;

/** The node responded with an error. */
export class RpcError extends UnavailableError {
  /**
   * @param {string} message
   * @param {string} [data] the contract's error, hexadecimal
   */
  constructor(message, data) {
    super(message);
    this.data = data;
  }
}

export class Rpc {
  /** @param {string} url */
  constructor(url) {
    this.url = url;
    this.host = new URL(url).host;
    this.sent = 0;
  }

  /**
   * @param {string} method
   * @param {unknown[]} params
   * @returns {Promise<unknown>}
   */
  async request(method, params) {
    const id = ++this.sent;
    const response = await request(this.url, `the chain's node ${this.host}`, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ jsonrpc: "2.0", id, method, params }),
    });
    const answer = this.parse(await bodyOf(response, MAX_ANSWER, `the chain's node ${this.host}`));
    if (answer.error) {
      const { message, data } = answer.error;
      throw new RpcError(
        `the chain's node ${this.host} returned an error: ${line(message)}`,
        revertData(data) ?? revertInMessage(message),
      );
    }
    if (answer.id !== id || !("result" in answer)) this.malformed();
    return answer.result;
  }

  /**
   * @param {Uint8Array} body
   * @returns {{id?: unknown, result?: unknown, error?: {message?: unknown, data?: unknown}}}
   */
  parse(body) {
    try {
      const answer = JSON.parse(new TextDecoder().decode(body));
      if (typeof answer === "object" && answer !== null) return answer;
    } catch {}
    return this.malformed();
  }

  /** @returns {never} */
  malformed() {
    throw new UnavailableError(
      `the chain's node ${this.host} does not respond with JSON-RPC: choose another node in Settings`,
    );
  }
}

/** @param {unknown} data */
function revertData(data) {
  const inner = typeof data === "object" && data !== null && "data" in data ? data.data : data;
  return typeof inner === "string" && /^0x[0-9a-fA-F]*$/.test(inner) ? inner : undefined;
}

/**
 * Return the contract's error from a message: older Filecoin nodes put it there, in brackets.
 * @param {unknown} message
 */
function revertInMessage(message) {
  return /\[(0x[0-9a-fA-F]{8,})\]/.exec(String(message))?.[1];
}

/**
 * Shorten an untrusted message to one line.
 * @param {unknown} text
 */
export function line(text) {
  return String(text)
    .replace(/[\p{C}\s]+/gu, " ")
    .slice(0, 200);
}
