/** A token's lineage, drawn: what it came from on the left, what came from it on the right. */

import { h, s } from "./dom.js";
import { GRADE, RELATION, showName } from "./words.js";

/** @import {Link, Token} from "../chain/registry.js" */
/** @import {Session} from "./session.js" */

const [WIDTH, HEIGHT, ACROSS, DOWN] = [190, 56, 120, 22]; // a box, and the gaps to the right of and below it
const LETTERS = 22; // of a name that fit into a box
const STEP = 1.25; // of the zoom
const SMALLEST = 0.6; // the smallest automatic zoom at which the words can be read
const [WORDS, LINE] = [100, 16]; // the size of an edge's words

/** @typedef {{token: Token, x: number, y: number}} Placed */

/**
 * @param {{nodes: Token[], links: Link[], cut: boolean}} lineage
 * Return the lineage of a token as a picture.
 * @param {number} id the token
 * @param {readonly Token[]} tokens all tokens of the registry
 * @param {Session} session
 */
export function lineageGraph({ nodes, links, cut }, id, tokens, session) {
  const placed = place(nodes, links);
  const width = Math.max(...placed.map((each) => each.x)) + WIDTH + 20;
  const height = Math.max(...placed.map((each) => each.y)) + HEIGHT + 20;
  const at = new Map(placed.map((each) => [each.token.id, each]));
  const picture = s(
    "svg",
    {
      viewBox: `-10 -10 ${width} ${height}`,
      role: "group",
      "aria-label": "Lineage: each box opens its dataset or model",
    },
    ...edges(links, at).map((each) => edge(each, tokens, session)),
    ...placed.map((each) => box(each, id, session)),
  );
  const view = new View(picture, width, height, at.get(id));
  return h(
    "figure.graph",
    {},
    view.element,
    h(
      "figcaption",
      {},
      view.buttons,
      h("span.key", {}, h("i.line.stated", {}), GRADE.stated),
      h("span.key", {}, h("i.line.transcript", {}), GRADE.transcript),
      h("span.key", {}, h("i.line", {}), GRADE.countersigned),
      cut && h("span.faint", {}, "Not all of it is shown: open a box to see what is around it."),
    ),
  );
}

/**
 * Place the tokens: columns by the longest path from an oldest token, rows by id.
 * @param {Token[]} nodes in the order of their ids, so that each link leads to an earlier one
 * @param {Link[]} links
 * @returns {Placed[]}
 */
function place(nodes, links) {
  /** @type {Map<number, number>} */
  const column = new Map();
  for (const { id } of nodes) {
    const before = links.filter((link) => link.source === id).map((link) => column.get(link.target) ?? 0);
    column.set(id, before.length ? Math.max(...before) + 1 : 0);
  }
  /** @type {Map<number, number>} */
  const rows = new Map();
  return nodes.map((token) => {
    const x = column.get(token.id) ?? 0;
    const y = rows.get(x) ?? 0;
    rows.set(x, y + 1);
    return { token, x: x * (WIDTH + ACROSS), y: y * (HEIGHT + DOWN) };
  });
}

/** @typedef {{link: Link, d: string, x: number, y: number}} Edge `d`: the curve; `x`, `y`: the centre of its words */

/**
 * @param {Link[]} links
 * @param {Map<number, Placed>} at
 * @returns {Edge[]}
 */
function edges(links, at) {
  /** @type {Edge[]} */
  const drawn = [];
  for (const link of links) {
    const [from, to] = [at.get(link.target), at.get(link.source)];
    if (from && to) drawn.push(apart(curve(link, from, to), drawn));
  }
  return drawn;
}

/**
 * Return a curve between two boxes. Its words are in the gap before the newer one, where no box hides them.
 * @param {Link} link
 * @param {Placed} from
 * @param {Placed} to
 * @returns {Edge}
 */
function curve(link, from, to) {
  const [x1, y1, x2, y2] = [from.x + WIDTH, from.y + HEIGHT / 2, to.x, to.y + HEIGHT / 2];
  const middle = (x1 + x2) / 2;
  const x = x2 - ACROSS / 2;
  const way = (x - x1) / (x2 - x1);
  return {
    link,
    d: `M${x1} ${y1}C${middle} ${y1} ${middle} ${y2} ${x2} ${y2}`,
    x,
    y: y1 + (y2 - y1) * way * way * (3 - 2 * way) - 5,
  };
}

