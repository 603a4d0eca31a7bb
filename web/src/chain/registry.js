/** Reads the registry contract: tokens, links, owners, claims, all as they are after one block. */

import { UnavailableError } from "../core/errors.js";
import { INTERFACE } from "../generated/contract.js";
import { ANSWERS, KINDS, MAX_SIZE, RELATIONS, SCHEMES } from "../generated/terms.js";
import { DecodingError, decodeMany, encodeCall, refusal, Words } from "./abi.js";
import { RpcError } from "./rpc.js";

/** @import {Rpc} from "./rpc.js" */
/** @import {Signature, Value} from "./abi.js" */

const BATCH = 100; // tokens, or claims, in one call
const RECORD = 13; // words in a record
/** The most tokens, and claims of a token, that the page reads. */
const MAX_TOKENS = 10_000;
export const MAX_CLAIMS = 500;

/** @typedef {typeof RELATIONS[number]} Relation */
/** @typedef {{source: number, position: number, target: number, relation: Relation, countersigned: boolean}} Link */
/** @typedef {{number: number, leaf: Uint8Array, claimant: string, time: number, status: typeof ANSWERS[number]}} Claim */
/**
 * @typedef {object} Token a token's record, its links and its owner
 * @property {number} id
 * @property {typeof KINDS[number]} kind
 * @property {typeof SCHEMES[number]} scheme
 * @property {number} size
 * @property {Uint8Array} root
 * @property {Uint8Array} metadataDigest
 * @property {string} publisher
 * @property {number} time seconds since 1970
 * @property {number | null} supersededBy
 * @property {boolean} withdrawn
 * @property {boolean} disordered
 * @property {number} attestations
 * @property {number} claims
 * @property {number} openClaims
 * @property {Link[]} links
 * @property {string} owner
 */

/** The registry, in its state after one block: what is read at different times belongs together. */
export class Registry {
  /**
   * @param {Rpc} rpc
   * @param {string} address
   * @param {number} chain
   * @param {number} block
   */
  constructor(rpc, address, chain, block) {
    this.rpc = rpc;
    this.address = address.toLowerCase();
    this.chain = chain;
    this.block = block;
  }

  /**
   * Open the registry, and check that the contract is one.
   * @param {Rpc} rpc
   * @param {string} address
   * @param {number} chain the id of the chain that the node must serve
   * @throws {UnavailableError} the node serves another chain, or there is no registry
   */
  static async open(rpc, address, chain) {
    const served = quantity(await rpc.request("eth_chainId", []), "eth_chainId");
    if (served !== chain) {
      throw new UnavailableError(
        `the chain's node ${rpc.host} serves chain ${served}, not ${chain}: choose a node of that chain in Settings`,
      );
    }
    const block = quantity(await rpc.request("eth_blockNumber", []), "eth_blockNumber");
    const registry = new Registry(rpc, address, chain, block);
    await registry.check();
    return registry;
  }

  async check() {
    const claims = await this.supports(INTERFACE).catch((error) => {
      // A refusal or a malformed response shows that this is no registry; a network failure shows nothing.
      if (error instanceof RpcError || error instanceof DecodingError) return false;
      throw error;
    });
    // ERC-165 forbids 0xffffffff: a contract that claims it would claim any interface.
    if (!claims || (await this.supports("ffffffff"))) {
      throw new UnavailableError(
        `there is no Alithis registry at ${this.address} on chain ${this.chain}: check the address in Settings`,
      );
    }
  }

  /** @param {string} id */
  async supports(id) {
    const words = new Words(await this.call("supportsInterface(bytes4)", id), "supportsInterface");
    return words.bool();
  }

  /** Return all tokens, in the order of their ids. */
  async tokens() {
    const count = new Words(await this.call("totalSupply()"), "totalSupply").number();
    if (count > MAX_TOKENS) {
      throw new UnavailableError(
        `the registry has ${count} datasets and models, more than the ${MAX_TOKENS} that this page can read: use the command alithis verify`,
      );
    }
    const ids = Array.from({ length: count }, (_, at) => at + 1);
    const [records, links, owners] = await Promise.all([
      this.many(ids.map((id) => encodeCall("record(uint256)", id))),
      this.many(ids.map((id) => encodeCall("links(uint256)", id))),
      this.many(ids.map((id) => encodeCall("ownerOf(uint256)", id))),
    ]);
    return ids.map((id, at) =>
      tokenOf(id, String(records[at]), linksOf(id, String(links[at])), ownerOf(String(owners[at]))),
    );
  }

