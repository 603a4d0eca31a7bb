/** What a wallet can do; nothing here is needed to check. */

/** @import {Result} from "../work/verify.js" */
/** @import {Session} from "./session.js" */

/**
 * @param {Result} _result
 * @param {Session} _session
 * @returns {HTMLElement | undefined}
 */
export function claimActions(_result, _session) {
  return undefined;
}
