/** The result for one file and one token, as a card. */

import { madeFrom } from "../chain/lineage.js";
import { messageOf } from "../core/errors.js";
import { itemsFiles } from "../core/metadata.js";
import { dumpProof } from "../core/proof.js";
import { subjectOf } from "../work/verify.js";
import { h, icon, save } from "./dom.js";
import { brief, bytes, counted, formWords, gradeWords, marks, nameOf, number, RELATION, showName } from "./words.js";

/** @import {Chain, Session} from "./session.js" */
/** @import {Result, Step} from "../work/verify.js" */
/** @import {Reached} from "../chain/lineage.js" */
/** @import {Token} from "../chain/registry.js" */

const MAX_SHOWN = 50; // models
const HOW = "How this was checked";

/** The title of each check, and what it compares. @type {Record<Step["step"], [string, string]>} */
const CHECKS = {
  record: [
    "Read the registry's record",
    "Root, size and publisher are read from the registry contract on the blockchain, not from a website.",
  ],
  metadata: [
    "Compare the description's fingerprint",
    "The SHA-256 of the downloaded description must be the one in the record.",
  ],
  commitment: ["Compare the description with the record", "Both must state the same root, size, kind and scheme."],
  leaf: [
    "Determine the fingerprint to look for",
    "A file is compared as the publisher chose: by its bytes, a picture by its pixels, or a text by its characters.",
  ],
  position: [
    "Find its position in the list",
    "A list is sorted, so a fingerprint has one possible position: where it is, or between the two entries where it would be.",
  ],
  path: [
    "Check the proof",
    "Hashing from the entry, or from its two neighbours, up to the top of the tree must give the root in the record.",
  ],
};

/** What a failed check means. @type {Record<Step["step"], string>} */
const FAILURES = {
  record: "The registry's record could not be read.",
  metadata: "Its description could not be checked.",
  commitment: "Its description does not match the registry's record.",
  leaf: "It could not be compared.",
  position: "It is not certain whether the published list has it.",
  path: "The proof is not valid.",
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
 * @param {HTMLElement | null} actions the actions that need a wallet
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
      h("span.faint", {}, `${token.kind} ${token.id}`),
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
  if (verdict === "included") {
    return h(
      "p",
      {},
      `Entry ${number(/** @type {number} */ (index) + 1)} of ${number(token.size)} in the list that ${brief(token.publisher)} published for this ${token.kind}.`,
    );
  }
  if (verdict === "absent") {
    const form = metadata ? ` Entries are compared as ${formWords(metadata.form)}.` : "";
    return h(
      "p",
      {},
      `Not among the ${counted(token.size, "entry", "entries")} of the published list.${form} A changed version, such as a crop or another encoding, would not be found.`,
    );
  }
  const failed = steps.at(-1);
  if (!failed) return null;
  const kind =
    failed.step === "leaf" && metadata && token.scheme !== "keyed"
      ? `Entries are compared as ${formWords(metadata.form)}. `
      : "";
  const reason = failed.technical ? `The exact values are under “${HOW}”.` : sentence(failed.detail);
  return h("p.reason", {}, `${FAILURES[failed.step]} ${kind}`, h("span", {}, reason));
}

/** @param {string} text */
function sentence(text) {
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}.`;
}

/** @param {Result} result */
function checks({ steps, cost }) {
  const passed = steps.filter((step) => step.ok && !step.skipped).length;
  const skipped = steps.filter((step) => step.skipped).length;
  const words = [`${HOW}: ${counted(passed, "check")} passed in this browser`];
  if (skipped) words.push(`${skipped} not needed`);
  if (steps.some((step) => !step.ok)) words.push("1 failed");
  const reads = cost.reads ? ` · ${counted(cost.reads, "small read")}, ${bytes(cost.bytes)}` : "";
  return h(
    "details.checks",
    {},
    h("summary", {}, words.join(", "), h("span.faint", {}, reads)),
    h("ol", {}, ...steps.map(check)),
  );
}

/** @param {Step} step */
function check({ step, ok, skipped, detail }) {
  const [title, why] = CHECKS[step];
  const outcome = skipped ? "not needed" : ok ? "passed" : "failed";
  return h(
    "li",
    {},
    h(
      "details",
      { "data-step": step, "data-ok": String(ok), open: !ok },
      h(
        "summary",
        {},
        icon(skipped ? "minus" : ok ? "check" : "cross"),
        title,
        h("span.visually-hidden", {}, ` (${outcome})`),
      ),
      h("p", {}, skipped ? "The proof file can be checked without the description, which was not compared." : why),
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
 * Return what was made from a dataset, directly and through others.
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
      "No published model or dataset is linked to it. That does not mean that none was made from it.",
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
      h("a", { href: `#token=${token.id}` }, `${token.kind} ${token.id}`),
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
  const title = h("a", { href: `#token=${token.id}` });
  showName(title, token, session);
  return h(
    "li",
    { "data-model": token.id },
    h("div.model-head", {}, icon(token.kind), title, h("span.faint", {}, `${token.kind} ${token.id}`)),
    h("ol.way", {}, ...links.toReversed().map((link, at) => step(link, at, links[0]?.target, chain, session))),
    h("ul.marks", {}, ...marks(token).map((note) => h("li", {}, icon("alert"), note))),
  );
}

/**
 * @param {import("../chain/registry.js").Link} link
 * @param {number} at its position on the path, from the newest
 * @param {number | undefined} dataset the dataset that the path leads to
 * @param {Chain} chain
 * @param {Session} session
 */
function step(link, at, dataset, { tokens }, session) {
  const target = tokens[link.target - 1];
  const grade = h("span.grade", {});
  const used = h("span.faint", {});
  const other = h("span", {}, "this dataset");
  if (target && target.id !== dataset) showName(other, target, session);
  session.graded(link, tokens, (found) => {
    grade.dataset.grade = found.grade;
    grade.textContent = gradeWords(found, target);
    const { transcript } = found;
    if (!transcript) return;
    const all = transcript.seen + transcript.unseen;
    used.textContent = `Its publisher states that the training run used ${number(transcript.seen)} of its ${number(all)} entries and ${number(transcript.foreign)} others.`;
  });
  return h("li", {}, h("span", {}, at > 0 && "which ", RELATION[link.relation], " ", other), grade, used);
}

/**
 * Return a button that reads what the publisher says about the entry: the file may be large.
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
      place.replaceChildren(h("p.reason", { role: "status" }, sentence(messageOf(error))));
    }
  };
  place.append(
    h("button.quiet", { type: "button", click: look }, `What does the publisher call it? (reads ${bytes(items.size)})`),
  );
  return place;
}

/** @param {import("../work/items.js").Rows} found */
function labelRows({ rows, more }) {
  if (!rows.length) return [h("p.faint", {}, "The publisher says nothing about this entry.")];
  return [
    h("p.faint", {}, "The publisher's own words, from a file whose fingerprint is in the published description:"),
    ...rows.map((row) =>
      h(
        "dl.facts.small",
        {},
        ...Object.entries(row).map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))),
      ),
    ),
    more && h("p.faint", {}, "There are more rows for this entry."),
  ].filter((each) => each !== false);
}

/**
 * Return whether the file could not be compared, such as a text with a dataset of pictures.
 * @param {Result} result
 */
export function isOfAnotherKind({ token, steps }) {
  const failed = steps.at(-1);
  return failed?.step === "leaf" && !failed.ok && token.scheme !== "keyed";
}

/**
 * Return a sort key: datasets before models, each by id.
 * @param {Token} token
 */
export function order(token) {
  return token.kind === "dataset" ? token.id : token.id + 1e9;
}