  /**
   * Return the claims against a token, the first {@link MAX_CLAIMS} of them.
   * @param {number} id
   * @param {number} count
   */
  async claims(id, count) {
    const numbers = Array.from({ length: Math.min(count, MAX_CLAIMS) }, (_, at) => at + 1);
    const answers = await this.many(numbers.map((number) => encodeCall("claimOf(uint256,uint256)", id, number)));
    return numbers.map((number, at) => claimOf(number, String(answers[at])));
  }

  /** Return the block in which the contract was deployed: no event is older. */
  async deploymentBlock() {
    return new Words(await this.call("deploymentBlock()"), "deploymentBlock").number();
  }

  /**
   * Make many calls, a hundred in one request.
   * @param {string[]} calls
   */
  async many(calls) {
    const answers = [];
    for (let at = 0; at < calls.length; at += BATCH) {
      const batch = calls.slice(at, at + BATCH);
      answers.push(...decodeMany(await this.call("multicall(bytes[])", batch), batch.length));
    }
    return answers;
  }

  /**
   * @param {Signature} signature
   * @param {Value[]} values
   */
  async call(signature, ...values) {
    const name = signature.slice(0, signature.indexOf("("));
    const to = { to: this.address, data: `0x${encodeCall(signature, ...values)}` };
    try {
      const answer = await this.rpc.request("eth_call", [to, `0x${this.block.toString(16)}`]);
      if (typeof answer === "string" && /^0x([0-9a-f]{2})*$/i.test(answer)) return answer.slice(2).toLowerCase();
    } catch (error) {
      const why = error instanceof RpcError && error.data && refusal(error.data);
      throw why ? new RpcError(`the registry refuses ${name}: ${why}`) : error;
    }
    throw new DecodingError(`the node's response to ${name} is malformed: choose another node in Settings`);
  }
}

/**
 * @param {number} id
 * @param {string} hex
 * @param {Link[]} links
 * @param {string} owner
 * @returns {Token}
 */
function tokenOf(id, hex, links, owner) {
  const words = new Words(hex, "record");
  if (hex.length !== RECORD * 64) words.fail();
  return {
    id,
    kind: words.term(KINDS),
    scheme: words.term(SCHEMES),
    size: words.number(MAX_SIZE),
    root: words.hash(),
    metadataDigest: words.hash(),
    publisher: words.address(),
    time: words.number(),
    supersededBy: words.number() || null,
    withdrawn: words.bool(),
    disordered: words.bool(),
    attestations: words.number(),
    claims: words.number(),
    openClaims: words.number(),
    links,
    owner,
  };
}

/**
 * @param {number} id
 * @param {string} hex
 * @returns {Link[]}
 */
function linksOf(id, hex) {
  const words = new Words(hex, "links");
  const count = words.length();
  const links = Array.from({ length: count }, (_, position) => ({
    source: id,
    position,
    target: words.number(id), // a target is older than its source: so there are no cycles
    relation: words.term(RELATIONS),
    countersigned: words.bool(),
  }));
  words.end();
  return links;
}

/** @param {string} hex */
function ownerOf(hex) {
  const words = new Words(hex, "ownerOf");
  const owner = words.address();
  words.end();
  return owner;
}

/**
 * @param {number} number
 * @param {string} hex
 * @returns {Claim}
 */
function claimOf(number, hex) {
  const words = new Words(hex, "claimOf");
  const claim = {
    number,
    leaf: words.hash(),
    claimant: words.address(),
    time: words.number(),
    status: words.term(ANSWERS),
  };
  words.end();
  return claim;
}

/**
 * Read a quantity of the JSON-RPC API.
 * @param {unknown} value
 * @param {string} what the request, for errors
 */
export function quantity(value, what) {
  if (typeof value !== "string" || !/^0x[0-9a-fA-F]{1,13}$/.test(value)) {
    throw new UnavailableError(`the response to ${what} is malformed: choose another node in Settings`);
  }
  return Number(value);
}
