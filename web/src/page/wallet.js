/** Actions that need a wallet. Each transaction is explained before it is signed. Checking needs no wallet. */

import { Wallet, walletProvider } from "../chain/wallet.js";
import { messageOf } from "../core/errors.js";
import { h, icon } from "./dom.js";
import { brief, number, RELATION } from "./words.js";

/** @import {Call} from "../chain/wallet.js" */
/** @import {Claim, Link, Token} from "../chain/registry.js" */
/** @import {Result} from "../work/verify.js" */
/** @import {Session} from "./session.js" */

const MAX_URI = 1024; // bytes: the registry's limit

/**
 * @typedef {object} Plan a transaction, and what it means
 * @property {string} title
 * @property {string[]} effects in plain words
 * @property {Token} [owned] the token whose owner may send it; missing if anybody may
 * @property {string} [asks] the label of the text that can be sent with it; missing if none can
 * @property {(text: string) => Call} call
 */

/**
 * Return the buttons for an entry that is included.
 * @param {Result} result
 * @param {Session} session
 */
export function entryActions({ verdict, proof, token }, session) {
  if (!walletProvider() || verdict !== "included" || proof?.kind !== "inclusion") return null;
  const { leaf, index, path } = proof;
  /** @type {Plan} */
  const attest = {
    title: "Put it on record",
    effects: [
      `The chain's history gets a record: somebody proved that this entry is in ${named(token)}.`,
      "The entry's fingerprint and your wallet's address become public permanently.",
      "It does not say that the entry is yours.",
    ],
    call: () => ({ signature: "attest(uint256,bytes32,uint256,bytes32[])", values: [token.id, leaf, index, path] }),
  };
  /** @type {Plan} */
  const claim = {
    title: "File a claim",
    effects: [
      `You file a claim against ${named(token)} about this entry: about consent, a licence or personal data.`,
      "Everybody sees it on this page, before and after the owner answers. It cannot be withdrawn.",
      "The fingerprint, your wallet's address and what you write here become public permanently.",
      "The proof shows that the entry is in the list, not that you have a right in it: explain your right in your claim.",
    ],
    asks: "Text of your claim, or the web address where you explain it (optional)",
    call: (uri) => ({
      signature: "claim(uint256,bytes32,uint256,bytes32[],string)",
      values: [token.id, leaf, index, path, uri],
    }),
  };
  return h("span.row", {}, button(attest, session), button(claim, session));
}

/**
 * Return the button that confirms a link or withdraws the confirmation, for the owner of the link's target.
 * @param {Link} link
 * @param {Token} target
 * @param {Session} session
 */
export function linkAction(link, target, session) {
  if (!walletProvider() || link.relation === "supersedes") return null;
  /** @type {Plan} */
  const plan = link.countersigned
    ? {
        title: "Withdraw the confirmation",
        effects: [
          "The link stays, as a statement of its publisher only.",
          "The chain's history keeps who confirmed it, and that the confirmation was withdrawn.",
        ],
        owned: target,
        call: () => ({ signature: "retractCountersignature(uint256,uint256)", values: [link.source, link.position] }),
      }
    : {
        title: "Confirm",
        effects: [
          `You confirm, as the owner of ${named(target)}, that number ${link.source} ${RELATION[link.relation]} ${named(target)}.`,
          "Everybody sees it. You can withdraw it later; the chain's history keeps both.",
        ],
        owned: target,
        call: () => ({ signature: "countersign(uint256,uint256)", values: [link.source, link.position] }),
      };
  return button(plan, session, "quiet");
}

/**
 * Return the buttons that answer a claim, for the token's owner.
 * @param {Token} token
 * @param {Claim} claim
 * @param {Session} session
 */
export function claimAnswers(token, claim, session) {
  const further = /** @type {const} */ ([
    ["Reject", 1, "rejected", "You reject the claim. You can still accept it later."],
    ["Accept", 2, "accepted", "You accept the claim. That cannot be undone."],
    [
      "Removed",
      3,
      "removed",
      "You state that the newer version, which replaces this one, does not have the entry. Anybody can check that.",
    ],
  ]);
  const now = { open: 0, rejected: 1, accepted: 2, removed: 3 }[claim.status];
  if (!walletProvider() || now === 3) return null;
  const buttons = further
    .filter(([, answer]) => answer > now && (answer < 3 || token.supersededBy !== null))
    .map(([title, answer, words, effect]) =>
      button(
        {
          title,
          effects: [
            `Your answer to claim ${claim.number} against ${named(token)}: ${words}.`,
            effect,
            "The answer, and what you write here, become public permanently.",
          ],
          owned: token,
          asks: "Text of your answer, or the web address where you explain it (optional)",
          call: (uri) => ({
            signature: "answerClaim(uint256,uint256,uint8,string)",
            values: [token.id, claim.number, answer, uri],
          }),
        },
        session,
        "quiet",
      ),
    );
  return h("span.row", {}, ...buttons);
}

