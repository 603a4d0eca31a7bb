/** What a wallet can do, each transaction explained before it is signed. Nothing here is needed to check. */

import { Wallet, walletProvider } from "../chain/wallet.js";
import { said } from "../core/errors.js";
import { h, icon } from "./dom.js";
import { brief, number } from "./words.js";

/** @import {Call} from "../chain/wallet.js" */
/** @import {Claim, Link, Token} from "../chain/registry.js" */
/** @import {Result} from "../work/verify.js" */
/** @import {Session} from "./session.js" */

const MAX_URI = 1024; // bytes, as the registry has it

/**
 * @typedef {object} Plan what is to be sent, and what it means
 * @property {string} title
 * @property {string[]} effects in plain words
 * @property {Token} [owned] the token whose owner alone may send it
 * @property {string} [asks] the label of a text that goes with it, if one may
 * @property {(text: string) => Call} call
 */

/**
 * What can be done about an entry that is included.
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
      `Token ${token.id} gets an entry in the chain's history: somebody proved that this entry is in it.`,
      "The entry's fingerprint and your wallet's address become public, for ever.",
      "It does not say that the entry is yours.",
    ],
    call: () => ({ signature: "attest(uint256,bytes32,uint256,bytes32[])", values: [token.id, leaf, index, path] }),
  };
  /** @type {Plan} */
  const claim = {
    title: "File a claim",
    effects: [
      `A claim against token ${token.id} is filed about this entry: about consent, a licence or personal data.`,
      "Everybody sees it on the token, until its owner answers and after. It cannot be taken back.",
      "The fingerprint, your wallet's address and what you write here become public, for ever.",
      "The proof shows that the entry is in the data, not that you have a right in it: say so where you set your claim out.",
    ],
    asks: "Where your claim is set out (a web address, if you like)",
    call: (uri) => ({
      signature: "claim(uint256,bytes32,uint256,bytes32[],string)",
      values: [token.id, leaf, index, path, uri],
    }),
  };
  return h("span.row", {}, button(attest, session), button(claim, session));
}

/**
 * Confirm a link, or take that back: for who owns the link's target.
 * @param {Link} link
 * @param {Token} target
 * @param {Session} session
 */
export function linkAction(link, target, session) {
  if (!walletProvider() || link.relation === "supersedes") return null;
  /** @type {Plan} */
  const plan = link.countersigned
    ? {
        title: "Take the confirmation back",
        effects: [
          "The link stays, as its publisher's word alone.",
          "The chain's history keeps who confirmed it, and that it was taken back.",
        ],
        owned: target,
        call: () => ({ signature: "retractCountersignature(uint256,uint256)", values: [link.source, link.position] }),
      }
    : {
        title: "Confirm",
        effects: [
          `You confirm, as the owner of token ${target.id}, that token ${link.source} was made from it as the link says.`,
          "Everybody sees it. You can take it back later; the chain's history keeps both.",
        ],
        owned: target,
        call: () => ({ signature: "countersign(uint256,uint256)", values: [link.source, link.position] }),
      };
  return button(plan, session, "quiet");
}

/**
 * Answers to a claim: for who owns the token.
 * @param {Token} token
 * @param {Claim} claim
 * @param {Session} session
 */
export function claimAnswers(token, claim, session) {
  const further = /** @type {const} */ ([
    ["Reject", 1, "rejected", "You deny the claim. You may still accept it later."],
    ["Accept", 2, "accepted", "You grant the claim. That cannot be taken back."],
    [
      "Removed",
      3,
      "removed",
      "You say that the newer version, which replaces this token, lacks the entry. Anybody can check that.",
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
            `Claim ${claim.number} against token ${token.id} is answered: ${words}.`,
            effect,
            "Everybody sees the answer, and what you write here, for ever.",
          ],
          owned: token,
          asks: "Where your answer is set out (a web address, if you like)",
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
    { type: "button", click: () => new Dialogue(plan, session).open() },
    !manner && icon("wallet"),
    plan.title,
  );
}

/** Explains a transaction, and goes through its steps. */
class Dialogue {
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
          h("p.faint", {}, `Only the owner of token ${plan.owned.id}, ${brief(plan.owned.owner)}, may do this.`),
        plan.asks && h("label", { for: "wallet-uri" }, plan.asks),
        plan.asks && this.field,
        h("p.faint", {}, "Your wallet shows what the transaction costs, and asks before it is sent."),
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
      this.problem.textContent = `${said(error)}.`;
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
      this.problem.textContent = `Your wallet's account is ${brief(account)}. Choose the owner's, ${brief(plan.owned.owner)}, in the wallet.`;
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
    this.status.textContent = `Done: it is on record in block ${number(block)}.`;
    this.go.hidden = true;
    this.leave.textContent = "Close";
  }

  /**
   * Whether the wallet is on the registry's chain; where not, offer to go there.
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
        this.problem.textContent = `${said(error)}.`;
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
