/** The answer for one file and one token, as a card. */

import { madeFrom } from "../chain/lineage.js";
import { said } from "../core/errors.js";
import { itemsFiles } from "../core/metadata.js";
import { dumpProof } from "../core/proof.js";
import { subjectOf } from "../work/verify.js";
import { h, icon, save } from "./dom.js";
import { brief, bytes, counted, formWords, gradeWords, marks, nameOf, number, RELATION } from "./words.js";

/** @import {Chain, Session} from "./session.js" */
/** @import {Result, Step} from "../work/verify.js" */
/** @import {Reached} from "../chain/lineage.js" */
/** @import {Token} from "../chain/registry.js" */

const MAX_SHOWN = 50; // models

/** What each check is for, in words that need no cryptography. @type {Record<Step["step"], [string, string]>} */
const CHECKS = {
  record: [
    "The chain holds a commitment",
    "Root, size and publisher were read from the registry contract, not from anybody's website.",
  ],
  metadata: [
    "Its description is the one committed to",
    "The description was fetched and hashed here; its fingerprint is the one on the chain.",
  ],
  commitment: ["Description and chain agree", "Both state the same root and the same number of entries."],
  leaf: [
    "Your file's fingerprint was made its way",
    "A file is compared by its bytes, a picture by its pixels, a text by its characters: as its publisher chose.",
  ],
  position: [
    "The fingerprint was looked up",
    "Entries are in order, so a few small reads show where yours is, or between which two it would be.",
  ],
  path: [
    "The proof leads to the chain",
    "Hashing up from the entry gives exactly the root on the chain, which nobody can make up.",
  ],
};

/** What it means that a check failed. @type {Record<Step["step"], string>} */
const FAILURES = {
  record: "What the chain holds could not be read.",
  metadata: "Its description could not be had, or is not the one committed to.",
  commitment: "Its description contradicts the chain.",
  leaf: "There is nothing of yours that it could be compared with.",
  position: "Yours could not be looked up in it.",
  path: "The proof does not hold.",
};

const VERDICTS = /** @type {const} */ ({
  included: ["Included", "check"],
  absent: ["Absent", "minus"],
  unverifiable: ["Could not check", "alert"],
});

/** @param {Result["verdict"]} verdict */
export function badge(verdict) {
  const [words, name] = VERDICTS[verdict];
  return h("span.badge", { "data-verdict": verdict }, icon(name), words);
}

/**
 * @param {Result} result
 * @param {Chain} chain
 * @param {Session} session
 * @param {HTMLElement | null} actions what a wallet could do about it
 */
export function resultCard(result, chain, session, actions) {
  const { token, metadata, verdict } = result;
  const name = nameOf(token, metadata);
  const notes = marks(token);
  return h(
    "article.card.result",
    { "data-verdict": verdict, "data-token": token.id, "aria-label": `${name}: ${VERDICTS[verdict][0]}` },
    h(
      "header.result-head",
      {},
      icon(token.kind),
      h("h3", {}, h("a", { href: `#token=${token.id}` }, name)),
      h("span.faint", {}, `${token.kind} · token ${token.id}`),
      badge(verdict),
    ),
    explanation(result),
    notes.length > 0 && h("ul.marks", {}, ...notes.map((note) => h("li", {}, icon("alert"), note))),
    verdict === "included" && token.kind === "dataset" && models(result, chain, session),
    verdict === "included" && label(result, session),
    h("div.row", {}, result.proof && downloadButton(result, chain), verdict === "included" && actions),
    checks(result),
  );
}

/** @param {Result} result */
function explanation({ verdict, token, metadata, index, steps }) {
  const form = metadata ? formWords(metadata.form) : "entries";
  if (verdict === "included") {
    return h(
      "p",
      {},
      `Entry ${number(/** @type {number} */ (index) + 1)} of ${number(token.size)}. The ${token.kind} that ${brief(token.publisher)} published commits to it.`,
    );
  }
  if (verdict === "absent") {
    return h(
      "p",
      {},
      `Not among the ${counted(token.size, "entry", "entries")} committed to. They are compared as ${form}; a crop or another encoding would not be seen.`,
    );
  }
  const failed = steps.at(-1);
  if (!failed) return null;
  const briefly = failed.detail.replace(/[0-9a-f]{64}/g, (hash) => `${hash.slice(0, 12)}…`); // in full among the checks
  return h("p.reason", {}, `${FAILURES[failed.step]} `, h("span", {}, sentence(briefly)));
}

