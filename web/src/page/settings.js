/** The dialog for the reader's settings. */

import { messageOf } from "../core/errors.js";
import { checkedConfig, NETWORKS, storeSettings } from "./config.js";
import { h } from "./dom.js";

/** @import {Config} from "./config.js" */

/**
 * Return the dialog; `showModal` opens it.
 * @param {Partial<Config>} config
 * @param {boolean} own whether these are the reader's settings
 */
export function settingsDialog(config, own) {
  const problem = h("p.reason", { role: "alert" });
  const chain = field("chain", "Chain id", String(config.chain ?? ""));
  const rpc = field("rpc", "Node (JSON-RPC URL)", config.rpc ?? "");
  const registry = field("registry", "Registry contract", config.registry ?? "", "0x…");
  const gateways = h(
    "textarea",
    { id: "set-gateways", rows: 3, spellcheck: "false" },
    (config.gateways ?? []).join("\n"),
  );
  const network = h(
    "select",
    {
      id: "set-network",
      change: () => {
        const chosen = NETWORKS[Number(network.value)];
        if (!chosen) return;
        chain.input.value = String(chosen.chain);
        rpc.input.value = chosen.rpc;
      },
    },
    ...NETWORKS.map((each, at) => h("option", { value: at, selected: each.chain === config.chain }, each.name)),
    h("option", { value: "", selected: !NETWORKS.some((each) => each.chain === config.chain) }, "Other"),
  );
  const submit = (/** @type {Event} */ event) => {
    event.preventDefault();
    try {
      const name = NETWORKS.find((each) => String(each.chain) === chain.input.value.trim())?.name ?? "";
      const urls = gateways.value.split(/\s+/).filter(Boolean);
      storeSettings(
        checkedConfig({
          name,
          chain: Number(chain.input.value),
          rpc: rpc.input.value.trim(),
          registry: registry.input.value.trim() || null,
          gateways: urls,
          api: null,
        }),
      );
      again(); // the policy that restricts connections cannot be changed without a reload
    } catch (error) {
      problem.textContent = `${messageOf(error)}.`;
    }
  };
  const dialog = h(
    "dialog",
    { "aria-labelledby": "settings-title" },
    h(
      "form",
      { submit },
      h("h2", { id: "settings-title" }, "Settings"),
      h(
        "p.faint",
        {},
        "The page connects to these addresses only. It checks the gateways' responses against the chain. For the state of the chain, it trusts the node.",
      ),
      h("label", { for: "set-network" }, "Network"),
      network,
      chain.label,
      chain.input,
      rpc.label,
      rpc.input,
      registry.label,
      registry.input,
      h("label", { for: "set-gateways" }, "Gateways, one per line"),
      gateways,
      problem,
      h(
        "div.row",
        {},
        h("button.primary", { type: "submit" }, "Save and reload"),
        h("button", { type: "button", click: () => dialog.close() }, "Cancel"),
        own &&
          h(
            "button.quiet",
            {
              type: "button",
              click: () => {
                storeSettings(null);
                again();
              },
            },
            "Use this site's settings",
          ),
      ),
    ),
  );
  return dialog;
}

/**
 * @param {string} name
 * @param {string} title
 * @param {string} value
 * @param {string} [placeholder]
 */
function field(name, title, value, placeholder = "") {
  const id = `set-${name}`;
  return {
    label: h("label", { for: id }, title),
    input: h("input", { id, value, placeholder, spellcheck: "false", autocomplete: "off" }),
  };
}

function again() {
  location.hash = "";
  location.reload();
}
