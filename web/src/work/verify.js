/**
 * A file, a digest or a proof file → what is provable about it, one step after the other, as
 * alithis/verify/steps.py does: record, metadata, commitment, leaf, position, path. The verdict is
 * `included` or `absent` if every step held, else `unverifiable`, with the step that failed.
 */

import { toHex } from "../core/bytes.js";
import { IntegrityError, ProofError, SourceError, said, UnavailableError } from "../core/errors.js";
import { checkOpening } from "../core/keyed.js";
import { Lookup } from "../core/manifest.js";
import { checkProof } from "../core/proof.js";

/** @import {Digest} from "../forms/digest.js" */
/** @import {Form, Metadata} from "../core/metadata.js" */
/** @import {Proof, Subject} from "../core/proof.js" */
/** @import {Registry, Token} from "../chain/registry.js" */
/** @import {Found, Gateway, Shelf} from "../chain/gateway.js" */

/**
 * @typedef {object} Target what is asked about
 * @property {string} name
 * @property {"file" | "digest" | "proof"} kind
 * @property {number} [size] bytes
 * @property {((form: Form) => Promise<Digest>)} [digest] of the data point; not of a proof alone
 * @property {{proof: Proof, subject: Subject}} [brought] a proof that goes with it
 */
/** @typedef {"record" | "metadata" | "commitment" | "leaf" | "position" | "path"} StepName */
/** @typedef {{step: StepName, ok: boolean, detail: string}} Step */
/**
 * @typedef {object} Result
 * @property {Token} token
 * @property {Metadata | null} metadata
 * @property {"included" | "absent" | "unverifiable"} verdict
 * @property {number | null} index
 * @property {Proof | null} proof
 * @property {Gateway | null} gateway which served what the proof is made of
 * @property {Step[]} steps
 * @property {{reads: number, bytes: number}} cost range reads, and the bytes they brought
 */

/**
 * Verify a target against one token.
 * @param {Target} target
 * @param {Token} token
 * @param {Registry} registry
 * @param {Shelf} shelf
 * @returns {Promise<Result>}
 */
export async function verifyToken(target, token, registry, shelf) {
  const verification = new Verification(target, token, registry, shelf);
  /** @type {Array<[StepName, () => string | Promise<string>]>} */
  const checks = [
    ["record", () => verification.record()],
    ["metadata", () => verification.metadata()],
    ["commitment", () => verification.commitment()],
    ["leaf", () => verification.leaf()],
    ["position", () => verification.position()],
    ["path", () => verification.path()],
  ];
  /** @type {Step[]} */
  const steps = [];
  for (const [step, check] of checks) {
    try {
      steps.push({ step, ok: true, detail: await check() });
    } catch (error) {
      steps.push({ step, ok: false, detail: said(error) });
      break;
    }
  }
  return verification.result(steps);
}

class Verification {
  /**
   * @param {Target} target
   * @param {Token} token
   * @param {Registry} registry
   * @param {Shelf} shelf
   */
  constructor(target, token, registry, shelf) {
    this.target = target;
    this.token = token;
    this.registry = registry;
    this.shelf = shelf;
    /** @type {Found | null} */
    this.found = null;
    /** @type {Uint8Array | null} */
    this.value = null;
    /** @type {Proof | null} */
    this.proof = null;
    this.lossy = false;
    this.cost = { reads: 0, bytes: 0 };
  }

  record() {
    const { token, registry } = this;
    return `token ${token.id} of registry ${registry.address} on chain ${registry.chain}, published by ${token.publisher}; read from ${registry.rpc.host} at block ${registry.block}`;
  }

  async metadata() {
    const brought = this.target.brought;
    if (brought) checkSubject(brought.subject, this.token, this.registry);
    try {
      this.found = await this.shelf.open(this.token.metadataDigest);
    } catch (error) {
      if (!brought) throw error;
      return `not needed: the proof file has the path (${said(error)})`;
    }
    return `SHA-256 ${toHex(this.token.metadataDigest)}, as committed; from ${this.found.gateway.who}`;
  }

  commitment() {
    const { token } = this;
    const stated = this.found?.metadata;
    if (stated) {
      checkSame("root in metadata.json", toHex(token.root), toHex(stated.root));
      checkSame("size in metadata.json", token.size, stated.size);
      checkSame("kind in metadata.json", token.kind, stated.kind);
      checkSame("scheme in metadata.json", token.scheme, stated.scheme);
    }
    return `root ${toHex(token.root)}, size ${token.size}`;
  }

  async leaf() {
    const brought = this.target.brought?.proof;
    const { scheme } = this.token;
    const opening = brought?.kind === "inclusion" ? brought.opening : null;
    if (opening && scheme === "sha256") {
      throw new ProofError("the proof file has an item key, but these leaves are plain digests without keys");
    }
    if (!brought) {
      if (scheme === "keyed") {
        throw new SourceError(
          "its entries are keyed, so only its publisher knows which entry stands for which file: ask the publisher for a proof file, and drop it here together with your file",
        );
      }
      this.value = await this.digest();
      return `${toHex(this.value)}, ${this.origin()}`;
    }
    this.value = brought.leaf;
    if (this.target.kind === "proof") return this.bareLeaf(brought);
    const digest = await this.digest();
    if (opening) {
      checkSame("digest that the proof file opens", toHex(digest), toHex(opening.digest));
      checkOpening(opening, brought.leaf);
    } else if (scheme === "keyed") {
      throw new SourceError(
        "the proof file does not say which data point its keyed leaf stands for: ask the publisher for one that does",
      );
    } else checkSame("leaf that the proof file is about", toHex(digest), toHex(brought.leaf));
    return `${toHex(brought.leaf)}, ${this.origin()}, and in the proof file`;
  }

