/** Written by tools/generate_terms.py out of alithis/manifest/terms.py and the modules beside it: change it there. */

/** What a token stands for; the contract writes the position. */
export const KINDS = /** @type {const} */ (["dataset", "model"]);

/** How leaves are made from digests; likewise. */
export const SCHEMES = /** @type {const} */ (["sha256", "keyed"]);

/** How an artifact came from an older one; likewise. */
export const RELATIONS = /** @type {const} */ (["derived_from", "trained_on", "validated_on", "tested_on", "fine_tuned_from", "distilled_from", "supersedes"]);

/** How a claim has been answered; likewise. */
export const ANSWERS = /** @type {const} */ (["open", "rejected", "accepted", "removed"]);

/** How far a link is evidenced, from little to much. */
export const GRADES = /** @type {const} */ (["stated", "transcript", "countersigned"]);

/** Relations by which an artifact was made out of an older one. */
export const MADE_FROM = /** @type {const} */ (["derived_from", "trained_on", "fine_tuned_from", "distilled_from"]);

/** Relations that can have a transcript. */
export const TRANSCRIBED = /** @type {const} */ (["trained_on", "validated_on", "tested_on"]);

/** Relations that an input of a model can have. */
export const INPUT_RELATIONS = /** @type {const} */ (["trained_on", "validated_on", "tested_on", "fine_tuned_from", "distilled_from", "supersedes"]);

/** The canonical forms. */
export const FORMS = /** @type {const} */ (["bytes", "pixels", "text", "record", "sample"]);

/** Modes of the form pixels. */
export const MODES = /** @type {const} */ (["L", "RGB", "RGBA"]);

/** Of the format of metadata.json. */
export const METADATA_VERSION = 1;

/** Of the format of proof files. */
export const PROOF_VERSION = 1;

/** Levels in a tile. */
export const TILE_HEIGHT = 8;

/** Hashes in a tile. */
export const TILE = 256;

/** Leaves of a tree. */
export const MAX_SIZE = 281474976710656;

/** Bytes of metadata.json. */
export const MAX_METADATA_BYTES = 262144;

/** Bytes of a proof file. */
export const MAX_PROOF_BYTES = 65536;

/** Hashes in a path of a proof file. */
export const MAX_PATH = 64;

/** Entries of distribution in metadata.json. */
export const MAX_FILES = 300;

/** Characters in an artifact's name. */
export const MAX_NAME = 200;

/** Links of a token, and inputs in its metadata. */
export const MAX_LINKS = 256;

/** Bytes of a text or URI in an event. */
export const MAX_TEXT_BYTES = 1024;

/** Levels of nesting in JSON. */
export const MAX_JSON_DEPTH = 32;

/** Digits of a whole number in JSON. */
export const MAX_JSON_DIGITS = 100;

/** Gateways that are asked. */
export const MAX_GATEWAYS = 8;
