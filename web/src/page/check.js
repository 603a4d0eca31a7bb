/** The first view: drop files, and see which datasets contain them. */

import { toHex } from "../core/bytes.js";
import { messageOf } from "../core/errors.js";
import { tokensFor, verifyToken } from "../work/verify.js";
import { copyable, h, icon } from "./dom.js";
import { badge, isOfAnotherKind, order, resultCard } from "./result.js";
import { each } from "./session.js";
import { droppedFiles, MAX_FILES, ofDigest, pastedDigest, targetsOf } from "./targets.js";
import { entryActions } from "./wallet.js";
import { bytes, counted } from "./words.js";

/** @import {Session} from "./session.js" */
/** @import {Asked} from "./targets.js" */
/** @import {Result} from "../work/verify.js" */

const AT_ONCE = 4; // datasets and models that are checked in parallel

/** @param {Session} session */
export function checkView(session) {
  const results = h("section.results", { "aria-label": "Results" });
  const status = h("p.visually-hidden", { role: "status", "aria-live": "polite" });
  const problem = h("p.reason", { role: "alert" });
  /** @param {readonly File[]} files */
  const take = async (files) => {
    problem.textContent = "";
    if (!files.length) return;
    try {
      const targets = await targetsOf(files, session.hasher);
      if (files.length > MAX_FILES)
        problem.textContent = `Only the first ${MAX_FILES} files are checked. Drop the others afterwards.`;
      await checkAll(targets, session, results, status);
    } catch (error) {
      problem.textContent = messageOf(error);
    }
  };
  return h("div", {}, hero(take, problem), status, results);
}

/**
 * The view that checks one digest: `#sha256=…`.
 * @param {Session} session
 * @param {string} hex
 */
export function digestView(session, hex) {
  const results = h("section.results", { "aria-label": "Results" });
  const status = h("p.visually-hidden", { role: "status", "aria-live": "polite" });
  checkAll([ofDigest(hex)], session, results, status);
  return h(
    "div",
    {},
    h("p", {}, h("a", { href: "#" }, "← Check something else")),
    h("h1.small", {}, "Check of a fingerprint"),
    h(
      "p.faint",
      {},
      "It is compared as it is. Pictures and texts can have two fingerprints: of the file, and of its pixels or characters. To check both, drop the file.",
    ),
    status,
    results,
  );
}

/**
 * @param {(files: readonly File[]) => void} take
 * @param {HTMLElement} problem
 */
function hero(take, problem) {
  /** @param {HTMLInputElement} input */
  const taken = (input) => {
    const chosen = [...(input.files ?? [])];
    input.value = ""; // so that the same file can be chosen again
    take(chosen);
  };
  const files = h("input.visually-hidden", {
    type: "file",
    multiple: true,
    id: "files",
    tabindex: -1,
    "aria-label": "Files to check",
    change: () => taken(files),
  });
  const folder = h("input.visually-hidden", {
    type: "file",
    webkitdirectory: true,
    id: "folder",
    tabindex: -1,
    "aria-label": "A folder to check",
    change: () => taken(folder),
  });
  const zone = h(
    "div.drop",
    {
      dragover: (/** @type {DragEvent} */ event) => {
        event.preventDefault();
        zone.classList.add("over");
      },
      dragleave: () => zone.classList.remove("over"),
      drop: async (/** @type {DragEvent} */ event) => {
        event.preventDefault();
        zone.classList.remove("over");
        if (event.dataTransfer) take(await droppedFiles(event.dataTransfer));
      },
    },
    icon("drop"),
    h("p.drop-title", {}, "Drop files or a folder here"),
    h("p.faint", {}, "Pictures, texts, any other file. You can drop proof files too."),
    h(
      "div.row",
      {},
      h("button.primary", { type: "button", click: () => files.click() }, "Choose files"),
      h("button", { type: "button", click: () => folder.click() }, "Choose a folder"),
      files,
      folder,
    ),
  );
  return h(
    "section.hero",
    {},
    h("h1", {}, "Is it in the training data?"),
    h(
      "p.lead",
      {},
      "See which published datasets contain your work, and which models are linked to them. Every yes and no comes with a proof that anybody can check again.",
    ),
    zone,
    paste(problem),
    problem,
    h(
      "ul.promises",
      {},
      h(
        "li",
        {},
        icon("shield"),
        h(
          "div",
          {},
          h("strong", {}, "Nothing is uploaded"),
          "Your files are read in this browser. A rule of the browser prevents this page from sending them anywhere.",
        ),
      ),
      h(
        "li",
        {},
        icon("chip"),
        h(
          "div",
          {},
          h("strong", {}, "Checked here, not by us"),
          "Each proof is checked on your own device, against a public blockchain.",
        ),
      ),
      h(
        "li",
        {},
        icon("repeat"),
        h("div", {}, h("strong", {}, "Yours to keep"), "Download a proof. Anybody can check it without this page."),
      ),
    ),
  );
}