  /** @param {Proof} brought */
  bareLeaf(brought) {
    const from = `${toHex(brought.leaf)}, from the proof file`;
    if (brought.kind === "inclusion" && brought.opening) {
      checkOpening(brought.opening, brought.leaf);
      return `${from}, which says whose it is: digest ${toHex(brought.opening.digest)}`;
    }
    if (this.token.scheme !== "keyed") return from;
    if (brought.kind === "absence") {
      throw new SourceError("the absence of a keyed leaf shows nothing about a data point");
    }
    return `${from}; only its publisher knows which data point it stands for`;
  }

  /** The digest in the artifact's form; without metadata, in that of the stored bytes. */
  async digest() {
    const { digest } = this.target;
    if (!digest) throw new SourceError("nothing to compare");
    const form = this.found?.metadata.form;
    if (!form && this.target.brought?.proof.kind === "absence") {
      throw new SourceError(
        "a proof of absence is about a canonical form, which metadata.json states, and no gateway gave it",
      );
    }
    const made = await digest(form ?? { name: "bytes" });
    this.lossy = made.lossy;
    return made.digest;
  }

  origin() {
    const form = this.found?.metadata.form.name ?? "bytes";
    return this.target.kind === "digest" ? "as given" : `canonical form ${form}`;
  }

  async position() {
    const proof = this.target.brought?.proof ?? (await this.lookUp());
    this.proof = proof;
    const { size, disordered } = this.token;
    if (proof.kind === "inclusion") return `found at index ${proof.index} of ${size}`;
    if (disordered)
      throw new ProofError("not found, but the leaves were proved to be out of order, so it may be anywhere");
    if (this.lossy) {
      throw new SourceError(
        "not found; but programs decode this kind of image each a little differently, so this browser cannot show that it is absent",
      );
    }
    const left = proof.left ? `after ${short(proof.left.leaf)} at ${proof.left.index}` : "before all others";
    const right = proof.right ? `before ${short(proof.right.leaf)} at ${proof.right.index}` : "after all others";
    return `not found: it would stand ${left}, ${right}`;
  }

  /** Ask one gateway after the other, until one's answer leads to the root. */
  async lookUp() {
    if (!this.found || !this.value) throw new UnavailableError("no gateway gave the manifest");
    const { gateway: first, metadata } = this.found;
    const failures = [];
    for (const gateway of [first, ...this.shelf.gateways.filter((each) => each !== first)]) {
      const lookup = new Lookup(metadata, (entry, offset, length) => gateway.range(entry, offset, length));
      try {
        const proof = await lookup.prove(this.value);
        checkProof(proof, this.token.root, this.token.size);
        this.found = { gateway, metadata };
        return proof;
      } catch (error) {
        gateway.forget();
        failures.push(`${gateway.who}: ${said(error)}`);
      } finally {
        this.cost.reads += lookup.reads;
        this.cost.bytes += lookup.bytes;
      }
    }
    throw new UnavailableError(failures.join("; "));
  }

  path() {
    if (!this.proof) throw new ProofError("no proof to check");
    checkProof(this.proof, this.token.root, this.token.size);
    return `leads to the committed root ${toHex(this.token.root)}`;
  }

  /**
   * @param {Step[]} steps
   * @returns {Result}
   */
  result(steps) {
    const proof = steps.every((step) => step.ok) ? this.proof : null;
    return {
      token: this.token,
      metadata: this.found?.metadata ?? null,
      verdict: proof ? (proof.kind === "inclusion" ? "included" : "absent") : "unverifiable",
      index: proof?.index ?? null,
      proof,
      gateway: this.found?.gateway ?? null,
      steps,
      cost: this.cost,
    };
  }
}

/**
 * How a proof file names a token.
 * @param {Token} token
 * @param {Registry} registry
 * @param {string} [name]
 * @returns {Subject}
 */
export function subjectOf(token, registry, name) {
  const where = { chain: registry.chain, registry: registry.address, token: token.id };
  return { ...(name ? { name } : {}), metadata: toHex(token.metadataDigest), ...where };
}

/**
 * Which tokens a target is to be verified against: those that its proof speaks of, else all.
 * @param {Target} target
 * @param {readonly Token[]} tokens
 */
export function tokensFor(target, tokens) {
  const { token, metadata } = target.brought?.subject ?? {};
  if (token !== undefined) return tokens.filter((each) => each.id === token);
  if (metadata !== undefined) return tokens.filter((each) => toHex(each.metadataDigest) === metadata);
  return [...tokens];
}

/**
 * @param {Subject} stated
 * @param {Token} token
 * @param {Registry} registry
 */
function checkSubject(stated, token, registry) {
  const here = subjectOf(token, registry);
  for (const what of /** @type {const} */ (["chain", "registry", "token", "metadata"])) {
    const [said, wanted] = [stated[what], here[what]];
    if (said !== undefined) checkSame(`the proof file's ${what}`, String(wanted), String(said).toLowerCase());
  }
}

/**
 * @param {string} what
 * @param {string | number} expected
 * @param {string | number} found
 */
function checkSame(what, expected, found) {
  if (expected !== found) throw new IntegrityError(what, expected, found);
}

/** @param {Uint8Array} leaf */
function short(leaf) {
  return `${toHex(leaf).slice(0, 12)}…`;
}
