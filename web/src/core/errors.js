/** What can go wrong, by who has to act. A message is one line for a person to read. */

export class AlithisError extends Error {
  /** @param {string} message */
  constructor(message) {
    super(message);
    this.name = new.target.name;
  }
}

/** A document or an answer is not of the form it must have. */
export class FormatError extends AlithisError {}

/** A proof does not hold. */
export class ProofError extends AlithisError {}

/** Something is not what was committed to. */
export class IntegrityError extends AlithisError {
  /**
   * @param {string} what what differs
   * @param {string | number} expected
   * @param {string | number} found
   */
  constructor(what, expected, found) {
    super(`${what}: expected ${expected}, found ${found}`);
  }
}

/** A node or a gateway does not give a usable answer. */
export class UnavailableError extends AlithisError {}

/** What was asked about has no digest of the kind that is needed. */
export class SourceError extends AlithisError {}

/**
 * What an error says, on one line; for a fault of our own, that it is one.
 * @param {unknown} error
 */
export function said(error) {
  if (error instanceof AlithisError) return error.message.replace(/\s+/g, " ");
  return `a fault in this page: ${error instanceof Error ? error.message : String(error)}`;
}
