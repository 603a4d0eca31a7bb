/** The view that explains how the page works and what its answers mean. */

import { h } from "./dom.js";

export function howView() {
  return h(
    "article.prose",
    {},
    h("h1.small", {}, "How it works"),
    h(
      "p.lead",
      {},
      "A publisher makes a list with a fingerprint of every entry of a dataset, and records on a public blockchain a fingerprint of that list. The list can no longer be changed unnoticed. Whether your file is in it can then be proved, either way.",
    ),
    h("h2", {}, "What the answers mean"),
    h(
      "dl.answers",
      {},
      h("dt", {}, "Included"),
      h(
        "dd",
        {},
        "The published list has exactly this entry. The proof leads from your file's fingerprint to the one on the blockchain. Nobody can forge such a proof.",
      ),
      h("dt", {}, "Absent"),
      h(
        "dd",
        {},
        "The published list does not have exactly this entry: the two entries between which it would be are next to each other. This relies on the order of the list, which anybody who has the whole list can check. A crop, another size or another encoding is a different entry. Datasets that are not published cannot be checked: absent does not mean never used.",
      ),
      h("dt", {}, "Could not check"),
      h(
        "dd",
        {},
        "Something is missing or wrong: a server does not answer or sends wrong data, the description differs from the published one, or the entries are private and only the publisher can show what they stand for. The answer says which. It is neither yes nor no.",
      ),
    ),
    h("h2", {}, "What links between models and datasets mean"),
    h(
      "dl.answers",
      {},
      h("dt", {}, "The publisher states"),
      h("dd", {}, "The model's publisher says so. Nobody else has confirmed it."),
      h("dt", {}, "Confirmed by the dataset's owner"),
      h("dd", {}, "The dataset's owner says so too. Owner and publisher can be the same person."),
      h("dt", {}, "Recorded during training"),
      h(
        "dd",
        {},
        "The publisher's program recorded which entries the training used, and the model's description states how many. This is still the publisher's statement, but a much more specific one, which can be contradicted.",
      ),
    ),
    h("h2", {}, "What you have to trust"),
    h(
      "p",
      {},
      "You do not have to trust us, or the servers (“gateways”) that have the lists: the page checks what they send against the blockchain. What the blockchain says, the page asks one of its nodes. You can choose that node in Settings, and run your own to be sure. You also have to trust this page itself: open it from a place you trust, or from IPFS by its fingerprint.",
    ),
    h("h2", {}, "What others can see"),
    h(
      "p",
      {},
      "Your files stay on this device: a rule of the browser (Content-Security-Policy) allows this page to connect to the node and the gateways in Settings, and to nothing else. A gateway sees which small part of a list is read, and so a part of your file's fingerprint. Somebody who guesses which file it is can test that guess.",
    ),
  );
}