/**
 * Move an edge's words below others that would overlap.
 * @param {Edge} edge
 * @param {readonly Edge[]} drawn
 */
function apart(edge, drawn) {
  const near = drawn.filter(({ x }) => Math.abs(x - edge.x) < WORDS).sort((a, b) => a.y - b.y);
  for (const { y } of near) if (Math.abs(y - edge.y) < LINE) edge.y = y + LINE;
  return edge;
}

/**
 * @param {Edge} edge
 * @param {readonly Token[]} tokens
 * @param {Session} session
 */
function edge({ link, d, x, y }, tokens, session) {
  const words = RELATION[link.relation].replace("was ", "");
  const drawn = s("g", {}, s("path", { d }), s("text", { x, y, "text-anchor": "middle" }, words));
  session.graded(link, tokens, ({ grade }) => {
    drawn.setAttribute("class", `edge ${grade}`);
  });
  return drawn;
}

/**
 * @param {Placed} placed
 * @param {number} id
 * @param {Session} session
 */
function box({ token, x, y }, id, session) {
  const name = s("text", { x: x + 14, y: y + 24, class: "name" });
  showName(name, token, session, (full) => (full.length > LETTERS ? `${full.slice(0, LETTERS - 1)}…` : full));
  const marked = token.withdrawn || token.disordered || token.supersededBy || token.openClaims;
  const link = s(
    "a",
    {
      href: `#token=${token.id}`,
      class: `node ${token.kind}${token.id === id ? " here" : ""}`,
    },
    s("rect", { x, y, width: WIDTH, height: HEIGHT, rx: 10 }),
    name,
    s("text", { x: x + 14, y: y + 43, class: "about" }, ` ${token.kind} ${token.id}${marked ? ", see its notes" : ""}`),
  );
  return link;
}

/** A picture that can be zoomed and scrolled by mouse, touch and keyboard. */
class View {
  /**
   * @param {SVGElement} picture
   * @param {number} width
   * @param {number} height
   * @param {Placed | undefined} here the box that is shown first
   */
  constructor(picture, width, height, here) {
    this.picture = picture;
    this.natural = { width, height };
    this.here = here;
    this.zoom = 1;
    this.element = h(
      "div.canvas",
      {
        tabindex: 0,
        role: "region",
        "aria-label": "Lineage graph; plus and minus zoom, arrows move",
        keydown: (/** @type {KeyboardEvent} */ event) => this.key(event),
      },
      picture,
    );
    this.buttons = h(
      "span.row",
      {},
      h("button.quiet", { type: "button", "aria-label": "Zoom out", click: () => this.scale(1 / STEP) }, "−"),
      h("button.quiet", { type: "button", "aria-label": "Zoom in", click: () => this.scale(STEP) }, "+"),
      h("button.quiet", { type: "button", click: () => this.reset() }, "Reset"),
    );
    this.scale(1);
    requestAnimationFrame(() => this.reset()); // when it is in the page, and so has a width
  }

  centre() {
    const [x, y] = [(this.here?.x ?? 0) + WIDTH / 2, (this.here?.y ?? 0) + HEIGHT / 2];
    this.element.scrollLeft = x * this.zoom - this.element.clientWidth / 2;
    this.element.scrollTop = y * this.zoom - this.element.clientHeight / 2;
  }

  /** Show the whole picture if its words are then readable, else the part around its own token. */
  reset() {
    const fitting = this.element.clientWidth / this.natural.width;
    this.scale(Math.min(1, Math.max(SMALLEST, fitting)) / this.zoom);
    this.centre();
  }

  /** @param {number} by */
  scale(by) {
    this.zoom = Math.min(4, Math.max(0.25, this.zoom * by));
    this.picture.setAttribute("width", String(this.natural.width * this.zoom));
    this.picture.setAttribute("height", String(this.natural.height * this.zoom));
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    if (event.key === "+" || event.key === "=") this.scale(STEP);
    else if (event.key === "-") this.scale(1 / STEP);
  }
}
