/** How it works, and what an answer means. */

import { h } from "./dom.js";

export function howView() {
  return h(
    "article.prose",
    {},
    h("h1.small", {}, "How it works"),
    h(
      "p.lead",
      {},
      "A publisher makes a fingerprint of every entry of a dataset and commits to all of them on a public chain. Whether yours is among them can then be proved, either way.",
    ),
    h("h2", {}, "What the answers mean"),
    h(
      "dl.answers",
      {},
      h("dt", {}, "Included"),
      h(
        "dd",
        {},
        "The dataset that was committed to has exactly this entry. Hashes lead from it to the root on the chain; nobody can make such a proof up.",
      ),
      h("dt", {}, "Absent"),
      h(
        "dd",
        {},
        "The commitment does not cover this exact entry: the two entries between which it would stand are neighbours. A crop, another size or another encoding is another entry. And a dataset that nobody published is not seen at all: absent does not mean never used.",
      ),
      h("dt", {}, "Could not check"),
      h(
        "dd",
        {},
        "Something is missing or wrong: a gateway that does not answer or lies, a description that is not the one committed to, or private entries that only the publisher can open. The answer says which. It is neither yes nor no.",
      ),
    ),
    h("h2", {}, "What links between models and datasets mean"),
    h(
      "dl.answers",
      {},
      h("dt", {}, "The publisher states"),
      h("dd", {}, "Who published the model says so. Nobody else has confirmed it."),
      h("dt", {}, "Confirmed by the dataset's owner"),
      h("dd", {}, "The owner of the dataset's token says so too. They may be the same person."),
      h("dt", {}, "Recorded during training"),
      h(
        "dd",
        {},
        "The publisher's program wrote down which entries the training used, and the model's description states how many. It is still the publisher's word, but a much more definite one.",
      ),
    ),
    h("h2", {}, "Whom you have to trust"),
    h(
      "p",
      {},
      "Not us, and not the gateways: their answers lead to the root on the chain, or they count for nothing. For the root itself the page asks one node of the chain, which you can choose in Settings; who wants to be sure runs one. Your browser runs this page, so read it from a place you trust, or from IPFS by its fingerprint.",
    ),
    h("h2", {}, "What others can see"),
    h(
      "p",
      {},
      "Your files stay on this device: a rule of the browser (Content-Security-Policy) bars this page from reaching anything but the node and the gateways in Settings. A gateway sees which small piece of a dataset is read, and with that a part of the fingerprint you ask about. Somebody who could guess the file could test that guess.",
    ),
  );
}
