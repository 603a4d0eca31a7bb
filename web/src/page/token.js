/** The view of one token: description, lineage, links, claims and files. */

import { claimTexts } from "../chain/claims.js";
import { around, linksTo, versionsOf } from "../chain/lineage.js";
import { MAX_CLAIMS } from "../chain/registry.js";
import { toHex } from "../core/bytes.js";
import { rawCid } from "../core/cid.js";
import { AlithisError, messageOf } from "../core/errors.js";
import { isObject, Real } from "../core/json.js";
import { copyable, h, icon, outward } from "./dom.js";
import { lineageGraph } from "./graph.js";
import { claimAnswers, linkAction } from "./wallet.js";
import {
  bytes,
  counted,
  date,
  formWords,
  gradeWords,
  marks,
  nameOf,
  number,
  RELATION,
  showName,
  term,
} from "./words.js";

/** @import {Chain, Session} from "./session.js" */
/** @import {Found} from "../chain/gateway.js" */
/** @import {Claim, Link, Registry, Token} from "../chain/registry.js" */
/** @import {Metadata} from "../core/metadata.js" */
/** @import {Json} from "../core/json.js" */
/** @import {Child} from "./dom.js" */

/**
 * @param {Session} session
 * @param {number} id
 * @returns {Promise<HTMLElement>}
 */
export async function tokenView(session, id) {
  const chain = await session.chain();
  const token = chain.tokens[id - 1];
  if (!token) return missing(id, chain.tokens.length);
  /** @type {unknown} */
  let problem = null;
  const found = await session.shelf.open(token.metadataDigest).catch((error) => {
    problem = error;
    return null;
  });
  const metadata = found?.metadata ?? null;
  const notes = marks(token);
  const stated = term(metadata, "description");
  const description = stated === metadata?.name ? null : stated;
  return h(
    "article.token",
    {},
    h("p", {}, h("a", { href: "#explore" }, "← All datasets and models")),
    h("div.title", {}, icon(token.kind), h("h1.small", {}, nameOf(token, metadata))),
    h("p.faint", {}, `${token.kind === "model" ? "Model" : "Dataset"} ${id}, published ${date(token.time)}`),
    notes.length > 0 && h("ul.marks", {}, ...notes.map((note) => h("li", {}, icon("alert"), note))),
    !found &&
      h("p.reason", {}, `Its description is not available, so only the registry's record is shown. ${reason(problem)}`),
    description && h("p.lead", {}, description),
    facts(token, metadata),
    section("Lineage", lineage(chain, token, session)),
    section("Links", links(chain, token, session)),
    versions(chain, token, session),
    metadata && token.kind === "model" && training(metadata),
    token.claims > 0 && section("Claims", claims(chain, token, session)),
    details(token, chain, found),
  );
}

/**
 * Say why a description is not available, without technical details.
 * @param {unknown} error
 */
function reason(error) {
  const technical = error instanceof AlithisError && error.technical;
  return technical ? "What the gateways sent is not the published description." : `${messageOf(error)}.`;
}

/**
 * @param {number} id
 * @param {number} count
 */
function missing(id, count) {
  const words = count ? `Datasets and models have the numbers 1 to ${count}.` : "Nothing has been published yet.";
  return h(
    "section",
    {},
    h("h1.small", {}, `There is no dataset or model ${id}`),
    h("p", {}, words),
    h("p", {}, h("a", { href: "#explore" }, "See all datasets and models")),
  );
}

/**
 * @param {string} title
 * @param {...Child} children
 */
function section(title, ...children) {
  return h("section.part", {}, h("h2", {}, title), ...children);
}

/**
 * @param {string} name
 * @param {Child} value
 */
function fact(name, value) {
  return value === null || value === "" ? null : h("div", {}, h("dt", {}, name), h("dd", {}, value));
}

/**
 * @param {Token} token
 * @param {Metadata | null} metadata
 */
function facts(token, metadata) {
  const [license, url] = [term(metadata, "license"), term(metadata, "url")];
  const entries = `${number(token.size)}${metadata && metadata.items !== metadata.size ? ` different, ${number(metadata.items)} with repeats` : ""}`;
  return h(
    "dl.facts",
    {},
    fact(token.kind === "model" ? "Parts" : "Entries", entries),
    fact("Compared as", metadata && formWords(metadata.form)),
    fact("Licence", license && outward(license)),
    fact("Home page", url && outward(url)),
    fact("Version", term(metadata, "version")),
    fact("Authors", metadata && authors(metadata.document.creator)),
    fact("Data mining", mining(metadata)),
    fact("Publisher", copyable(token.publisher, "the publisher's address")),
    token.owner === token.publisher ? null : fact("Owner now", copyable(token.owner, "the owner's address")),
    token.scheme === "keyed"
      ? fact(
          "Privacy",
          "The entries are private: only the publisher can show, with a proof file, what an entry stands for",
        )
      : null,
    fact(
      "Proofs on record",
      token.attestations ? `entries were proved to be in it ${counted(token.attestations, "time")}` : null,
    ),
  );
}

