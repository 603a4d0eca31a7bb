/** A wallet in the browser (EIP-1193): its account, its network, and the transactions that it signs and sends. */

import { UnavailableError } from "../core/errors.js";
import { encodeCall, refusal } from "./abi.js";
import { quantity } from "./registry.js";
import { line, RpcError } from "./rpc.js";

/** @import {Registry} from "./registry.js" */
/** @import {Signature, Value} from "./abi.js" */

/** @typedef {{request: (call: {method: string, params?: unknown[]}) => Promise<unknown>}} Provider */
/** @typedef {{signature: Signature, values: Value[]}} Call */

const UNKNOWN_CHAIN = 4902; // EIP-3085
const REJECTED = 4001; // EIP-1193
const PATIENCE = 300_000; // milliseconds to wait for a transaction; Filecoin has a block every 30 seconds
const PAUSE = 1000;

/** Return the browser's wallet, if it has one. @returns {Provider | null} */
export function walletProvider() {
  const found = /** @type {any} */ (globalThis).ethereum;
  return typeof found?.request === "function" ? found : null;
}

export class Wallet {
  /**
   * @param {Provider} provider
   * @param {Registry} registry
   */
  constructor(provider, registry) {
    this.provider = provider;
    this.registry = registry;
    this.account = "";
  }

  /** Ask for the account; the wallet asks the reader for permission. */
  async connect() {
    const accounts = await this.ask("eth_requestAccounts");
    const [account] = Array.isArray(accounts) ? accounts : [];
    if (typeof account !== "string" || !/^0x[0-9a-fA-F]{40}$/.test(account))
      throw new UnavailableError("the wallet did not return an account: unlock it and try again");
    this.account = account.toLowerCase();
    return this.account;
  }

  /** Return the id of the chain that the wallet is on. */
  async chain() {
    return quantity(await this.ask("eth_chainId"), "eth_chainId");
  }

  /**
   * Ask the wallet to switch to the registry's chain, and to add it first if the wallet does not know it.
   * @param {string} name the network's name
   */
  async switchChain(name) {
    const chainId = `0x${this.registry.chain.toString(16)}`;
    try {
      await this.ask("wallet_switchEthereumChain", [{ chainId }]);
    } catch (error) {
      if (!(error instanceof WalletError) || error.code !== UNKNOWN_CHAIN) throw error;
      const nativeCurrency = { name: "FIL", symbol: "FIL", decimals: 18 };
      await this.ask("wallet_addEthereumChain", [
        { chainId, chainName: name, rpcUrls: [this.registry.rpc.url], nativeCurrency },
      ]);
    }
  }

  /**
   * Try a call on the node, so that no transaction is sent that the registry would refuse.
   * @param {Call} call
   */
  async rehearse(call) {
    try {
      await this.registry.rpc.request("eth_call", [this.transaction(call), "latest"]);
    } catch (error) {
      const why = error instanceof RpcError && error.data && refusal(error.data);
      throw why ? new UnavailableError(`the registry would refuse it: ${why}`) : error;
    }
  }

  /**
   * Have the wallet sign and send a call, and wait until it is in a block.
   * @param {Call} call
   * @param {(hash: string) => void} sent called when the wallet has sent the transaction
   * @returns {Promise<number>} the block
   */
  async send(call, sent) {
    const hash = await this.ask("eth_sendTransaction", [this.transaction(call)]);
    if (typeof hash !== "string" || !/^0x[0-9a-fA-F]{64}$/.test(hash))
      throw new UnavailableError(
        "the wallet did not return a transaction's hash: look in the wallet whether it was sent",
      );
    sent(hash);
    for (const end = Date.now() + PATIENCE; Date.now() < end; ) {
      const receipt = /** @type {any} */ (await this.registry.rpc.request("eth_getTransactionReceipt", [hash]));
      if (receipt?.status === "0x1") return quantity(receipt.blockNumber, "eth_getTransactionReceipt");
      if (receipt?.status === "0x0") throw new UnavailableError(`transaction ${hash} failed; nothing was recorded`);
      await new Promise((resolve) => setTimeout(resolve, PAUSE));
    }
    throw new UnavailableError(`transaction ${hash} is not in a block yet: look for it again later`);
  }

  /** @param {Call} call */
  transaction({ signature, values }) {
    return { from: this.account, to: this.registry.address, data: `0x${encodeCall(signature, ...values)}` };
  }

  /**
   * @param {string} method
   * @param {unknown[]} [params]
   */
  async ask(method, params = []) {
    try {
      return await this.provider.request({ method, params });
    } catch (error) {
      const { code, message } = /** @type {{code?: unknown, message?: unknown}} */ (error ?? {});
      const why =
        code === REJECTED
          ? "you declined it in the wallet; nothing was sent"
          : `the wallet returned an error: ${line(message ?? error)}`;
      throw new WalletError(why, Number(code));
    }
  }
}

/** The wallet returned an error, or the reader declined. */
class WalletError extends UnavailableError {
  /**
   * @param {string} message
   * @param {number} code
   */
  constructor(message, code) {
    super(message);
    this.code = code;
  }
}