/** @param {HTMLElement} problem */
function paste(problem) {
  const field = h("input", {
    id: "digest",
    name: "digest",
    placeholder: "64 digits, such as 2d1c3087ac5f…",
    autocomplete: "off",
    spellcheck: "false",
  });
  const submit = (/** @type {Event} */ event) => {
    event.preventDefault();
    const hex = pastedDigest(field.value);
    problem.textContent = hex ? "" : "A fingerprint has 64 digits, from 0 to 9 and a to f. Paste all of it.";
    if (hex) location.hash = `sha256=${hex}`;
  };
  return h(
    "form.paste",
    { submit },
    h("label", { for: "digest" }, "or paste a fingerprint (SHA-256)"),
    h("div.joined", {}, field, h("button", { type: "submit" }, "Check")),
  );
}

/**
 * @param {readonly Asked[]} targets
 * @param {Session} session
 * @param {HTMLElement} results
 * @param {HTMLElement} status
 */
async function checkAll(targets, session, results, status) {
  results.replaceChildren();
  const reports = targets.map((target) => new Report(target, session, targets.length === 1));
  results.append(...reports.map((report) => report.element));
  if (targets.length === 1) results.scrollIntoView?.({ behavior: "auto", block: "start" });
  status.textContent = `Checking ${counted(targets.length, "file")}`;
  await each(reports, 2, (report) => report.run());
  status.textContent = reports
    .map((report) => `${report.target.name}: ${report.summary.textContent}`)
    .slice(0, 5)
    .join(". ");
}

/** The results for one target. */
class Report {
  /**
   * @param {Asked} target
   * @param {Session} session
   * @param {boolean} open
   */
  constructor(target, session, open) {
    this.target = target;
    this.session = session;
    this.summary = h("p.summary", {}, "Waiting…");
    this.progress = h("progress", { max: 1, value: 0, "aria-label": `Progress: ${target.name}` });
    this.digest = h("div.digest", {});
    this.link = h("a", {}, "Link to this check");
    this.cards = h("div.cards", {});
    this.absent = new Aside((count) => `Absent from ${artifacts(count)}`);
    this.others = new Aside((count) => `${artifacts(count)} that this file could not be compared with`);
    this.badges = h("span.badges", {});
    /** @type {Result[]} */
    this.results = [];
    this.element = h(
      "details.report",
      { open },
      h(
        "summary",
        {},
        this.picture(),
        h("span.report-name", {}, h("strong", {}, title(target)), h("span.faint", {}, kindWords(target))),
        this.badges,
      ),
      h(
        "div.report-body",
        {},
        this.summary,
        this.progress,
        this.digest,
        this.cards,
        this.absent.element,
        this.others.element,
      ),
    );
  }

  picture() {
    const { file } = this.target;
    if (!file || !/^image\/(png|jpeg|gif|webp|bmp)$/.test(file.type) || file.size > 2 ** 25) return icon("dataset");
    const url = URL.createObjectURL(file);
    const forget = () => URL.revokeObjectURL(url);
    return h("img.thumb", { src: url, alt: "", load: forget, error: forget });
  }

  async run() {
    try {
      await this.hash();
      this.summary.textContent = "Reading the chain…";
      const chain = await this.session.chain();
      const tokens = tokensFor(this.target, chain.tokens);
      if (!tokens.length) return this.none(chain.tokens.length);
      await this.session.awaitHints();
      // All are checked; those whose metadata the server says it has come first.
      const first = new Map(tokens.map((token) => [token, Number(!this.session.hint(token)?.stored)]));
      tokens.sort((a, b) => (first.get(a) ?? 1) - (first.get(b) ?? 1) || a.id - b.id);
      const done = () => {
        this.summary.textContent = `Checked ${this.results.length} of ${artifacts(tokens.length)}…`;
      };
      await each(tokens, AT_ONCE, async (token) => {
        const result = await verifyToken(this.target, token, chain.registry, this.session.shelf);
        this.add(result, resultCard(result, chain, this.session, entryActions(result, this.session)));
        done();
      });
      this.conclude();
    } catch (error) {
      this.fail(error);
    } finally {
      this.progress.hidden = true;
    }
  }

