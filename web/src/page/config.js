/** The configuration: config.json next to the page, or the reader's own settings. */

import { FormatError } from "../core/errors.js";
import { MAX_GATEWAYS } from "../generated/terms.js";

/**
 * @typedef {object} Config
 * @property {string} name the network's name, for people
 * @property {number} chain its id
 * @property {string} rpc URL of a node
 * @property {string | null} registry the contract's address
 * @property {string[]} gateways URLs
 * @property {string | null} api URL of a server that gives hints where to look first
 */

const KEY = "alithis.settings";

/** Networks that the settings offer. @type {ReadonlyArray<Pick<Config, "name" | "chain" | "rpc">>} */
export const NETWORKS = [
  { name: "Local devnet", chain: 31337, rpc: "http://127.0.0.1:8545" },
  { name: "Filecoin Calibration", chain: 314159, rpc: "https://api.calibration.node.glif.io/rpc/v1" },
  { name: "Filecoin", chain: 314, rpc: "https://api.node.glif.io/rpc/v1" },
];

/** @returns {Promise<{config: Config, own: boolean}>} `own`: whether the reader set it */
export async function readConfig() {
  const stored = storedSettings();
  if (stored) return { config: stored, own: true };
  const response = await fetch("config.json", { cache: "no-cache" });
  if (!response.ok) throw new FormatError("the file config.json is missing");
  return { config: checkedConfig(resolveHere(await response.json().catch(() => null))), own: false };
}

/**
 * Resolve "." in config.json, which stands for the address that the page comes from.
 * @param {unknown} value
 */
function resolveHere(value) {
  if (typeof value !== "object" || value === null) return value;
  /** @type {{gateways?: unknown, api?: unknown}} */
  const given = value;
  /** @param {unknown} url */
  const absolute = (url) => (url === "." ? new URL(".", location.href).href : url);
  const gateways = Array.isArray(given.gateways) ? given.gateways.map(absolute) : given.gateways;
  return { ...given, gateways, api: absolute(given.api) };
}

function storedSettings() {
  try {
    const text = localStorage.getItem(KEY);
    return text === null ? null : checkedConfig(JSON.parse(text));
  } catch {
    return null; // the browser denies storage, or the settings are malformed
  }
}

/** @param {Config | null} config null to return to config.json */
export function storeSettings(config) {
  if (config) localStorage.setItem(KEY, JSON.stringify(checkedConfig(config)));
  else localStorage.removeItem(KEY);
}

/**
 * @param {unknown} value
 * @returns {Config}
 * @throws {FormatError}
 */
export function checkedConfig(value) {
  if (typeof value !== "object" || value === null) throw new FormatError("config.json is not a JSON object");
  const {
    name = "",
    chain,
    rpc,
    registry = null,
    gateways = [],
    api = null,
  } = /** @type {Record<string, unknown>} */ (value);
  if (typeof chain !== "number" || !Number.isSafeInteger(chain) || chain < 1)
    throw new FormatError("the chain id must be a whole number, such as 314");
  if (typeof rpc !== "string" || !isHttp(rpc))
    throw new FormatError("the node's address (rpc) must be an http or https URL");
  const address = typeof registry === "string" && /^0x[0-9a-fA-F]{40}$/.test(registry) ? registry : null;
  if (registry && !address) throw new FormatError("the registry's address must be 0x and 40 hexadecimal digits");
  if (
    !Array.isArray(gateways) ||
    gateways.length > MAX_GATEWAYS ||
    !gateways.every((each) => typeof each === "string" && isHttp(each))
  ) {
    throw new FormatError(`the gateways must be at most ${MAX_GATEWAYS} http or https URLs`);
  }
  if (api !== null && api !== undefined && (typeof api !== "string" || !isHttp(api)))
    throw new FormatError("the server's address (api) must be an http or https URL");
  return {
    name: String(name).slice(0, 60) || `Chain ${chain}`,
    chain,
    rpc,
    registry: address,
    gateways,
    api: api ?? null,
  };
}

/** @param {string} text */
function isHttp(text) {
  return /^https?:\/\/[^\s;,'"]+$/i.test(text) && URL.canParse(text);
}

/**
 * Restrict the page's connections to the node and the gateways. Not even its own server can be
 * reached after that. Adding a policy can only make it stricter, so nothing can undo this.
 * @param {Config} config
 */
export function lock(config) {
  const reachable = [
    ...new Set([config.rpc, ...config.gateways, ...(config.api ? [config.api] : [])].map((url) => new URL(url).origin)),
  ];
  const policy = document.createElement("meta");
  policy.httpEquiv = "Content-Security-Policy";
  policy.content = [
    "default-src 'none'",
    `connect-src ${reachable.join(" ")}`,
    "script-src 'wasm-unsafe-eval'",
    "style-src 'self'",
    "img-src data: blob:",
    "worker-src blob:",
    "base-uri 'none'",
    "form-action 'none'",
  ].join("; ");
  document.head.append(policy);
}
