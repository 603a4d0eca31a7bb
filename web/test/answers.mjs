/** Lets the tests call the page's functions: one JSON object per line in, one out. */

import { createInterface } from "node:readline";
import { madeFrom } from "../src/chain/lineage.js";
import { fromHex, rows, toHex } from "../src/core/bytes.js";
import { rawCid } from "../src/core/cid.js";
import { AlithisError } from "../src/core/errors.js";
import { evidence } from "../src/core/grade.js";
import { keyedLeaf } from "../src/core/keyed.js";
import { Lookup } from "../src/core/manifest.js";
import {
  leafHash,
  pathFromNodes,
  rootFromPath,
  subtreeRoot,
  verifyExclusion,
  verifyInclusion,
} from "../src/core/merkle.js";
import { loadMetadata } from "../src/core/metadata.js";
import { checkProof, dumpProof, loadProof, looksLikeProof } from "../src/core/proof.js";
import { decodedDigest } from "../src/forms/digest.js";

const list = (hashes) => hashes.map(fromHex);
const side = (neighbour) => neighbour && { leaf: fromHex(neighbour.leaf), path: list(neighbour.path) };

const ANSWERS = {
  cid: ({ digest }) => rawCid(fromHex(digest)),
  leaf: ({ key, digest }) => toHex(keyedLeaf(fromHex(key), fromHex(digest))),
  digest: async ({ data, form }) => toHex((await decodedDigest(fromHex(data), form)).digest),
  root: ({ leaf, index, size, path }) => toHex(rootFromPath(leafHash(fromHex(leaf)), index, size, list(path))),
  inclusion: ({ root, size, leaf, index, path }) =>
    verifyInclusion(fromHex(root), size, fromHex(leaf), index, list(path)),
  exclusion: ({ root, size, leaf, index, left, right }) =>
    verifyExclusion(fromHex(root), size, fromHex(leaf), index, side(left), side(right)),
  path: async ({ leaves, index, frontier }) => {
    const hashes = list(leaves).map(leafHash);
    const node = async (height, at) => subtreeRoot(hashes.slice(at * 2 ** height, (at + 1) * 2 ** height));
    return (await pathFromNodes(index, leaves.length, node, list(frontier))).map(toHex);
  },
  metadata: ({ data }) => {
    const { document: _, digest, root, frontier, files, ...facts } = loadMetadata(fromHex(data));
    const entries = files.map((file) => ({ ...file, sha256: toHex(file.sha256) }));
    return { ...facts, digest: toHex(digest), root: toHex(root), frontier: frontier.map(toHex), files: entries };
  },
  /** Return what was made from a token; links are [source, target, relation]. */
  made: ({ count, links, id }) => {
    const tokens = Array.from({ length: count }, (_, at) => ({ id: at + 1, links: [] }));
    for (const [source, target, relation] of links) tokens[source - 1].links.push({ source, target, relation });
    return madeFrom(tokens, id).map((reached) => [reached.token.id, reached.links.map((link) => link.relation)]);
  },
  /** Return the grade of a link; the model's metadata is hexadecimal, or null. */
  grade: ({ link, source, target, metadata }) => {
    const end = ({ root, metadata, ...facts }) => ({
      ...facts,
      root: fromHex(root),
      metadataDigest: fromHex(metadata),
    });
    const { grade, transcript } = evidence(link, end(source), end(target), metadata && loadMetadata(fromHex(metadata)));
    return { grade, transcript: transcript && { ...transcript, root: transcript.root && toHex(transcript.root) } };
  },
  /** Read a proof file, check it, and write it again. */
  proof: ({ data, root, size }) => {
    const { proof, subject } = loadProof(fromHex(data));
    checkProof(proof, fromHex(root), size);
    return dumpProof(proof, subject);
  },
  looks: ({ data }) => looksLikeProof(fromHex(data)),
  read: ({ data }) => dumpProof(loadProof(fromHex(data)).proof, {}),
  /** Prove leaves; the manifest's files are given whole. */
  prove: async ({ metadata, files, leaves }) => {
    const stated = loadMetadata(fromHex(metadata));
    const contents = Object.fromEntries(Object.entries(files).map(([name, hex]) => [name, fromHex(hex)]));
    const found = [];
    for (const leaf of rows(fromHex(leaves), 32)) {
      const lookup = new Lookup(stated, async ({ name }, at, length) => contents[name].subarray(at, at + length));
      const proof = await lookup.prove(leaf);
      checkProof(proof, stated.root, stated.size);
      found.push({ proof: dumpProof(proof, {}), reads: lookup.reads, bytes: lookup.bytes, ordered: lookup.ordered });
    }
    return found;
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const { ask, ...question } = JSON.parse(line);
  let answer;
  try {
    answer = { ok: (await ANSWERS[ask](question)) ?? null };
  } catch (error) {
    if (!(error instanceof AlithisError)) throw error; // a bug, not a refusal
    answer = { refused: error.message };
  }
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
