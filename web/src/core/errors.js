/** The errors of this page, by their cause. A message is one line for a person to read. */

export class AlithisError extends Error {
  /** Whether the message needs knowledge of proofs: the page then shows it among the checks only. */
  technical = false;

  /** @param {string} message */
  constructor(message) {
    super(message);
    this.name = new.target.name;
  }
}

/** A document or a response is malformed. */
export class FormatError extends AlithisError {
  technical = true;
}

/** A proof is not valid. */
export class ProofError extends AlithisError {
  technical = true;
}

/** Content differs from what was committed. */
export class IntegrityError extends AlithisError {
  technical = true;

  /**
   * @param {string} what what differs
   * @param {string | number} expected
   * @param {string | number} found
   */
  constructor(what, expected, found) {
    super(`${what}: expected ${expected}, found ${found}`);
  }
}

/** A node, a gateway or a wallet gives no usable answer. */
export class UnavailableError extends AlithisError {}

/** The reader's file, digest or proof file cannot be compared. */
export class SourceError extends AlithisError {}

/**
 * Return one error for several gateways that all failed.
 * @param {readonly unknown[]} errors
 */
export function allFailed(errors) {
  const error = new UnavailableError(
    `${errors.map(messageOf).join("; ")}. Try again later, or choose other gateways in Settings`,
  );
  error.technical = errors.some((each) => each instanceof AlithisError && each.technical);
  return error;
}

/**
 * Return an error's message on one line. Of a bug in the page it says that it is one.
 * @param {unknown} error
 */
export function messageOf(error) {
  if (error instanceof AlithisError) return error.message.replace(/\s+/g, " ");
  return `an error in this page: ${error instanceof Error ? error.message : String(error)}. Reload the page`;
}