/** @param {Json | undefined} creator */
function authors(creator) {
  const list = Array.isArray(creator) ? creator : creator ? [creator] : [];
  const names = list.map((each) => (isObject(each) ? each.name : each)).filter((name) => typeof name === "string");
  return names.slice(0, 20).join(", ");
}

/** @param {Metadata | null} metadata */
function mining(metadata) {
  const stated = metadata?.document["plus:DataMining"];
  const id = isObject(stated) ? stated["@id"] : null;
  const words = typeof id === "string" ? /DMI-([A-Z-]+)$/.exec(id)?.[1] : null;
  return words ? `${words.toLowerCase().replaceAll("-", " ")}, states its publisher` : null;
}

/**
 * @param {Chain} chain
 * @param {Token} token
 * @param {Session} session
 */
function lineage({ tokens }, token, session) {
  const found = around(tokens, token.id);
  if (found.nodes.length === 1) return h("p.faint", {}, "It has no links to other datasets or models.");
  return lineageGraph(found, token.id, tokens, session);
}

/**
 * @param {Chain} chain
 * @param {Token} token
 * @param {Session} session
 */
function versions({ tokens }, token, session) {
  const found = versionsOf(tokens, token.id);
  if (found.length < 2) return null;
  const items = found.map((each, at) => {
    const title = each === token ? h("strong", {}) : h("a", { href: `#token=${each.id}` });
    showName(title, each, session);
    const words = [at === found.length - 1 && "the newest", each.withdrawn && "withdrawn"].filter(Boolean);
    return h(
      "li",
      { "data-version": each.id },
      title,
      ` ${each.kind} ${each.id}, published ${date(each.time)}`,
      words.length > 0 && `: ${words.join(", ")}`,
    );
  });
  return section("Versions", h("ol.versions", {}, ...items));
}

/**
 * @param {Chain} chain
 * @param {Token} token
 * @param {Session} session
 */
function links(chain, token, session) {
  const back = linksTo(chain.tokens).get(token.id) ?? [];
  if (!token.links.length && !back.length) return h("p.faint", {}, "None.");
  return h(
    "div.columns",
    {},
    token.links.length > 0 && h("div", {}, h("h3", {}, "It"), linkList(token.links, chain, session, true)),
    back.length > 0 && h("div", {}, h("h3", {}, "What links to it"), linkList(back, chain, session, false)),
  );
}

/**
 * @param {readonly Link[]} found
 * @param {Chain} chain
 * @param {Session} session
 * @param {boolean} outgoing
 */
function linkList(found, chain, session, outgoing) {
  return h("ul.links", {}, ...found.slice(0, 200).map((link) => linkItem(link, chain, session, outgoing)));
}

/**
 * @param {Link} link
 * @param {Chain} chain
 * @param {Session} session
 * @param {boolean} outgoing
 */
function linkItem(link, { tokens }, session, outgoing) {
  const other = /** @type {Token} */ (tokens[(outgoing ? link.target : link.source) - 1]);
  const title = h("a", { href: `#token=${other.id}` });
  showName(title, other, session);
  const target = tokens[link.target - 1];
  const grade = h("span.grade", {});
  session.graded(link, tokens, (found) => {
    grade.dataset.grade = found.grade;
    grade.textContent = gradeWords(found, target);
  });
  const words = RELATION[link.relation];
  return h(
    "li",
    { "data-link": `${link.source}.${link.position}` },
    ...(outgoing ? [`${words} `, title] : [title, ` ${words} it`]),
    " ",
    grade,
    target && linkAction(link, target, session),
  );
}

/** @param {Metadata} metadata */
function training(metadata) {
  const ours = metadata.document.alithis;
  if (!isObject(ours)) return null;
  const tables = /** @type {const} */ ([
    ["Metrics", ours.metrics],
    ["Parameters", ours.parameters],
    ["Code", ours.code],
    ["Seeds", ours.seeds],
    ["Environment", ours.environment],
  ])
    .filter(([, value]) => isObject(value) && Object.keys(value).length)
    .map(([title, value]) =>
      h(
        "div",
        {},
        h("h3", {}, title),
        h(
          "dl.facts.small",
          {},
          ...Object.entries(isObject(value) ? value : {})
            .slice(0, 100)
            .map(([name, each]) => fact(name, plain(each))),
        ),
      ),
    );
  if (!tables.length && ours.complete !== false) return null;
  return section(
    "How it was made, according to its publisher",
    ours.complete === false && h("p.reason", {}, "The recorded training run did not finish."),
    h("div.columns", {}, ...tables),
  );
}