/**
 * @param {Plan} plan
 * @param {Session} session
 * @param {"quiet" | ""} [manner]
 */
function button(plan, session, manner = "") {
  const name = /** @type {"button"} */ (manner ? `button.${manner}` : "button");
  return h(
    name,
    { type: "button", click: () => new Dialog(plan, session).open() },
    !manner && icon("wallet"),
    plan.title,
  );
}

/** @param {Token} token */
function named(token) {
  return `${token.kind} ${token.id}`;
}

/** The dialog that explains a transaction and sends it. */
class Dialog {
  /**
   * @param {Plan} plan
   * @param {Session} session
   */
  constructor(plan, session) {
    this.plan = plan;
    this.session = session;
    this.done = false;
    this.field = h("input", { id: "wallet-uri", maxlength: MAX_URI, autocomplete: "off", placeholder: "https://…" });
    this.status = h("p", { role: "status" });
    this.problem = h("p.reason", { role: "alert" });
    this.go = h("button.primary", { type: "submit" }, "Continue in the wallet");
    this.leave = h("button", { type: "button", click: () => this.element.close() }, "Cancel");
    const submit = (/** @type {Event} */ event) => {
      event.preventDefault();
      this.run();
    };
    this.element = h(
      "dialog",
      { "aria-labelledby": "wallet-title", close: () => this.closed() },
      h(
        "form",
        { submit },
        h("h2", { id: "wallet-title" }, plan.title),
        h("ul.effects", {}, ...plan.effects.map((effect) => h("li", {}, effect))),
        plan.owned &&
          h("p.faint", {}, `Only the owner of ${named(plan.owned)}, ${brief(plan.owned.owner)}, can do this.`),
        plan.asks && h("label", { for: "wallet-uri" }, plan.asks),
        plan.asks && this.field,
        h("p.faint", {}, "Your wallet shows what the transaction costs, and asks you before it sends it."),
        this.status,
        this.problem,
        h("div.row", {}, this.go, this.leave),
      ),
    );
  }

  open() {
    document.body.append(this.element);
    this.element.showModal();
  }

  closed() {
    this.element.remove();
    if (this.done && location.hash.startsWith("#token")) dispatchEvent(new HashChangeEvent("hashchange"));
  }

  async run() {
    this.problem.textContent = "";
    this.go.disabled = true;
    try {
      await this.steps();
    } catch (error) {
      this.status.textContent = "";
      this.problem.textContent = `${messageOf(error)}.`;
      this.go.disabled = false;
    }
  }

  async steps() {
    const { plan, session } = this;
    const provider = walletProvider();
    if (!provider) return;
    const { registry } = await session.chain();
    const wallet = new Wallet(provider, registry);
    const account = await wallet.connect();
    if (!(await this.onChain(wallet))) return;
    if (plan.owned && plan.owned.owner !== account) {
      this.problem.textContent = `Your wallet's account is ${brief(account)}. Switch to the owner's account, ${brief(plan.owned.owner)}, in the wallet.`;
      this.go.disabled = false;
      return;
    }
    const call = plan.call(this.field.value.trim());
    await wallet.rehearse(call);
    this.status.textContent = "Waiting for you to sign in the wallet…";
    const block = await wallet.send(call, (hash) => {
      this.status.textContent = `Sent as ${brief(hash)}. Waiting for a block…`;
    });
    await session.refresh();
    this.done = true;
    this.status.textContent = `Done: it is recorded in block ${number(block)}.`;
    this.go.hidden = true;
    this.leave.textContent = "Close";
  }

  /**
   * Return whether the wallet is on the registry's chain; if it is not, offer to switch.
   * @param {Wallet} wallet
   */
  async onChain(wallet) {
    const [here, wanted] = [await wallet.chain(), wallet.registry.chain];
    if (here === wanted) return true;
    const name = this.session.config.name;
    const click = async () => {
      try {
        await wallet.switchChain(name);
        this.problem.textContent = "";
        this.run();
      } catch (error) {
        this.problem.textContent = `${messageOf(error)}.`;
      }
    };
    this.problem.replaceChildren(
      `Your wallet is on chain ${here}; the registry is on ${name} (${wanted}). `,
      h("button", { type: "button", click }, `Switch to ${name}`),
    );
    this.go.disabled = false;
    return false;
  }
}
