/**
 * The texts of claims and answers. They exist only in the registry's events, and many public nodes
 * serve the events of recent blocks only: missing texts are left out. The claims themselves, and
 * whether they were accepted, come from the contract's state.
 */

import { fromHex, toHex } from "../core/bytes.js";
import { TOPICS } from "../generated/contract.js";
import { MAX_TEXT_BYTES } from "../generated/terms.js";
import { Words } from "./abi.js";

/** @import {Claim, Registry} from "./registry.js" */

/** @typedef {{claim?: string, answer?: string}} Texts */

const CLAIMED = `0x${TOPICS["Claimed(uint256,bytes32,address,uint256,uint64,string)"]}`;
const ANSWERED = `0x${TOPICS["ClaimAnswered(uint256,uint256,address,uint8,string)"]}`;
const RECENT = 2000; // blocks whose events every node serves
const MAX_LOGS = 5000;

/**
 * Return the texts of a token's claims and answers.
 * @param {Registry} registry
 * @param {number} id
 * @param {readonly Claim[]} claims
 * @returns {Promise<Map<number, Texts>>} by the claims' numbers
 */
export async function claimTexts(registry, id, claims) {
  const logs = await logsOf(registry, id);
  /** @type {Map<number, Texts>} */
  const found = new Map(claims.map((claim) => [claim.number, {}]));
  for (const log of logs.slice(0, MAX_LOGS)) {
    try {
      read(log, registry.address, id, claims, found);
    } catch {} // ignore a malformed event
  }
  return found;
}

/**
 * @param {Registry} registry
 * @param {number} id
 * @returns {Promise<any[]>}
 */
async function logsOf(registry, id) {
  const { address, block, rpc } = registry;
  const topics = [[CLAIMED, ANSWERED], topicOf(id)];
  for (const first of [await registry.deploymentBlock(), Math.max(0, block - RECENT)]) {
    try {
      const [fromBlock, toBlock] = [first, block].map((number) => `0x${number.toString(16)}`);
      const logs = await rpc.request("eth_getLogs", [{ address, fromBlock, toBlock, topics }]);
      if (Array.isArray(logs)) return logs;
    } catch {} // the range is too long, or too old, for this node
  }
  return [];
}

/** @param {number} value */
function topicOf(value) {
  return `0x${value.toString(16).padStart(64, "0")}`;
}

/**
 * @param {any} log
 * @param {string} address
 * @param {number} id
 * @param {readonly Claim[]} claims
 * @param {Map<number, Texts>} found
 */
function read(log, address, id, claims, found) {
  const [topic, token, second] = log.topics.map((/** @type {string} */ each) => each.toLowerCase());
  if (log.address.toLowerCase() !== address || token !== topicOf(id)) return;
  const words = new Words(log.data.slice(2).toLowerCase(), "eth_getLogs");
  if (topic === CLAIMED) {
    const number = words.number();
    words.number(); // the time: the state has it too
    const own = claims.find((claim) => claim.number === number);
    const texts = found.get(number);
    if (own && texts && `0x${toHex(own.leaf)}` === second) texts.claim = textOf(words, 3);
  } else if (topic === ANSWERED) {
    const texts = found.get(Number(BigInt(second)));
    words.number(); // the answer: the state has it too
    if (texts) texts.answer = textOf(words, 2); // a later answer replaces an earlier one
  }
}

/**
 * Read the text at the end of an event's data.
 * @param {Words} words
 * @param {number} before the number of words before the text
 */
function textOf(words, before) {
  if (words.number() !== before * 32) words.fail();
  const length = words.number(MAX_TEXT_BYTES + 1);
  const hex = words.hex.slice(words.at, words.at + 2 * length);
  if (hex.length !== 2 * length) words.fail();
  return new TextDecoder().decode(fromHex(hex)).replace(/[\p{C}\p{Z}]+/gu, " ");
}
