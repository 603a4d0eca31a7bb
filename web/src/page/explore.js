/** The view of all tokens, with search and filters. */

import { h, icon } from "./dom.js";
import { each } from "./session.js";
import { brief, counted, date, marks, nameOf, term } from "./words.js";

/** @import {Session} from "./session.js" */
/** @import {Token} from "../chain/registry.js" */
/** @import {Metadata} from "../core/metadata.js" */

const SHOWN = 60;
const AT_ONCE = 6; // descriptions that are read in parallel
const FILTERS = /** @type {const} */ ({
  all: ["All", () => true],
  dataset: ["Datasets", (/** @type {Token} */ token) => token.kind === "dataset"],
  model: ["Models", (/** @type {Token} */ token) => token.kind === "model"],
  current: [
    "Current only",
    (/** @type {Token} */ token) => !token.withdrawn && !token.supersededBy && !token.disordered,
  ],
  claimed: ["With open claims", (/** @type {Token} */ token) => token.openClaims > 0],
});

/** @typedef {{token: Token, metadata: Metadata | null | undefined, element: HTMLElement}} Entry */

/**
 * @param {Session} session
 * @returns {Promise<HTMLElement>}
 */
export async function exploreView(session) {
  const { tokens } = await session.chain();
  if (!tokens.length) {
    return h(
      "section",
      {},
      h("h1.small", {}, "Explore"),
      h("p.empty", {}, "Nothing has been published in this registry yet."),
    );
  }
  /** @type {Entry[]} */
  const entries = tokens.toReversed().map((token) => ({ token, metadata: undefined, element: h("li", {}) }));
  for (const entry of entries) draw(entry);
  const list = new List(entries, session);
  session.hinted.then(() => list.show());
  return list.element;
}

class List {
  /**
   * @param {Entry[]} entries
   * @param {Session} session
   */
  constructor(entries, session) {
    this.entries = entries;
    this.session = session;
    /** @type {Set<Entry>} */
    this.asked = new Set();
    this.limit = SHOWN;
    /** @type {keyof typeof FILTERS} */
    this.filter = "all";
    this.search = h("input", {
      type: "search",
      id: "search",
      placeholder: "Name, publisher, licence, number…",
      input: () => this.show(),
    });
    this.list = h("ul.grid", {});
    this.count = h("p.faint", { role: "status" });
    this.more = h("button", { type: "button", click: () => this.extend() }, "Show more");
    this.element = h(
      "section",
      {},
      h("h1.small", {}, "Explore"),
      h("p.lead", {}, "Every dataset and model in the registry, newest first."),
      h(
        "div.tools",
        {},
        h("label.search", { for: "search" }, h("span.visually-hidden", {}, "Search"), icon("search"), this.search),
        this.filters(),
      ),
      this.count,
      this.list,
      this.more,
    );
    this.show();
  }

  filters() {
    const names = /** @type {Array<keyof typeof FILTERS>} */ (Object.keys(FILTERS));
    return h(
      "fieldset.chips",
      {},
      h("legend.visually-hidden", {}, "Show"),
      ...names.map((name) => {
        const change = () => {
          this.filter = name;
          this.show();
        };
        return h(
          "label.chip",
          {},
          h("input", { type: "radio", name: "filter", checked: name === this.filter, change }),
          h("span", {}, FILTERS[name][0]),
        );
      }),
    );
  }

  extend() {
    this.limit += SHOWN;
    this.show();
  }

  show() {
    const words = this.search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const [, fits] = FILTERS[this.filter];
    /** @param {Entry} entry */
    const has = (entry) => words.every((word) => haystack(entry, this.session).includes(word));
    const found = this.entries.filter((entry) => fits(entry.token) && has(entry));
    this.list.replaceChildren(...found.slice(0, this.limit).map((entry) => entry.element));
    this.count.textContent = found.length
      ? counted(found.length, "dataset or model", "datasets and models")
      : "Nothing found. Try fewer words, or another filter.";
    this.more.hidden = found.length <= this.limit;
    // A search needs all descriptions; those that match by the server's hints are read first.
    this.describe(words.length ? [...found, ...this.entries] : found.slice(0, this.limit));
  }

  /**
   * Read the descriptions that have not been requested yet.
   * @param {readonly Entry[]} entries
   */
  describe(entries) {
    const unasked = [...new Set(entries)].filter((entry) => !this.asked.has(entry));
    for (const entry of unasked) this.asked.add(entry);
    each(unasked, AT_ONCE, async (entry) => {
      entry.metadata = await this.session.metadata(entry.token);
      draw(entry);
      if (this.search.value) this.show();
    });
  }
}

/**
 * Return the text that a search looks through. Until a token's metadata is read, the server's hint is used.
 * @param {Entry} entry
 * @param {Session} session
 */
function haystack({ token, metadata }, session) {
  const words =
    metadata === undefined
      ? [session.hint(token)?.words]
      : [metadata?.name, term(metadata, "description"), term(metadata, "license"), metadata?.form.name];
  return [...words, token.publisher, token.owner, token.kind, `#${token.id}`, token.id].join(" ").toLowerCase();
}

/** @param {Entry} entry */
function draw({ token, metadata, element }) {
  const notes = marks(token);
  const size = token.kind === "model" ? counted(token.size, "part") : counted(token.size, "entry", "entries");
  const facts = [size, term(metadata, "license"), token.scheme === "keyed" && "private entries"].filter(Boolean);
  element.replaceChildren(
    h(
      "a.tile",
      { href: `#token=${token.id}`, "data-token": token.id, "data-loading": String(metadata === undefined) },
      h("span.tile-head", {}, icon(token.kind), h("strong", {}, nameOf(token, metadata))),
      h("span.tile-text", {}, described(metadata) ?? (metadata === null ? "Its description is not available." : "")),
      h("span.faint", {}, facts.join(" · ")),
      h("span.faint", {}, `${token.kind} ${token.id}, ${date(token.time)}, by ${brief(token.publisher)}`),
      notes.length > 0 && h("span.tile-marks", {}, icon("alert"), shortMarks(token)),
    ),
  );
}

/** @param {Metadata | null | undefined} metadata */
function described(metadata) {
  const stated = term(metadata, "description");
  return stated === metadata?.name ? null : stated;
}

/** @param {Token} token */
function shortMarks(token) {
  const found = [token.disordered && "out of order", token.withdrawn && "withdrawn", token.supersededBy && "replaced"];
  if (token.openClaims) found.push(counted(token.openClaims, "open claim"));
  return found.filter(Boolean).join(", ");
}