  async hash() {
    const { hashing, size = 0 } = this.target;
    if (!hashing) {
      this.progress.hidden = true;
      return;
    }
    this.summary.textContent = "Computing its fingerprint on this device…";
    const { digest } = await hashing((done) => {
      this.progress.value = size ? done / size : 1;
      this.summary.textContent = `Computing its fingerprint on this device: ${bytes(done)} of ${bytes(size)}…`;
    });
    this.progress.hidden = true;
    const hex = toHex(digest);
    this.link.href = `#sha256=${hex}`;
    this.digest.replaceChildren(
      h("span.faint", {}, "Fingerprint of the file (SHA-256) "),
      copyable(hex, "the fingerprint"),
      this.link,
    );
  }

  /**
   * @param {Result} result
   * @param {HTMLElement} card
   */
  add(result, card) {
    this.results.push(result);
    const aside = result.verdict === "absent" ? this.absent : isOfAnotherKind(result) ? this.others : null;
    const place = aside?.cards ?? this.cards;
    card.dataset.order = String((result.verdict === "included" ? 0 : 1e12) + order(result.token));
    const after = [...place.children].find(
      (each) => Number(/** @type {HTMLElement} */ (each).dataset.order) > Number(card.dataset.order),
    );
    place.insertBefore(card, after ?? null);
    aside?.count();
  }

  conclude() {
    /** @param {Result["verdict"]} verdict */
    const count = (verdict) => this.results.filter((result) => result.verdict === verdict).length;
    const [included, absent] = [count("included"), count("absent")];
    const others = this.results.filter(isOfAnotherKind).length;
    const open = count("unverifiable") - others;
    this.absent.element.open = !included && !open && absent > 0 && absent < 4;
    const all = counted(this.results.length, "published dataset or model", "published datasets and models");
    const words = [included ? `Included in ${included} of the ${all}` : `Not found in any of the ${all}`];
    if (absent && included) words.push(`absent from ${absent}`);
    if (open) words.push(`${open} could not be checked`);
    if (others) words.push(`${others} could not be compared with this file`);
    this.summary.textContent = `${words.join("; ")}.`;
    if (!included) this.summary.append(" That does not prove that it was never used.");
    this.linkTo(this.results.find((result) => result.verdict === "included"));
    const verdict = included ? "included" : open || !absent ? "unverifiable" : "absent";
    this.summary.dataset.verdict = verdict;
    this.badges.replaceChildren(badge(verdict));
  }

  /**
   * Make the link lead to the digest that was found. It can differ from the file's SHA-256: of a
   * picture it can be that of the pixels.
   * @param {Result | undefined} result
   */
  linkTo(result) {
    if (result?.proof && result.token.scheme === "sha256") this.link.href = `#sha256=${toHex(result.proof.leaf)}`;
  }

  /** @param {number} count */
  none(count) {
    const named = this.target.brought;
    this.summary.textContent = named
      ? "The proof file is about a dataset or model that is not in this registry. If it names another registry, choose that one in Settings."
      : count
        ? "There is nothing to compare it with."
        : "Nothing has been published in this registry yet.";
    this.summary.dataset.verdict = "unverifiable";
    this.badges.replaceChildren(badge("unverifiable"));
  }

  /** @param {unknown} error */
  fail(error) {
    const again = () => {
      this.cards.replaceChildren();
      this.results = [];
      this.run();
    };
    this.summary.textContent = `Could not check: ${messageOf(error)}.`;
    this.summary.dataset.verdict = "unverifiable";
    this.badges.replaceChildren(badge("unverifiable"));
    this.cards.replaceChildren(
      h(
        "div.row",
        {},
        h("button", { type: "button", click: again }, "Try again"),
        h("a", { href: "#settings" }, "Settings"),
      ),
    );
  }
}

/** Less important cards, folded behind a line that counts them. */
class Aside {
  /** @param {(count: number) => string} words */
  constructor(words) {
    this.words = words;
    this.cards = h("div.cards", {});
    this.line = h("summary", {});
    this.element = h("details.aside", { hidden: true }, this.line, this.cards);
  }

  count() {
    this.element.hidden = false;
    this.line.textContent = this.words(this.cards.children.length);
  }
}

/** @param {number} count */
function artifacts(count) {
  return counted(count, "dataset or model", "datasets and models");
}

/** @param {Asked} target */
function title(target) {
  return target.kind === "digest" ? `${target.name.slice(0, 16)}…` : target.name;
}

/** @param {Asked} target */
function kindWords({ kind, size = 0, brought }) {
  if (kind === "digest") return "fingerprint, as given";
  if (kind === "proof") return "proof file";
  return brought ? `${bytes(size)}, with a proof file` : bytes(size);
}
