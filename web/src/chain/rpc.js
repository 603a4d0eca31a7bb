/** JSON-RPC over HTTP. Answers are bounded and untrusted. */

import { UnavailableError } from "../core/errors.js";
import { bodyOf, request } from "../work/http.js";

const MAX_ANSWER = 16 * 2 ** 20;

/** The node answered, with an error. */
export class RpcError extends UnavailableError {
  /**
   * @param {string} message
   * @param {string} [data] what the contract reverted with
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
        `the chain's node ${this.host} refuses: ${line(message)}`,
        revertData(data) ?? revertInMessage(message),
      );
    }
    if (answer.id !== id || !("result" in answer)) this.useless();
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
    return this.useless();
  }

  /** @returns {never} */
  useless() {
    throw new UnavailableError(`the chain's node ${this.host} answers something that is not JSON-RPC`);
  }
}

/** @param {unknown} data */
function revertData(data) {
  const inner = typeof data === "object" && data !== null && "data" in data ? data.data : data;
  return typeof inner === "string" && /^0x[0-9a-fA-F]*$/.test(inner) ? inner : undefined;
}

/**
 * Where older Filecoin nodes put it: in the message, in brackets.
 * @param {unknown} message
 */
function revertInMessage(message) {
  return /\[(0x[0-9a-fA-F]{8,})\]/.exec(String(message))?.[1];
}

/** @param {unknown} text foreign */
function line(text) {
  return String(text)
    .replace(/[\p{C}\s]+/gu, " ")
    .slice(0, 200);
}
