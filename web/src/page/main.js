/** Starts the page: configuration, policy and worker. Then shows the view for the address. */

import { messageOf } from "../core/errors.js";
import { Hasher } from "../work/hasher.js";
import { checkView, digestView } from "./check.js";
import { lock, readConfig } from "./config.js";
import { h, icon } from "./dom.js";
import { exploreView } from "./explore.js";
import { howView } from "./how.js";
import { Session } from "./session.js";
import { settingsDialog } from "./settings.js";
import { tokenView } from "./token.js";

/** @import {Config} from "./config.js" */

const main = /** @type {HTMLElement} */ (document.querySelector("main"));
const network = /** @type {HTMLElement} */ (document.querySelector("#network"));

async function start() {
  const program = await fetch(/** @type {string} */ (document.documentElement.dataset.worker)).then((response) =>
    response.text(),
  );
  /** @type {{config: Config, own: boolean} | null} */
  let read = null;
  let problem = "";
  try {
    read = await readConfig();
    lock(read.config);
  } catch (error) {
    problem = messageOf(error);
  }
  const config = read?.config;
  offerSettings(config ?? {}, read?.own ?? false);
  if (!config?.registry) {
    unconfigured(problem, config);
    return;
  }
  const session = new Session(config, new Hasher(program));
  network.textContent = read?.own ? `${config.name}, your settings` : config.name;
  const show = () => route(session);
  addEventListener("hashchange", show);
  document.addEventListener("dragover", (event) => event.preventDefault()); // a file dropped outside the zone would replace the page
  document.addEventListener("drop", (event) => event.preventDefault());
  show();
}

/**
 * @param {Partial<Config>} config
 * @param {boolean} own
 */
function offerSettings(config, own) {
  const dialog = settingsDialog(config, own);
  document.body.append(dialog);
  const button = document.querySelector("#settings");
  button?.append(icon("settings"));
  button?.addEventListener("click", () => dialog.showModal());
  addEventListener("hashchange", () => {
    if (location.hash === "#settings") dialog.showModal();
  });
}

/**
 * @param {string} problem
 * @param {Config | undefined} config
 */
function unconfigured(problem, config) {
  network.textContent = config?.name ?? "not configured";
  main.replaceChildren(
    h(
      "section.empty",
      {},
      h("h1.small", {}, "No registry yet"),
      h("p", {}, problem ? `The page cannot start: ${problem}.` : "No registry is configured for this page."),
      h(
        "p",
        {},
        "Enter the contract's address, a node of its chain and a gateway in ",
        h("a", { href: "#settings" }, "Settings"),
        ", or in the file config.json next to this page.",
      ),
    ),
  );
}

let shown = 0;

/** @param {Session} session */
async function route(session) {
  const address = location.hash.slice(1);
  if (address === "settings") return;
  const mine = ++shown;
  for (const link of document.querySelectorAll("header nav a")) {
    const here = link.getAttribute("href") === `#${address}`;
    if (here) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  const waiting = setTimeout(() => {
    if (mine === shown) main.replaceChildren(h("p.empty", { role: "status" }, "Reading the chain…"));
  }, 150);
  const view = await viewOf(address, session).catch((error) => failure(error, session));
  clearTimeout(waiting);
  if (mine !== shown) return;
  const first = main.childElementCount === 0;
  main.replaceChildren(view);
  scrollTo(0, 0);
  const heading = view.querySelector("h1");
  document.title = heading && address ? `${heading.textContent} · Alithis` : "Alithis";
  if (heading && !first) {
    heading.tabIndex = -1;
    heading.focus({ preventScroll: true });
  }
}

/**
 * @param {string} address
 * @param {Session} session
 * @returns {Promise<HTMLElement>}
 */
async function viewOf(address, session) {
  const [name, value = ""] = address.split("=");
  if (name === "") return checkView(session);
  if (name === "explore") return exploreView(session);
  if (name === "how") return howView();
  if (name === "token" && /^[1-9]\d{0,8}$/.test(value)) return tokenView(session, Number(value));
  if (name === "sha256" && /^[0-9a-fA-F]{64}$/.test(value)) return digestView(session, value.toLowerCase());
  return h(
    "section.empty",
    {},
    h("h1.small", {}, "There is no such page"),
    h("p", {}, h("a", { href: "#" }, "Check a file")),
  );
}

/**
 * @param {unknown} error
 * @param {Session} session
 */
function failure(error, session) {
  return h(
    "section.empty",
    { role: "alert" },
    h("h1.small", {}, "The registry could not be read"),
    h("p.reason", {}, `${messageOf(error)}.`),
    h("p", {}, "No file can be checked until then."),
    h(
      "div.row",
      {},
      h("button.primary", { type: "button", click: () => route(session) }, "Try again"),
      h("a", { href: "#settings" }, "Settings"),
    ),
  );
}

start();