/** @param {Json | undefined} value */
function plain(value) {
  if (value instanceof Real) return String(value.value);
  if (typeof value === "object" && value !== null) return "(several values)";
  return String(value).slice(0, 200);
}

/**
 * @param {Chain} chain
 * @param {Token} token
 * @param {Session} session
 */
function claims({ registry }, token, session) {
  const place = h("div", {}, h("p.faint", { role: "status" }, "Reading the claims…"));
  registry.claims(token.id, token.claims).then(
    (found) => {
      place.replaceChildren(
        h("p.faint", {}, "A claimant has proved that the entry is in this list, not that they have rights in it."),
        h(
          "ol.claims",
          {},
          ...found.map((claim) =>
            h(
              "li",
              { "data-claim": claim.number, value: claim.number },
              h("span.grade", { "data-status": claim.status }, claim.status === "open" ? "not answered" : claim.status),
              ` ${date(claim.time)}, by `,
              h("code", {}, claim.claimant),
              ", about ",
              claimed(claim, token),
              h("div", { class: "texts", "data-texts": claim.number }),
              claimAnswers(token, claim, session),
            ),
          ),
        ),
        h("p.faint", {}, "Claims and answers are the words and links of their authors. They are not checked."),
        ...(token.claims > MAX_CLAIMS ? [h("p.faint", {}, `…and ${number(token.claims - MAX_CLAIMS)} more.`)] : []),
      );
      addTexts(place, registry, token, found);
    },
    (error) => place.replaceChildren(h("p.reason", {}, `The claims could not be read: ${messageOf(error)}.`)),
  );
  return place;
}

/**
 * Add the texts of claims and answers, if the node still has them.
 * @param {HTMLElement} place
 * @param {Registry} registry
 * @param {Token} token
 * @param {readonly Claim[]} claims
 */
async function addTexts(place, registry, token, claims) {
  const texts = await claimTexts(registry, token.id, claims).catch(() => new Map());
  for (const element of place.querySelectorAll("[data-texts]")) {
    const text = texts.get(Number(/** @type {HTMLElement} */ (element).dataset.texts));
    if (text?.claim) element.append(h("p", {}, "Claim: ", outward(text.claim)));
    if (text?.answer) element.append(h("p", {}, "Answer: ", outward(text.answer)));
  }
}

/**
 * Return the entry that a claim is about. A keyed leaf is not the digest of a file, so it has no link.
 * @param {import("../chain/registry.js").Claim} claim
 * @param {Token} token
 */
function claimed({ leaf }, token) {
  const words = `entry ${toHex(leaf).slice(0, 12)}…`;
  return token.scheme === "sha256" ? h("a", { href: `#sha256=${toHex(leaf)}` }, words) : words;
}

/**
 * @param {Token} token
 * @param {Chain} chain
 * @param {Found | null} found
 */
function details(token, { registry }, found) {
  const metadata = found?.metadata;
  return h(
    "details.part",
    {},
    h("summary", {}, h("h2", {}, "Technical details")),
    h(
      "dl.facts",
      {},
      fact("Root", copyable(toHex(token.root), "the root")),
      fact("Description's SHA-256", copyable(toHex(token.metadataDigest), "the SHA-256")),
      fact("Description's CID", copyable(rawCid(token.metadataDigest), "the CID")),
      fact("Read from", found && `${found.gateway.who}; its SHA-256 is the one on the chain`),
      fact("Registry", copyable(registry.address, "the registry's address")),
      fact("Chain", `${registry.chain}, read at block ${number(registry.block)}`),
    ),
    metadata &&
      h(
        "div.scroll",
        { tabindex: 0, role: "region", "aria-label": "Files" },
        h(
          "table",
          {},
          h(
            "thead",
            {},
            h(
              "tr",
              {},
              h("th", { scope: "col" }, "File"),
              h("th", { scope: "col" }, "Size"),
              h("th", { scope: "col" }, "CID"),
            ),
          ),
          h(
            "tbody",
            {},
            ...metadata.files.map((file) =>
              h(
                "tr",
                {},
                h("th", { scope: "row" }, file.name),
                h("td", {}, bytes(file.size)),
                h("td", {}, h("code", {}, file.cid)),
              ),
            ),
          ),
        ),
      ),
  );
}
