/**
 * Verifies a file, a digest or a proof file against one token, in the steps of alithis/verify/steps.py:
 * record, metadata, commitment, leaf, position, path. The verdict is `included` or `absent` if every
 * step passed, else `unverifiable`, and the last step says why.
 */

import { toHex } from "../core/bytes.js";
import {
  AlithisError,
  allFailed,
  IntegrityError,
  messageOf,
  ProofError,
  SourceError,
  UnavailableError,
} from "../core/errors.js";
import { checkOpening } from "../core/keyed.js";
import { Lookup } from "../core/manifest.js";
import { checkProof } from "../core/proof.js";

/** @import {Digest} from "../forms/digest.js" */
/** @import {Form, Metadata} from "../core/metadata.js" */
/** @import {Proof, Subject} from "../core/proof.js" */
/** @import {Registry, Token} from "../chain/registry.js" */
/** @import {Found, Gateway, Shelf} from "../chain/gateway.js" */

/** Each step needs the ones before it. */
const STEPS = /** @type {const} */ (["record", "metadata", "commitment", "leaf", "position", "path"]);

/**
 * @typedef {object} Target what is verified
 * @property {string} name
 * @property {"file" | "digest" | "proof"} kind
 * @property {number} [size] bytes
 * @property {((form: Form) => Promise<Digest>)} [digest] computes the data point's digest; missing for a proof file alone
 * @property {{proof: Proof, subject: Subject}} [brought] the content of the proof file
 */
/** @typedef {typeof STEPS[number]} StepName */
/**
 * @typedef {object} Step
 * @property {StepName} step
 * @property {boolean} ok
 * @property {boolean} skipped there was nothing to check: a proof file does not need the metadata
 * @property {boolean} technical the detail needs knowledge of proofs
 * @property {string} detail
 */
/**
 * @typedef {object} Result
 * @property {Token} token
 * @property {Metadata | null} metadata
 * @property {"included" | "absent" | "unverifiable"} verdict
 * @property {number | null} index
 * @property {Proof | null} proof
 * @property {Gateway | null} gateway the one that served the proof's hashes, or the metadata
 * @property {Step[]} steps
 * @property {{reads: number, bytes: number}} cost range reads, and the bytes that they returned
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
  /** @type {Step[]} */
  const steps = [];
  for (const step of STEPS) {
    try {
      const detail = await verification[step]();
      const skipped = (step === "metadata" || step === "commitment") && verification.found === null;
      steps.push({ step, ok: true, skipped, technical: true, detail });
    } catch (error) {
      const technical = error instanceof AlithisError && error.technical;
      steps.push({ step, ok: false, skipped: false, technical, detail: messageOf(error) });
      break;
    }
  }
  return verification.result(steps);
}

/** One verification. Each step is a method: it returns what it found, or throws. */
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
    this.ordered = false; // whether the order of the whole list was checked
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
      return `not needed: the proof file has the path (${messageOf(error)})`;
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
          "its entries are private, so only its publisher knows which entry stands for which file: ask the publisher for a proof file, and drop it here together with your file",
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
        "the proof file does not say which file its private entry stands for: ask the publisher for a proof file that does",
      );
    } else checkSame("leaf that the proof file is about", toHex(digest), toHex(brought.leaf));
    return `${toHex(brought.leaf)}, ${this.origin()}, and in the proof file`;
  }

  /** @param {Proof} brought */
  bareLeaf(brought) {
    const from = `${toHex(brought.leaf)}, from the proof file`;
    if (brought.kind === "inclusion" && brought.opening) {
      checkOpening(brought.opening, brought.leaf);
      return `${from}, which names the data point: digest ${toHex(brought.opening.digest)}`;
    }
    if (brought.kind === "absence") {
      const { form } = this.metadataForAbsence();
      if (this.token.scheme !== "keyed") return `${from}; the leaves are digests in the canonical form ${form.name}`;
      throw new SourceError(
        "the entries are private, so the proof file's absent entry shows nothing about any file: ask the publisher for a proof file about yours",
      );
    }
    if (this.token.scheme !== "keyed") return from;
    return `${from}; only its publisher knows which data point it stands for`;
  }

  /** Compute the digest in the artifact's form; if that is unknown, of the file's bytes. */
  async digest() {
    const { digest } = this.target;
    if (!digest) throw new SourceError("there is no file or fingerprint to compare");
    const absence = this.target.brought?.proof.kind === "absence";
    const form = absence ? this.metadataForAbsence().form : this.found?.metadata.form;
    const made = await digest(form ?? { name: "bytes" });
    this.lossy = made.lossy;
    return made.digest;
  }

  /** Return the metadata: in another form than the list's, every file is absent. */
  metadataForAbsence() {
    if (this.found) return this.found.metadata;
    throw new SourceError(
      "no gateway has its description, which states how files are compared; without it, absence cannot be checked: try again later",
    );
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
      throw new SourceError("not found, but its list was proved to be out of order, so it may be anywhere in it");
    if (this.lossy) {
      throw new SourceError(
        "not found; but programs decode this kind of image in slightly different ways, so this browser cannot show that it is absent",
      );
    }
    const left = proof.left ? `after ${short(proof.left.leaf)} at ${proof.left.index}` : "before all others";
    const right = proof.right ? `before ${short(proof.right.leaf)} at ${proof.right.index}` : "after all others";
    const order = this.ordered
      ? "all leaves were read and ascend"
      : "the order of all leaves was not checked: alithis audit does";
    return `not found: it would stand ${left}, ${right}; ${order}`;
  }

  /** Try one gateway after the other, until the hashes from one lead to the root. */
  async lookUp() {
    if (!this.found || !this.value) throw new UnavailableError("no gateway has its published list");
    const { gateway: first, metadata } = this.found;
    const failures = [];
    for (const gateway of [first, ...this.shelf.gateways.filter((each) => each !== first)]) {
      const lookup = new Lookup(metadata, (entry, offset, length) => gateway.range(entry, offset, length));
      try {
        const proof = await lookup.prove(this.value);
        checkProof(proof, this.token.root, this.token.size);
        this.found = { gateway, metadata };
        this.ordered = lookup.ordered;
        return proof;
      } catch (error) {
        gateway.forget();
        failures.push(attributed(error, gateway));
      } finally {
        this.cost.reads += lookup.reads;
        this.cost.bytes += lookup.bytes;
      }
    }
    throw allFailed(failures);
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
 * Return what a proof file says about the token that it is for.
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
 * Return the tokens to verify a target against: the one that its proof file names, or else all.
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
 * Name the gateway in an error that does not name it yet.
 * @param {unknown} error
 * @param {Gateway} gateway
 */
function attributed(error, gateway) {
  if (error instanceof AlithisError && !error.message.includes(gateway.who)) {
    error.message = `${gateway.who}: ${error.message}`;
  }
  return error;
}

/**
 * Check that a proof file does not name another commitment than this one.
 * @param {Subject} stated
 * @param {Token} token
 * @param {Registry} registry
 */
function checkSubject(stated, token, registry) {
  const here = subjectOf(token, registry);
  for (const what of /** @type {const} */ (["chain", "registry", "token", "metadata"])) {
    const [found, expected] = [stated[what], here[what]];
    if (found === undefined || String(found).toLowerCase() === String(expected)) continue;
    const error = new IntegrityError(`the proof file's ${what}`, String(expected), String(found).toLowerCase());
    error.technical = false; // it names another dataset, which needs no knowledge of proofs
    throw error;
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