/** @param {string} text */
function sentence(text) {
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}.`;
}

/** @param {Result} result */
function checks({ steps, cost }) {
  const passed = steps.filter((step) => step.ok).length;
  const words =
    passed === steps.length ? `${passed} checks made in this browser, all passed` : `${passed} checks passed, 1 failed`;
  const reads = cost.reads ? ` · ${counted(cost.reads, "small read")}, ${bytes(cost.bytes)}` : "";
  return h("details.checks", {}, h("summary", {}, words, h("span.faint", {}, reads)), h("ol", {}, ...steps.map(check)));
}

/** @param {Step} step */
function check({ step, ok, detail }) {
  const [title, why] = CHECKS[step];
  return h(
    "li",
    {},
    h(
      "details",
      { "data-step": step, "data-ok": String(ok), open: !ok },
      h(
        "summary",
        {},
        icon(ok ? "check" : "cross"),
        title,
        h("span.visually-hidden", {}, ok ? " (passed)" : " (failed)"),
      ),
      h("p", {}, why),
      h("p.exact", {}, h("code", {}, detail)),
    ),
  );
}

/**
 * @param {Result} result
 * @param {Chain} chain
 */
function downloadButton({ proof, token, metadata }, { registry }) {
  const click = () => {
    if (proof) save(`token-${token.id}.proof.json`, dumpProof(proof, subjectOf(token, registry, metadata?.name)));
  };
  return h("button", { type: "button", click }, icon("download"), "Download the proof");
}

/**
 * What was made from a dataset, directly and through others.
 * @param {Result} result
 * @param {Chain} chain
 * @param {Session} session
 */
function models({ token }, chain, session) {
  const reached = madeFrom(chain.tokens, token.id);
  if (!reached.length) {
    return h(
      "p.faint",
      {},
      "No published model or dataset links to it. That does not mean that none was made from it.",
    );
  }
  const list = h("ul.models", {});
  for (const each of reached.slice(0, MAX_SHOWN)) list.append(model(each, chain, session));
  const rest = reached.length - MAX_SHOWN;
  const more =
    rest > 0 &&
    h(
      "p.faint",
      {},
      `…and at least ${number(rest)} more: see the lineage of `,
      h("a", { href: `#token=${token.id}` }, `token ${token.id}`),
      ".",
    );
  return h("section.linked", {}, h("h4", {}, "What is linked to it"), list, more);
}

/**
 * @param {Reached} reached
 * @param {Chain} chain
 * @param {Session} session
 */
function model({ token, links }, chain, session) {
  const title = h("a", { href: `#token=${token.id}` }, nameOf(token, null));
  session.metadata(token).then((metadata) => {
    title.textContent = nameOf(token, metadata);
  });
  return h(
    "li",
    { "data-model": token.id },
    h("div.model-head", {}, icon(token.kind), title, h("span.faint", {}, `${token.kind} · token ${token.id}`)),
    h("ol.way", {}, ...links.toReversed().map((link, at) => step(link, at, links[0]?.target, chain, session))),
    h("ul.marks", {}, ...marks(token).map((note) => h("li", {}, icon("alert"), note))),
  );
}

/**
 * @param {import("../chain/registry.js").Link} link
 * @param {number} at its place on the way
 * @param {number | undefined} dataset where the way leads
 * @param {Chain} chain
 * @param {Session} session
 */
function step(link, at, dataset, { tokens }, session) {
  const target = tokens[link.target - 1];
  const grade = h("span.grade", {});
  const used = h("span.faint", {});
  const other = h("span", {}, "this dataset");
  if (target && target.id !== dataset) {
    other.textContent = `token ${target.id}`;
    session.metadata(target).then((metadata) => {
      other.textContent = nameOf(target, metadata);
    });
  }
  session.graded(link, tokens, (found) => {
    grade.dataset.grade = found.grade;
    grade.textContent = gradeWords(found, target);
    const { transcript } = found;
    if (!transcript) return;
    const all = transcript.seen + transcript.unseen;
    used.textContent = `The training run used ${number(transcript.seen)} of its ${number(all)} entries and ${number(transcript.foreign)} others.`;
  });
  return h("li", {}, h("span", {}, at > 0 && "which ", RELATION[link.relation], " ", other), grade, used);
}

/**
 * What the publisher says of the entry; asked for, as it may be a large file.
 * @param {Result} result
 * @param {Session} session
 */
function label({ metadata, gateway, proof }, session) {
  const [items, second] = metadata ? itemsFiles(metadata) : [];
  if (!items || second || !gateway || !proof) return false;
  const place = h("div.label", {});
  const look = async () => {
    place.replaceChildren(h("p.faint", { role: "status" }, "Reading…"));
    try {
      const found = await session.hasher.rows(await gateway.whole(items), proof.leaf);
      place.replaceChildren(...labelRows(found));
    } catch (error) {
      place.replaceChildren(h("p.reason", { role: "status" }, sentence(said(error))));
    }
  };
  place.append(
    h("button.quiet", { type: "button", click: look }, `What does the publisher call it? (reads ${bytes(items.size)})`),
  );
  return place;
}

/** @param {import("../work/items.js").Rows} found */
function labelRows({ rows, more }) {
  if (!rows.length) return [h("p.faint", {}, "The publisher's list does not name it.")];
  return [
    h("p.faint", {}, "The publisher's own words, checked against the description's SHA-256:"),
    ...rows.map((row) =>
      h(
        "dl.facts.small",
        {},
        ...Object.entries(row).map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))),
      ),
    ),
    more && h("p.faint", {}, "…and more of the same."),
  ].filter((each) => each !== false);
}

/**
 * Whether the artifact holds another kind of data, so that the file could be nothing in it.
 * @param {Result} result
 */
export function isOfAnotherKind({ token, steps }) {
  const failed = steps.at(-1);
  return failed?.step === "leaf" && !failed.ok && token.scheme !== "keyed";
}

/**
 * Datasets before models, each by number.
 * @param {Token} token
 */
export function order(token) {
  return token.kind === "dataset" ? token.id : token.id + 1e9;
}
